//! A whole hub in one thread and virtual time: hundreds of sessions on several workers, slow readers, disconnects and
//! worker restarts, in an order that a seed decides. A naive model says what everybody must have got.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use topichub_protocol::command::{CommandError, CommandId, OneOrMany, Subscribe, Unsubscribe};
use topichub_protocol::message::{Message, Payload};
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::{Filter, Topic};

use super::fan_out::{FanOut, Outlet};
use super::input::{Delivery, Effect, Input, Publication, Publisher, SessionRef, WorkerId};
use super::outbox::{Outbox, OutboxLimits, Outboxes, Part};
use super::published::{Class, Published};
use super::registry::Registry;
use crate::engine::memory::MemoryEngine;

const SUBSCRIPTIONS_MAX: usize = 6;
const TOPICS: [&str; 6] = ["a", "b", "a.x", "a.y", "b.x.y", "c.x"];
const PATTERNS: [&str; 5] = ["*", ">", "a.*", "*.x", "b.>"];

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// A socket whose peer reads when it likes.
struct Link {
    class: Class,
    outboxes: Rc<Outboxes>,
    kernel: RefCell<Vec<u8>>,
    kernel_max: usize,
    outbox: RefCell<Outbox>,
    read: RefCell<Vec<u8>>,
    cut: Cell<bool>,
    writes: Cell<usize>,
}

impl Link {
    fn take(&self, bytes: &[u8]) -> usize {
        let mut kernel = self.kernel.borrow_mut();
        let taken = bytes.len().min(self.kernel_max - kernel.len());
        kernel.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The peer reads up to `count` bytes; then the kernel has room for what waits in the outbox.
    fn drain(&self, count: usize) {
        let mut kernel = self.kernel.borrow_mut();
        let taken = count.min(kernel.len());
        self.read.borrow_mut().extend(kernel.drain(..taken));
        drop(kernel);
        let mut outbox = self.outbox.borrow_mut();
        let taken = outbox.slices().map(|slice| self.take(slice)).sum();
        outbox.advance(taken);
    }
}

impl Outlet for Rc<Link> {
    type Encoder = ();

    fn encode(class: Class, message: &Message) -> Box<[u8]> {
        let (topic, position) = (&message.topic, message.position);
        format!("{class:?} {topic} {} {}\n", position.epoch, position.offset).into_bytes().into()
    }

    /// Every other message is not worth it.
    fn compress(_: &mut (), frame: &[u8]) -> Option<Box<[u8]>> {
        let text = std::str::from_utf8(frame).unwrap();
        let even = text.trim_end().ends_with(['0', '2', '4', '6', '8']);
        even.then(|| text.replacen(' ', "Deflate ", 1).into_bytes().into())
    }

    fn class(&self) -> Class {
        self.class
    }

    fn encode_reply(&self, reply: &Reply) -> Option<Box<[u8]>> {
        Some(format!("reply {}\n", describe(reply)).into_bytes().into())
    }

