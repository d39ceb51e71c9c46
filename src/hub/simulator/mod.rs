//! A whole hub in one thread and virtual time: hundreds of sessions on several workers, slow readers by every policy,
//! replays, disconnects and worker restarts, in an order that a seed decides. A plain model says what everybody must
//! have got.

mod link;
mod model;
mod stories;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use topichub_protocol::command::{CommandId, OneOrMany, Replay, SlowPolicy, SubscribeOptions, Unsubscribe};
use topichub_protocol::message::{Epoch, Extras, Payload, Position};
use topichub_protocol::reply::{Member, MemberId};
use topichub_protocol::topic::{Filter, Topic};

use self::link::Link;
use self::model::{Expected, Fates, Wish};
use super::fan_out::FanOut;
use super::input::{
    Asker, Delivery, Effect, Input, Publication, PublicationOptions, SessionRef, Subscribing, Wanted,
    WorkerId,
};
use super::lane::Mode;
use super::outbox::{OutboxLimits, Outboxes};
use super::published::Class;
use super::registry::{Registry, RegistrySettings};
use crate::engine::PageLimits;
use crate::engine::memory::{MemoryEngine, MemorySettings};
use crate::rules::{HistoryRule, Rules, TopicRule};

const SUBSCRIPTIONS_MAX: usize = 6;
const TOPICS: [&str; 6] = ["a", "b", "a.x", "a.y", "b.x.y", "c.x"];
const PATTERNS: [&str; 5] = ["*", ">", "a.*", "*.x", "b.>"];

/// What decides: a seed, or a script whose shortest failing one a property test looks for.
enum Dice {
    /// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, and the same everywhere.
    Seeded(u64),
    Scripted(std::vec::IntoIter<u16>),
}

