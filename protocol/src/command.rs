//! Commands: what a client asks, as owned and checked values.
//! How they are written down is the codec's business; whether they are permitted, the session's.

use std::fmt;

use thiserror::Error;

use crate::code::ErrorCode;
use crate::message::Payload;
use crate::topic::{Filter, Topic};

/// Integer ids are smaller than this in absolute value, so that every JSON reader keeps them exact (RFC 7493 §2.2).
pub const ID_INTEGER_LIMIT: i64 = 1 << 53;

/// The longest text id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 128;

/// The most entries in `topics`.
pub const TOPICS_PER_COMMAND_MAX: usize = 1000;

/// The most entries in a batch of publishes over HTTP.
pub const BATCH_MAX: usize = 1000;

/// One thing a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// With it, exactly one reply bears it; without it, success is silent (but for `ping`).
    pub id: Option<CommandId>,
    /// What is asked.
    pub operation: Operation,
}

/// What a command asks for: its `op` and the fields of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Deliver what is published to these topics and patterns.
    Subscribe(Subscribe),
    /// Deliver it no more.
    Unsubscribe(Unsubscribe),
    /// Publish one message.
    Publish(Publish),
    /// Answer with `pong`.
    Ping,
}

/// `subscribe`: all-or-nothing, and again to change the options.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// `topic` or `topics`; the latter 1 to 1,000 entries, each once.
    pub filters: OneOrMany<Filter>,
    /// Whether the session's own publishes come back to it through this subscription. `true` if not said.
    pub echo: bool,
}

/// `unsubscribe`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe {
    /// `topic` or `topics`; the latter 1 to 1,000 entries, each once.
    pub filters: OneOrMany<Filter>,
}

/// `publish`.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Where to.
    pub topic: Topic,
    /// `data`, or in JSON `data_base64`.
    pub payload: Payload,
}

/// What a client calls its command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommandId {
    /// Smaller than 2^53 in absolute value.
    Integer(i64),
    /// At most 128 bytes.
    Text(Box<str>),
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// One thing under the key `topic`, or several under `topics`. A reply answers in the form of its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMany<T> {
    /// The key `topic`.
    One(T),
    /// The key `topics`.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them, in the order written.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// All of them, in the order written.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    /// The same form with other content: how a reply is made of its command.
    pub fn map<U>(self, mut convert: impl FnMut(T) -> U) -> OneOrMany<U> {
        match self {
            Self::One(one) => OneOrMany::One(convert(one)),
            Self::Many(many) => OneOrMany::Many(many.into_iter().map(convert).collect()),
        }
    }
}

impl<'a, T> IntoIterator for &'a OneOrMany<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Why a command failed; becomes the `error` reply as it is, so nothing internal may stand in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct CommandError {
    /// The command's id, whenever it could be read.
    pub id: Option<CommandId>,
    /// What kind of failure, for programs.
    pub code: ErrorCode,
    /// What exactly, for people: lowercase, with limit and value.
    pub message: String,
}

impl CommandError {
    /// An error without an id.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { id: None, code, message: message.into() }
    }

    /// The same error as the answer to the command of this id.
    pub fn with_id(mut self, id: Option<CommandId>) -> Self {
        self.id = id;
        self
    }
}