    fn write(&self, parts: &[Part<'_>]) {
        self.writes.set(self.writes.get() + 1);
        if self.cut.get() {
            return;
        }
        for part in parts {
            let mut part = *part;
            if self.outbox.borrow().is_empty() {
                part.start += self.take(part.bytes());
            }
            if part.start < part.end && self.outbox.borrow_mut().hold(part, &self.outboxes).is_err() {
                self.outbox.borrow_mut().drop_unbegun();
                self.cut.set(true);
                return;
            }
        }
    }

    fn deliver(&self, _: &Published) {
        unreachable!("every link here takes bytes");
    }

    fn waiting_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    fn give_up(&self, _: usize, _: usize) {
        self.outbox.borrow_mut().drop_unbegun();
        self.cut.set(true);
    }
}

fn describe(reply: &Reply) -> String {
    fn list<T>(topics: &OneOrMany<T>, name: impl Fn(&T) -> String) -> String {
        topics.iter().map(name).collect::<Vec<_>>().join(",")
    }
    match reply {
        Reply::Subscribed { id, topics } => {
            format!("{id} subscribed {}", list(topics, |entry| entry.filter.to_string()))
        }
        Reply::Unsubscribed { id, topics } => {
            format!("{id} unsubscribed {}", list(topics, Filter::to_string))
        }
        Reply::Published { id, .. } => format!("{id} published"),
        Reply::Error(CommandError { id, code, .. }) => format!("{} {code}", id.as_ref().unwrap()),
        Reply::Pong { .. } => unreachable!("sessions answer pings themselves"),
    }
}

/// What one session must have seen, by the plain rules.
#[derive(Default)]
struct Expected {
    subscriptions: BTreeMap<String, bool>,
    messages: HashMap<String, Vec<String>>,
    replies: Vec<String>,
}

struct Peer {
    seat: SessionRef,
    link: Rc<Link>,
    expected: Expected,
    left: bool,
    next_id: i64,
}

struct Worker {
    live: bool,
    fan_out: FanOut<Rc<Link>>,
    inbox: VecDeque<Delivery>,
}

struct Simulation {
    dice: Dice,
    now: Duration,
    registry: Registry,
    workers: Vec<Worker>,
    /// On the way to the registry.
    inputs: VecDeque<Input>,
    peers: Vec<Peer>,
    effects: Vec<Effect>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let engine = MemoryEngine::new(seed, Duration::from_secs(30), 1000);
        let mut simulation = Self {
            dice: Dice(seed),
            now: Duration::ZERO,
            registry: Registry::new(Box::new(engine)),
            workers: Vec::new(),
            inputs: VecDeque::new(),
            peers: Vec::new(),
            effects: Vec::new(),
        };
        for _ in 0..1 + simulation.dice.below(3) {
            simulation.start_worker();
        }
        simulation
    }

    fn start_worker(&mut self) {
        let worker = WorkerId(self.workers.len() as u32);
        let fan_out = Self::fan_out(worker);
        self.workers.push(Worker { live: true, fan_out, inbox: VecDeque::new() });
        self.inputs.push_back(Input::WorkerJoined { worker });
    }

    fn fan_out(worker: WorkerId) -> FanOut<Rc<Link>> {
        FanOut::new(worker, SUBSCRIPTIONS_MAX, (), Outboxes::new(OutboxLimits { bytes: 0, messages: 0 }))
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..3 => self.connect(),
            3..40 => self.command(),
            40..70 => self.registry_turn(),
            70..85 => self.worker_turn(),
            85..97 => self.read(),
            97 => self.disconnect(),
            98 => self.now += Duration::from_millis(self.dice.next() % 20_000),
            _ => {
                self.inputs.push_back(Input::Tick);
                if self.dice.one_in(40) {
                    self.restart_worker();
                }
            }
        }
    }

    fn connect(&mut self) {
        let worker = self.live_worker();
        let slow = self.dice.one_in(4);
        let link = Rc::new(Link {
            class: Class::ALL_ENCODED[self.dice.below(4)],
            outboxes: Outboxes::new(OutboxLimits { bytes: if slow { 300 } else { 1 << 20 }, messages: 1000 }),
            kernel: RefCell::default(),
            kernel_max: 20 + self.dice.below(200),
            outbox: RefCell::default(),
            read: RefCell::default(),
            cut: Cell::new(false),
            writes: Cell::new(0),
        });
        let subscriber = self.workers[worker].fan_out.join(Rc::clone(&link));
        let seat = SessionRef { worker: WorkerId(worker as u32), subscriber };
        self.peers.push(Peer { seat, link, expected: Expected::default(), left: false, next_id: 0 });
    }

    fn live_worker(&mut self) -> usize {
        let live: Vec<_> = (0..self.workers.len()).filter(|at| self.workers[*at].live).collect();
        live[self.dice.below(live.len())]
    }

    fn command(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let at = self.dice.below(self.peers.len());
        if self.peers[at].left {
            return;
        }
        self.peers[at].next_id += 1;
        let (session, number) = (self.peers[at].seat, self.peers[at].next_id);
        let id = Some(CommandId::Integer(number));
        let input = match self.dice.below(10) {
            0..3 => {
                let (filters, echo) = (self.filters(), !self.dice.one_in(3));
                Input::Subscribe { session, id, subscribe: Subscribe { filters, echo }, permit: None }
            }
            3 => {
                let unsubscribe = Unsubscribe { filters: self.filters() };
                Input::Unsubscribe { session, id, unsubscribe, permit: None }
            }
            _ => {
                let topic = Topic::parse(self.dice.pick(&TOPICS)).unwrap();
                let id = id.filter(|_| self.dice.one_in(2));
                let payload = Payload::from_binary(Bytes::new());
                let publisher = Publisher::Session { session, id };
                Input::Publish(Publication { topic, payload, publisher, permit: None })
            }
        };
        self.inputs.push_back(input);
    }

