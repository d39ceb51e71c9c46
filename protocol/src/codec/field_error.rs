//! Why a map is no command, reply or push: errors that name the field, the limit and the value.
//! They become the text of `error` replies, so what they quote of the peer's own words is shortened.

use thiserror::Error;

use super::syntax::SyntaxError;
use crate::code::ErrorCode;
use crate::command::{BATCH_MAX, CommandError, ID_BYTES_MAX, TOPICS_PER_COMMAND_MAX};
use crate::topic::TopicError;

/// The most characters of a peer's text that an error repeats.
const QUOTE_MAX: usize = 48;

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
    #[error("keys must be strings, got {got} at byte {at}")]
    KeyNotText { at: usize, got: &'static str },
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
    #[error("op \"{op}\" is not available in this version")]
    LaterOp { op: &'static str },
    #[error("field \"{key}\" is not one of its words: {quoted}")]
    UnknownWord { key: &'static str, quoted: String },
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

    pub(crate) fn not_an_epoch(text: &str) -> Self {
        Self::NotAnEpoch { quoted: quote(text) }
    }

    pub(crate) fn unknown_word(key: &'static str, word: &str) -> Self {
        Self::UnknownWord { key, quoted: quote(word) }
    }

    /// The word for programs.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Topic { .. } => ErrorCode::InvalidTopic,
            Self::UnknownOp { .. } | Self::LaterOp { .. } => ErrorCode::UnknownOp,
            _ => ErrorCode::BadRequest,
        }
    }
}

impl From<FieldError> for CommandError {
    fn from(error: FieldError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// The text in quotes, its controls escaped and its end cut off if it is long.
fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((at, _)) => format!("\"{}…\"", text[..at].escape_debug()),
        None => format!("\"{}\"", text.escape_debug()),
    }
}
