//! The end of a turn: one write for each subscriber.

use std::ops::Range;
use std::time::Duration;

use super::{FanOut, GroupKey, Outlet, Part};
use crate::hub::input::SubscriberKey;
use crate::hub::published::Class;
use crate::hub::turn::TopicTurn;
use crate::metrics::figure::Figure;

impl<L: Outlet> FanOut<L> {
    /// Writes what this turn has brought: one write for each subscriber.
    pub(crate) fn flush(&mut self, now: Duration) {
        if self.turn.is_empty() {
            return;
        }
        match (self.turn.topics.as_slice(), self.turn.replies.is_empty()) {
            ([topic], true) if topic.groups.len() == 1 && topic.withheld.is_empty() => {
                self.write_one_group(topic.groups[0], now);
            }
            _ => self.write_by_subscriber(now),
        }
        for key in self.turn.topics.iter().flat_map(|topic| &topic.groups) {
            if let Some(group) = self.groups.get_mut(*key) {
                group.in_turn = None;
            }
        }
        self.turn.renew();
    }

    /// The usual turn: one topic, one group, everybody gets the same bytes.
    fn write_one_group(&mut self, group: GroupKey, now: Duration) {
        let topic = &self.turn.topics[0];
        let (mut others, mut reached) = (Vec::new(), 0);
        for member in self.groups[group].members() {
            if member.class != Class::Native
                && let Some(subscriber) = self.subscribers.get(member.subscriber)
            {
                match subscriber.backlog {
                    None => {
                        subscriber.outlet.write(&[Part::whole(&topic.joined[member.class as usize])]);
                        reached += 1;
                    }
                    Some(_) => others.push(member.subscriber),
                }
            }
        }
        self.outboxes.tally.add(Figure::DELIVERIES, reached * u64::from(topic.messages));
        for key in others {
            self.write_paced(key, &[(key, 0)], 0, now);
        }
    }

    /// The general turn: gathers by subscriber what several topics, patterns and replies have for it. Replies come
    /// first: what follows a `subscribed` is its consequence. Somebody reached in two ways gets each message once.
    fn write_by_subscriber(&mut self, now: Duration) {
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

        let (mut others, mut delivered) = (Vec::new(), 0);
        let mut parts = Vec::new();
        for jobs in jobs.chunk_by(|one, other| one.0 == other.0) {
            let key = jobs[0].0;
            let Some(subscriber) = self.subscribers.get(key) else { continue };
            if subscriber.backlog.is_some() {
                others.push(jobs);
                continue;
            }
            let class = subscriber.outlet.class();
            for (_, number) in jobs {
                self.parts_of(key, class, *number, first_topic, &mut parts);
            }
            subscriber.outlet.write(&parts);
            delivered += parts.iter().filter(|part| !self.is_own(part)).map(Part::messages).sum::<usize>();
            parts.clear();
        }
        drop(parts);
        self.outboxes.tally.add(Figure::DELIVERIES, delivered as u64);
        for jobs in others {
            self.write_paced(jobs[0].0, jobs, first_topic, now);
        }
        jobs.clear();
        self.jobs = jobs;
    }

    /// Whether this is what only one subscriber gets: replies, and what is counted where it comes from.
    pub(super) fn is_own(&self, part: &Part<'_>) -> bool {
        std::ptr::eq(part.joined, &self.turn.reply_bytes)
    }

    /// The parts of one job.
    pub(super) fn parts_of<'a>(
        &'a self,
        key: SubscriberKey,
        class: Class,
        number: u32,
        first_topic: u32,
        parts: &mut Vec<Part<'a>>,
    ) {
        if number < first_topic {
            let Range { start, end } = self.turn.reply_bytes.message(number as usize);
            parts.push(Part { joined: &self.turn.reply_bytes, start, end });
        } else {
            let topic: &TopicTurn = &self.turn.topics[(number - first_topic) as usize];
            topic.parts_for(key, class, parts);
        }
    }
}
