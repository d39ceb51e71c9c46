//! The fan-out of one worker thread: who on this thread gets a message, and the joining of what each gets in a turn.
//! It encodes nothing and writes nothing itself: an outlet does both.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use slotmap::SlotMap;
use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{CommandError, CommandId, Unsubscribe};
use topichub_protocol::message::Message;
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::{Filter, Topic};

use super::group::{Group, GroupKey, Member};
use super::input::{Delivery, Subscribed, SubscriberKey, WorkerId};
use super::outbox::{Outboxes, Part};
use super::pattern_index::PatternIndex;
use super::published::{Class, Published};
use super::turn::{TopicTurn, Turn};

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
    /// Sends these parts, in order, joined.
    fn write(&self, parts: &[Part<'_>]);
    /// Hands over the message itself, to subscribers within this process.
    fn deliver(&self, published: &Published);
    /// How many bytes wait for the peer.
    fn waiting_bytes(&self) -> usize;
    /// All outboxes together hold too much and this one holds most: it is to be given up.
    fn give_up(&self, held: usize, max: usize);
}

#[derive(Debug)]
struct Membership {
    group: GroupKey,
    place: u32,
    echo: bool,
}

#[derive(Debug)]
struct Subscriber<L> {
    outlet: L,
    memberships: Vec<Membership>,
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
    turn: Turn,
    jobs: Vec<Job>,
    /// Subscriptions that have ended here and are still counted at the registry.
    released: Vec<Filter>,
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
            turn: Turn::default(),
            jobs: Vec::new(),
            released: Vec::new(),
        }
    }

    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// A session appears; it is subscribed to nothing yet.
    pub(crate) fn join(&mut self, outlet: L) -> SubscriberKey {
        self.subscribers.insert(Subscriber { outlet, memberships: Vec::new() })
    }

    /// A session is gone, and its subscriptions with it.
    pub(crate) fn leave(&mut self, key: SubscriberKey) {
        let Some(subscriber) = self.subscribers.remove(key) else { return };
        for membership in subscriber.memberships {
            self.leave_group(&membership);
        }
    }

    pub(crate) fn subscribers(&self) -> impl Iterator<Item = (SubscriberKey, &L)> {
        self.subscribers.iter().map(|(key, subscriber)| (key, &subscriber.outlet))
    }

    pub(crate) fn outlet(&self, key: SubscriberKey) -> Option<&L> {
        self.subscribers.get(key).map(|subscriber| &subscriber.outlet)
    }

    /// What the registry must be told: subscriptions that it counts and that are no more.
    pub(crate) fn take_released(&mut self) -> Vec<Filter> {
        std::mem::take(&mut self.released)
    }

    /// Takes what the registry sent. Nothing is written before [`flush`](Self::flush), unless it must be.
    pub(crate) fn handle(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Message(published) => self.message(&published),
            Delivery::Subscribed(subscribed) => self.subscribed(subscribed),
            Delivery::Unsubscribe { subscriber, id, unsubscribe, permit } => {
                self.unsubscribe(subscriber, id, unsubscribe);
                drop(permit);
            }
            Delivery::Reply { subscriber, reply } => self.reply(subscriber, &reply),
        }
    }

    fn message(&mut self, published: &Published) {
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
        turn.messages += 1;

        for key in &turn.groups {
            let group = &self.groups[*key];
            if group.wants(Class::Native) {
                for member in group.members().iter().filter(|member| member.class == Class::Native) {
                    self.subscribers[member.subscriber].outlet.deliver(published);
                }
            }
        }
        if turn.joined.iter().any(|joined| joined.len() >= JOINED_BYTES_MAX) {
            self.flush();
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

    fn reply(&mut self, key: SubscriberKey, reply: &Reply) {
        let Some(subscriber) = self.subscribers.get(key) else { return };
        let Some(frame) = subscriber.outlet.encode_reply(reply) else { return };
        self.turn.replies.push(key);
        self.turn.reply_bytes.push(&frame);
        if self.turn.reply_bytes.len() >= JOINED_BYTES_MAX {
            self.flush();
        }
    }

    fn subscribed(&mut self, subscribed: Subscribed) {
        let Subscribed { subscriber: key, id, entries, echo, permit: _permit } = subscribed;
        let Some(subscriber) = self.subscribers.get(key) else {
            self.released.extend(entries.iter().map(|entry| entry.filter.clone()));
            return;
        };
        let new = entries.iter().filter(|entry| self.membership(key, &entry.filter).is_none()).count();
        let subscriptions = subscriber.memberships.len() + new;
        if subscriptions > self.subscriptions_max {
            self.released.extend(entries.iter().map(|entry| entry.filter.clone()));
            let max = self.subscriptions_max;
            let message = format!("{subscriptions} subscriptions in one session, the limit is {max}");
            let error = CommandError::new(ErrorCode::LimitReached, message).with_id(id);
            return self.reply(key, &Reply::Error(error));
        }
        for entry in &entries {
            match self.membership(key, &entry.filter) {
                Some(at) => {
                    self.subscribers[key].memberships[at].echo = echo;
                    self.released.push(entry.filter.clone());
                }
                None => self.join_group(key, &entry.filter, echo),
            }
        }
        if let Some(id) = id {
            self.reply(key, &Reply::Subscribed { id, topics: entries });
        }
    }

    fn unsubscribe(&mut self, key: SubscriberKey, id: Option<CommandId>, unsubscribe: Unsubscribe) {
        let filters = unsubscribe.filters;
        if !self.subscribers.contains_key(key) {
            return;
        }
        if let Some(missing) = filters.iter().find(|filter| self.membership(key, filter).is_none()) {
            let error = CommandError::new(ErrorCode::NotSubscribed, format!("not subscribed to {missing}"));
            return self.reply(key, &Reply::Error(error.with_id(id)));
        }
        for filter in &filters {
            let Some(at) = self.membership(key, filter) else { continue };
            let membership = self.subscribers[key].memberships.swap_remove(at);
            self.leave_group(&membership);
        }
        if let Some(id) = id {
            self.reply(key, &Reply::Unsubscribed { id, topics: filters });
        }
    }

    /// Where among its memberships a subscriber has the one for `filter`.
    fn membership(&self, key: SubscriberKey, filter: &Filter) -> Option<usize> {
        let group = self.group(filter)?;
        self.subscribers.get(key)?.memberships.iter().position(|membership| membership.group == group)
    }

    fn group(&self, filter: &Filter) -> Option<GroupKey> {
        match filter {
            Filter::Topic(topic) => self.topics.get(topic).copied(),
            Filter::Pattern(pattern) => self.patterns.get(pattern).copied(),
        }
    }

    fn join_group(&mut self, subscriber: SubscriberKey, filter: &Filter, echo: bool) {
        let group = match self.group(filter) {
            Some(key) => key,
            None => {
                // The topics of this turn have looked for their groups already.
                self.flush();
                let key = self.groups.insert(Group::new(filter.clone()));
                match filter {
                    Filter::Topic(topic) => _ = self.topics.insert(topic.clone(), key),
                    Filter::Pattern(pattern) => _ = self.patterns.insert(pattern, key),
                }
                key
            }
        };
        // Whoever joins gets nothing of what was published before.
        if self.groups[group].in_turn.is_some() {
            self.flush();
        }
        let Subscriber { outlet, memberships } = &mut self.subscribers[subscriber];
        let place = self.groups[group].add(Member { subscriber, class: outlet.class() });
        // Most sessions have one or few: a vector that grows by itself begins with room for four.
        memberships.reserve_exact(usize::from(memberships.is_empty()));
        memberships.push(Membership { group, place, echo });
    }

    fn leave_group(&mut self, membership: &Membership) {
        // What was published before is still theirs.
        if self.groups[membership.group].in_turn.is_some() {
            self.flush();
        }
        let group = &mut self.groups[membership.group];
        self.released.push(group.filter.clone());
        if let Some(moved) = group.remove(membership.place)
            && let Some(subscriber) = self.subscribers.get_mut(moved)
            && let Some(other) =
                subscriber.memberships.iter_mut().find(|other| other.group == membership.group)
        {
            other.place = membership.place;
        }
        if self.groups[membership.group].is_empty()
            && let Some(group) = self.groups.remove(membership.group)
        {
            match group.filter {
                Filter::Topic(topic) => _ = self.topics.remove(&topic),
                Filter::Pattern(pattern) => _ = self.patterns.remove(&pattern),
            }
        }
    }

    /// Writes what this turn has brought: one write for each subscriber.
    pub(crate) fn flush(&mut self) {
        if self.turn.is_empty() {
            return;
        }
        match (self.turn.topics.as_slice(), self.turn.replies.is_empty()) {
            ([topic], true) if topic.groups.len() == 1 && topic.withheld.is_empty() => {
                self.write_one_group(topic.groups[0], topic);
            }
            _ => self.write_by_subscriber(),
        }
        for key in self.turn.topics.iter().flat_map(|topic| &topic.groups) {
            if let Some(group) = self.groups.get_mut(*key) {
                group.in_turn = None;
            }
        }
        self.turn.renew();
    }

    /// The usual turn: one topic, one group, everybody gets the same bytes.
    fn write_one_group(&self, group: GroupKey, topic: &TopicTurn) {
        for member in self.groups[group].members() {
            if member.class != Class::Native
                && let Some(subscriber) = self.subscribers.get(member.subscriber)
            {
                subscriber.outlet.write(&[Part::whole(&topic.joined[member.class as usize])]);
            }
        }
    }

    /// The general turn: gathers by subscriber what several topics, patterns and replies have for it. Replies come
    /// first: what follows a `subscribed` is its consequence. Somebody reached in two ways gets each message once.
    fn write_by_subscriber(&mut self) {
        let mut jobs = std::mem::take(&mut self.jobs);
        jobs.extend(self.turn.replies.iter().enumerate().map(|(number, key)| (*key, number as u32)));
        let first_topic = self.turn.replies.len() as u32;
        for (number, topic) in self.turn.topics.iter().enumerate() {
            for key in &topic.groups {
                let members =
                    self.groups[*key].members().iter().filter(|member| member.class != Class::Native);
                jobs.extend(members.map(|member| (member.subscriber, first_topic + number as u32)));
            }
        }
        jobs.sort_unstable();
        jobs.dedup();

        let mut parts = Vec::new();
        for jobs in jobs.chunk_by(|one, other| one.0 == other.0) {
            let key = jobs[0].0;
            let Some(subscriber) = self.subscribers.get(key) else { continue };
            let class = subscriber.outlet.class();
            for (_, number) in jobs {
                if *number < first_topic {
                    let Range { start, end } = self.turn.reply_bytes.message(*number as usize);
                    parts.push(Part { joined: &self.turn.reply_bytes, start, end });
                } else {
                    let topic = &self.turn.topics[(number - first_topic) as usize];
                    topic.parts_for(key, class, &mut parts);
                }
            }
            subscriber.outlet.write(&parts);
            parts.clear();
        }
        jobs.clear();
        self.jobs = jobs;
    }

    /// If all outboxes together hold more than `max` bytes, gives up those who hold most, until there is air again.
    pub(crate) fn relieve(&mut self, max: usize) {
        let held = self.outboxes.memory();
        if held <= max {
            return;
        }
        let waiting =
            self.subscribers.iter().map(|(key, subscriber)| (subscriber.outlet.waiting_bytes(), key));
        let mut waiting: Vec<_> = waiting.filter(|(bytes, _)| *bytes > 0).collect();
        waiting.sort_unstable_by(|one, other| other.cmp(one));
        for (_, key) in waiting {
            if self.outboxes.memory() <= max - max / 8 {
                break;
            }
            self.subscribers[key].outlet.give_up(held, max);
        }
    }

    /// Whether nobody is here and nothing is left behind.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.subscribers.is_empty()
            && self.groups.is_empty()
            && self.topics.is_empty()
            && self.patterns.is_empty()
            && self.turn.is_empty()
    }
}
