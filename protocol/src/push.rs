//! Pushes: what the server sends unasked.
//! They hold what goes over the wire and nothing more; when they are sent is decided elsewhere.

use std::sync::Arc;
use std::time::Duration;

use crate::code::ErrorCode;
use crate::message::{DEPTH_MAX, Epoch, Extras, Payload};
use crate::reply::{Member, MemberId, Presence};
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
        /// Said with the first message of an epoch only, the one of offset 1.
        epoch: Option<Epoch>,
        /// Its data.
        payload: Payload,
        /// What else was said when it was published.
        extras: Option<Arc<Extras>>,
    },
    /// `gap`: no message of these offsets comes through this subscription.
    Gap(Gap),
    /// `presence`: who is on a topic; the first thing a watcher is told.
    Presence(Presence),
    /// `presence` with `joined` and `left`: who has come and gone since the last one.
    PresenceChange(PresenceChange),
    /// `unsubscribed`: the server ended a subscription. Unlike the reply it has a `code` and no `id`.
    Unsubscribed {
        /// Which one.
        filter: Filter,
        /// Why.
        code: ErrorCode,
    },
    /// `expiring`: what the session has authenticated with is about to run out.
    Expiring {
        /// In how long; on the wire `in_ms`, whole milliseconds.
        within: Duration,
    },
    /// `goodbye`: the server is about to close the connection.
    Goodbye(Goodbye),
}

impl Push {
    /// The word on the wire.
    pub const fn op(&self) -> &'static str {
        match self {
            Self::Welcome(_) => "welcome",
            Self::Message { .. } => "message",
            Self::Gap(_) => "gap",
            Self::Presence(_) | Self::PresenceChange(_) => "presence",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Expiring { .. } => "expiring",
            Self::Goodbye(_) => "goodbye",
        }
    }
}

/// `gap`: what is not delivered is announced, in order with the messages around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Of which topic.
    pub topic: Topic,
    /// Of which incarnation of its log.
    pub epoch: Epoch,
    /// The first offset that does not come.
    pub from: u64,
    /// The last offset that does not come; nothing in between comes either.
    pub to: u64,
    /// Why.
    pub why: GapReason,
}

/// Why messages do not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The reader did not keep up, and the policy is `drop`.
    Dropped,
    /// The reader did not keep up, and newer messages took their place (`latest`, `latest-per-key`).
    Conflated,
    /// History no longer reaches back so far.
    History,
    /// They were worth having for a time that is over (`ttl_ms`).
    Expired,
}

impl GapReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Dropped, Self::Conflated, Self::History, Self::Expired];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Conflated => "conflated",
            Self::History => "history",
            Self::Expired => "expired",
        }
    }

    /// The reason behind a word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Who has come to a topic and who has gone.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceChange {
    /// Which topic.
    pub topic: Topic,
    /// How many members there are now.
    pub count: u64,
    /// How many sessions they have now.
    pub sessions: u64,
    /// Who has come or has other data now, and who has gone; `None` if there are too many to be named.
    pub members: Option<(Vec<Member>, Vec<MemberId>)>,
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

/// `goodbye`. Its `reconnect` is the [verdict](crate::Reconnect::after_close) on the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// The code of the close frame that follows: a [`CloseCode`](crate::CloseCode), or one of a later version.
    pub code: u16,
    /// Why, for people.
    pub reason: String,
    /// The least time to wait before coming back; on the wire `after_ms`, whole milliseconds.
    pub after: Option<Duration>,
}
