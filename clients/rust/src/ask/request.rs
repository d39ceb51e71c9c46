//! A question to be asked.

use std::future::IntoFuture;
use std::time::Duration;

use topichub_protocol::command::{self, REQUEST_TIMEOUT_MAX};
use topichub_protocol::{Operation, Payload, PayloadError, Reply, Topic, TopicError};

use super::Waiting;
use crate::error::Error;
use crate::hub::{Hub, unexpected};

/// A question to be asked: see [`Hub::request`].
#[derive(Debug)]
#[must_use = "nothing is asked before .await"]
pub struct Request {
    hub: Hub,
    topic: Result<Topic, TopicError>,
    payload: Result<Payload, PayloadError>,
    timeout: Duration,
}

impl Request {
    pub(crate) fn new(
        hub: Hub,
        topic: Result<Topic, TopicError>,
        payload: Result<Payload, PayloadError>,
        timeout: Duration,
    ) -> Self {
        Self { hub, topic, payload, timeout }
    }

    /// How long the server waits for an answer, in whole milliseconds: 1 ms to 10 minutes, 5 s if nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl IntoFuture for Request {
    type Output = Result<Payload, Error>;
    type IntoFuture = Waiting<Payload>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { hub, topic, payload, timeout } = self;
            if !(Duration::from_millis(1)..=REQUEST_TIMEOUT_MAX).contains(&timeout) {
                let why = format!("a timeout is 1 ms to 10 minutes, got {timeout:?}");
                return Err(Error::Option(why.into()));
            }
            let request = command::Request { topic: topic?, payload: payload?, timeout };
            match hub.order(Operation::Request(request)).await? {
                Reply::Answer { payload, .. } => Ok(payload),
                other => Err(unexpected(&other)),
            }
        })
    }
}
