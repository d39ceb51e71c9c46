//! Subscribers who are not simply sent everything: by a policy of their own when they do not keep up, by a rate, or
//! because they are still being replayed to.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::{FanOut, GroupKey, Job, Membership, Outlet, Part, Subscriber};
use crate::hub::input::SubscriberKey;
use crate::hub::lane::{Mode, Next};
use crate::metrics::figure::Figure;
use topichub_protocol::command::SlowPolicy;
use topichub_protocol::message::Position;
use topichub_protocol::push::Push;
use topichub_protocol::topic::Topic;

/// The most that is put together for one subscriber at once, in bytes.
const OWN_BYTES_MAX: usize = 64 * 1024;

/// When topics of subscribers with a rate are due.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Duration, SubscriberKey, Topic)>>);

impl Timers {
    pub(super) fn set(&mut self, due: Duration, key: SubscriberKey, topic: Topic) {
        self.0.push(Reverse((due, key, topic)));
    }
}

impl<L> Subscriber<L> {
    /// How the messages of a topic with these groups reach this subscriber; none if it does not get them (yet).
    fn mode(&self, groups: &[GroupKey]) -> Option<Mode> {
        self.mode_by(|membership| groups.contains(&membership.group))
    }

    /// The same, by the subscriptions that match. One that still gets what was published before has its say, too.
    pub(super) fn mode_by(&self, matches: impl Fn(&Membership) -> bool) -> Option<Mode> {
        let matching = || self.memberships.iter().filter(|membership| matches(membership));
        let is_live = matching().any(|membership| membership.is_live());
        is_live.then(|| matching().map(|membership| membership.mode()).reduce(Mode::completer))?
    }

    /// A topic was delivered up to here; to be known as long as a replay might bring the same.
    pub(super) fn mark(&mut self, topic: &Topic, position: Position) {
        let Some(backlog) = &mut self.backlog else { return };
        if backlog.replays.is_empty() {
            return;
        }
        match backlog.marks.get_mut(topic) {
            Some(mark) if mark.epoch == position.epoch && mark.offset >= position.offset => {}
            Some(mark) => *mark = position,
            None => _ = backlog.marks.insert(topic.clone(), position),
        }
    }
}

impl<L: Outlet> FanOut<L> {
    /// Writes one subscriber's jobs of this turn: at once what is to be had at once, and the rest as its reader takes
    /// it and its time comes.
    pub(super) fn write_paced(&mut self, key: SubscriberKey, jobs: &[Job], first_topic: u32, now: Duration) {
        let Some(subscriber) = self.subscribers.get(key) else { return };
        let class = subscriber.outlet.class();
        let mut parts: Vec<Part<'_>> = Vec::new();
        let (mut paced, mut marks) = (Vec::new(), Vec::new());
        for (_, number) in jobs {
            let Some(number_of_topic) = number.checked_sub(first_topic) else {
                self.parts_of(key, class, *number, first_topic, &mut parts);
                continue;
            };
            let topic = &self.turn.topics[number_of_topic as usize];
            debug_assert_eq!(
                topic.kept.len(),
                topic.messages as usize,
                "all are kept while there are backlogs"
            );
            let Some(last) = topic.kept.last().map(|kept| &kept.published.message) else { continue };
            let Some(mode) = subscriber.mode(&topic.groups) else { continue };
            let holds = subscriber.backlog.as_ref().is_some_and(|backlog| backlog.holds(&last.topic));
            if mode.is_plain() && !holds {
                self.parts_of(key, class, *number, first_topic, &mut parts);
            } else {
                paced.push((number_of_topic as usize, mode));
            }
            marks.push((last.topic.clone(), last.position));
        }
        if !parts.is_empty() {
            subscriber.outlet.write(&parts);
            let delivered = parts.iter().filter(|part| !self.is_own(part)).map(Part::messages).sum::<usize>();
            self.outboxes.tally.add(Figure::DELIVERIES, delivered as u64);
        }
        let Self { subscribers, turn, outboxes, timers, .. } = self;
        let Some(subscriber) = subscribers.get_mut(key) else { return };
        marks.iter().for_each(|(topic, position)| subscriber.mark(topic, *position));
        let Some(backlog) = &mut subscriber.backlog else { return };
        for (number, mode) in paced {
            let topic = &turn.topics[number];
            for kept in topic.kept_for(key) {
                let name = &kept.published.message.topic;
                if let Some(opens) = backlog.push(name, mode, kept.keep(outboxes), now) {
                    timers.set(opens, key, name.clone());
                }
            }
        }
        self.drain(key);
    }

