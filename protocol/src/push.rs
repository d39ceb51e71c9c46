//! Pushes: what the server sends unasked.
//! They hold what goes over the wire and nothing more; when they are sent is decided elsewhere.

use std::time::Duration;

use crate::code::{CloseCode, ErrorCode};
use crate::message::{DEPTH_MAX, Payload};
use crate::topic::{Filter, TOPIC_BYTES_MAX, Topic};

/// The version of SPEC.md that `welcome` announces as `protocol`.
pub const PROTOCOL_VERSION: u64 = 1;

/// One thing the server says unasked.
#[derive(Clone, Debug, PartialEq)]
pub enum Push {
    /// `welcome`: the first thing on every connection.
    Welcome(Welcome),
    /// `message`: a message of a subscribed topic. Servers send the same bytes through
    /// [`encode_message`](crate::codec::Codec::encode_message).
    Message {
        /// The topic it was published to, also when a pattern brought it.
        topic: Topic,
        /// Its place in the topic.
        offset: u64,
        /// Its data.
        payload: Payload,
    },
    /// `unsubscribed`: the server ended a subscription. Unlike the reply it has a `code` and no `id`.
    Unsubscribed {
        /// Which one.
        filter: Filter,
        /// Why.
        code: ErrorCode,
    },
    /// `goodbye`: the server is about to close the connection.
    Goodbye(Goodbye),
}

/// `welcome`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The session's id, a UUID in its text form (RFC 9562 §4).
    pub session: String,
    /// The server's name and version, such as `topichub/0.1.0`.
    pub server: String,
    /// The version of SPEC.md that is spoken.
    pub protocol: u64,
    /// How often the server sends a WebSocket ping; on the wire `ping_ms`, whole milliseconds.
    pub ping: Duration,
    /// What the server takes.
    pub limits: Limits,
}

/// What the server takes, as announced in `welcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest WebSocket message, in bytes.
    pub message_bytes: u64,
    /// The most subscriptions of one session.
    pub topics_per_session: u64,
    /// The longest topic, in bytes.
    pub topic_bytes: u64,
    /// The deepest nesting of arrays and maps in `data`.
    pub depth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 * 1024,
            topics_per_session: 128,
            topic_bytes: TOPIC_BYTES_MAX as u64,
            depth: DEPTH_MAX as u64,
        }
    }
}

/// `goodbye`. Its `reconnect` is the [verdict](CloseCode::verdict) of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// The code of the close frame that follows.
    pub code: CloseCode,
    /// Why, for people.
    pub reason: String,
    /// The least time to wait before coming back; on the wire `after_ms`, whole milliseconds.
    pub after: Option<Duration>,
}
