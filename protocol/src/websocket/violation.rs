//! What a peer can do wrong, and the close code it earns. The texts are written for that peer: they are sent as the
//! reason of the close frame, hence they say nothing of our insides and stay below its 123 bytes.

/// A breach of RFC 6455 or of our limits. It ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit that no negotiated extension gives a meaning (§5.2).
    #[error("reserved bits {bits:03b} are set, but no extension uses them")]
    ReservedBits {
        /// RSV1, RSV2 and RSV3, the first being the highest of three bits.
        bits: u8,
    },
    /// An opcode from the reserved ranges 3–7 and 11–15 (§5.2).
    #[error("opcode {opcode} is not known")]
    UnknownOpcode {
        /// The opcode, 0–15.
        opcode: u8,
    },
    /// A control frame without FIN (§5.5).
    #[error("control frame with opcode {opcode} is fragmented")]
    FragmentedControl {
        /// The opcode, 8–10.
        opcode: u8,
    },
    /// A control frame with an extended length (§5.5).
    #[error("control frame with opcode {opcode} is longer than 125 bytes")]
    ControlTooLong {
        /// The opcode, 8–10.
        opcode: u8,
    },
    /// A client's frame without a mask (§5.1).
    #[error("frame from the client is not masked")]
    Unmasked,
    /// A server's frame with a mask (§5.1).
    #[error("frame from the server is masked")]
    Masked,
    /// A length written in more bytes than it needs (§5.2).
    #[error("length {len} is written in {bytes} bytes instead of fewer")]
    NonMinimalLength {
        /// The announced length of the payload.
        len: u64,
        /// The bytes of the extended length: 2 or 8.
        bytes: u8,
    },
    /// An eight-byte length with its most significant bit set (§5.2).
    #[error("length {len} has its top bit set")]
    LengthTopBit {
        /// The announced length, read as unsigned.
        len: u64,
    },
    /// A continuation frame while no message is under way (§5.4).
    #[error("continuation without a message to continue")]
    LoneContinuation,
    /// A text or binary frame while a fragmented message is under way (§5.4).
    #[error("new message inside a fragmented one")]
    InterleavedMessage,
    /// A message above the limit, known as soon as the header of the frame that exceeds it has arrived.
    #[error("message of {len} bytes or more, limit is {max}")]
    MessageTooLarge {
        /// What the message would hold after this frame.
        len: u64,
        /// The limit, [`Config::message_bytes_max`](super::Config::message_bytes_max).
        max: usize,
    },
    /// A text message that is not UTF-8 (§8.1), known with the first byte that cannot continue.
    #[error("text is not utf-8 at byte {at}")]
    InvalidUtf8 {
        /// Where the wrong sequence begins, counted over the whole message.
        at: usize,
    },
    /// A text message that ends inside a character (§8.1).
    #[error("text of {len} bytes ends inside a character")]
    TruncatedUtf8 {
        /// The length of the message.
        len: usize,
    },
    /// A close frame whose payload of one byte cannot hold a code (§5.5.1).
    #[error("close frame with 1 byte cannot hold a code")]
    CloseTooShort,
    /// A code that must not be sent in a close frame (§7.4).
    #[error("close code {code} must not be sent")]
    InvalidCloseCode {
        /// The code received.
        code: u16,
    },
    /// A close reason that is not UTF-8 (§5.5.1).
    #[error("close reason is not utf-8 at byte {at}")]
    InvalidCloseReason {
        /// Where the wrong sequence begins in the reason.
        at: usize,
    },
}

impl Violation {
    /// The code that answers it (§7.4.1): 1002 protocol error, 1007 invalid payload, 1009 message too big.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            Self::InvalidUtf8 { .. } | Self::TruncatedUtf8 { .. } | Self::InvalidCloseReason { .. } => 1007,
            Self::MessageTooLarge { .. } => 1009,
            _ => 1002,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Violation;
    use crate::websocket::CLOSE_REASON_BYTES_MAX;

    #[test]
    fn the_longest_text_fits_into_a_close_frame() {
        let longest = [
            Violation::MessageTooLarge {
                len: u64::MAX,
                max: usize::MAX,
            },
            Violation::NonMinimalLength {
                len: u64::MAX,
                bytes: 8,
            },
            Violation::ReservedBits { bits: 7 },
            Violation::TruncatedUtf8 { len: usize::MAX },
        ];
        for violation in longest {
            assert!(
                violation.to_string().len() <= CLOSE_REASON_BYTES_MAX,
                "{violation}"
            );
        }
    }
}
