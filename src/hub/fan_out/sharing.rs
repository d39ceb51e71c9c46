//! What goes to some subscribers of a topic only: messages for a member of a queue group, and who is there for those
//! who watch.

use std::time::Duration;

use topichub_protocol::push::Push;
use topichub_protocol::topic::Topic;

use super::{FanOut, Outlet};
use crate::hub::input::{Handout, SubscriberKey};
use crate::metrics::figure::Figure;

impl<L: Outlet> FanOut<L> {
    /// A message for one member of a queue group.
    pub(super) fn handout(&mut self, key: SubscriberKey, handout: Handout, now: Duration) {
        let Some(subscriber) = self.subscribers.get(key) else {
            return self.handed_back.push(handout);
        };
        let shares = subscriber.backlog.iter().flat_map(|backlog| &backlog.shares);
        let is_member =
            shares.into_iter().any(|share| share.filter == handout.filter && share.group == handout.group);
        if !is_member {
            return self.handed_back.push(handout);
        }
        let topic = &handout.published.message.topic;
        // Who gets it anyway gets it once.
        if subscriber.memberships.iter().any(|membership| self.groups[membership.group].filter.matches(topic))
        {
            return;
        }
        let class = subscriber.outlet.class();
        let frame: Box<[u8]> = handout.published.frame::<L>(class, &mut self.encoder).into();
        self.append_own(key, &frame, now);
        self.outboxes.tally.add(Figure::DELIVERIES, 1);
        self.resumable.push(key);
    }

    /// Who is on a topic, for those who want to know.
    pub(super) fn tell_watchers(&mut self, topic: &Topic, push: &Push, now: Duration) {
        let watchers = self.watchers.get(topic).cloned().unwrap_or_default();
        for key in watchers {
            let Some(subscriber) = self.subscribers.get(key) else { continue };
            if let Some(frame) = subscriber.outlet.encode_push(push) {
                self.append_own(key, &frame, now);
            }
        }
    }
}