    fn filters(&mut self) -> OneOrMany<Filter> {
        let (first, second) = (self.filter(), self.filter());
        match self.dice.below(3) {
            0 if first != second => OneOrMany::Many(vec![first, second]),
            _ => OneOrMany::One(first),
        }
    }

    fn filter(&mut self) -> Filter {
        let text = if self.dice.one_in(3) { self.dice.pick(&PATTERNS) } else { self.dice.pick(&TOPICS) };
        Filter::parse(text).unwrap()
    }

    fn registry_turn(&mut self) {
        let Some(input) = self.inputs.pop_front() else { return };
        self.expect_commands(&input);
        let mut effects = std::mem::take(&mut self.effects);
        let published = match &input {
            Input::Publish(publication) => Some((publication.topic.clone(), publication.publisher.clone())),
            _ => None,
        };
        self.registry.handle(input, self.now, &mut effects);
        for effect in effects.drain(..) {
            let Effect::Deliver { worker, delivery } = effect else { panic!("nobody else asked") };
            let worker = &mut self.workers[worker.0 as usize];
            if worker.live {
                worker.inbox.push_back(delivery);
            }
        }
        self.effects = effects;
        if let Some((topic, Publisher::Session { session, id })) = published {
            self.expect_message(&topic, session, id);
        }
    }

