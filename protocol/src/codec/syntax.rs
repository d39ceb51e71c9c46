//! The one error of both scanners, JSON and MessagePack: what is wrong with bytes, and where.
//! Wrong fields of a command are not its business; those errors name the field and live in `fields`.

use thiserror::Error;

use crate::message::DEPTH_MAX;

/// Why bytes are not one value of their notation. `at` counts bytes from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SyntaxError {
    /// The text breaks the grammar of RFC 8259.
    #[error("not JSON: expected {expected} at byte {at}")]
    NotJson {
        /// What would have been right.
        expected: &'static str,
        /// Where it should stand.
        at: usize,
    },
    /// The escape of half a surrogate pair, which is no character (RFC 7493 §2.1).
    #[error("unpaired surrogate escape at byte {at}")]
    LoneSurrogate {
        /// Where its backslash stands.
        at: usize,
    },
    /// A byte that is not UTF-8, in JSON or in a MessagePack `str`.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The first such byte.
        at: usize,
    },
    /// The bytes end inside a value.
    #[error("not MessagePack: the value at byte {at} goes on behind the end")]
    Truncated {
        /// Where the value that is cut off begins.
        at: usize,
    },
    /// The byte 0xc1, which the MessagePack specification never uses.
    #[error("not MessagePack: byte 0xc1 at byte {at} has no meaning")]
    NeverUsed {
        /// Where it stands.
        at: usize,
    },
    /// A key that is an array or map, inside another such key: as JSON text it would be quoted within a quotation,
    /// and double in size with each level.
    #[error("the key at byte {at} is an array or map inside a key that is one too")]
    NestedKey {
        /// Where the inner one begins.
        at: usize,
    },
    /// Too many levels of arrays and maps.
    #[error("nesting deeper than {DEPTH_MAX} levels at byte {at}")]
    TooDeep {
        /// Where the first level too many begins.
        at: usize,
    },
    /// More bytes after the value.
    #[error("trailing bytes after the value: {len}, from byte {at} on")]
    Trailing {
        /// Where the value ends.
        at: usize,
        /// How many more there are.
        len: usize,
    },
}
