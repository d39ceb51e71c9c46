//! A message to be published, with its options.

use std::future::{Future, IntoFuture};
use std::time::Duration;

use serde::Serialize;
use topichub_protocol::command::{self, PublishOptions};
use topichub_protocol::{Meta, Operation, Payload, PayloadError, Published, Reply, Topic, TopicError};

use super::Waiting;
use crate::error::Error;
use crate::hub::{Hub, unexpected};

/// What can be published: a reference to anything that serde writes, or a payload that is ready.
pub trait IntoPayload {
    /// The payload.
    ///
    /// # Errors
    /// If the value has no such form, or is nested too deep.
    fn into_payload(self) -> Result<Payload, PayloadError>;
}

impl<T: Serialize + ?Sized> IntoPayload for &T {
    fn into_payload(self) -> Result<Payload, PayloadError> {
        Payload::of(self)
    }
}

impl IntoPayload for Payload {
    fn into_payload(self) -> Result<Payload, PayloadError> {
        Ok(self)
    }
}

/// A message to be published: see [`Hub::publish`].
#[derive(Debug)]
#[must_use = "nothing is published before .await"]
pub struct Publish {
    hub: Hub,
    topic: Result<Topic, TopicError>,
    payload: Result<Payload, PayloadError>,
    options: PublishOptions,
    meta: Vec<(Box<str>, Box<str>)>,
}

impl Publish {
    pub(crate) fn new(
        hub: Hub,
        topic: Result<Topic, TopicError>,
        payload: Result<Payload, PayloadError>,
    ) -> Self {
        Self { hub, topic, payload, options: PublishOptions::default(), meta: Vec::new() }
    }

    /// Which of the topic's things it is about: 1 to 128 bytes.
    pub fn key(mut self, key: &str) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// Passed along to the subscribers: at most 16 entries of 1,024 bytes together.
    pub fn meta(mut self, name: &str, value: &str) -> Self {
        self.meta.push((name.into(), value.into()));
        self
    }

    /// How long it is worth having, in whole milliseconds; later it is not replayed.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// A second publish of this name to the topic is taken for a repeat of the first: 1 to 128 bytes. With it the Hub
    /// itself publishes again if the connection is lost before the reply.
    pub fn dedup(mut self, name: &str) -> Self {
        self.options.dedup = Some(name.into());
        self
    }

    /// Publishes only if the topic's last offset is this one, 0 for none; else the server answers `conflict`.
    pub fn if_offset(mut self, offset: u64) -> Self {
        self.options.if_offset = Some(offset);
        self
    }

    /// Sessions that do not get it: UUIDs as numbers, at most 100.
    pub fn exclude(mut self, sessions: impl IntoIterator<Item = u128>) -> Self {
        self.options.exclude.extend(sessions);
        self
    }

    /// All the options of the wire at once, in place of what was said before.
    pub fn options(mut self, options: PublishOptions) -> Self {
        self.options = options;
        self
    }
}

impl Publish {
    /// Publishes at once, and leaves the reply for later: what is started in an order is published in it. At most 1,024
    /// commands may wait for their replies.
    ///
    /// # Errors
    /// If topic, data or options cannot be meant, if too much is under way, or if the Hub is closed.
    pub fn start(self) -> Result<impl Future<Output = Result<Published, Error>> + Send + 'static, Error> {
        let (hub, operation) = self.operation()?;
        let ordered = hub.order_now(operation)?;
        Ok(async move { published(ordered.reply().await?) })
    }

    fn operation(self) -> Result<(Hub, Operation), Error> {
        let Self { hub, topic, payload, mut options, meta } = self;
        if !meta.is_empty() {
            let meta = Meta::new(meta).map_err(|error| Error::Option(format!("meta: {error}").into()))?;
            options.meta = Some(meta);
        }
        let options = (options != PublishOptions::default()).then(|| Box::new(options));
        Ok((hub, Operation::Publish(command::Publish { topic: topic?, payload: payload?, options })))
    }
}

impl IntoFuture for Publish {
    type Output = Result<Published, Error>;
    type IntoFuture = Waiting<Published>;

    /// Publishes, and waits for the place of the message in its topic.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (hub, operation) = self.operation()?;
            published(hub.order(operation).await?)
        })
    }
}

fn published(reply: Reply) -> Result<Published, Error> {
    match reply {
        Reply::Published { topic, position, subscribers, duplicate, .. } => {
            Ok(Published { topic, position, subscribers, duplicate })
        }
        other => Err(unexpected(&other)),
    }
}
