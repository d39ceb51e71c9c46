//! The fan-out of one worker thread: who on this thread gets a message, and the joining of what each gets in a turn.
//! It encodes nothing and writes nothing itself: an outlet does both.

mod membership;
mod pacing;
mod replaying;
mod sharing;
mod subscribing;
mod writing;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slotmap::SlotMap;
use topichub_protocol::command::SlowPolicy;
use topichub_protocol::message::Message;
use topichub_protocol::push::Push;
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::Topic;

use self::pacing::Timers;
use super::backlog::Backlog;
use super::catch_up::CatchUp;
use super::group::{Group, GroupKey};
use super::input::{Delivery, Handout, Input, Released, SessionRef, SubscriberKey, WorkerId};
use super::joined::Joined;
use super::lane::Mode;
use super::outbox::{Outboxes, Part};
use super::pattern_index::PatternIndex;
use super::published::{Class, Published};
use super::turn::{KeptCell, Turn};
use crate::metrics::figure::Figure;

/// A turn is written early once this much is joined for one topic, so that the bytes are still in the cache.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// The way out to one subscriber. It writes at once what the peer takes and keeps the rest, within its limits.
pub(crate) trait Outlet {
    /// What compressing takes; each thread has one.
    type Encoder;
    /// The bytes of a `message` push of this class, which is one that is not compressed.
    fn encode(class: Class, message: &Message) -> Box<[u8]>;
    /// What [`encode`](Self::encode) made, compressed; none if that gains nothing.
    fn compress(encoder: &mut Self::Encoder, frame: &[u8]) -> Option<Box<[u8]>>;
    /// The form this subscriber takes.
    fn class(&self) -> Class;
    /// The bytes of a reply for this subscriber; none if it takes replies as they are.
    fn encode_reply(&self, reply: &Reply) -> Option<Box<[u8]>>;
    /// The bytes of another push than a message; none if this subscriber takes none.
    fn encode_push(&self, push: &Push) -> Option<Box<[u8]>>;
    /// Sends these parts, in order, joined. What the peer does not take waits in its outbox, or ends the connection.
    fn write(&self, parts: &[Part<'_>]);
    /// Sends as many of these messages as the peer takes, and returns how many; of the last one a rest may wait. If
    /// not all were taken, somebody comes back when there is room.
    fn offer(&self, messages: &Joined) -> usize;
    /// Whether the peer has taken everything so far.
    fn is_clear(&self) -> bool;
    /// Whether there is room for a batch of the past.
    fn has_room(&self) -> bool;
    /// Something is to be done when there is room.
    fn await_room(&self);
    /// Hands over the message itself, to subscribers within this process.
    fn deliver(&self, published: &Published);
    /// How many bytes wait for the peer.
    fn waiting_bytes(&self) -> usize;
    /// This subscriber is told that messages do not come.
    fn misses(&self) {}
    /// Nothing of the past is still to come for this subscriber.
    fn has_caught_up(&self) {}
    /// This subscriber does not read fast enough and is to be given up.
    fn give_up(&self, reason: &str);
}

/// One subscription to one topic or pattern.
#[derive(Debug)]
struct Membership {
    group: GroupKey,
    /// Where among the group's members; none while what was published before is still under way.
    place: u32,
    /// Which of the session's subscriptions, in the order in which they were made.
    since: u32,
    /// Whole milliseconds between two messages of a topic; 0 is none.
    interval_ms: u32,
    policy: SlowPolicy,
    echo: bool,
    joined: bool,
    watches: bool,
}

impl Membership {
    /// The place of those who do not get what is published yet.
    const CATCHING_UP: u32 = u32::MAX;

    fn is_live(&self) -> bool {
        self.place != Self::CATCHING_UP
    }

    fn mode(&self) -> Mode {
        Mode { policy: self.policy, interval: Duration::from_millis(self.interval_ms.into()) }
    }
}

#[derive(Debug)]
struct Subscriber<L> {
    outlet: L,
    memberships: Vec<Membership>,
    next_since: u32,
    /// For sessions that are not simply sent everything at once.
    backlog: Option<Box<Backlog>>,
}

/// Something to be written to a subscriber: a reply or a topic, by its number in the turn, replies first.
type Job = (SubscriberKey, u32);

/// Subscribers and subscriptions of one worker thread.
pub(crate) struct FanOut<L: Outlet> {
    worker: WorkerId,
    subscriptions_max: usize,
    encoder: L::Encoder,
    outboxes: Rc<Outboxes>,
    subscribers: SlotMap<SubscriberKey, Subscriber<L>>,
    groups: SlotMap<GroupKey, Group>,
    topics: HashMap<Topic, GroupKey>,
    patterns: PatternIndex<GroupKey>,
    /// Who watches who is on a topic.
    watchers: HashMap<Topic, Vec<SubscriberKey>>,
    /// How many subscribers have a backlog.
    backlogs: usize,
    timers: Timers,
    turn: Turn,
    jobs: Vec<Job>,
    /// What one subscriber gets that nobody else does.
    own: Joined,
    /// Replays that may go on after this turn.
    resumable: Vec<SubscriberKey>,
    wanted: Vec<(SubscriberKey, Box<CatchUp>)>,
    /// How many batches of the past are under way.
    reading: usize,
    /// Who waits for their next one, because there are enough.
    thirsty: VecDeque<SubscriberKey>,
    handed_back: Vec<Handout>,
    released: Vec<Released>,
}

impl<L: Outlet> FanOut<L> {
    /// `subscriptions_max` is for each session; `outboxes` are those of all outlets that will join.
    pub(crate) fn new(
        worker: WorkerId,
        subscriptions_max: usize,
        encoder: L::Encoder,
        outboxes: Rc<Outboxes>,
    ) -> Self {
        Self {
            worker,
            subscriptions_max,
            encoder,
            outboxes,
            subscribers: SlotMap::with_key(),
            groups: SlotMap::with_key(),
            topics: HashMap::new(),
            patterns: PatternIndex::default(),
            watchers: HashMap::new(),
            backlogs: 0,
            timers: Timers::default(),
            turn: Turn::default(),
            jobs: Vec::new(),
            own: Joined::default(),
            resumable: Vec::new(),
            wanted: Vec::new(),
            reading: 0,
            thirsty: VecDeque::new(),
            handed_back: Vec::new(),
            released: Vec::new(),
        }
    }

    /// Keeps to other limits from now on.
    pub(crate) fn reload(&mut self, subscriptions_max: usize, encoder: L::Encoder) {
        (self.subscriptions_max, self.encoder) = (subscriptions_max, encoder);
    }

    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// A session appears; it is subscribed to nothing yet.
    pub(crate) fn join(&mut self, outlet: L) -> SubscriberKey {
        self.subscribers.insert(Subscriber { outlet, memberships: Vec::new(), next_since: 0, backlog: None })
    }

    pub(crate) fn subscribers(&self) -> impl Iterator<Item = (SubscriberKey, &L)> {
        self.subscribers.iter().map(|(key, subscriber)| (key, &subscriber.outlet))
    }

    pub(crate) fn outlet(&self, key: SubscriberKey) -> Option<&L> {
        self.subscribers.get(key).map(|subscriber| &subscriber.outlet)
    }

    /// Whether a subscriber has yet to get something that waits for its reader, its time or the registry.
    pub(crate) fn owes(&self, key: SubscriberKey) -> bool {
        let backlog = self.subscribers.get(key).and_then(|subscriber| subscriber.backlog.as_ref());
        backlog.is_some_and(|backlog| backlog.owes())
    }

    /// Whether something of the past is still to come for a subscriber.
    pub(crate) fn is_catching_up(&self, key: SubscriberKey) -> bool {
        let backlog = self.subscribers.get(key).and_then(|subscriber| subscriber.backlog.as_ref());
        backlog.is_some_and(|backlog| !backlog.replays.is_empty())
    }

    /// What the registry is to be told.
    pub(crate) fn take_inputs(&mut self) -> Vec<Input> {
        let worker = self.worker;
        let mut inputs = Vec::new();
        if !self.released.is_empty() {
            inputs.push(Input::Release { worker, released: std::mem::take(&mut self.released) });
        }
        let session = |subscriber| SessionRef { worker, subscriber };
        inputs.extend(
            self.wanted.drain(..).map(|(key, catch_up)| Input::CatchUp { session: session(key), catch_up }),
        );
        inputs.extend(self.handed_back.drain(..).map(|handout| Input::HandBack { handout }));
        inputs
    }

    /// Takes what the registry sent. Nothing is written before [`flush`](Self::flush), unless it must be.
    pub(crate) fn handle(&mut self, delivery: Delivery, now: Duration) {
        match delivery {
            Delivery::Message { published, permit } => {
                self.message(published, now);
                drop(permit);
            }
            Delivery::Subscribed(subscribed) => self.subscribed(*subscribed, now),
            Delivery::Unsubscribe { subscriber, id, unsubscribe, permit } => {
                self.unsubscribe(subscriber, id, unsubscribe, now);
                drop(permit);
            }
            Delivery::Recheck { subscriber, identity } => self.recheck(subscriber, &identity, now),
            Delivery::CaughtUp { subscriber, catch_up, batch } => {
                self.caught_up(subscriber, catch_up, batch, now);
            }
            Delivery::Handout { subscriber, handout } => self.handout(subscriber, *handout, now),
            Delivery::Presence { topic, push } => self.tell_watchers(&topic, &push, now),
            Delivery::Reply { subscriber, reply } => self.reply(subscriber, &reply, now),
        }
    }

    fn message(&mut self, published: Arc<Published>, now: Duration) {
        let Some(place) = self.place_in_turn(&published.message.topic) else { return };
        let turn = &mut self.turn.topics[place as usize];
        for class in Class::ALL_ENCODED {
            if turn.groups.iter().any(|key| self.groups[*key].wants(class)) {
                turn.joined[class as usize].push(published.frame::<L>(class, &mut self.encoder));
            }
        }
        if let Some(publisher) = published.publisher.filter(|publisher| publisher.worker == self.worker)
            && let Some(subscriber) = self.subscribers.get(publisher.subscriber)
        {
            let mut matching = subscriber
                .memberships
                .iter()
                .filter(|membership| turn.groups.contains(&membership.group))
                .peekable();
            if matching.peek().is_some() && matching.all(|membership| !membership.echo) {
                turn.withheld.push((publisher.subscriber, turn.messages));
            }
        }
        for session in published.exclude.iter().filter(|session| session.worker == self.worker) {
            turn.withheld.push((session.subscriber, turn.messages));
        }
        turn.messages += 1;

        for key in &turn.groups {
            let group = &self.groups[*key];
            if group.wants(Class::Native) {
                for member in group.members().iter().filter(|member| member.class == Class::Native) {
                    self.subscribers[member.subscriber].outlet.deliver(&published);
                    self.outboxes.tally.add(Figure::DELIVERIES, 1);
                }
            }
        }
        if self.backlogs > 0 {
            turn.kept.push(KeptCell::new(published));
        }
        if turn.joined.iter().any(|joined| joined.len() >= JOINED_BYTES_MAX) {
            self.flush(now);
        }
    }

    /// Where in this turn the messages of a topic are joined; none if nobody here wants them.
    fn place_in_turn(&mut self, topic: &Topic) -> Option<u32> {
        let own = self.topics.get(topic).copied();
        let place = match own {
            Some(key) => self.groups[key].in_turn,
            None => self.turn.index.get(topic).copied(),
        };
        if place.is_some() {
            return place;
        }
        if own.is_none() && self.patterns.is_empty() {
            return None;
        }
        let (place, turn) = self.turn.open();
        turn.groups.extend(own);
        self.patterns.matching(topic, &mut |group| turn.groups.push(*group));
        for key in &turn.groups {
            self.groups[*key].in_turn = Some(place);
        }
        if own.is_none() {
            self.turn.index.insert(topic.clone(), place);
        }
        Some(place)
    }

    fn reply(&mut self, key: SubscriberKey, reply: &Reply, now: Duration) {
        let Some(subscriber) = self.subscribers.get(key) else { return };
        if let Reply::Error(error) = reply {
            self.outboxes.tally.add(Figure::errors(error.code), 1);
        }
        let Some(frame) = subscriber.outlet.encode_reply(reply) else { return };
        self.append_own(key, &frame, now);
    }

    /// Something that only this subscriber gets, to be written with the turn.
    fn append_own(&mut self, key: SubscriberKey, frame: &[u8], now: Duration) {
        self.turn.replies.push(key);
        self.turn.reply_bytes.push(frame);
        if self.turn.reply_bytes.len() >= JOINED_BYTES_MAX {
            self.flush(now);
        }
    }

    /// If all outboxes together hold more than `max` bytes, gives up those who hold most, until there is air again.
    pub(crate) fn relieve(&mut self, max: usize) {
        let held = self.outboxes.memory();
        if held <= max {
            return;
        }
        let waiting = self.subscribers.iter().map(|(key, subscriber)| {
            let waiting = subscriber.backlog.as_ref().map_or(0, |backlog| backlog.bytes());
            (subscriber.outlet.waiting_bytes() + waiting, key)
        });
        let mut waiting: Vec<_> = waiting.filter(|(bytes, _)| *bytes > 0).collect();
        waiting.sort_unstable_by(|one, other| other.cmp(one));
        for (_, key) in waiting {
            if self.outboxes.memory() <= max - max / 8 {
                break;
            }
            let reason = format!("slow readers together hold {held} bytes, the limit is {max}");
            self.give_up(key, &reason);
        }
    }

    fn give_up(&mut self, key: SubscriberKey, reason: &str) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        subscriber.outlet.give_up(reason);
        if let Some(backlog) = &mut subscriber.backlog {
            backlog.discard();
        }
    }

    /// Whether nobody is here and nothing is left behind.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.subscribers.is_empty()
            && self.groups.is_empty()
            && self.topics.is_empty()
            && self.patterns.is_empty()
            && self.watchers.is_empty()
            && self.backlogs == 0
            && self.reading == 0
            && self.thirsty.is_empty()
            && self.turn.is_empty()
    }
}
