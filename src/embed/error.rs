//! What can go wrong when a program uses the hub.

use topichub_protocol::command::CommandError;
use topichub_protocol::message::PayloadError;
use topichub_protocol::topic::TopicError;

/// The hub could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Actors need an actix system.
    #[error(
        "there is no actix system: start the hub within #[actix_web::main], #[actix::main] or a System of your own"
    )]
    NoSystem,
}

/// A message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic is none.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The topic is the server's own.
    #[error("topics that begin with $sys are the server's own")]
    SystemTopic,
    /// The data cannot be a payload.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The payload is longer than the settings allow.
    #[error("the payload has {len} bytes, the limit is {max}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// [`Settings::message_bytes_max`](crate::Settings::message_bytes_max).
        max: usize,
    },
    /// A condition of the publish does not hold.
    #[error("{}", .0.message)]
    Refused(CommandError),
    /// The hub has stopped.
    #[error("the hub has stopped")]
    HubStopped,
}

/// There is no answer to what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// It cannot be answered.
    #[error("{}", .0.message)]
    Refused(CommandError),
    /// The hub has stopped.
    #[error("the hub has stopped")]
    HubStopped,
}

/// A subscription could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Neither a topic nor a pattern.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// What was published before cannot be had in this way.
    #[error("{}", .0.message)]
    Refused(CommandError),
    /// The hub has stopped.
    #[error("the hub has stopped")]
    HubStopped,
}
