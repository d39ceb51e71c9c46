//! What both ends have agreed on, and how it is written into the response.
//! How an agreement is found is `negotiate`'s.

use std::fmt;

/// The name under which the extension is registered (RFC 7692 §8.1).
pub(super) const NAME: &str = "permessage-deflate";

/// The parameters of RFC 7692 §7.1 that a connection has, beyond the two that all of ours have: no context takeover
/// on either side. Its text is the value of the `Sec-WebSocket-Extensions` header that accepts the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Present if the offer asked for it: then the response must say so too (§7.1.2.1).
    pub(super) server_window_bits: Option<WindowBits>,
}

impl Agreed {
    /// What [`Deflater::new`](super::Deflater::new) is to be told for this connection. Other than 15 only if
    /// [`Settings`](super::Settings) allow it.
    #[must_use]
    pub fn server_window_bits(self) -> WindowBits {
        self.server_window_bits.unwrap_or(WindowBits::MAX)
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}; server_no_context_takeover; client_no_context_takeover")?;
        match self.server_window_bits {
            Some(bits) => write!(f, "; server_max_window_bits={}", bits.get()),
            None => Ok(()),
        }
    }
}

/// How far back compressed bytes may refer, as the base-2 logarithm: 9–15.
///
/// RFC 7692 knows 8 too, but zlib and its descendants cannot: `deflateInit2` refuses it for raw DEFLATE since 1.2.9,
/// because it used to write 9-bit streams in its place, which an inflater with 8 bits need not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowBits(u8);

impl WindowBits {
    /// 512 bytes.
    pub const MIN: Self = Self(9);
    /// 32 KiB, and what holds if nothing is said.
    pub const MAX: Self = Self(15);

    /// `None` unless 9–15.
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        match bits {
            9..=15 => Some(Self(bits)),
            _ => None,
        }
    }

    /// The logarithm.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}
