//! The registry owns topics: it gives messages their order, reads from their history, and knows which worker threads
//! care about which topics. Who gets a message on a thread is the fan-out's business; what a session may do was
//! decided before.

mod asking;
mod interest;
mod publishing;
mod subscribing;
mod surveying;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::command::CommandError;
use topichub_protocol::push::{PresenceChange, Push};
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::Topic;

use self::interest::Interest;
pub use self::surveying::{TopicPage, TopicStatus};
use super::attendance::{Attendance, Due};
use super::input::{Asker, Delivery, Effect, Input, SessionRef, WorkerId};
use super::pattern_index::PatternIndex;
use super::requests::Requests;
use crate::engine::{Appended, Engine};
use crate::settings::Settings;

/// What can be set about a registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegistrySettings {
    /// The shortest time between two pushes about who is on a topic.
    pub(crate) presence_interval: Duration,
    /// The most members who are told by name.
    pub(crate) presence_members_max: usize,
    /// Makes it impossible to guess where answers go.
    pub(crate) secret: u64,
}

/// Topics and the workers that care.
pub(crate) struct Registry {
    engine: Box<dyn Engine>,
    workers: HashSet<WorkerId>,
    topics: HashMap<Topic, Interest>,
    patterns: PatternIndex<Interest>,
    requests: Requests,
    attendance: Attendance,
    presence_members_max: usize,
    /// Whether there has ever been a queue group: most hubs have none, and need not look for them at each message.
    has_groups: bool,
    /// Where each session is shown, to be taken out with its worker; and by how many subscriptions: who ends one and
    /// begins another at once may be heard to begin first.
    shown: HashMap<WorkerId, HashMap<(SessionRef, Topic), u32>>,
    appended: Vec<Appended>,
    reached: Vec<WorkerId>,
}

impl Registry {
    pub(crate) fn new(engine: Box<dyn Engine>, settings: RegistrySettings) -> Self {
        let RegistrySettings { presence_interval, presence_members_max, secret } = settings;
        Self {
            engine,
            workers: HashSet::new(),
            topics: HashMap::new(),
            patterns: PatternIndex::default(),
            requests: Requests::new(secret),
            attendance: Attendance::new(presence_interval, presence_members_max),
            presence_members_max,
            has_groups: false,
            shown: HashMap::new(),
            appended: Vec::new(),
            reached: Vec::new(),
        }
    }

    /// How many topics there are.
    pub(crate) fn topics(&self) -> usize {
        self.engine.topics()
    }

    /// Takes one input and appends what is to be done, in order.
    pub(crate) fn handle(&mut self, input: Input, now: Duration, effects: &mut Vec<Effect>) {
        match input {
            Input::Publish(publication) => self.publish(publication, now, effects),
            Input::Request { publication, timeout } => self.request(publication, timeout, now, effects),
            Input::Answer { asker, answer, permit } => {
                self.answer(asker, answer, effects);
                drop(permit);
            }
            // A last word of a worker that has ended: nobody is left to be subscribed.
            Input::Subscribe(subscribing) if !self.workers.contains(&subscribing.session.worker) => {}
            Input::Subscribe(subscribing) => self.subscribe(*subscribing, now, effects),
            Input::Unsubscribe { session, id, unsubscribe, permit } => {
                // The fan-out knows who is subscribed; this only keeps the command in order with the others.
                let subscriber = session.subscriber;
                let delivery = Delivery::Unsubscribe { subscriber, id, unsubscribe, permit };
                effects.push(Effect::Deliver { worker: session.worker, delivery });
            }
            Input::Recheck { session, identity } => {
                // Behind the subscriptions that are on their way.
                let delivery = Delivery::Recheck { subscriber: session.subscriber, identity };
                effects.push(Effect::Deliver { worker: session.worker, delivery });
            }
            Input::CatchUp { session, mut catch_up } => {
                let batch = self.read_on(&mut catch_up, now);
                let delivery = Delivery::CaughtUp { subscriber: session.subscriber, catch_up, batch };
                effects.push(Effect::Deliver { worker: session.worker, delivery });
            }
            Input::HandBack { handout } => self.hand_on(handout, effects),
            Input::History { asker, history, permit } => {
                let reply = self.history(&asker, history, now);
                answer(asker, reply, effects);
                drop(permit);
            }
            Input::Presence { asker, topic, permit } => {
                let presence = self.engine.presence(&topic, self.presence_members_max);
                let reply = Reply::Presence { id: asking::id_of(&asker), presence };
                answer(asker, reply, effects);
                drop(permit);
            }
            Input::Release { worker, released } => {
                released.into_iter().for_each(|released| self.release(worker, released, now));
            }
            Input::WorkerJoined { worker } => _ = self.workers.insert(worker),
            Input::WorkerLeft { worker } => self.worker_left(worker, now),
            Input::Tick => self.engine.tick(now),
        }
        self.pass_time(now, effects);
    }

