//! The fan-out of one worker thread: who on this thread gets a message, and the joining of what each gets in a turn.
//! It encodes nothing and writes nothing itself: an outlet does both.

use std::collections::HashMap;

use slotmap::SlotMap;
use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{CommandError, CommandId, Unsubscribe};
use topichub_protocol::message::Message;
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::{Filter, Topic};

use super::group::{Group, GroupKey, Member};
use super::input::{Delivery, Subscribed, SubscriberKey, WorkerId};
use super::outbox::Part;
use super::pattern_index::PatternIndex;
use super::published::{Class, Published};
use super::turn::{Sealed, Turn};

/// A turn is written early once this much is joined for one topic, so that the bytes are still in the cache.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// The way out to one subscriber. It writes at once what the peer takes and keeps the rest, within its limits.
pub(crate) trait Outlet {
    /// The bytes of a `message` push of this class.
    fn encode(class: Class, message: &Message) -> Box<[u8]>;
    /// The form this subscriber takes.
    fn class(&self) -> Class;
    /// The bytes of a reply for this subscriber; none if it takes replies as they are.
    fn encode_reply(&self, reply: &Reply) -> Option<Box<[u8]>>;
    /// Sends these parts, in order, joined.
    fn write(&self, parts: &[Part<'_>]);
    /// Hands over the message itself, to subscribers within this process.
    fn deliver(&self, published: &Published);
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

/// Subscribers and subscriptions of one worker thread.
#[derive(Debug)]
pub(crate) struct FanOut<L> {
    worker: WorkerId,
    subscriptions_max: usize,
    subscribers: SlotMap<SubscriberKey, Subscriber<L>>,
    groups: SlotMap<GroupKey, Group>,
    topics: HashMap<Topic, GroupKey>,
    patterns: PatternIndex<GroupKey>,
    turn: Turn,
    /// Subscriptions that have ended here and are still counted at the registry.
    released: Vec<Filter>,
}

impl<L: Outlet> FanOut<L> {
    /// `subscriptions_max` is for each session.
    pub(crate) fn new(worker: WorkerId, subscriptions_max: usize) -> Self {
        Self {
            worker,
            subscriptions_max,
            subscribers: SlotMap::with_key(),
            groups: SlotMap::with_key(),
            topics: HashMap::new(),
            patterns: PatternIndex::default(),
            turn: Turn::default(),
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
        let topic = &published.message.topic;
        let place = match self.turn.index.get(topic) {
            Some(place) => *place as usize,
            None => {
                let exact = self.topics.get(topic).copied();
                if exact.is_none() && self.patterns.is_empty() {
                    return;
                }
                let groups = &mut self.turn.open(topic.clone()).groups;
                groups.extend(exact);
                self.patterns.matching(topic, &mut |group| groups.push(*group));
                for key in groups {
                    self.groups[*key].in_turn = true;
                }
                self.turn.topics.len() - 1
            }
        };

        let turn = &mut self.turn.topics[place];
        for class in Class::ALL_ENCODED {
            if turn.groups.iter().any(|key| self.groups[*key].wants(class)) {
                turn.joined[class as usize].push(published.frame::<L>(class));
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
        if self.groups[group].in_turn {
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
        if self.groups[membership.group].in_turn {
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
        let sealed = self.turn.seal();
        match (self.turn.topics.as_slice(), self.turn.replies.is_empty()) {
            ([topic], true) if topic.groups.len() == 1 && topic.withheld.is_empty() => {
                self.write_one_group(topic.groups[0], &sealed);
            }
            _ => self.write_by_subscriber(&sealed),
        }
        for topic in &self.turn.topics {
            for key in &topic.groups {
                if let Some(group) = self.groups.get_mut(*key) {
                    group.in_turn = false;
                }
            }
        }
        self.turn.renew(sealed);
    }

    /// The usual turn: one topic, one group, everybody gets the same bytes.
    fn write_one_group(&self, group: GroupKey, sealed: &Sealed) {
        let chunks = &sealed.topics[0];
        for member in self.groups[group].members() {
            if member.class != Class::Native
                && let Some(subscriber) = self.subscribers.get(member.subscriber)
            {
                subscriber.outlet.write(&[Part::whole(&chunks[member.class as usize])]);
            }
        }
    }

    /// The general turn: gathers by subscriber what several topics, patterns and replies have for it. Replies come
    /// first: what follows a `subscribed` is its consequence. Somebody reached in two ways gets each message once.
    fn write_by_subscriber(&self, sealed: &Sealed) {
        let mut jobs: Vec<(SubscriberKey, u32)> = Vec::new();
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
            for (_, number) in jobs {
                if *number < first_topic {
                    let ends = &sealed.replies.ends;
                    let start = number.checked_sub(1).map_or(0, |before| ends[before as usize] as usize);
                    let end = ends[*number as usize] as usize;
                    parts.push(Part { chunk: &sealed.replies, start, end });
                    continue;
                }
                let place = (number - first_topic) as usize;
                let (topic, chunks) = (&self.turn.topics[place], &sealed.topics[place]);
                let chunk = &chunks[subscriber.outlet.class() as usize];
                if topic.withheld.is_empty() {
                    parts.push(Part::whole(chunk));
                } else {
                    parts.extend(topic.parts_for(key, chunk));
                }
            }
            subscriber.outlet.write(&parts);
            parts.clear();
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
