//! Messages and what they are made of: their place, and payloads that stay the bytes they came as.
//! How commands and pushes are written around them is the codec's business.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::codec::syntax::SyntaxError;
use crate::codec::{json, msgpack, transcode};
use crate::command::ReplyTo;
pub use crate::position::{Epoch, EpochError, OFFSET_LIMIT, Position, PositionError};
use crate::topic::Topic;

/// The deepest nesting of arrays and maps in a payload: `[]` is one level, a number none.
pub const DEPTH_MAX: usize = 64;

/// One published item at its place in a topic. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Where it was published.
    pub topic: Topic,
    /// Its place in the topic.
    pub position: Position,
    /// What was published.
    pub payload: Payload,
    /// What else was said when it was published; mostly nothing.
    pub extras: Option<Arc<Extras>>,
}

impl Message {
    /// Which of the topic's things it is about.
    pub fn key(&self) -> Option<&str> {
        self.extras.as_ref()?.key.as_deref()
    }

    /// What the publisher passed along.
    pub fn meta(&self) -> Option<&Meta> {
        self.extras.as_ref()?.meta.as_ref()
    }

    /// Where an answer goes, if the publisher waits for one.
    pub fn reply_to(&self) -> Option<ReplyTo> {
        self.extras.as_ref()?.reply_to
    }
}

/// What few messages have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// Which of the topic's things the message is about.
    pub key: Option<Box<str>>,
    /// Passed along.
    pub meta: Option<Meta>,
    /// Where an answer goes.
    pub reply_to: Option<ReplyTo>,
}

/// The most entries of a [`Meta`].
pub const META_ENTRIES_MAX: usize = 16;

/// The most bytes of a [`Meta`], names and values together.
pub const META_BYTES_MAX: usize = 1024;

/// A small map of texts: at most 16 entries with at most 1,024 bytes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta(Box<[(Box<str>, Box<str>)]>);

impl Meta {
    /// Takes entries in their order.
    ///
    /// # Errors
    /// If there are too many of them, they are too long, or a name comes twice.
    pub fn new(entries: Vec<(Box<str>, Box<str>)>) -> Result<Self, MetaError> {
        if entries.len() > META_ENTRIES_MAX {
            return Err(MetaError::TooMany { got: entries.len() });
        }
        let len = entries.iter().map(|(name, value)| name.len() + value.len()).sum();
        if len > META_BYTES_MAX {
            return Err(MetaError::TooLong { len });
        }
        let again = |at: usize| entries[..at].iter().any(|(name, _)| *name == entries[at].0);
        if (0..entries.len()).any(again) {
            return Err(MetaError::Twice);
        }
        Ok(Self(entries.into()))
    }

    /// Names and values, in the order of the publisher.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of one name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

/// Why entries are no [`Meta`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MetaError {
    /// Too many entries.
    #[error("{got} entries, the limit is {META_ENTRIES_MAX}")]
    TooMany {
        /// How many.
        got: usize,
    },
    /// Too many bytes.
    #[error("{len} bytes, the limit is {META_BYTES_MAX}")]
    TooLong {
        /// How many.
        len: usize,
    },
    /// The same name twice.
    #[error("a name comes twice")]
    Twice,
}

/// What was published, as the bytes it came as. Checked once when it is made, never parsed into a tree, and
/// writable in either codec without failing. Cheap to clone.
///
/// ```
/// use topichub_protocol::Payload;
///
/// let payload = Payload::of(&("AAPL", 190.5))?;
/// let mut out = Vec::new();
/// payload.write_msgpack(&mut out);
/// assert_eq!(out, b"\x92\xa4AAPL\xcb\x40\x67\xd0\0\0\0\0\0");
/// assert_eq!(payload.deserialize::<(String, f64)>()?, ("AAPL".to_owned(), 190.5));
/// # Ok::<(), topichub_protocol::PayloadError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(Content);

/// In each notation its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Json(ByteString),
    MsgPack(Bytes),
    Binary(Bytes),
}

/// As [`Payload::from_json`], in memory of its own.
impl FromStr for Payload {
    type Err = PayloadError;

    fn from_str(text: &str) -> Result<Self, PayloadError> {
        let range = json::check(text)?;
        Ok(Self::checked_json(&text[range]))
    }
}

/// The notation a payload came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadKind {
    /// One JSON value (RFC 8259), without blanks around it.
    Json,
    /// One MessagePack value that is not a `bin`.
    MsgPack,
    /// Bytes of any kind: `data_base64` in JSON, `bin` in MessagePack.
    Binary,
}

impl Payload {
    /// One JSON value, blanks around it taken away.
    ///
    /// # Errors
    /// If it is not exactly one JSON value, not UTF-8, nested deeper than [`DEPTH_MAX`], or holds the escape of
    /// half a surrogate pair (RFC 7493 §2.1).
    pub fn from_json(bytes: Bytes) -> Result<Self, PayloadError> {
        json::utf8(&bytes)?;
        let text = ByteString::try_from(bytes).unwrap_or_default();
        let range = json::check(&text)?;
        let is_all = range.len() == text.len();
        Ok(Self(Content::Json(if is_all { text } else { text.slice_ref(&text[range]) })))
    }