impl Dice {
    fn next(&mut self) -> u64 {
        match self {
            Self::Seeded(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
            Self::Scripted(script) => script.next().unwrap_or_default().into(),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Scripted(script) if script.len() == 0)
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

struct Peer {
    seat: SessionRef,
    link: Rc<Link>,
    expected: Expected,
    left: bool,
    next_id: i64,
    habit: Habit,
}

/// What a peer asks for.
#[derive(Clone, Copy)]
enum Habit {
    /// Only what is published from now on.
    Live,
    /// The past as well.
    Replays { echo: bool },
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
    fates: Fates,
    epochs: HashSet<(String, Epoch)>,
}

/// A few messages are remembered of most topics, more of some, none of one.
fn rules() -> Rules {
    let rule = |pattern: &str, messages: usize, seconds: u64| {
        let history = HistoryRule::last(messages).for_age(Duration::from_secs(seconds));
        TopicRule::new(pattern).unwrap().with_history(history)
    };
    Rules::new(vec![rule("c.x", 0, 60), rule("a.>", 40, 600), rule(">", 8, 120)])
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self::by(Dice::Seeded(seed), seed)
    }

    fn by(dice: Dice, seed: u64) -> Self {
        let engine = MemoryEngine::new(MemorySettings {
            first_epoch: seed + 1,
            seed: seed.into(),
            rules: rules(),
            linger: Duration::from_secs(30),
            unused_topics_max: 1000,
            history_bytes_max: 1 << 30,
            dedup_window: Duration::from_secs(120),
        });
        let presence_interval = Duration::from_secs(1);
        let settings = RegistrySettings { presence_interval, presence_members_max: 100, secret: seed };
        let mut simulation = Self {
            dice,
            now: Duration::ZERO,
            registry: Registry::new(Box::new(engine), settings),
            workers: Vec::new(),
            inputs: VecDeque::new(),
            peers: Vec::new(),
            effects: Vec::new(),
            fates: Fates::default(),
            epochs: HashSet::new(),
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
        // What waits by a policy of its own.
        let limits = OutboxLimits { bytes: 20_000, messages: 30 };
        FanOut::new(worker, SUBSCRIPTIONS_MAX, (), Outboxes::new(limits))
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..3 => self.connect(),
            3..40 => self.command(),
            40..70 => self.registry_turn(),
            70..85 => self.worker_turn(),
            85..97 => self.read(),
            97 => self.disconnect(),
            98 => self.let_time_pass(),
            _ => {
                self.inputs.push_back(Input::Tick);
                if self.dice.one_in(40) {
                    self.restart_worker();
                }
            }
        }
    }

    fn let_time_pass(&mut self) {
        self.now += Duration::from_millis(self.dice.next() % 5_000);
        self.tick_workers();
    }

    fn tick_workers(&mut self) {
        for worker in &mut self.workers {
            worker.fan_out.tick(self.now);
        }
    }

    fn connect(&mut self) {
        let worker = self.live_worker();
        let bytes = if self.dice.one_in(4) { 300 } else { 1 << 20 };
        let class = Class::ALL_ENCODED[self.dice.below(Class::ENCODED)];
        let link = Link::new(class, OutboxLimits { bytes, messages: 1000 }, 20 + self.dice.below(200));
        let subscriber = self.workers[worker].fan_out.join(Rc::clone(&link));
        let seat = SessionRef { worker: WorkerId(worker as u32), subscriber };
        let expected = Expected::default();
        let habit = match self.dice.below(3) {
            0 => Habit::Live,
            _ => Habit::Replays { echo: !self.dice.one_in(3) },
        };
        self.peers.push(Peer { seat, link, expected, left: false, next_id: 0, habit });
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
            0..3 => self.subscribing(at, session, id),
            3 => {
                let unsubscribe = Unsubscribe { filters: self.filters() };
                Input::Unsubscribe { session, id, unsubscribe, permit: None }
            }
            _ => {
                let topic = Topic::parse(self.dice.pick(&TOPICS)).unwrap();
                let id = id.filter(|_| self.dice.one_in(2));
                let options = self.dice.one_in(3).then(|| Box::new(self.publication_options()));
                let payload = Payload::from_binary(Bytes::new());
                let asker = Asker::Session { session, id };
                Input::Publish(Publication { topic, payload, options, asker, subscribers: 0, permit: None })
            }
        };
        self.inputs.push_back(input);
    }

    fn publication_options(&mut self) -> PublicationOptions {
        let key = self.dice.pick(&["k", "l", "m"]).into();
        let extras =
            self.dice.one_in(2).then(|| Extras { key: Some(key), ..Extras::default() }).map(Arc::new);
        let ttl = self.dice.one_in(3).then(|| Duration::from_millis(1 + self.dice.next() % 20_000));
        let excluded = self.dice.below(self.peers.len());
        let exclude = if self.dice.one_in(3) { vec![self.peers[excluded].seat] } else { Vec::new() };
        PublicationOptions { extras, ttl, exclude: exclude.into(), ..PublicationOptions::default() }
    }

    fn subscribing(&mut self, at: usize, session: SessionRef, id: Option<CommandId>) -> Input {
        let filters = self.filters();
        let policy =
            if self.dice.one_in(2) { SlowPolicy::Disconnect } else { SlowPolicy::ALL[self.dice.below(4)] };
        let (replay, echo) = match self.peers[at].habit {
            Habit::Live => (None, !self.dice.one_in(3)),
            // Of what is replayed bit by bit, the options count that hold by then: the model cannot know which.
            Habit::Replays { echo } => (self.replay(&filters), echo),
        };
        // A pattern without a replay is refused while a replay that overlaps with it goes on.
        let has_pattern = filters.iter().any(|filter| matches!(filter, Filter::Pattern(_)));
        let replay = match (replay, self.peers[at].habit) {
            (None, Habit::Replays { .. }) if has_pattern => Some(Replay::Last(0)),
            (replay, _) => replay,
        };
        let interval = self.dice.one_in(6).then(|| Duration::from_millis(200 + self.dice.next() % 4_000));
        let options = SubscribeOptions { echo, replay, interval, ..SubscribeOptions::default() };
        let wanted = filters.map(|filter| Wanted { filter, policy });
        let member = Member { id: MemberId::Session(0), data: None };
        Input::Subscribe(Box::new(Subscribing { session, id, wanted, options, member, permit: None }))
    }

    fn replay(&mut self, filters: &OneOrMany<Filter>) -> Option<Replay> {
        match self.dice.below(8) {
            0 => Some(Replay::Last(self.dice.below(12) as u64)),
            1 => Some(Replay::Seconds(1 + self.dice.below(60) as u64)),
            2 | 3 => {
                let mut positions = BTreeMap::new();
                for topic in TOPICS {
                    let topic = Topic::parse(topic).unwrap();
                    if self.dice.one_in(2) && filters.iter().any(|filter| filter.matches(&topic)) {
                        positions.insert(topic.clone(), self.some_position(&topic));
                    }
                }
                match filters {
                    OneOrMany::One(Filter::Topic(topic)) => Some(Replay::After(self.some_position(topic))),
                    _ => Some(Replay::AfterEach(positions)),
                }
            }
            _ => None,
        }
    }

    /// One that was, is, or will be; of this epoch mostly.
    fn some_position(&mut self, topic: &Topic) -> Position {
        let end = self.registry.extent(topic, self.now).end;
        let epoch = if self.dice.one_in(8) { Epoch(0) } else { end.epoch };
        let offset = if self.dice.one_in(8) {
            end.offset + 1
        } else {
            end.offset.saturating_sub(self.dice.below(30) as u64)
        };
        Position { epoch, offset }
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
        let published = match &input {
            Input::Publish(publication) => {
                let options = publication.options.as_deref();
                let exclude = options.map(|options| options.exclude.clone()).unwrap_or_default();
                let ttl = options.and_then(|options| options.ttl);
                Some((publication.topic.clone(), publication.asker.clone(), exclude, ttl))
            }
            _ => None,
        };
        let mut effects = std::mem::take(&mut self.effects);
        self.registry.handle(input, self.now, &mut effects);
        for effect in effects.drain(..) {
            let Effect::Deliver { worker, delivery } = effect else { panic!("nobody else asked") };
            let worker = &mut self.workers[worker.0 as usize];
            if worker.live {
                worker.inbox.push_back(delivery);
            }
        }
        self.effects = effects;
        if let Some((topic, Asker::Session { session, id }, exclude, ttl)) = published {
            self.expect_message(&topic, session, id, &exclude, ttl);
        }
    }

    fn peer(&mut self, seat: SessionRef) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.seat == seat).expect("every input comes from a peer")
    }

    /// The plain rules of subscribing, in the order in which the registry hears of it.
    fn expect_commands(&mut self, input: &Input) {
        match input {
            Input::Subscribe(subscribing) => self.expect_subscribed(subscribing),
            Input::Unsubscribe { session, id: Some(id), unsubscribe, .. } => {
                let expected = &mut self.peer(*session).expected;
                let names: Vec<_> = unsubscribe.filters.iter().map(Filter::to_string).collect();
                if names.iter().all(|name| expected.wishes.contains_key(name)) {
                    expected.unsubscribe(&names);
                    expected.replies.push(format!("{id} unsubscribed {}", names.join(",")));
                } else {
                    expected.replies.push(format!("{id} not_subscribed"));
                }
            }
            _ => {}
        }
    }

    fn expect_subscribed(&mut self, subscribing: &Subscribing) {
        let Subscribing { session, id: Some(id), wanted, options, .. } = subscribing else { return };
        let names: Vec<_> = wanted.iter().map(|wanted| wanted.filter.to_string()).collect();
        let expected = &mut self.peer(*session).expected;
        let mut subscriptions = expected.wishes.len();
        for name in &names {
            let exists = expected.wishes.contains_key(name);
            if exists && options.replay.is_some() {
                return expected.replies.push(format!("{id} already_subscribed"));
            }
            subscriptions += usize::from(!exists);
        }
        if subscriptions > SUBSCRIPTIONS_MAX {
            return expected.replies.push(format!("{id} limit_reached"));
        }
        let policy = wanted.as_slice()[0].policy;
        let mode = Mode { policy, interval: options.interval.unwrap_or_default() };
        let topics: Vec<_> = TOPICS.iter().map(|topic| Topic::parse(topic).unwrap()).collect();
        let got: Vec<_> = topics.iter().map(|topic| expected.gets(topic)).collect();
        expected.subscribe(&names, Wish { echo: options.echo, mode });
        let mut recovered = true;
        if let Some(replay) = &options.replay {
            for (topic, got) in topics.iter().zip(got) {
                recovered &= self.expect_replay(*session, wanted, replay, topic, got);
            }
        }
        let reply = format!("{id} subscribed {} {recovered}", names.join(","));
        self.peer(*session).expected.replies.push(reply);
    }

    /// The plain rule of replays: what is retained behind the position. Whether the position can be honoured.
    fn expect_replay(
        &mut self,
        session: SessionRef,
        wanted: &OneOrMany<Wanted>,
        replay: &Replay,
        topic: &Topic,
        got: bool,
    ) -> bool {
        let meant = |wanted: &&Wanted| wanted.filter.matches(topic);
        let Some(first) = wanted.iter().find(meant) else { return true };
        // Even if the session gets it already: should that end, the replay goes on from there. And even if there is no
        // such topic yet: it may appear before the replay is over.
        self.peer(session).expected.mark_replayed(topic);
        let exists = self.registry.engine().matching(&pattern_for_all(), usize::MAX).unwrap().contains(topic);
        let named = matches!(replay, Replay::AfterEach(positions) if positions.contains_key(topic));
        if matches!(first.filter, Filter::Pattern(_)) && !exists && !named && wanted.as_slice().len() == 1 {
            return true;
        }
        let extent = self.registry.extent(topic, self.now);
        let mut page = Vec::new();
        let limits = PageLimits { messages: usize::MAX, bytes: usize::MAX };
        self.registry.engine().read(topic, 0, limits, self.now, &mut page);
        let present = Position { epoch: extent.end.epoch, offset: 0 };
        let (behind, recovered) = match replay {
            Replay::Last(count) => {
                let skipped = page.len().saturating_sub(*count as usize);
                let behind = page.get(skipped).map_or(extent.end.offset, |first| first.offset() - 1);
                (if *count == 0 { extent.end.offset } else { behind }, true)
            }
            Replay::Seconds(seconds) => {
                let since = self.now.saturating_sub(Duration::from_secs(*seconds));
                (self.registry.engine().behind(topic, since, self.now), true)
            }
            Replay::After(position) => honoured(*position, extent),
            Replay::AfterEach(positions) => honoured(*positions.get(topic).unwrap_or(&present), extent),
        };
        let at = self.peers.iter().position(|peer| peer.seat == session).unwrap();
        let class = self.peers[at].link.class();
        let expected = &mut self.peers[at].expected;
        if !got {
            for published in page.iter().filter(|published| published.offset() > behind) {
                let position = published.message.position;
                let line = line(class, topic, position);
                let withheld = published.publisher == Some(session) && !expected.echoes(topic);
                if !withheld && !published.exclude.contains(&session) {
                    expected.owe(topic, position, line, true);
                }
            }
        }
        recovered
    }

    /// The plain rule of publishing: everybody with a matching subscription, once.
    fn expect_message(
        &mut self,
        topic: &Topic,
        publisher: SessionRef,
        id: Option<CommandId>,
        exclude: &[SessionRef],
        ttl: Option<Duration>,
    ) {
        if let Some(id) = id {
            self.peer(publisher).expected.replies.push(format!("{id} published"));
        }
        let position = self.registry.extent(topic, self.now).end;
        self.epochs.insert((topic.to_string(), position.epoch));
        if let Some(ttl) = ttl {
            let key = (topic.to_string(), position.epoch.to_string(), position.offset);
            self.fates.expires.insert(key, self.now + ttl);
        }
        for peer in self.peers.iter_mut().filter(|peer| !peer.left) {
            let withheld = peer.seat == publisher && !peer.expected.echoes(topic);
            if peer.expected.gets(topic) && !withheld && !exclude.contains(&peer.seat) {
                peer.expected.owe(topic, position, line(peer.link.class(), topic, position), false);
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
            worker.fan_out.handle(delivery, self.now);
        }
        worker.fan_out.flush(self.now);
        worker.fan_out.resume_replays();
        self.pass_inputs(at);
    }

    fn pass_inputs(&mut self, at: usize) {
        self.inputs.extend(self.workers[at].fan_out.take_inputs());
    }

    fn read(&mut self) {
        if !self.peers.is_empty() {
            let (at, count) = (self.dice.below(self.peers.len()), self.dice.below(400));
            self.drain(at, count);
        }
    }

    /// A peer reads, and gets what has waited for that.
    fn drain(&mut self, at: usize, count: usize) {
        if self.peers[at].link.drain(count) && !self.peers[at].left {
            let seat = self.peers[at].seat;
            self.workers[seat.worker.0 as usize].fan_out.resume(seat.subscriber);
            self.pass_inputs(seat.worker.0 as usize);
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
        self.workers[worker].fan_out.leave(subscriber, self.now);
        self.pass_inputs(worker);
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
            let filter = Filter::parse("a").unwrap();
            let wanted = OneOrMany::One(Wanted { filter, policy: SlowPolicy::Disconnect });
            let member = Member { id: MemberId::Session(0), data: None };
            let (session, options) = (last.seat, SubscribeOptions::default());
            let subscribing = Subscribing { session, id: None, wanted, options, member, permit: None };
            self.inputs.push_back(Input::Subscribe(Box::new(subscribing)));
        }
        self.workers[at].inbox.clear();
        self.workers[at].live = false;
        self.workers[at].fan_out = Self::fan_out(id);
        self.start_worker();
    }

    /// Lets everything that is under way arrive.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.settle_now();
            self.now += Duration::from_secs(5);
            self.tick_workers();
        }
        self.settle_now();
    }

    fn settle_now(&mut self) {
        loop {
            while !self.inputs.is_empty() {
                self.registry_turn();
            }
            (0..self.workers.len()).for_each(|at| self.run_worker(at, usize::MAX));
            for at in 0..self.peers.len() {
                while !self.peers[at].link.is_drained() {
                    self.drain(at, usize::MAX);
                }
                self.drain(at, usize::MAX);
            }
            let is_still = self.workers.iter().all(|worker| worker.inbox.is_empty());
            if self.inputs.is_empty() && is_still && self.peers.iter().all(|peer| peer.link.is_drained()) {
                return;
            }
        }
    }

    fn check(&mut self) {
        self.fates.now = self.now;
        for (topic, epoch) in &self.epochs {
            let extent = self.registry.extent(&Topic::parse(topic).unwrap(), self.now);
            if extent.end.epoch == *epoch {
                self.fates.oldest.insert((topic.clone(), epoch.to_string()), extent.oldest);
            }
        }
        for peer in &self.peers {
            let read = peer.link.read.borrow();
            let partial = peer.left || peer.link.cut.get();
            peer.expected.check(std::str::from_utf8(&read).unwrap(), partial, &self.fates);
        }
    }
}

