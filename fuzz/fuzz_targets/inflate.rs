//! Compressed messages: what we inflate is what another implementation (`miniz_oxide`) makes of the same bytes, the limit
//! holds, and so does memory. And what we compress, it inflates.
//!
//! Input: flags (1 text, 2 compress first; 8 bits above them choose level and window), a limit's number, a seed for
//! fragments and cuts, then the message: compressed, or what is to be compressed.
#![no_main]

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use topichub_fuzz::heap::{Counting, peak};
use topichub_fuzz::wire::{agreed, compressed_message, receive};
use topichub_fuzz::{Input, Random};
use topichub_protocol::websocket::deflate::{Deflater, WindowBits};
use topichub_protocol::websocket::{ClosedBy, Config, Event, MessageKind, Violation};

#[global_allocator]
static HEAP: Counting = Counting;

const LIMITS: [usize; 4] = [0, 100, 4096, 65_536];
/// What inflating takes whatever the limit: inflater, scratch, and the pieces that this target makes.
const CONSTANT_BYTES: usize = 256 << 10;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (flags, limit) = (input.byte(), LIMITS[usize::from(input.byte()) % LIMITS.len()]);
    let mut random = Random(u64::from(input.byte()));
    let kind = if flags & 1 == 0 { MessageKind::Binary } else { MessageKind::Text };
    if flags & 2 == 0 {
        check(kind, limit, input.0, &mut random);
        return;
    }
    let (level, bits) = ((flags >> 2) % 10, 9 + (flags >> 5));
    let mut compressed = Vec::new();
    Deflater::new(level, WindowBits::new(bits.min(15)).unwrap_or(WindowBits::MAX))
        .compress(input.0, &mut compressed);
    assert_eq!(inflate_elsewhere(&compressed, input.0.len()).as_deref(), Ok(input.0));
    check(kind, limit, &compressed, &mut random);
});

fn check(kind: MessageKind, limit: usize, compressed: &[u8], random: &mut Random) {
    let longest = 1 << random.below(12);
    let wire =
        compressed_message(kind, compressed, || random.below(longest + 1).max(usize::from(longest == 1)));
    let config = Config::server(limit).with_deflate(agreed());
    let (outcome, bytes) = peak(|| receive(config, &wire, || 1 + random.below(longest), None));
    let most = CONSTANT_BYTES + 4 * limit + 2 * wire.len();
    assert!(bytes <= most, "{bytes} bytes of heap for a limit of {limit}, {} bytes on the wire", wire.len());

    let elsewhere = inflate_elsewhere(compressed, limit);
    let said = match (outcome.events.as_slice(), &outcome.closed) {
        ([Event::Message { bytes, .. }], None) => {
            assert_eq!(elsewhere.as_deref(), Ok(&**bytes));
            return;
        }
        ([], Some(closed)) => closed.by,
        _ => panic!("{outcome:?}"),
    };
    let ClosedBy::Violation(violation) = said else { panic!("{outcome:?}") };
    match violation {
        Violation::MessageTooLarge { .. } => {
            assert_ne!(elsewhere.map(|bytes| bytes.len() <= limit), Ok(true))
        }
        Violation::CompressedTooLarge { .. } => assert!(wire.len() > 2 * limit + 1024),
        // Tables without a code for the end of the block, which zlib refuses, are none of miniz_oxide's concern.
        Violation::CorruptCompression { .. } => {
            assert!(elsewhere.is_err() || zlib_refuses(compressed), "{violation}")
        }
        // Others do not look whether the message ends where it may.
        Violation::TruncatedCompression { .. } => {}
        Violation::InvalidUtf8 { .. } | Violation::TruncatedUtf8 { .. } => {
            assert_eq!(kind, MessageKind::Text);
            assert!(elsewhere.is_err() || elsewhere.is_ok_and(|bytes| std::str::from_utf8(&bytes).is_err()));
        }
        _ => panic!("{violation}"),
    }
}

/// Whether the whole of it at once, a stream behind each final block, is no DEFLATE in the eyes of zlib.
fn zlib_refuses(compressed: &[u8]) -> bool {
    let (mut stream, mut rest, mut scratch) = (Decompress::new(false), compressed, vec![0; 65_536]);
    loop {
        let (consumed, produced) = (stream.total_in(), stream.total_out());
        let Ok(status) = stream.decompress(rest, &mut scratch, FlushDecompress::None) else { return true };
        let (consumed, produced) = (stream.total_in() - consumed, stream.total_out() - produced);
        rest = &rest[consumed as usize..];
        match status {
            Status::StreamEnd => stream.reset(false),
            _ if consumed == 0 && produced == 0 => return !rest.is_empty(),
            _ => {}
        }
    }
}

/// The message inflated by `miniz_oxide`, not much beyond `limit`; an error if it is corrupt.
fn inflate_elsewhere(compressed: &[u8], limit: usize) -> Result<Vec<u8>, TINFLStatus> {
    let mut stream = DecompressorOxide::new();
    let (mut plain, mut buffer, mut len, mut at_start) = (Vec::new(), vec![0; limit + 1], 0, true);
    // The tail belongs to a block that has begun.
    for (part, is_tail) in [(compressed, false), (&[0x00, 0x00, 0xff, 0xff], true)] {
        let mut rest = part;
        while !(rest.is_empty() || is_tail && at_start) {
            // Into a buffer that does not wrap: only so it is noticed that a reference goes back too far.
            let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_HAS_MORE_INPUT;
            let (status, consumed, produced) = decompress(&mut stream, rest, &mut buffer, len, flags);
            rest = &rest[consumed..];
            len += produced;
            at_start = false;
            if plain.len() + len > limit {
                plain.extend_from_slice(&buffer[..len]);
                return Ok(plain);
            }
            match status {
                TINFLStatus::Done => {
                    plain.extend_from_slice(&buffer[..len]);
                    (stream, len, at_start) = (DecompressorOxide::new(), 0, true);
                }
                TINFLStatus::NeedsMoreInput => assert!(rest.is_empty()),
                status => return Err(status),
            }
        }
    }
    plain.extend_from_slice(&buffer[..len]);
    Ok(plain)
}