    /// When [`tick`](Self::tick) is to be called next.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.timers.0.peek().map(|Reverse((due, ..))| *due)
    }

    /// Sends what its time has come for.
    pub(crate) fn tick(&mut self, now: Duration) {
        let mut keys = Vec::new();
        while let Some(Reverse((due, ..))) = self.timers.0.peek()
            && *due <= now
            && let Some(Reverse((due, key, topic))) = self.timers.0.pop()
        {
            let Some(subscriber) = self.subscribers.get_mut(key) else { continue };
            let Some(backlog) = &mut subscriber.backlog else { continue };
            if let Some(opens) = backlog.open(&topic, due, now) {
                self.timers.set(opens, key, topic);
            }
            keys.push(key);
        }
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().for_each(|key| self.drain(key));
    }

    /// Sends what waits in a backlog, as far as the reader takes it.
    pub(super) fn drain(&mut self, key: SubscriberKey) {
        let Self { subscribers, own, encoder, outboxes, .. } = self;
        let Some(Subscriber { outlet, backlog: Some(backlog), .. }) = subscribers.get_mut(key) else {
            return;
        };
        let class = outlet.class();
        let mut sent = Vec::new();
        // Without a policy they are written whether or not the reader takes them, as everything else is.
        for plain in [true, false] {
            while plain || outlet.is_clear() {
                own.renew(0);
                sent.clear();
                let lanes = backlog
                    .ready()
                    .filter(|(_, lane)| (lane.mode().policy == SlowPolicy::Disconnect) == plain);
                for (topic, lane) in lanes {
                    for next in lane.next() {
                        let gap = match next {
                            Next::Gap(gap) => {
                                let why = gap.why;
                                own.push(&outlet.encode_push(&Push::Gap(gap)).unwrap_or_default());
                                Some(why)
                            }
                            Next::Message(published) => {
                                own.push(published.frame::<L>(class, encoder));
                                None
                            }
                        };
                        sent.push((topic.clone(), gap));
                        if own.len() >= OWN_BYTES_MAX {
                            break;
                        }
                    }
                    if own.len() >= OWN_BYTES_MAX {
                        break;
                    }
                }
                if sent.is_empty() {
                    break;
                }
                let taken = if plain {
                    outlet.write(&[Part::whole(own)]);
                    sent.len()
                } else {
                    outlet.offer(own)
                };
                for (topic, gap) in &sent[..taken] {
                    backlog.sent(topic);
                    outboxes.tally.add(gap.map_or(Figure::DELIVERIES, Figure::gaps), 1);
                    if gap.is_some() {
                        outlet.misses();
                    }
                }
                if taken < sent.len() {
                    break;
                }
            }
        }
        if backlog.is_clear() {
            return backlog.cleared();
        }
        outlet.await_room();
        let limits = outboxes.limits.get();
        if !backlog.settle(limits) {
            let (bytes, max) = (backlog.bytes(), limits.bytes);
            self.give_up(key, &format!("{bytes} bytes wait for the reader, the limit is {max}"));
        }
    }

    /// The reader has room again.
    pub(crate) fn resume(&mut self, key: SubscriberKey) {
        self.drain(key);
        let Some(Subscriber { outlet, backlog: Some(backlog), .. }) = self.subscribers.get_mut(key) else {
            return;
        };
        if outlet.is_clear() {
            backlog.shares.iter().for_each(|share| share.load.cleared());
        } else if !backlog.shares.is_empty() {
            outlet.await_room();
        }
        self.next_replay(key);
    }
}