    /// One MessagePack value; a `bin` becomes [`Binary`](PayloadKind::Binary).
    ///
    /// # Errors
    /// If it is not exactly one value, has a `str` that is not UTF-8, is nested deeper than [`DEPTH_MAX`], or
    /// has a key that is an array or map inside another such key.
    pub fn from_msgpack(bytes: Bytes) -> Result<Self, PayloadError> {
        match msgpack::check(&bytes)? {
            msgpack::Checked::Bin(range) => Ok(Self::from_binary(bytes.slice(range))),
            msgpack::Checked::Other => Ok(Self(Content::MsgPack(bytes))),
        }
    }

    /// Any bytes.
    pub fn from_binary(bytes: Bytes) -> Self {
        Self(Content::Binary(bytes))
    }

    /// Any value of serde's data model, as JSON: how programs publish their own types.
    ///
    /// # Errors
    /// If the value cannot be written as JSON, or is nested deeper than [`DEPTH_MAX`].
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        let text = serde_json::to_vec(value).map_err(|error| PayloadError::Value(error.to_string()))?;
        Self::from_json(text.into())
    }

    /// The same in memory of its own: nothing larger that it was a part of is kept along with it.
    pub fn detached(&self) -> Self {
        let own = Bytes::copy_from_slice;
        Self(match &self.0 {
            Content::Json(text) => Content::Json(ByteString::from(&**text)),
            Content::MsgPack(bytes) => Content::MsgPack(own(bytes)),
            Content::Binary(bytes) => Content::Binary(own(bytes)),
        })
    }

    /// JSON that a scanner has checked as part of something larger.
    pub(crate) fn checked_json(text: &str) -> Self {
        Self(Content::Json(text.into()))
    }

    /// MessagePack that a scanner has checked as part of something larger, and that is no `bin`.
    pub(crate) fn checked_msgpack(bytes: &[u8]) -> Self {
        Self(Content::MsgPack(Bytes::copy_from_slice(bytes)))
    }

    /// Reads the payload as `T`. A binary one can be read as bytes only (`bytes::Bytes`, `serde_bytes`).
    ///
    /// # Errors
    /// If the payload has not the shape of `T`.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        match &self.0 {
            Content::Json(text) => {
                serde_json::from_str(text).map_err(|error| PayloadError::Value(error.to_string()))
            }
            Content::MsgPack(bytes) => {
                rmp_serde::from_slice(bytes).map_err(|error| PayloadError::Value(error.to_string()))
            }
            Content::Binary(bytes) => {
                let bytes = serde::de::value::BytesDeserializer::<serde::de::value::Error>::new(bytes);
                T::deserialize(bytes).map_err(|error| PayloadError::Value(error.to_string()))
            }
        }
    }

    /// The notation it came in.
    pub fn kind(&self) -> PayloadKind {
        match self.0 {
            Content::Json(_) => PayloadKind::Json,
            Content::MsgPack(_) => PayloadKind::MsgPack,
            Content::Binary(_) => PayloadKind::Binary,
        }
    }

    /// Whether it is bytes of any kind rather than a value.
    pub fn is_binary(&self) -> bool {
        matches!(self.0, Content::Binary(_))
    }

    /// The key of the payload in JSON: `data_base64` if it is binary, else `data`. In MessagePack it is always `data`.
    pub fn json_key(&self) -> &'static str {
        if self.is_binary() { "data_base64" } else { "data" }
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &Bytes {
        match &self.0 {
            Content::Json(text) => text.as_bytes(),
            Content::MsgPack(bytes) | Content::Binary(bytes) => bytes,
        }
    }

    /// Appends the payload as a JSON value; a binary one as a base64 string (RFC 4648 §4).
    ///
    /// What came as JSON is copied as it is, line breaks between its tokens included. What came as MessagePack
    /// grows at most 16-fold.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Content::Json(text) => out.extend_from_slice(text.as_bytes()),
            Content::MsgPack(bytes) => transcode::msgpack_to_json(bytes, out),
            Content::Binary(bytes) => json::write_base64(bytes, out),
        }
    }

    /// Like [`write_json`](Self::write_json), but never with a line break in it: for line-oriented outputs.
    pub fn write_json_line(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Content::Json(text) => json::line(text, out),
            _ => self.write_json(out),
        }
    }

    /// Appends the payload as a MessagePack value; a binary one as `bin`. What came as JSON grows at most 5-fold.
    pub fn write_msgpack(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Content::Json(text) => transcode::json_to_msgpack(text, out),
            Content::MsgPack(bytes) => out.extend_from_slice(bytes),
            Content::Binary(bytes) => msgpack::write_bin(bytes, out),
        }
    }
}

/// Why bytes or a value are no payload, or a payload not the value asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// The bytes break the rules of their notation, or a limit.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// Serde's word on a value that has no such form.
    #[error("{0}")]
    Value(String),
}