    fn peer(&mut self, seat: SessionRef) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.seat == seat).expect("every input comes from a peer")
    }

    /// The plain rules of subscribing, in the order in which the registry hears of it.
    fn expect_commands(&mut self, input: &Input) {
        match input {
            Input::Subscribe { session, id: Some(id), subscribe, .. } => {
                let expected = &mut self.peer(*session).expected;
                let mut after = expected.subscriptions.clone();
                after.extend(subscribe.filters.iter().map(|filter| (filter.to_string(), subscribe.echo)));
                if after.len() > SUBSCRIPTIONS_MAX {
                    expected.replies.push(format!("{id} limit_reached"));
                } else {
                    let names: Vec<_> = subscribe.filters.iter().map(Filter::to_string).collect();
                    expected.replies.push(format!("{id} subscribed {}", names.join(",")));
                    expected.subscriptions = after;
                }
            }
            Input::Unsubscribe { session, id: Some(id), unsubscribe, .. } => {
                let expected = &mut self.peer(*session).expected;
                let names: Vec<_> = unsubscribe.filters.iter().map(Filter::to_string).collect();
                if names.iter().all(|name| expected.subscriptions.contains_key(name)) {
                    names.iter().for_each(|name| _ = expected.subscriptions.remove(name));
                    expected.replies.push(format!("{id} unsubscribed {}", names.join(",")));
                } else {
                    expected.replies.push(format!("{id} not_subscribed"));
                }
            }
            _ => {}
        }
    }

    /// The plain rule of publishing: everybody with a matching subscription, once.
    fn expect_message(&mut self, topic: &Topic, publisher: SessionRef, id: Option<CommandId>) {
        if let Some(id) = id {
            self.peer(publisher).expected.replies.push(format!("{id} published"));
        }
        let position = self.registry.position(topic, self.now);
        for peer in self.peers.iter_mut().filter(|peer| !peer.left) {
            let mut echoes = peer
                .expected
                .subscriptions
                .iter()
                .filter(|(name, _)| Filter::parse(name).unwrap().matches(topic))
                .map(|(_, echo)| *echo)
                .peekable();
            let matches = echoes.peek().is_some();
            if matches && (peer.seat != publisher || echoes.any(|echo| echo)) {
                let form = match peer.link.class {
                    Class::JsonDeflate if position.offset % 2 == 1 => Class::Json,
                    Class::MsgPackDeflate if position.offset % 2 == 1 => Class::MsgPack,
                    class => class,
                };
                let line = format!("{form:?} {topic} {} {}", position.epoch, position.offset);
                peer.expected.messages.entry(topic.to_string()).or_default().push(line);
            }
        }
    }

    fn worker_turn(&mut self) {
        let at = self.dice.below(self.workers.len());
        let count = 1 + self.dice.below(12);
        self.run_worker(at, count);
    }

    fn run_worker(&mut self, at: usize, count: usize) {
        let worker = &mut self.workers[at];
        for _ in 0..count.min(worker.inbox.len()) {
            let delivery = worker.inbox.pop_front().expect("there are as many");
            worker.fan_out.handle(delivery);
        }
        worker.fan_out.flush();
        self.pass_releases(at);
    }

    fn pass_releases(&mut self, at: usize) {
        let filters = self.workers[at].fan_out.take_released();
        if !filters.is_empty() {
            self.inputs.push_back(Input::Release { worker: WorkerId(at as u32), filters });
        }
    }

    fn read(&mut self) {
        if !self.peers.is_empty() {
            let (at, count) = (self.dice.below(self.peers.len()), self.dice.below(400));
            self.peers[at].link.drain(count);
        }
    }

    fn disconnect(&mut self) {
        let cut = self.peers.iter().position(|peer| !peer.left && peer.link.cut.get());
        let at = match cut {
            Some(at) => at,
            None if self.peers.is_empty() => return,
            None => self.dice.below(self.peers.len()),
        };
        self.leave(at);
    }

    fn leave(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        if std::mem::replace(&mut peer.left, true) {
            return;
        }
        let (worker, subscriber) = (peer.seat.worker.0 as usize, peer.seat.subscriber);
        self.workers[worker].fan_out.leave(subscriber);
        self.pass_releases(worker);
    }

    /// A worker ends without a word to its sessions; another takes its place.
    fn restart_worker(&mut self) {
        let at = self.live_worker();
        let id = WorkerId(at as u32);
        for peer in self.peers.iter_mut().filter(|peer| peer.seat.worker == id) {
            peer.left = true;
        }
        self.inputs.push_back(Input::WorkerLeft { worker: id });
        if let Some(last) = self.peers.iter().rev().find(|peer| peer.seat.worker == id) {
            // Its last word comes too late.
            let subscribe = Subscribe { filters: OneOrMany::One(Filter::parse("a").unwrap()), echo: true };
            self.inputs.push_back(Input::Subscribe { session: last.seat, id: None, subscribe, permit: None });
        }
        self.workers[at].inbox.clear();
        self.workers[at].live = false;
        self.workers[at].fan_out = Self::fan_out(id);
        self.start_worker();
    }

    /// Lets everything that is under way arrive.
    fn settle(&mut self) {
        while !self.inputs.is_empty() || self.workers.iter().any(|worker| !worker.inbox.is_empty()) {
            while !self.inputs.is_empty() {
                self.registry_turn();
            }
            (0..self.workers.len()).for_each(|at| self.run_worker(at, usize::MAX));
        }
        for peer in &self.peers {
            while !peer.link.outbox.borrow().is_empty() || !peer.link.kernel.borrow().is_empty() {
                peer.link.drain(usize::MAX);
            }
        }
    }

    fn check(&self) {
        self.peers.iter().for_each(Peer::check);
    }
}

impl Peer {
    /// What was read is what was expected: all of it for those who stayed, a beginning of it for the others.
    fn check(&self) {
        let read = self.link.read.borrow();
        let text = std::str::from_utf8(&read).unwrap();
        let whole_lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let mut replies = Vec::new();
        let mut messages: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut subscribed: BTreeMap<&str, ()> = BTreeMap::new();
        for line in whole_lines.lines() {
            if let Some(reply) = line.strip_prefix("reply ") {
                replies.push(reply);
                let words: Vec<_> = reply.split(' ').collect();
                match words.as_slice() {
                    [_, "subscribed", names] => subscribed.extend(names.split(',').map(|name| (name, ()))),
                    [_, "unsubscribed", names] => {
                        names.split(',').for_each(|name| _ = subscribed.remove(name))
                    }
                    _ => {}
                }
                continue;
            }
            let topic = line.split(' ').nth(1).unwrap();
            messages.entry(topic).or_default().push(line);
            let parsed = Topic::parse(topic).unwrap();
            assert!(
                subscribed.keys().any(|name| Filter::parse(name).unwrap().matches(&parsed)),
                "{topic} came before the reply that announces it, or after the one that ends it"
            );
        }
        let partial = self.left || self.link.cut.get();
        compare("replies", &replies, &self.expected.replies, partial);
        for (topic, lines) in &messages {
            compare(topic, lines, self.expected.messages.get(*topic).map_or(&[][..], Vec::as_slice), partial);
            rising(lines);
        }
        if !partial {
            for topic in self.expected.messages.keys() {
                assert!(messages.contains_key(topic.as_str()), "nothing of {topic} arrived");
            }
        }
    }
}

