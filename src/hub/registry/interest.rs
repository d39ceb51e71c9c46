//! Who cares about one topic or pattern, worker by worker, and what it means when somebody does no more.

use std::time::Duration;

use topichub_protocol::topic::{Filter, Topic};

use super::Registry;
use crate::hub::input::{Released, SessionRef, WorkerId};
use crate::hub::queue_group::QueueGroups;

/// The workers that have subscriptions to one topic or pattern, with how many, and its queue groups.
#[derive(Debug, Default)]
pub(super) struct Interest {
    workers: Vec<(WorkerId, u32)>,
    pub(super) groups: Option<Box<QueueGroups>>,
}

impl Interest {
    fn is_empty(&self) -> bool {
        self.workers.is_empty() && self.groups.is_none()
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.iter().map(|(worker, _)| *worker)
    }

    /// How many subscriptions a message reaches.
    pub(super) fn subscriptions(&self) -> u32 {
        let groups = self.groups.as_ref().map_or(0, |groups| groups.len() as u32);
        self.workers.iter().map(|(_, count)| count).sum::<u32>() + groups
    }

    fn add(&mut self, worker: WorkerId) {
        match self.workers.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, count)) => *count += 1,
            None => {
                self.workers.reserve_exact(usize::from(self.workers.is_empty()));
                self.workers.push((worker, 1));
            }
        }
    }

    fn remove(&mut self, worker: WorkerId) {
        let Some(at) = self.workers.iter().position(|(id, _)| *id == worker) else { return };
        self.workers[at].1 -= 1;
        if self.workers[at].1 == 0 {
            self.workers.swap_remove(at);
        }
    }

    fn remove_worker(&mut self, worker: WorkerId) {
        self.workers.retain(|(id, _)| *id != worker);
        if let Some(groups) = &mut self.groups {
            groups.leave_worker(worker);
        }
        self.groups.take_if(|groups| groups.is_empty());
    }
}

impl Registry {
    /// The interest in a topic or pattern; from now on there is one.
    pub(super) fn interest(&mut self, filter: &Filter, now: Duration) -> &mut Interest {
        match filter {
            Filter::Topic(topic) => {
                if !self.topics.contains_key(topic) {
                    self.engine.set_in_use(topic, true, now);
                }
                self.topics.entry(topic.clone()).or_default()
            }
            Filter::Pattern(pattern) => {
                if self.patterns.get_mut(pattern).is_none() {
                    self.patterns.insert(pattern, Interest::default());
                }
                let Some(interest) = self.patterns.get_mut(pattern) else {
                    unreachable!("the pattern was put there just now")
                };
                interest
            }
        }
    }

    /// One subscription more on `worker`.
    pub(super) fn hold(&mut self, worker: WorkerId, filter: &Filter, now: Duration) {
        self.interest(filter, now).add(worker);
    }

    pub(super) fn release(&mut self, worker: WorkerId, released: Released, now: Duration) {
        match released {
            Released::Interest(filter) => self.reduce(&filter, now, |interest| interest.remove(worker)),
            Released::Share { subscriber, filter, group } => self.reduce(&filter, now, |interest| {
                if let Some(groups) = &mut interest.groups {
                    groups.leave(&group, SessionRef { worker, subscriber });
                }
                interest.groups.take_if(|groups| groups.is_empty());
            }),
            Released::Member { subscriber, topic } => {
                self.hide(SessionRef { worker, subscriber }, &topic, now);
            }
            Released::Watcher { topic } => self.attendance.unwatch(&topic, worker),
        }
    }

    fn reduce(&mut self, filter: &Filter, now: Duration, reduce: impl FnOnce(&mut Interest)) {
        let interest = match filter {
            Filter::Topic(topic) => self.topics.get_mut(topic),
            Filter::Pattern(pattern) => self.patterns.get_mut(pattern),
        };
        let Some(interest) = interest else { return };
        reduce(interest);
        if interest.is_empty() {
            match filter {
                Filter::Topic(topic) => {
                    self.topics.remove(topic);
                    self.engine.set_in_use(topic, false, now);
                }
                Filter::Pattern(pattern) => _ = self.patterns.remove(pattern),
            }
        }
    }

    /// A session is shown no more among those on a topic.
    fn hide(&mut self, session: SessionRef, topic: &Topic, now: Duration) {
        let key = (session, topic.clone());
        if let Some(shown) = self.shown.get_mut(&session.worker)
            && let Some(subscriptions) = shown.get_mut(&key)
        {
            *subscriptions -= 1;
            if *subscriptions > 0 {
                return;
            }
            shown.remove(&key);
        }
        let change = self.engine.leave(topic, session, now);
        self.attendance.changed(topic, change, now);
    }

    pub(super) fn worker_left(&mut self, worker: WorkerId, now: Duration) {
        self.workers.remove(&worker);
        self.attendance.leave_worker(worker);
        for ((session, topic), _) in self.shown.remove(&worker).unwrap_or_default() {
            self.hide(session, &topic, now);
        }
        let mut unused = Vec::new();
        self.topics.retain(|topic, interest| {
            interest.remove_worker(worker);
            if interest.is_empty() {
                unused.push(topic.clone());
            }
            !interest.is_empty()
        });
        for topic in unused {
            self.engine.set_in_use(&topic, false, now);
        }
        self.patterns.retain(&mut |interest: &mut Interest| {
            interest.remove_worker(worker);
            !interest.is_empty()
        });
    }
}
