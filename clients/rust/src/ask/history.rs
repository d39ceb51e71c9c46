//! A page of history to be shown.

use std::future::IntoFuture;

use topichub_protocol::command::{self, HISTORY_LIMIT, HistoryRange};
use topichub_protocol::reply::HistoryPage;
use topichub_protocol::{Operation, Position, Reply, Topic, TopicError};

use super::Waiting;
use crate::error::Error;
use crate::hub::{Hub, unexpected};

/// A page of history to be shown: see [`Hub::history`].
#[derive(Debug)]
#[must_use = "nothing is asked before .await"]
pub struct History {
    hub: Hub,
    topic: Result<Topic, TopicError>,
    range: HistoryRange,
    limit: u64,
}

impl History {
    pub(crate) fn new(hub: Hub, topic: Result<Topic, TopicError>) -> Self {
        Self { hub, topic, range: HistoryRange::Newest, limit: HISTORY_LIMIT }
    }

    /// The oldest behind this position.
    pub fn after(mut self, position: Position) -> Self {
        self.range = HistoryRange::After(position);
        self
    }

    /// The newest before this position.
    pub fn before(mut self, position: Position) -> Self {
        self.range = HistoryRange::Before(position);
        self
    }

    /// The most messages to show: 1 to 1,000, 100 if nothing is said.
    pub fn limit(mut self, messages: u64) -> Self {
        self.limit = messages;
        self
    }
}

impl IntoFuture for History {
    type Output = Result<HistoryPage, Error>;
    type IntoFuture = Waiting<HistoryPage>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { hub, topic, range, limit } = self;
            match hub.order(Operation::History(command::History { topic: topic?, range, limit })).await? {
                Reply::History { page, .. } => Ok(page),
                other => Err(unexpected(&other)),
            }
        })
    }
}