fn compare(what: &str, read: &[&str], expected: &[String], partial: bool) {
    let common = read.iter().zip(expected).take_while(|(read, expected)| *read == expected).count();
    assert!(
        common == read.len(),
        "{what}: {:?} came in place of {:?}",
        read.get(common),
        expected.get(common)
    );
    assert!(partial || common == expected.len(), "{what}: {:?} never came", expected.get(common));
}

/// Offsets rise strictly as long as the epoch is the same.
fn rising(lines: &[&str]) {
    let positions: Vec<(&str, u64)> = lines
        .iter()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            (words[2], words[3].parse().unwrap())
        })
        .collect();
    for pair in positions.windows(2) {
        assert!(pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1, "{pair:?}");
    }
}

fn run(seed: u64, steps: usize) -> Simulation {
    let mut simulation = Simulation::new(seed);
    (0..steps).for_each(|_| simulation.step());
    simulation.settle();
    simulation.check();
    (0..simulation.peers.len()).for_each(|at| simulation.leave(at));
    simulation.settle();
    assert!(simulation.registry.is_idle(), "the registry holds on to subscriptions of nobody");
    for worker in &simulation.workers {
        assert!(worker.fan_out.is_idle(), "a fan-out holds on to something");
    }
    simulation
}

/// Names the seed of whatever fails inside.
fn with_seed(seed: u64, story: impl FnOnce() + std::panic::UnwindSafe) {
    if let Err(panic) = std::panic::catch_unwind(story) {
        eprintln!("the seed was {seed}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn everybody_gets_what_they_subscribed_to_in_order_and_once() {
    for seed in 0..300 {
        with_seed(seed, || _ = run(seed, 3_000));
    }
}

#[test]
fn hundreds_of_sessions_with_slow_readers_among_them_are_served_alike() {
    with_seed(7, || {
        let simulation = run(7, 60_000);
        assert!(simulation.peers.len() > 500, "{} sessions", simulation.peers.len());
        assert!(simulation.peers.iter().any(|peer| peer.link.cut.get()), "nobody was too slow");
        assert!(simulation.peers.iter().any(|peer| !peer.left || !peer.link.cut.get()));
    });
}

#[test]
fn several_messages_of_one_turn_cost_each_subscriber_one_write() {
    let mut simulation = Simulation::new(1);
    simulation.connect();
    simulation.connect();
    for peer in 0..2 {
        let session = simulation.peers[peer].seat;
        for (number, filter) in ["a", "b", "*"].into_iter().enumerate() {
            let filters = OneOrMany::One(Filter::parse(filter).unwrap());
            let (id, permit) = (Some(CommandId::Integer(number as i64)), None);
            let subscribe = Subscribe { filters, echo: true };
            simulation.inputs.push_back(Input::Subscribe { session, id, subscribe, permit });
        }
    }
    simulation.settle();
    let before: Vec<_> = simulation.peers.iter().map(|peer| peer.link.writes.get()).collect();
    let publisher = simulation.peers[0].seat;
    for number in 0..40 {
        let topic = Topic::parse(if number % 2 == 0 { "a" } else { "b" }).unwrap();
        let publisher = Publisher::Session { session: publisher, id: None };
        let payload = Payload::from_binary(Bytes::new());
        simulation.inputs.push_back(Input::Publish(Publication { topic, payload, publisher, permit: None }));
    }
    simulation.settle();
    for (peer, before) in simulation.peers.iter().zip(before) {
        assert_eq!(peer.link.writes.get() - before, 1);
    }
    simulation.check();
}