/// Where a replay begins, and whether the position can be honoured.
fn honoured(position: Position, extent: crate::engine::Extent) -> (u64, bool) {
    if position.epoch != extent.end.epoch || position.offset > extent.end.offset {
        return (0, false);
    }
    (position.offset, position.offset + 1 >= extent.oldest)
}

fn pattern_for_all() -> topichub_protocol::topic::Pattern {
    topichub_protocol::topic::Pattern::parse(">").unwrap()
}

/// A message as it is read by a peer that takes this class.
fn line(class: Class, topic: &Topic, position: Position) -> String {
    let form = match class {
        Class::JsonDeflate if position.offset % 2 == 1 => Class::Json,
        Class::MsgPackDeflate if position.offset % 2 == 1 => Class::MsgPack,
        // What differs is what is made of all of them together.
        Class::Poll => Class::EventsOfMany,
        class => class,
    };
    format!("{form:?} {topic} {} {}", position.epoch, position.offset)
}

fn run(seed: u64, steps: usize) -> Simulation {
    let mut simulation = Simulation::new(seed);
    (0..steps).for_each(|_| simulation.step());
    end(simulation)
}

/// Lets everything arrive, checks that it is what it should be, and that nothing is left when all have gone.
fn end(mut simulation: Simulation) -> Simulation {
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
