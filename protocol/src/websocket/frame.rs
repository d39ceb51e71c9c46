//! One frame's header (RFC 6455 §5.2), read and written, and whole frames for sending.
//! What a frame means within a message or a connection is decided in `connection`.

use super::{Role, Violation, mask};

/// The longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// The longest reason of a close frame: a control frame less its two bytes of code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;
/// The longest header: two bytes, an eight-byte length, a mask.
pub const FRAME_HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
/// Above every length that the second byte holds itself.
const LENGTH_IN_2: u8 = 126;
const LENGTH_IN_8: u8 = 127;
/// A close frame without a code, as callers and events name it (§7.4.1); it is never on the wire.
pub(super) const NO_CODE: u16 = 1005;

/// What a frame carries (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further piece of the message under way.
    Continuation = 0,
    /// A text message, or its first piece.
    Text = 1,
    /// A binary message, or its first piece.
    Binary = 2,
    /// The close handshake.
    Close = 8,
    /// A question whether the peer is there.
    Ping = 9,
    /// The answer to a ping, or an unasked sign of life.
    Pong = 10,
}

impl Opcode {
    fn parse(opcode: u8) -> Result<Self, Violation> {
        Ok(match opcode {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return Err(Violation::UnknownOpcode { opcode }),
        })
    }

    /// Whether it is close, ping or pong, which may come between the pieces of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// Everything a frame says before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The last (or only) piece of its message.
    pub fin: bool,
    /// The first reserved bit, which RFC 7692 gives the meaning "this message is compressed", on the frame that
    /// begins the message. Refused on receipt unless that was agreed on.
    pub rsv1: bool,
    /// What the frame carries.
    pub opcode: Opcode,
    /// The key that the payload is XORed with; clients must, servers must not.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload that follow.
    pub payload_len: u64,
}

impl FrameHeader {
    /// The header of a whole unfragmented frame as a server sends it. Change the fields for anything else.
    #[must_use]
    pub const fn new(opcode: Opcode, payload_len: usize) -> Self {
        Self { fin: true, rsv1: false, opcode, mask: None, payload_len: payload_len as u64 }
    }

    /// The header's bytes, on the stack.
    #[must_use]
    pub fn encode(&self) -> EncodedHeader {
        debug_assert!(
            !self.opcode.is_control() || (self.fin && self.payload_len <= CONTROL_BYTES_MAX as u64)
        );
        let mut header = EncodedHeader { bytes: [0; FRAME_HEADER_BYTES_MAX], len: 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        let flags = if self.fin { FIN } else { 0 } | if self.rsv1 { RSV1 } else { 0 };
        header.push(&[flags | self.opcode as u8]);
        match self.payload_len {
            len @ 0..126 => header.push(&[masked | len as u8]),
            len @ 126..=0xffff => {
                header.push(&[masked | LENGTH_IN_2]);
                header.push(&(len as u16).to_be_bytes());
            }
            len => {
                header.push(&[masked | LENGTH_IN_8]);
                header.push(&len.to_be_bytes());
            }
        }
        header.push(self.mask.as_ref().map_or(&[], |key| key.as_slice()));
        header
    }

    /// Appends the frame of this header and `payload`, which is masked if the header says so.
    /// `payload_len` must be the length of `payload`.
    pub fn encode_with(&self, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert_eq!(self.payload_len, payload.len() as u64);
        let header = self.encode();
        out.reserve(header.len() + payload.len());
        out.extend_from_slice(&header);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(key) = self.mask {
            let _ = mask(&mut out[start..], key);
        }
    }

    /// Reads a header from the beginning of `bytes`, sent by the peer of `role`; with it comes its own length.
    /// `None` if it is not all there yet. `reserved_allowed` has the reserved bits that extensions use;
    /// the only one that we know is RSV1, at the beginning of a message (RFC 7692 §6).
    ///
    /// The checks go from byte to byte, and each is done as soon as its byte is there: hence a wrong header gets
    /// the same verdict however it is cut.
    pub(super) fn parse(
        bytes: &[u8],
        role: Role,
        reserved_allowed: u8,
    ) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let bits = (first >> 4) & 0b111;
        if bits & !reserved_allowed != 0 {
            return Err(Violation::ReservedBits { bits });
        }
        let opcode = Opcode::parse(first & 0x0f)?;
        let begins_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & RSV1 != 0 && !begins_message {
            return Err(Violation::MisplacedRsv1 { opcode: opcode as u8 });
        }
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::FragmentedControl { opcode: opcode as u8 });
        }

        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        match (role, second & MASKED != 0) {
            (Role::Server, false) => return Err(Violation::Unmasked),
            (Role::Client { .. }, true) => return Err(Violation::Masked),
            _ => {}
        }
        let short_len = second & !MASKED;
        if opcode.is_control() && usize::from(short_len) > CONTROL_BYTES_MAX {
            return Err(Violation::ControlTooLong { opcode: opcode as u8 });
        }
        if opcode == Opcode::Close && short_len == 1 {
            return Err(Violation::CloseTooShort);
        }

        let Some((payload_len, rest)) = parse_length(short_len, &bytes[2..])? else {
            return Ok(None);
        };
        let (mask, rest) = match (role, rest.split_first_chunk::<4>()) {
            (Role::Client { .. }, _) => (None, rest),
            (Role::Server, Some((key, rest))) => (Some(*key), rest),
            (Role::Server, None) => return Ok(None),
        };
        let header = Self { fin, rsv1: first & RSV1 != 0, opcode, mask, payload_len };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

