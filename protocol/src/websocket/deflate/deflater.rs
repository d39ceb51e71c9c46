//! Compressing single messages (RFC 7692 §7.2.1), and frames that carry them.
//! Which messages are compressed, and who shares the result, is the caller's.

use flate2::{Compress, Compression, FlushCompress};

use super::{TAIL, WindowBits};
use crate::websocket::{FrameHeader, Opcode, mask};

/// Compresses one message after the other, none of which refers to an earlier one (`server_no_context_takeover`).
/// One per thread and window serves all connections. It keeps its 370 KiB (with the largest window) until dropped.
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
}

impl Deflater {
    /// `level` is zlib's: 0 (stored) to 9 (smallest); what is above counts as 9.
    #[must_use]
    pub fn new(level: u8, window_bits: WindowBits) -> Self {
        let level = Compression::new(u32::from(level.min(9)));
        Self { stream: Compress::new_with_window_bits(level, false, window_bits.get()) }
    }

    /// Appends the compressed payload of a message, without frame.
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if payload.is_empty() {
            // The header of an empty stored block (§7.2.3.6).
            return out.push(0x00);
        }
        let start = out.len();
        // Enough for the worst of all levels (nine bits for each byte), so that one call does it.
        out.reserve(payload.len() + payload.len() / 8 + 64);
        self.stream.reset();
        let mut rest = payload;
        loop {
            let before = self.stream.total_in();
            if self.stream.compress_vec(rest, out, FlushCompress::Sync).is_err() {
                debug_assert!(false, "a stream between two resets takes any input");
                out.truncate(start);
                return store(payload, out);
            }
            // Lossless: no more than the length of the slice.
            rest = &rest[(self.stream.total_in() - before) as usize..];
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(rest.len() + 64);
        }
        debug_assert!(out.ends_with(&TAIL), "a sync flush ends with an empty stored block");
        out.truncate(out.len() - TAIL.len());
    }

    /// Appends a whole frame with the message compressed, even if that makes it longer: at most by ten bytes and
    /// one in a thousand, at level 1 one in sixteen. A server passes no `key`; such a frame may be sent to every peer that has agreed on
    /// this window.
    pub fn encode_frame(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) {
        debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary), "only messages are compressed");
        let start = out.len();
        self.compress(payload, out);
        let header = FrameHeader { rsv1: true, mask: key, ..FrameHeader::new(opcode, out.len() - start) };
        let header = header.encode();
        out.splice(start..start, header.iter().copied());
        if let Some(key) = key {
            let _ = mask(&mut out[start + header.len()..], key);
        }
    }
}

/// The payload as stored blocks, and the header of an empty one behind them.
fn store(payload: &[u8], out: &mut Vec<u8>) {
    for block in payload.chunks(usize::from(u16::MAX)) {
        let len = block.len() as u16;
        out.push(0x00);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.push(0x00);
}

#[cfg(test)]
mod tests {
    use super::store;
    use crate::websocket::deflate::Inflaters;

    #[test]
    fn stored_blocks_are_deflate_too() {
        let payload: Vec<u8> = (0..70_000).map(|at| (at % 251) as u8).collect();
        let mut stored = Vec::new();
        store(&payload, &mut stored);
        let mut inflaters = Inflaters::new();
        let context = inflaters.new_context();
        let mut inflater = inflaters.take(&context);
        let mut plain = vec![0; payload.len() + 1];
        let inflated = inflater.inflate(&stored, &mut plain);
        assert!(inflated.produced == payload.len() && plain.starts_with(&payload));
        assert!(inflater.may_end());
    }
}
