//! The Rust client behind a proxy that breaks a thousand connections (`tests/faults`), while somebody counts up.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use topichub_client::{Backoff, Codec, Event, Events, Hub, connect};

use crate::client::remembering;

/// For all of the faults; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(240);

/// The proxy. Ends with the test.
struct Faults {
    process: Child,
    url: String,
    /// Whether all faults have been done.
    done: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Faults {
    fn start(upstream: SocketAddr, faults: u32) -> Self {
        let beside = Path::new(env!("CARGO_BIN_EXE_topichub")).with_file_name("faults");
        let binary = std::env::var_os("FAULTS_BIN").map_or(beside, PathBuf::from);
        assert!(binary.exists(), "build the proxy first: cargo build --workspace --bin faults");
        let mut process = Command::new(binary)
            .args(["--upstream", &upstream.to_string(), "--seed", "7", "--faults", &faults.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.next().unwrap();
        let url = format!("ws://{}", address.strip_prefix("listening on ").unwrap());
        let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_done, counted) = (Arc::clone(&done), Arc::clone(&count));
        thread::spawn(move || {
            for line in lines {
                counted.fetch_add(u64::from(line.contains("\"fault\"")), Ordering::Relaxed);
                is_done.fetch_or(line.contains("\"done\""), Ordering::Relaxed);
            }
        });
        Self { process, url, done, count }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn torn(url: &str, codec: Codec) -> Hub {
    let backoff = Backoff { base: Duration::from_millis(2), max: Duration::from_millis(20) };
    connect(url).codec(codec).backoff(backoff).start().unwrap()
}

async fn subscribed(hub: &Hub, name: &str) -> Events {
    let mut subscription = hub.subscribe(name).buffer(100_000).start().unwrap();
    subscription.ready().await.unwrap();
    subscription.events()
}

/// Counts up on all topics at once until all faults are done, and a bit further; the last number.
async fn count_up(hub: &Hub, topics: &[&str], done: &AtomicBool) -> u64 {
    let (mut number, mut left) = (0, 50);
    while left > 0 {
        number += 1;
        left -= u64::from(done.load(Ordering::Relaxed));
        join_all(topics.iter().map(|topic| async move { hub.publish(*topic, &number).await.unwrap() })).await;
        sleep(Duration::from_millis(3)).await; // the pace of the publisher, and nothing that is waited for
    }
    number
}

/// What has come of each topic: numbers, and what gaps say of them.
#[derive(Debug, Default)]
struct Account {
    came: BTreeMap<String, Vec<u64>>,
    gaps: Vec<(u64, u64)>,
}

/// Reads until `topics` have all come to `last`, which is known when the counting has ended.
async fn read(events: &mut Events, topics: usize, last: &AtomicU64) -> Account {
    let mut account = Account::default();
    loop {
        let end = last.load(Ordering::Relaxed);
        let at_end = account.came.values().filter(|numbers| numbers.last() == Some(&end)).count();
        if end > 0 && at_end == topics {
            return account;
        }
        // Looks up now and then, for what is waited for may have come before the end was known.
        let Ok(event) = timeout(Duration::from_millis(50), events.next()).await else { continue };
        match event.unwrap().unwrap() {
            Event::Message(message) => {
                let numbers = account.came.entry(message.topic.as_str().to_owned()).or_default();
                numbers.push(message.json().unwrap());
            }
            Event::Gap(gap) => account.gaps.push(gap.range.unwrap()),
            _ => {}
        }
    }
}

#[actix_web::test]
async fn a_thousand_faults_lose_nothing_and_double_nothing() {
    let server = remembering(200_000);
    let faults = Faults::start(server.address, 1000);
    let direct = connect(&format!("ws://{}", server.address)).await.unwrap();
    let plain = torn(&faults.url, Codec::Json);
    let wide = torn(&faults.url, Codec::Json);
    let packed = torn(&faults.url, Codec::MsgPack);
    let story = async {
        let mut plain = subscribed(&plain, "count.plain").await;
        let mut wide = subscribed(&wide, "count.*").await;
        let mut packed = subscribed(&packed, "count.packed").await;
        let last = AtomicU64::new(0);
        let topics = ["count.plain", "count.packed", "count.more"];
        let counting = async {
            let end = count_up(&direct, &topics, &faults.done).await;
            last.store(end, Ordering::Relaxed);
        };
        let (one, three, another, ()) = tokio::join!(
            read(&mut plain, 1, &last),
            read(&mut wide, 3, &last),
            read(&mut packed, 1, &last),
            counting
        );
        (one, three, another, last.into_inner())
    };
    let (one, three, another, last) = timeout(PATIENCE, story).await.expect("does not come to an end");
    assert_eq!(faults.count.load(Ordering::Relaxed), 1000);
    let expected: Vec<u64> = (1..=last).collect();
    for (account, topics) in [(&one, 1), (&three, 3), (&another, 1)] {
        assert_eq!(account.came.len(), topics);
        assert_eq!(account.gaps, []);
        for (topic, came) in &account.came {
            assert!(*came == expected, "{topic}: not 1 to {last} in order, but {came:?}");
        }
    }
    for hub in [plain, wide, packed, direct] {
        timeout(PATIENCE, hub.close()).await.expect("does not close");
    }
}

#[actix_web::test]
async fn where_history_is_short_the_gaps_say_exactly_what_is_lost() {
    let server = remembering(4);
    let faults = Faults::start(server.address, 60);
    let direct = connect(&format!("ws://{}", server.address)).await.unwrap();
    let hub = torn(&faults.url, Codec::Json);
    let story = async {
        let mut events = subscribed(&hub, "count.short").await;
        let last = AtomicU64::new(0);
        let counting = async {
            let end = count_up(&direct, &["count.short"], &faults.done).await;
            last.store(end, Ordering::Relaxed);
        };
        let (account, ()) = tokio::join!(read(&mut events, 1, &last), counting);
        (account, last.into_inner())
    };
    let (account, last) = timeout(PATIENCE, story).await.expect("does not come to an end");
    let mut seen = account.came["count.short"].clone();
    assert!(seen.is_sorted() && !account.gaps.is_empty(), "{account:?}");
    // Data and offset are the same number here, so what came and what was lost make up the whole.
    seen.extend(account.gaps.iter().flat_map(|(from, to)| *from..=*to));
    seen.sort_unstable();
    assert_eq!(seen, (1..=last).collect::<Vec<_>>());
}
