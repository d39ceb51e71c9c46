//! Publishing: a message gets its place, and goes once to each worker that cares and to one member of each queue group.

use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::reply::Reply;
use topichub_protocol::topic::Topic;

use super::{Registry, answer, asking};
use crate::engine::Appended;
use crate::hub::input::{Asker, Delivery, Effect, Handout, Publication, SessionRef};
use crate::hub::permit::Permit;
use crate::hub::published::Published;

impl Registry {
    pub(super) fn publish(&mut self, mut publication: Publication, now: Duration, effects: &mut Vec<Effect>) {
        publication.subscribers = self.subscriptions(&publication.topic);
        let mut appended = std::mem::take(&mut self.appended);
        self.engine.append(publication, now, &mut appended);
        appended.drain(..).for_each(|appended| self.appended(appended, effects));
        self.appended = appended;
    }

    /// How many subscriptions a message of this topic reaches.
    pub(crate) fn subscriptions(&self, topic: &Topic) -> u32 {
        let mut subscriptions = self.topics.get(topic).map_or(0, |interest| interest.subscriptions());
        self.patterns.matching(topic, &mut |interest| subscriptions += interest.subscriptions());
        subscriptions
    }

    fn appended(&mut self, appended: Appended, effects: &mut Vec<Effect>) {
        match appended {
            Appended::Stored { published, asker, subscribers, permit } => {
                self.send(&published, permit, effects);
                if self.has_groups {
                    self.hand_out(&published, effects);
                }
                // A request is answered by somebody else.
                if published.message.reply_to().is_none() {
                    let message = &published.message;
                    let reply = Reply::Published {
                        id: asking::id_of(&asker),
                        topic: message.topic.clone(),
                        position: message.position,
                        subscribers: subscribers.into(),
                        duplicate: false,
                    };
                    answer_published(asker, reply, effects);
                }
            }
            Appended::Duplicate { topic, position, subscribers, asker } => {
                let (id, subscribers) = (asking::id_of(&asker), subscribers.into());
                let reply = Reply::Published { id, topic, position, subscribers, duplicate: true };
                answer_published(asker, reply, effects);
            }
            Appended::Refused { asker, error } => answer(asker, Reply::Error(error), effects),
        }
    }

    /// Sends a message once to each worker that cares.
    fn send(&mut self, published: &Arc<Published>, permit: Option<Permit>, effects: &mut Vec<Effect>) {
        let topic = &published.message.topic;
        let mut reached = std::mem::take(&mut self.reached);
        if let Some(interest) = self.topics.get(topic) {
            reached.extend(interest.workers());
        }
        self.patterns.matching(topic, &mut |interest| {
            for worker in interest.workers() {
                if !reached.contains(&worker) {
                    reached.push(worker);
                }
            }
        });
        let mut permit = permit;
        for (number, worker) in reached.iter().enumerate() {
            // Each lets go of its part when it has taken the message.
            let rest = reached.len() - number;
            let permit =
                if rest == 1 { permit.take() } else { permit.as_mut().map(|permit| permit.split(rest)) };
            let delivery = Delivery::Message { published: Arc::clone(published), permit };
            effects.push(Effect::Deliver { worker: *worker, delivery });
        }
        reached.clear();
        self.reached = reached;
    }

    /// Gives a message to one member of each queue group that cares.
    fn hand_out(&mut self, published: &Arc<Published>, effects: &mut Vec<Effect>) {
        let topic = &published.message.topic;
        let mut handouts = Vec::new();
        if let Some(groups) = self.topics.get_mut(topic).and_then(|interest| interest.groups.as_mut()) {
            let filter = topichub_protocol::topic::Filter::Topic(topic.clone());
            groups.pick_each(&mut |group, session| handouts.push((session, filter.clone(), group.into())));
        }
        self.patterns.matching_mut(topic, &mut |filter, interest| {
            if let Some(groups) = &mut interest.groups {
                groups.pick_each(&mut |group, session| handouts.push((session, filter(), group.into())));
            }
        });
        for (session, filter, group) in handouts {
            let handout = Handout { published: Arc::clone(published), filter, group };
            hand(session, handout, effects);
        }
    }

    /// A member has gone before it got its message: another one gets it.
    pub(super) fn hand_on(&mut self, handout: Handout, effects: &mut Vec<Effect>) {
        let interest = match &handout.filter {
            topichub_protocol::topic::Filter::Topic(topic) => self.topics.get_mut(topic),
            topichub_protocol::topic::Filter::Pattern(pattern) => self.patterns.get_mut(pattern),
        };
        let Some(groups) = interest.and_then(|interest| interest.groups.as_mut()) else { return };
        if let Some(session) = groups.pick(&handout.group) {
            hand(session, handout, effects);
        }
    }
}

fn hand(session: SessionRef, handout: Handout, effects: &mut Vec<Effect>) {
    let delivery = Delivery::Handout { subscriber: session.subscriber, handout: Box::new(handout) };
    effects.push(Effect::Deliver { worker: session.worker, delivery });
}

/// A publish without an id is answered with nothing.
fn answer_published(asker: Asker, reply: Reply, effects: &mut Vec<Effect>) {
    if !matches!(asker, Asker::Session { id: None, .. }) {
        answer(asker, reply, effects);
    }
}