    /// When [`pass_time`](Self::pass_time) has something to do next, if nothing comes before.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let dues = [self.requests.next_due(), self.attendance.next_due()];
        dues.into_iter().flatten().min()
    }

    /// Does what its time has come for.
    pub(crate) fn pass_time(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        while let Some((asker, permit)) = self.requests.overdue(now) {
            drop(permit);
            self.no_answer(asker, effects);
        }
        while let Some(due) = self.attendance.due(now) {
            self.tell_watchers(due, effects);
        }
    }

    fn tell_watchers(&mut self, due: Due, effects: &mut Vec<Effect>) {
        let Due { topic, joined, left, workers, named } = due;
        let presence = self.engine.presence(&topic, self.presence_members_max);
        let change = |members| PresenceChange {
            topic: topic.clone(),
            count: presence.count,
            sessions: presence.sessions,
            members,
        };
        let push = match (named, &presence.members) {
            (true, Some(_)) => Push::PresenceChange(change(Some((joined, left)))),
            (_, members) => {
                // Who can be told by name again needs all the names.
                self.attendance.told(&topic, &presence);
                if members.is_some() { Push::Presence(presence) } else { Push::PresenceChange(change(None)) }
            }
        };
        let push = Arc::new(push);
        effects.extend(workers.into_iter().map(|worker| {
            let delivery = Delivery::Presence { topic: topic.clone(), push: Arc::clone(&push) };
            Effect::Deliver { worker, delivery }
        }));
    }

    /// Other rules and limits of history hold from now on.
    pub(crate) fn reload(&mut self, settings: &Settings, now: Duration) {
        self.engine.reload(settings, now);
    }

    /// How much memory topics and their messages of the past take, in bytes.
    pub(crate) fn history_bytes(&self) -> usize {
        self.engine.history_bytes()
    }

    /// Where a topic stands.
    #[cfg(test)]
    pub(crate) fn extent(&mut self, topic: &Topic, now: Duration) -> crate::engine::Extent {
        self.engine.extent(topic, now)
    }

    #[cfg(test)]
    pub(crate) fn engine(&mut self) -> &mut dyn Engine {
        &mut *self.engine
    }

    /// Whether nobody is subscribed to anything.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.topics.is_empty()
            && self.patterns.is_empty()
            && self.shown.values().all(HashMap::is_empty)
            && self.attendance.next_due().is_none()
    }
}

/// Sends a reply to whoever asked; a session that gave no id hears of errors only.
fn answer(asker: Asker, reply: Reply, effects: &mut Vec<Effect>) {
    let is_error = matches!(reply, Reply::Error(_));
    match asker {
        Asker::Session { session, id } if is_error || id.is_some() => {
            let reply = match reply {
                Reply::Error(error) => Reply::Error(CommandError { id, ..error }),
                reply => reply,
            };
            let delivery = Delivery::Reply { subscriber: session.subscriber, reply };
            effects.push(Effect::Deliver { worker: session.worker, delivery });
        }
        Asker::Session { .. } => {}
        Asker::Caller(ticket) => effects.push(Effect::Answer { ticket, reply }),
    }
}