/// The length of the payload and what follows it, from the bytes after the first two.
fn parse_length(short_len: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    match short_len {
        LENGTH_IN_2 => {
            let Some((len, rest)) = bytes.split_first_chunk::<2>() else {
                return Ok(None);
            };
            match u64::from(u16::from_be_bytes(*len)) {
                len @ 0..126 => Err(Violation::NonMinimalLength { len, bytes: 2 }),
                len => Ok(Some((len, rest))),
            }
        }
        LENGTH_IN_8 => {
            let Some((len, rest)) = bytes.split_first_chunk::<8>() else {
                return Ok(None);
            };
            match u64::from_be_bytes(*len) {
                len @ 0..=0xffff => Err(Violation::NonMinimalLength { len, bytes: 8 }),
                len if len >> 63 != 0 => Err(Violation::LengthTopBit { len }),
                len => Ok(Some((len, rest))),
            }
        }
        len => Ok(Some((u64::from(len), bytes))),
    }
}

/// A header as bytes. Dereferences to them, so that it can be appended to any joined buffer without allocating.
#[derive(Debug, Clone, Copy)]
pub struct EncodedHeader {
    bytes: [u8; FRAME_HEADER_BYTES_MAX],
    len: u8,
}

impl EncodedHeader {
    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl std::ops::Deref for EncodedHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Appends a whole unfragmented frame. A server passes no `mask`. A control frame's `payload` must not exceed
/// [`CONTROL_BYTES_MAX`].
pub fn encode_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    FrameHeader { mask, ..FrameHeader::new(opcode, payload.len()) }.encode_with(payload, out);
}

/// Appends a close frame. `code` is one that [`is_close_code`] accepts, or 1005 for a frame without code and reason.
/// The reason is cut at [`CLOSE_REASON_BYTES_MAX`] bytes, between two characters.
pub fn encode_close(out: &mut Vec<u8>, code: u16, reason: &str, mask: Option<[u8; 4]>) {
    if code == NO_CODE {
        return encode_frame(out, Opcode::Close, &[], mask);
    }
    debug_assert!(is_close_code(code), "close code {code} must not be sent");
    let cut = (0..=CLOSE_REASON_BYTES_MAX.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
    let reason = &reason.as_bytes()[..cut.unwrap_or(0)];
    let mut payload = [0; CONTROL_BYTES_MAX];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason);
    encode_frame(out, Opcode::Close, &payload[..2 + reason.len()], mask);
}

/// Whether a close frame may bear this code: defined by RFC 6455 §7.4.1 or registered with IANA since (1000–1014
/// except 1004–1006), for libraries (3000–3999), or for applications (4000–4999).
#[must_use]
pub fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
