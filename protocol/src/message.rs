//! Messages and what they are made of: positions, and payloads that stay the bytes they came as.
//! How commands and pushes are written around them is the codec's business.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::codec::syntax::SyntaxError;
use crate::codec::{json, msgpack, transcode};
use crate::topic::Topic;

/// Offsets are smaller than this, so that every JSON reader keeps them exact (RFC 7493 §2.2).
pub const OFFSET_LIMIT: u64 = 1 << 53;

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
}

/// A place in a topic: which incarnation of its log, and which index in it.
///
/// Only positions of one epoch can be compared, so there is no order on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which incarnation of the log.
    pub epoch: Epoch,
    /// Which message in it; the first is 1, and 0 stands before it. Smaller than 2^53.
    pub offset: u64,
}

/// One incarnation of a topic's log. Its text, on the wire and for people, is base 36 in lowercase: `k3v9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EpochText::of(*self).as_str())
    }
}

impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let canonical = text == "0" || !text.starts_with('0');
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        if !canonical || !digits {
            return Err(EpochError);
        }
        u64::from_str_radix(text, 36).map(Self).map_err(|_| EpochError)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(EpochText::of(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text is not an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an epoch is a 64-bit number in base 36, lowercase, without leading zeros")]
pub struct EpochError;

/// The digits of an epoch without an allocation: 36^13 > 2^64.
pub(crate) struct EpochText {
    digits: [u8; 13],
    start: usize,
}

impl EpochText {
    pub(crate) fn of(epoch: Epoch) -> Self {
        let mut text = Self { digits: [b'0'; 13], start: 13 };
        let mut rest = epoch.0;
        loop {
            text.start -= 1;
            text.digits[text.start] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                return text;
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[self.start..]).unwrap_or_default()
    }
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
pub struct Payload {
    kind: PayloadKind,
    bytes: Bytes,
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
        let range = json::check(&bytes)?;
        Ok(Self { kind: PayloadKind::Json, bytes: bytes.slice(range) })
    }

    /// One MessagePack value; a `bin` becomes [`Binary`](PayloadKind::Binary).
    ///
    /// # Errors
    /// If it is not exactly one value, has a `str` that is not UTF-8, is nested deeper than [`DEPTH_MAX`], or
    /// has a key that is an array or map inside another such key.
    pub fn from_msgpack(bytes: Bytes) -> Result<Self, PayloadError> {
        match msgpack::check(&bytes)? {
            msgpack::Checked::Bin(range) => Ok(Self::from_binary(bytes.slice(range))),
            msgpack::Checked::Other => Ok(Self { kind: PayloadKind::MsgPack, bytes }),
        }
    }

    /// Any bytes.
    pub fn from_binary(bytes: Bytes) -> Self {
        Self { kind: PayloadKind::Binary, bytes }
    }

    /// Any value of serde's data model, as JSON: how programs publish their own types.
    ///
    /// # Errors
    /// If the value cannot be written as JSON, or is nested deeper than [`DEPTH_MAX`].
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        let text = serde_json::to_vec(value).map_err(|error| PayloadError::Value(error.to_string()))?;
        Self::from_json(text.into())
    }

    /// Bytes that a scanner has checked as part of something larger.
    pub(crate) fn checked(kind: PayloadKind, bytes: &[u8]) -> Self {
        Self { kind, bytes: Bytes::copy_from_slice(bytes) }
    }

    /// Reads the payload as `T`. A binary one can be read as bytes only (`bytes::Bytes`, `serde_bytes`).
    ///
    /// # Errors
    /// If the payload has not the shape of `T`.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        match self.kind {
            PayloadKind::Json => {
                serde_json::from_slice(&self.bytes).map_err(|error| PayloadError::Value(error.to_string()))
            }
            PayloadKind::MsgPack => {
                rmp_serde::from_slice(&self.bytes).map_err(|error| PayloadError::Value(error.to_string()))
            }
            PayloadKind::Binary => {
                let bytes = serde::de::value::BytesDeserializer::<serde::de::value::Error>::new(&self.bytes);
                T::deserialize(bytes).map_err(|error| PayloadError::Value(error.to_string()))
            }
        }
    }

    /// The notation it came in.
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// Whether it is bytes of any kind rather than a value.
    pub fn is_binary(&self) -> bool {
        self.kind == PayloadKind::Binary
    }

    /// The key of the payload in JSON: `data_base64` if it is binary, else `data`. In MessagePack it is always `data`.
    pub fn json_key(&self) -> &'static str {
        if self.is_binary() { "data_base64" } else { "data" }
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Appends the payload as a JSON value; a binary one as a base64 string (RFC 4648 §4).
    ///
    /// What came as JSON is copied as it is, line breaks between its tokens included. What came as MessagePack
    /// grows at most 16-fold.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self.kind {
            PayloadKind::Json => out.extend_from_slice(&self.bytes),
            PayloadKind::MsgPack => transcode::msgpack_to_json(&self.bytes, out),
            PayloadKind::Binary => json::write_base64(&self.bytes, out),
        }
    }

    /// Like [`write_json`](Self::write_json), but never with a line break in it: for line-oriented outputs.
    pub fn write_json_line(&self, out: &mut Vec<u8>) {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if self.kind == PayloadKind::Json => json::line(text, out),
            _ => self.write_json(out),
        }
    }

    /// Appends the payload as a MessagePack value; a binary one as `bin`. What came as JSON grows at most 5-fold.
    pub fn write_msgpack(&self, out: &mut Vec<u8>) {
        match self.kind {
            PayloadKind::Json => transcode::json_to_msgpack(&self.bytes, out),
            PayloadKind::MsgPack => out.extend_from_slice(&self.bytes),
            PayloadKind::Binary => msgpack::write_bin(&self.bytes, out),
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
