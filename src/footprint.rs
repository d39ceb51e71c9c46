//! What topics and subscriptions cost in memory, all rooms of the hub together. Measurements, not run by themselves:
//! `make footprint`.

use std::time::Duration;

use topichub_protocol::command::{OneOrMany, SlowPolicy, SubscribeOptions};
use topichub_protocol::message::{Message, Payload};
use topichub_protocol::push::Push;
use topichub_protocol::reply::{Member, MemberId, Reply};
use topichub_protocol::topic::{Filter, Topic};

use crate::engine::memory::{MemoryEngine, MemorySettings};
use crate::hub::fan_out::{FanOut, Outlet};
use crate::hub::input::{
    Asker, Delivery, Effect, Input, Publication, SessionRef, Subscribing, Ticket, Wanted, WorkerId,
};
use crate::hub::joined::Joined;
use crate::hub::outbox::{OutboxLimits, Outboxes, Part};
use crate::hub::published::{Class, Published};
use crate::hub::registry::{Registry, RegistrySettings};
use crate::rules::{HistoryRule, Rules, TopicRule};

const MILLION: usize = 1_000_000;
const WORKER: WorkerId = WorkerId(0);

/// The goals: bytes for a topic beside its messages, and for a subscription.
const TOPIC_BYTES_MAX: f64 = 400.0;
const SUBSCRIPTION_BYTES_MAX: f64 = 150.0;

/// A peer that takes everything and costs nothing.
struct Nobody;

impl Outlet for Nobody {
    type Encoder = ();

    fn encode(_: Class, _: &Message) -> Box<[u8]> {
        Box::default()
    }

    fn compress(_: &mut (), _: &[u8]) -> Option<Box<[u8]>> {
        None
    }

    fn class(&self) -> Class {
        Class::ALL_ENCODED[0]
    }

    fn encode_reply(&self, _: &Reply) -> Option<Box<[u8]>> {
        None
    }

    fn encode_push(&self, _: &Push) -> Option<Box<[u8]>> {
        None
    }

    fn write(&self, _: &[Part<'_>]) {}

    fn offer(&self, messages: &Joined) -> usize {
        messages.messages()
    }

    fn is_clear(&self) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        true
    }

    fn await_room(&self) {}

    fn deliver(&self, _: &Published) {}

    fn waiting_bytes(&self) -> usize {
        0
    }

    fn give_up(&self, _: &str) {}
}

/// A hub of one worker, without anything around it.
struct Rooms {
    registry: Registry,
    /// None to see what the registry takes alone.
    fan_out: Option<FanOut<Nobody>>,
    effects: Vec<Effect>,
}

impl Rooms {
    fn new(history: HistoryRule) -> Self {
        let engine = MemoryEngine::new(MemorySettings {
            first_epoch: 1,
            seed: 1,
            rules: Rules::new(vec![TopicRule::new(">").unwrap().with_history(history)]),
            linger: Duration::from_secs(60),
            unused_topics_max: MILLION,
            history_bytes_max: 1 << 40,
            dedup_window: Duration::from_secs(120),
        });
        let presence_interval = Duration::from_secs(1);
        let settings = RegistrySettings { presence_interval, presence_members_max: 100, secret: 1 };
        let outboxes = Outboxes::new(OutboxLimits { bytes: 1 << 20, messages: 8192 });
        let mut rooms = Self {
            registry: Registry::new(Box::new(engine), settings),
            fan_out: Some(FanOut::new(WORKER, MILLION, (), outboxes)),
            effects: Vec::new(),
        };
        rooms.take(Input::WorkerJoined { worker: WORKER });
        rooms
    }

    fn take(&mut self, input: Input) {
        self.registry.handle(input, Duration::ZERO, &mut self.effects);
        let Some(fan_out) = &mut self.fan_out else { return self.effects.clear() };
        for effect in self.effects.drain(..) {
            if let Effect::Deliver { delivery, .. } = effect {
                assert!(!matches!(delivery, Delivery::Reply { .. }), "nothing is refused: {delivery:?}");
                fan_out.handle(delivery, Duration::ZERO);
            }
        }
        fan_out.flush(Duration::ZERO);
    }

    fn publish(&mut self, number: usize) {
        let asker = Asker::Caller(Ticket(1));
        let (topic, payload) = (topic(number), Payload::of(&"x".repeat(98)).unwrap());
        let publication = Publication { topic, payload, options: None, asker, subscribers: 0, permit: None };
        self.take(Input::Publish(publication));
    }

    /// One more subscriber, by commands of a hundred topics as clients send them.
    fn subscriber(&mut self, topics: impl Iterator<Item = usize>) {
        let subscriber = self.fan_out.as_mut().map(|fan_out| fan_out.join(Nobody));
        let session = SessionRef { worker: WORKER, subscriber: subscriber.unwrap_or_default() };
        let wanted = |number| Wanted { filter: Filter::Topic(topic(number)), policy: SlowPolicy::Disconnect };
        let topics: Vec<_> = topics.map(wanted).collect();
        for topics in topics.chunks(100) {
            let member = Member { id: MemberId::Session(0), data: None };
            let options = SubscribeOptions::default();
            let wanted = OneOrMany::Many(topics.to_vec());
            let subscribing = Subscribing { session, id: None, wanted, options, member, permit: None };
            self.take(Input::Subscribe(Box::new(subscribing)));
        }
    }
}

/// 15 bytes long.
fn topic(number: usize) -> Topic {
    Topic::parse(&format!("quotes.{number:08}")).unwrap()
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// What a million of something cost, each.
fn print(what: &str, build: impl FnOnce()) -> f64 {
    let before = resident_bytes();
    build();
    let each = (resident_bytes() - before) as f64 / MILLION as f64;
    println!("{what:<72} {each:>4.0} bytes");
    each
}

#[test]
#[ignore = "a measurement"]
fn topics_and_subscriptions_cost_little() {
    // Nothing is let go before the end, so that nobody lives on the memory of others.
    let mut crowd = Rooms::new(HistoryRule::last(0));
    let subscription = print("a subscription: 1,000 subscribers of the same 1,000 topics", || {
        (0..1_000).for_each(|_| crowd.subscriber(0..1_000));
    });
    let mut alone = Rooms::new(HistoryRule::last(0));
    let both = print("a topic and its subscription: 10,000 subscribers of 100 topics each", || {
        (0..10_000).for_each(|number| alone.subscriber(number * 100..(number + 1) * 100));
    });
    let mut counted = Rooms { fan_out: None, ..Rooms::new(HistoryRule::last(0)) };
    print("of these, what the registry and its engine take", || {
        (0..10_000).for_each(|number| counted.subscriber(number * 100..(number + 1) * 100));
    });
    let mut known = Rooms::new(HistoryRule::last(0));
    let unused = print("a topic nobody is subscribed to, its message not kept", || {
        (0..MILLION).for_each(|number| known.publish(number));
    });
    let mut kept = Rooms::new(HistoryRule::last(1));
    print("the same with its last message of 100 bytes", || {
        (0..MILLION).for_each(|number| kept.publish(number));
    });
    let topic = both - subscription;
    println!("hence a topic with a subscriber, beside the subscription: {topic:.0} bytes");
    println!(
        "the goals: {TOPIC_BYTES_MAX} for a topic beside its messages, {SUBSCRIPTION_BYTES_MAX} for a subscription"
    );
    assert!(subscription <= SUBSCRIPTION_BYTES_MAX, "{subscription} bytes for a subscription");
    assert!(unused <= TOPIC_BYTES_MAX, "{unused} bytes for a topic");
}
