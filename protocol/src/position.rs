//! Places in a topic: epochs, offsets and the pair of both, as values and as text.
//! Which message stands at a place is the business of the history.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Offsets are smaller than this, so that every JSON reader keeps them exact (RFC 7493 §2.2).
pub const OFFSET_LIMIT: u64 = 1 << 53;

/// A place in a topic: which incarnation of its log, and which index in it.
///
/// Only positions of one epoch can be compared, so there is no order on them. As text, in HTTP queries and for people,
/// it is epoch and offset with a colon between them: `k3v9:44`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which incarnation of the log.
    pub epoch: Epoch,
    /// Which message in it; the first is 1, and 0 stands before it. Smaller than 2^53.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (epoch, offset) = text.split_once(':').ok_or(PositionError)?;
        let epoch = epoch.parse().map_err(|_| PositionError)?;
        let canonical = offset == "0" || !offset.starts_with(['0', '+']);
        match offset.parse() {
            Ok(offset) if canonical && offset < OFFSET_LIMIT => Ok(Self { epoch, offset }),
            _ => Err(PositionError),
        }
    }
}

/// A text is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a position is EPOCH:OFFSET, such as k3v9:44, its offset from 0 to 2^53 - 1")]
pub struct PositionError;

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

#[cfg(test)]
mod tests {
    use super::{Epoch, OFFSET_LIMIT, Position, PositionError};

    #[test]
    fn a_position_is_its_text() {
        let epoch: Epoch = "k3v9".parse().expect("an epoch");
        for (offset, text) in [(0, "k3v9:0"), (44, "k3v9:44"), (OFFSET_LIMIT - 1, "k3v9:9007199254740991")] {
            let position = Position { epoch, offset };
            assert_eq!(position.to_string(), text);
            assert_eq!(text.parse(), Ok(position));
        }
    }

    #[test]
    fn what_is_not_epoch_and_offset_is_no_position() {
        for text in [
            "",
            ":",
            "k3v9",
            "k3v9:",
            ":44",
            "k3v9:-1",
            "k3v9:+1",
            "k3v9:044",
            "k3v9:1.0",
            "k3v9: 44",
            "K3V9:44",
            "0k:44",
            "k3v9:44:44",
            "k3v9:9007199254740992",
            "k3v9:99999999999999999999999",
        ] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }
}
