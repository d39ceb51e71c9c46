//! What those who look after a server ask of the registry: which topics there are, and that one forgets its messages.

use std::time::Duration;

use topichub_protocol::message::Position;
use topichub_protocol::topic::{Filter, Topic};

use super::Registry;

/// What there is to be known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicStatus {
    /// Which one.
    pub topic: Topic,
    /// Where it stands.
    pub position: Position,
    /// How many messages of the past it holds.
    pub messages: u64,
    /// How many subscriptions its messages go to, those of patterns included.
    pub subscriptions: u64,
}

/// Topics in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicPage {
    /// The topics.
    pub topics: Vec<TopicStatus>,
    /// Behind which one to go on; `None` at the end. A page with few topics, or none, need not be the last.
    pub next: Option<Topic>,
}

impl Registry {
    /// A page of the topics that match.
    pub(crate) fn survey(
        &mut self,
        filter: Option<&Filter>,
        after: Option<&Topic>,
        limit: usize,
        now: Duration,
    ) -> TopicPage {
        let (names, next) = match filter {
            Some(Filter::Topic(topic)) => {
                (self.engine.exists(topic).then(|| topic.clone()).into_iter().collect(), None)
            }
            Some(Filter::Pattern(pattern)) => self.engine.list(Some(pattern), after, limit),
            None => self.engine.list(None, after, limit),
        };
        let topics = names.into_iter().map(|topic| self.status(topic, now)).collect();
        TopicPage { topics, next }
    }

    /// Forgets the messages of a topic, and returns how many there were.
    pub(crate) fn purge(&mut self, topic: &Topic, now: Duration) -> usize {
        self.engine.purge(topic, now)
    }

    fn status(&mut self, topic: Topic, now: Duration) -> TopicStatus {
        let extent = self.engine.extent(&topic, now);
        TopicStatus {
            position: extent.end,
            messages: (extent.end.offset + 1).saturating_sub(extent.oldest),
            subscriptions: self.subscriptions(&topic).into(),
            topic,
        }
    }
}
