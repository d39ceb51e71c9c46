//! What topics cost in memory and time. Measurements, not run by themselves:
//! `cargo test --release --lib engine::memory::cost -- --ignored --nocapture --test-threads 1`

use std::time::Duration;

use topichub_protocol::message::Payload;
use topichub_protocol::topic::Topic;

use super::{MemoryEngine, MemorySettings};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::hub::input::{Asker, Publication, Ticket};
use crate::rules::{HistoryRule, Rules, TopicRule};

const TOPICS: usize = 1_000_000;
const APPENDS: usize = 2_000_000;

fn engine(history: HistoryRule) -> MemoryEngine {
    MemoryEngine::new(MemorySettings {
        first_epoch: 1,
        seed: 1,
        rules: Rules::new(vec![TopicRule::new(">").unwrap().with_history(history)]),
        linger: Duration::from_secs(60),
        unused_topics_max: TOPICS,
        history_bytes_max: 1 << 40,
        dedup_window: Duration::from_secs(120),
    })
}

fn topic(number: usize) -> Topic {
    Topic::parse(&format!("ticker.{number:07}")).unwrap()
}

fn publication(topic: &Topic, payload: &Payload) -> Publication {
    let (topic, payload) = (topic.clone(), payload.clone());
    Publication {
        topic,
        payload,
        options: None,
        asker: Asker::Caller(Ticket(1)),
        subscribers: 1,
        permit: None,
    }
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
#[ignore = "a measurement"]
fn a_topic_costs_little() {
    let mut engine = engine(HistoryRule::default());
    let (mut before, mut counted) = (resident_bytes(), 0);
    let mut print = |what: &str, engine: &MemoryEngine| {
        let (resident, bytes) = (resident_bytes(), engine.history_bytes());
        let each = (resident - before) as f64 / TOPICS as f64;
        println!("{what:<32} {each:.0} bytes resident, {} counted", (bytes - counted) / TOPICS);
        (before, counted) = (resident, bytes);
        each
    };
    for number in 0..TOPICS {
        engine.set_in_use(&topic(number), true, Duration::ZERO);
    }
    let each = print("a topic in use", &engine);
    assert!(each <= 400.0, "{each} bytes for a topic");

    let mut appended = Vec::new();
    for number in 0..TOPICS {
        let payload = Payload::of(&"x".repeat(98)).unwrap();
        engine.append(publication(&topic(number), &payload), Duration::ZERO, &mut appended);
        appended.clear();
    }
    print("its last message, of 100 bytes", &engine);
    for number in 0..TOPICS {
        engine.set_in_use(&topic(number), false, Duration::ZERO);
    }
    print("not to be in use", &engine);
}

#[test]
#[ignore = "a measurement"]
fn remembering_costs_little_time() {
    for topics in [1, 1000, 10_000] {
        let names: Vec<_> = (0..topics).map(topic).collect();
        let histories = [0, 1, 100].map(|messages| {
            let mut engine = engine(HistoryRule::last(messages));
            let mut rounds: Vec<_> = (0..5).map(|_| round(&mut engine, &names)).collect();
            rounds.sort_by(f64::total_cmp);
            rounds[2]
        });
        let [none, one, many] = histories.map(|time| format!("{time:.0} ns"));
        println!("{topics} topics: {none} without history, {one} with 1 message, {many} with 100");
    }
}

/// How long one append takes, in nanoseconds.
fn round(engine: &mut MemoryEngine, names: &[Topic]) -> f64 {
    let (payload, mut appended) = (Payload::of(&"x".repeat(98)).unwrap(), Vec::new());
    let clock = Clock::start();
    for number in 0..APPENDS {
        let name = &names[number % names.len()];
        engine.append(publication(name, &payload), clock.now(), &mut appended);
        appended.clear();
    }
    clock.now().as_nanos() as f64 / APPENDS as f64
}
