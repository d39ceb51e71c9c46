//! The registry owns topics: it gives messages their order and knows which worker threads care about which topics.
//! Who gets a message on a thread is the fan-out's business; what a session may do was decided before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::command::{CommandId, Subscribe};
use topichub_protocol::message::Message;
use topichub_protocol::reply::{self, Reply};
use topichub_protocol::topic::{Filter, Topic};

use super::input::{Delivery, Effect, Input, Publisher, SessionRef, Subscribed, WorkerId};
use super::pattern_index::PatternIndex;
use super::permit::Permit;
use super::published::Published;
use crate::engine::{Engine, Stored};

/// The workers that have subscriptions to one topic or pattern, with how many.
type Interest = Vec<(WorkerId, u32)>;

/// Topics and the workers that care.
pub(crate) struct Registry {
    engine: Box<dyn Engine>,
    workers: HashSet<WorkerId>,
    topics: HashMap<Topic, Interest>,
    patterns: PatternIndex<Interest>,
    stored: Vec<Stored>,
    reached: Vec<WorkerId>,
}

impl Registry {
    pub(crate) fn new(engine: Box<dyn Engine>) -> Self {
        Self {
            engine,
            workers: HashSet::new(),
            topics: HashMap::new(),
            patterns: PatternIndex::default(),
            stored: Vec::new(),
            reached: Vec::new(),
        }
    }

    /// Takes one input and appends what is to be done, in order.
    pub(crate) fn handle(&mut self, input: Input, now: Duration, effects: &mut Vec<Effect>) {
        match input {
            Input::Publish(publication) => {
                let mut stored = std::mem::take(&mut self.stored);
                self.engine.append(publication, now, &mut stored);
                stored.drain(..).for_each(|stored| self.publish(stored, effects));
                self.stored = stored;
            }
            // A last word of a worker that has ended: nobody is left to be subscribed.
            Input::Subscribe { session, .. } if !self.workers.contains(&session.worker) => {}
            Input::Subscribe { session, id, subscribe, permit } => {
                let delivery = self.subscribe(session, id, subscribe, permit, now);
                effects.push(Effect::Deliver { worker: session.worker, delivery });
            }
            Input::Unsubscribe { session, id, unsubscribe, permit } => {
                // The fan-out knows who is subscribed; this only keeps the command in order with the others.
                let subscriber = session.subscriber;
                let delivery = Delivery::Unsubscribe { subscriber, id, unsubscribe, permit };
                effects.push(Effect::Deliver { worker: session.worker, delivery });
            }
            Input::Release { worker, filters } => {
                filters.iter().for_each(|filter| self.release(worker, filter, now));
            }
            Input::WorkerJoined { worker } => _ = self.workers.insert(worker),
            Input::WorkerLeft { worker } => self.worker_left(worker, now),
            Input::Tick => self.engine.tick(now),
        }
    }

    /// Sends a stored message once to each worker that cares, and its position to whoever asked.
    fn publish(&mut self, stored: Stored, effects: &mut Vec<Effect>) {
        let Stored { publication, position } = stored;
        let topic = publication.topic;

        let mut reached = std::mem::take(&mut self.reached);
        let mut add = |interest: &Interest| {
            for (worker, _) in interest {
                if !reached.contains(worker) {
                    reached.push(*worker);
                }
            }
        };
        self.topics.get(&topic).into_iter().for_each(&mut add);
        self.patterns.matching(&topic, &mut add);

        let session = match &publication.publisher {
            Publisher::Session { session, .. } => Some(*session),
            Publisher::Caller(_) => None,
        };
        if !reached.is_empty() {
            let message = Message { topic: topic.clone(), position, payload: publication.payload };
            let published = Arc::new(Published::new(message, session, publication.permit));
            effects.extend(reached.drain(..).map(|worker| {
                let delivery = Delivery::Message(Arc::clone(&published));
                Effect::Deliver { worker, delivery }
            }));
        }
        self.reached = reached;

        match publication.publisher {
            Publisher::Session { session, id: Some(id) } => {
                let reply = Reply::Published { id, topic, position };
                let delivery = Delivery::Reply { subscriber: session.subscriber, reply };
                effects.push(Effect::Deliver { worker: session.worker, delivery });
            }
            Publisher::Session { id: None, .. } => {}
            Publisher::Caller(ticket) => effects.push(Effect::Answer { ticket, position }),
        }
    }

    fn subscribe(
        &mut self,
        session: SessionRef,
        id: Option<CommandId>,
        subscribe: Subscribe,
        permit: Option<Permit>,
        now: Duration,
    ) -> Delivery {
        let entries = subscribe.filters.map(|filter| {
            self.hold(session.worker, &filter, now);
            let position = match &filter {
                Filter::Topic(topic) => Some(self.engine.position(topic, now)),
                Filter::Pattern(_) => None,
            };
            reply::Subscribed { filter, position }
        });
        let (subscriber, echo) = (session.subscriber, subscribe.echo);
        Delivery::Subscribed(Subscribed { subscriber, id, entries, echo, permit })
    }

    /// One subscription more on `worker`.
    fn hold(&mut self, worker: WorkerId, filter: &Filter, now: Duration) {
        let interest = match filter {
            Filter::Topic(topic) => {
                if !self.topics.contains_key(topic) {
                    self.engine.set_in_use(topic, true, now);
                }
                self.topics.entry(topic.clone()).or_default()
            }
            Filter::Pattern(pattern) => {
                if self.patterns.get_mut(pattern).is_none() {
                    self.patterns.insert(pattern, Interest::new());
                }
                let Some(interest) = self.patterns.get_mut(pattern) else { return };
                interest
            }
        };
        match interest.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, count)) => *count += 1,
            None => interest.push((worker, 1)),
        }
    }

    /// One subscription less on `worker`.
    fn release(&mut self, worker: WorkerId, filter: &Filter, now: Duration) {
        let interest = match filter {
            Filter::Topic(topic) => self.topics.get_mut(topic),
            Filter::Pattern(pattern) => self.patterns.get_mut(pattern),
        };
        let Some(interest) = interest else { return };
        let Some(at) = interest.iter().position(|(id, _)| *id == worker) else { return };
        interest[at].1 -= 1;
        if interest[at].1 == 0 {
            interest.swap_remove(at);
        }
        if interest.is_empty() {
            self.forget(filter, now);
        }
    }

    fn forget(&mut self, filter: &Filter, now: Duration) {
        match filter {
            Filter::Topic(topic) => {
                self.topics.remove(topic);
                self.engine.set_in_use(topic, false, now);
            }
            Filter::Pattern(pattern) => {
                self.patterns.remove(pattern);
            }
        }
    }

    fn worker_left(&mut self, worker: WorkerId, now: Duration) {
        self.workers.remove(&worker);
        let mut unused = Vec::new();
        self.topics.retain(|topic, interest| {
            interest.retain(|(id, _)| *id != worker);
            if interest.is_empty() {
                unused.push(topic.clone());
            }
            !interest.is_empty()
        });
        for topic in unused {
            self.engine.set_in_use(&topic, false, now);
        }
        self.patterns.retain(&mut |interest: &mut Interest| {
            interest.retain(|(id, _)| *id != worker);
            !interest.is_empty()
        });
    }

    /// Where a topic stands.
    #[cfg(test)]
    pub(crate) fn position(&mut self, topic: &Topic, now: Duration) -> topichub_protocol::message::Position {
        self.engine.position(topic, now)
    }

    /// Whether nobody is subscribed to anything.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.topics.is_empty() && self.patterns.is_empty()
    }
}
