//! Why a map is no command, reply or push: errors that name the field, the limit and the value.
//! They become the text of `error` replies, so what they quote of the peer's own words is shortened.

use thiserror::Error;

use super::syntax::SyntaxError;
use crate::code::ErrorCode;
use crate::command::{
    BATCH_MAX, CommandError, EVENTS_COMMANDS_MAX, ID_BYTES_MAX, MAX_RATE_RANGE, NAME_BYTES_MAX,
    PRESENCE_DATA_BYTES_MAX, TOKEN_BYTES_MAX, TOPICS_PER_COMMAND_MAX,
};
use crate::message::MetaError;
use crate::position::PositionError;
use crate::quote::quote;
use crate::topic::TopicError;

/// Why a map is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FieldError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("a message is a map, got {got}")]
    NotAMap { got: &'static str },
    #[error("a batch is an array, got {got}")]
    NotAnArray { got: &'static str },
    #[error("a batch holds at most {BATCH_MAX} entries, got {got}")]
    BatchTooLong { got: usize },
    #[error("what to subscribe to is an array of subscribe commands, got {got}")]
    NotCommands { got: &'static str },
    #[error("what to subscribe to is an array of 1 to {EVENTS_COMMANDS_MAX} commands, got {got}")]
    CommandCount { got: usize },
    #[error("field \"op\" must be \"subscribe\" here, got {quoted}")]
    NotSubscribe { quoted: String },
    /// An error in one of several commands, counted from 1.
    #[error("in command {number}: {reason}")]
    InCommand { number: usize, reason: Box<FieldError> },
    /// An error in a map under this key.
    #[error("in \"{key}\": {reason}")]
    Inside { key: &'static str, reason: Box<FieldError> },
    #[error("keys must be strings, got {got} at byte {at}")]
    KeyNotText { at: usize, got: &'static str },
    #[error("keys must be strings, got {got}")]
    NameNotText { got: &'static str },
    #[error("field \"{key}\" is there twice")]
    Twice { key: &'static str },
    #[error("field \"{key}\" is missing")]
    Missing { key: &'static str },
    #[error("field \"{key}\" or \"{other}\" is missing")]
    MissingEither { key: &'static str, other: &'static str },
    #[error("fields \"{key}\" and \"{other}\" exclude each other")]
    Exclusive { key: &'static str, other: &'static str },
    #[error("field \"{key}\" must be {expected}, got {got}")]
    WrongType { key: &'static str, expected: &'static str, got: &'static str },
    #[error("field \"{key}\" must be an integer, got {quoted}")]
    NotAnInteger { key: &'static str, quoted: String },
    #[error("field \"{key}\": {PositionError}, got {quoted}")]
    NotAPosition { key: &'static str, quoted: String },
    #[error("field \"{key}\" goes with \"{other}\" only")]
    Alone { key: &'static str, other: &'static str },
    #[error("field \"{key}\" must hold strings, got {got}")]
    WrongItem { key: &'static str, got: &'static str },
    #[error("field \"{key}\" must hold 1 to {TOPICS_PER_COMMAND_MAX} entries, got {got}")]
    WrongLength { key: &'static str, got: usize },
    #[error("field \"id\" must be smaller than 2^53, got {got}")]
    IdTooLarge { got: i128 },
    #[error("field \"id\" must be at most {ID_BYTES_MAX} bytes long, got {len}")]
    IdTooLong { len: usize },
    #[error("field \"{key}\" must be from 0 to 2^53 - 1, got {got}")]
    NotACount { key: &'static str, got: i128 },
    #[error("field \"{key}\" must be from {min} to {max}, got {got}")]
    OutOfRange { key: &'static str, min: u64, max: u64, got: i128 },
    #[error("field \"max_rate\" must be from {} to {}, got {got}", MAX_RATE_RANGE.start(), MAX_RATE_RANGE.end())]
    RateOutOfRange { got: String },
    #[error("field \"{key}\" must be 1 to {NAME_BYTES_MAX} bytes long, got {len}")]
    NameLength { key: &'static str, len: usize },
    #[error("field \"{key}\" must hold no control character, got U+{:04X} at byte {at}", u32::from(*character))]
    NameControl { key: &'static str, character: char, at: usize },
    #[error("field \"token\" must be 1 to {TOKEN_BYTES_MAX} bytes long, got {len}")]
    TokenLength { len: usize },
    #[error("field \"{key}\" must be {expected}, got {quoted}")]
    WrongWord { key: &'static str, expected: &'static str, quoted: String },
    #[error("field \"{key}\" must hold at most {max} entries, got {got}")]
    TooMany { key: &'static str, max: usize, got: usize },
    #[error("field \"data\" that others see must be at most {PRESENCE_DATA_BYTES_MAX} bytes long, got {len}")]
    DataTooLarge { len: usize },
    #[error("field \"meta\": {0}")]
    Meta(MetaError),
    #[error("field \"replay\" must hold one of \"last\", \"seconds\" and \"after\", got {got}")]
    ReplayForm { got: usize },
    #[error("field \"after\" must be a map from topics to positions for a pattern and for several topics")]
    OnePositionForMany,
    #[error("topic {quoted} is there twice")]
    TopicTwice { quoted: String },
    #[error("field \"presence\" is for topics, got the pattern {quoted}")]
    PresenceOfPattern { quoted: String },
    #[error("field \"{key}\" must be a UUID such as 67e55044-10b1-426f-9247-bb680e5fe0c8, got {quoted}")]
    NotASession { key: &'static str, quoted: String },
    #[error("field \"reply_to\" must be that of a message, got {quoted}")]
    NotAReplyTo { quoted: String },
    #[error("field \"reply_to\" is not for publish: answer with op \"reply\"")]
    ReplyToOnPublish,
    #[error("field \"{key}\" is not available in this version")]
    Later { key: &'static str },
    #[error("field \"epoch\" is not an epoch: {quoted}")]
    NotAnEpoch { quoted: String },
    #[error("field \"data_base64\" is not standard base64 with padding")]
    NotBase64,
    #[error("field \"data_base64\" is for JSON: in MessagePack, bytes are published as bin in \"data\"")]
    Base64InMsgPack,
    #[error("invalid topic {quoted}: {reason}")]
    Topic { quoted: String, reason: TopicError },
    #[error("unknown op {quoted}")]
    UnknownOp { quoted: String },
    #[error("field \"{key}\" is not one of its numbers: {got}")]
    UnknownNumber { key: &'static str, got: u64 },
}

impl FieldError {
    pub(crate) fn topic(text: &str, reason: TopicError) -> Self {
        Self::Topic { quoted: quote(text), reason }
    }

    pub(crate) fn unknown_op(op: &str) -> Self {
        Self::UnknownOp { quoted: quote(op) }
    }

    pub(crate) fn not_subscribe(op: &str) -> Self {
        Self::NotSubscribe { quoted: quote(op) }
    }

    pub(crate) fn inside(key: &'static str) -> impl FnOnce(Self) -> Self {
        move |reason| Self::Inside { key, reason: Box::new(reason) }
    }

    pub(crate) fn wrong_word(key: &'static str, expected: &'static str, word: &str) -> Self {
        Self::WrongWord { key, expected, quoted: quote(word) }
    }

    pub(crate) fn topic_twice(topic: &str) -> Self {
        Self::TopicTwice { quoted: quote(topic) }
    }

    pub(crate) fn presence_of_pattern(pattern: &str) -> Self {
        Self::PresenceOfPattern { quoted: quote(pattern) }
    }

    pub(crate) fn not_a_session(key: &'static str, text: &str) -> Self {
        Self::NotASession { key, quoted: quote(text) }
    }

    pub(crate) fn not_a_reply_to(text: &str) -> Self {
        Self::NotAReplyTo { quoted: quote(text) }
    }

    pub(crate) fn not_an_integer(key: &'static str, text: &str) -> Self {
        Self::NotAnInteger { key, quoted: quote(text) }
    }

    pub(crate) fn not_a_position(key: &'static str, text: &str) -> Self {
        Self::NotAPosition { key, quoted: quote(text) }
    }

    pub(crate) fn not_an_epoch(text: &str) -> Self {
        Self::NotAnEpoch { quoted: quote(text) }
    }

    /// The word for programs.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Topic { .. } => ErrorCode::InvalidTopic,
            Self::UnknownOp { .. } => ErrorCode::UnknownOp,
            Self::DataTooLarge { .. } | Self::Meta(MetaError::TooLong { .. }) => ErrorCode::TooLarge,
            Self::Inside { reason, .. } | Self::InCommand { reason, .. } => reason.code(),
            _ => ErrorCode::BadRequest,
        }
    }
}

impl From<FieldError> for CommandError {
    fn from(error: FieldError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
