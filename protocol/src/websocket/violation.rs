//! What a peer can do wrong, and the close code it earns. The texts are written for that peer: they are sent as the
//! reason of the close frame, hence they say nothing of our insides and stay below its 123 bytes.

/// A breach of RFC 6455, of RFC 7692 or of our limits. It ends the connection. Sections are those of RFC 6455 unless
/// another is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit that no negotiated extension gives a meaning (§5.2).
    #[error("reserved bits {bits:03b} are set, but no extension uses them")]
    ReservedBits {
        /// RSV1, RSV2 and RSV3, the first being the highest of three bits.
        bits: u8,
    },
    /// RSV1 on a frame that cannot begin a compressed message (RFC 7692 §6), though the extension is agreed on.
    #[error("rsv1 is set on a frame with opcode {opcode}, which begins no message")]
    MisplacedRsv1 {
        /// The opcode: 0 or 8–10.
        opcode: u8,
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
    /// A message above the limit, known as soon as the header of the frame that exceeds it has arrived, or, if it is
    /// compressed, with the first inflated byte above it.
    #[error("message of {len} bytes or more, limit is {max}")]
    MessageTooLarge {
        /// What the message would hold after this frame, or at least holds if it is compressed.
        len: u64,
        /// The limit, [`Config::message_bytes_max`](super::Config::message_bytes_max).
        max: usize,
    },
    /// A compressed message whose inflated size may be within the limit, but not what it takes to say so: more than
    /// twice the limit plus 1 KiB, known with the header of the frame that exceeds it. No compressor in its right
    /// mind needs that; blocks without content do.
    #[error("compressed message of {len} bytes, limit is {max}")]
    CompressedTooLarge {
        /// The compressed bytes that the message would have after this frame.
        len: u64,
        /// The most it may have.
        max: usize,
    },
    /// A compressed message that is no DEFLATE (RFC 7692 §7.2.2), or refers to an earlier message, which was agreed
    /// not to happen (§7.1.1.2).
    #[error("compressed message is corrupt after {inflated} inflated bytes")]
    CorruptCompression {
        /// How much of it could be inflated.
        inflated: usize,
    },
    /// A compressed message that ends inside a block (RFC 7692 §7.2.1).
    #[error("compressed message ends inside a block after {inflated} inflated bytes")]
    TruncatedCompression {
        /// How much of it could be inflated.
        inflated: usize,
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
    /// The code that answers it (§7.4.1): 1002 protocol error, 1007 invalid payload, 1009 message too big. RFC 7692
    /// names none for a payload that cannot be inflated: the frames are in order and what they carry is not, which
    /// is 1007's meaning, and other implementations say so too.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            Self::InvalidUtf8 { .. }
            | Self::TruncatedUtf8 { .. }
            | Self::InvalidCloseReason { .. }
            | Self::CorruptCompression { .. }
            | Self::TruncatedCompression { .. } => 1007,
            Self::MessageTooLarge { .. } | Self::CompressedTooLarge { .. } => 1009,
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
            Violation::MessageTooLarge { len: u64::MAX, max: usize::MAX },
            Violation::NonMinimalLength { len: u64::MAX, bytes: 8 },
            Violation::ReservedBits { bits: 7 },
            Violation::TruncatedUtf8 { len: usize::MAX },
            Violation::MisplacedRsv1 { opcode: 10 },
            Violation::CompressedTooLarge { len: u64::MAX, max: usize::MAX },
            Violation::TruncatedCompression { inflated: usize::MAX },
        ];
        for violation in longest {
            assert!(violation.to_string().len() <= CLOSE_REASON_BYTES_MAX, "{violation}");
        }
    }
}
