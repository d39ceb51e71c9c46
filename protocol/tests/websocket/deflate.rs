//! What vectors cannot say of compressed messages: memory, sharing, our own frames.

use topichub_protocol::websocket::deflate::{
    Deflater, INFLATER_BYTES, Inflaters, Settings, WindowBits, negotiate,
};
use topichub_protocol::websocket::{
    Closed, ClosedBy, Config, Connection, Event, FrameHeader, Opcode, Violation,
};

use super::vectors::{Story, agreed};

const KEY: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

fn server(message_bytes_max: usize) -> Story {
    Story::new(Config::server(message_bytes_max).with_deflate(agreed()))
}

/// Masked frames of a compressed message, each with so many bytes of it.
fn fragments(opcode: Opcode, payload: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    let mut compressed = Vec::new();
    Deflater::new(6, WindowBits::MAX).compress(payload, &mut compressed);
    let last = compressed.len().div_ceil(bytes) - 1;
    let fragment = |(at, piece): (usize, &[u8])| {
        let opcode = if at == 0 { opcode } else { Opcode::Continuation };
        let header = FrameHeader::new(opcode, piece.len());
        let mut frame = Vec::new();
        FrameHeader { fin: at == last, rsv1: at == 0, mask: KEY, ..header }.encode_with(piece, &mut frame);
        frame
    };
    compressed.chunks(bytes).enumerate().map(fragment).collect()
}

fn whole(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    fragments(opcode, payload, usize::MAX).remove(0)
}

/// Bytes without pattern, the same in every run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn an_idle_connection_owns_no_heap_and_lends_its_inflater_back() {
    let mut inflaters = Inflaters::new();
    let mut story = server(1 << 20);
    let frame = whole(Opcode::Text, b"hello, hello, hello");
    story.arrives_with(&frame, &mut inflaters);
    assert_eq!(story.connection.buffered_bytes(), 0);
    let idle = inflaters.idle_bytes();
    assert!(idle > INFLATER_BYTES, "the inflater is kept for the next message");
    let (begin, end) = frame.split_at(12);
    story.arrives_with(begin, &mut inflaters);
    assert!(story.connection.buffered_bytes() > INFLATER_BYTES, "one is lent, and what it made is kept");
    assert_eq!(inflaters.idle_bytes(), idle - INFLATER_BYTES);
    story.arrives_with(end, &mut inflaters);
    assert_eq!(story.connection.buffered_bytes(), 0);
    assert_eq!(inflaters.idle_bytes(), idle);
    assert_eq!(story.outcome.events.len(), 2);
}

#[test]
fn a_header_and_empty_fragments_borrow_nothing() {
    let mut story = server(1 << 20);
    let header = FrameHeader { rsv1: true, mask: KEY, ..FrameHeader::new(Opcode::Binary, 1 << 20) };
    story.arrives(&header.encode());
    assert_eq!(story.connection.buffered_bytes(), 0);

    let mut story = server(1 << 20);
    let header = FrameHeader { fin: false, rsv1: true, mask: KEY, ..FrameHeader::new(Opcode::Binary, 0) };
    story.arrives(&header.encode());
    story.arrives(
        &FrameHeader { rsv1: false, ..FrameHeader { opcode: Opcode::Continuation, ..header } }.encode(),
    );
    assert_eq!(story.connection.buffered_bytes(), 0);
}

#[test]
fn our_close_frees_a_partial_message_and_its_inflater() {
    let mut story = server(1 << 20);
    story.arrives(&whole(Opcode::Binary, &noise(5000))[..3000]);
    assert!(story.connection.buffered_bytes() > INFLATER_BYTES);
    story.connection.close(1000, "", &mut Vec::new());
    assert_eq!(story.connection.buffered_bytes(), 0);
}

#[test]
fn connections_whose_messages_interleave_share_the_inflaters_of_a_thread() {
    let mut inflaters = Inflaters::new();
    let texts: Vec<String> = (0..9).map(|at| format!("connection {at}: ").repeat(1 + at * 50)).collect();
    let wires: Vec<_> = texts.iter().map(|text| fragments(Opcode::Text, text.as_bytes(), 7)).collect();
    let mut stories: Vec<_> = texts.iter().map(|_| server(1 << 20)).collect();
    for turn in 0..wires.iter().map(Vec::len).max().unwrap() {
        for (story, frames) in stories.iter_mut().zip(&wires) {
            frames.get(turn).into_iter().for_each(|frame| story.arrives_with(frame, &mut inflaters));
        }
    }
    for (story, text) in stories.iter().zip(texts) {
        assert_eq!(story.outcome.events, [("text".to_owned(), text.into_bytes())]);
        assert_eq!(story.connection.buffered_bytes(), 0);
    }
    assert!(inflaters.idle_bytes() <= 208 << 10, "not all are kept");
}

#[test]
fn a_connection_that_broke_off_leaves_nothing_in_the_next_ones_inflater() {
    let mut inflaters = Inflaters::new();
    for broken in [&b"\xff\xff\xff"[..], b"\xf2\x48\xcd", b"\xf2\x48\xcd\xc9\xc9\x07\x00\xff"] {
        let mut story = server(1 << 20);
        let header = FrameHeader { rsv1: true, mask: KEY, ..FrameHeader::new(Opcode::Text, broken.len()) };
        let mut frame = Vec::new();
        header.encode_with(broken, &mut frame);
        story.arrives_with(&frame, &mut inflaters);
        assert_eq!(story.outcome.closed.map(|closed| closed.code), Some(1007));
        let mut story = server(1 << 20);
        story.arrives_with(&whole(Opcode::Text, b"hello"), &mut inflaters);
        assert_eq!(story.outcome.events, [("text".to_owned(), b"hello".to_vec())]);
    }
}

#[test]
fn a_short_message_is_borrowed_and_a_long_one_owned() {
    let mut inflaters = Inflaters::new();
    for (len, is_borrowed) in [(0, true), (5000, true), (16_384, false), (100_000, false)] {
        let mut connection = Connection::new(Config::server(1 << 20).with_deflate(agreed()));
        let mut input = whole(Opcode::Binary, &vec![7; len]);
        let received = connection.receive_with(&mut input, &mut Vec::new(), &mut inflaters);
        let Some(Event::Message { bytes, .. }) = received.event else {
            panic!("{received:?}");
        };
        assert_eq!(*bytes, vec![7; len]);
        assert_eq!(matches!(bytes, std::borrow::Cow::Borrowed(_)), is_borrowed, "{len} bytes");
    }
}

/// Ten MiB of zeros are ten KiB on the wire. The story watches what is buffered with each read.
#[test]
fn a_bomb_ends_in_1009_with_flat_memory() {
    let limit = 64 << 10;
    let frame = whole(Opcode::Binary, &vec![0; 10 << 20]);
    assert!(frame.len() < 11 << 10, "{} bytes", frame.len());
    for bytes in [frame.len(), 1400, 100, 1] {
        let mut story = server(limit);
        let mut inflaters = Inflaters::new();
        frame.chunks(bytes).for_each(|piece| story.arrives_with(piece, &mut inflaters));
        let closed = story.outcome.closed.unwrap();
        let violation = Violation::MessageTooLarge { len: limit as u64 + 1, max: limit };
        assert_eq!((closed.code, closed.by), (1009, ClosedBy::Violation(violation)), "by {bytes} bytes");
        assert_eq!(story.connection.buffered_bytes(), 0);
    }
}

#[test]
fn endless_blocks_without_content_end_in_1009_with_flat_memory() {
    let limit = 64 << 10;
    let mut story = server(limit);
    let mut inflaters = Inflaters::new();
    let blocks = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(200);
    for turn in 0..1000 {
        let opcode = if turn == 0 { Opcode::Binary } else { Opcode::Continuation };
        let header = FrameHeader::new(opcode, blocks.len());
        let mut frame = Vec::new();
        FrameHeader { fin: false, rsv1: turn == 0, mask: KEY, ..header }.encode_with(&blocks, &mut frame);
        story.arrives_with(&frame, &mut inflaters);
        assert!(story.connection.buffered_bytes() <= INFLATER_BYTES);
    }
    let closed = story.outcome.closed.unwrap();
    let violation = Violation::CompressedTooLarge { len: 133_000, max: (128 << 10) + 1024 };
    assert_eq!((closed.code, closed.by), (1009, ClosedBy::Violation(violation)));
}

#[test]
fn large_messages_are_gathered_in_linear_time() {
    let text = "€abcdefghijklm".repeat((4 << 20) / 16);
    let mut story = server(4 << 20);
    let mut inflaters = Inflaters::new();
    whole(Opcode::Text, text.as_bytes())
        .chunks(97)
        .for_each(|piece| story.arrives_with(piece, &mut inflaters));
    assert!(story.outcome.events == [("text".to_owned(), text.into_bytes())]);
    assert!(story.moves < 30, "{} moves", story.moves);
}

#[test]
fn a_message_of_the_limit_passes_however_badly_it_compresses() {
    for len in [0, 1, 2, 100, 16_383, 16_384, 16_385, 70_000] {
        let payload = noise(len);
        let mut story = server(len);
        story.arrives(&whole(Opcode::Binary, &payload));
        fragments(Opcode::Binary, &payload, 100).iter().for_each(|frame| story.arrives(frame));
        assert!(story.outcome.events == vec![("binary".to_owned(), payload); 2], "{len} bytes");
    }
}

#[test]
fn the_rfcs_examples_are_what_we_send() {
    let mut deflater = Deflater::new(6, WindowBits::MAX);
    for _ in 0..2 {
        let mut out = Vec::new();
        deflater.compress(b"Hello", &mut out);
        assert_eq!(out, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        deflater.compress(b"", &mut out);
        assert_eq!(out[7..], [0x00]);
    }
}

#[test]
fn a_frame_is_appended_with_its_header_and_mask() {
    let mut deflater = Deflater::new(6, WindowBits::MAX);
    let mut out = vec![1, 2, 3];
    deflater.encode_frame(&mut out, Opcode::Text, b"Hello", None);
    assert_eq!(out, [1, 2, 3, 0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    out.clear();
    deflater.encode_frame(&mut out, Opcode::Binary, b"Hello", Some([0xff, 0, 0, 0xff]));
    assert_eq!(out, [0xc2, 0x87, 0xff, 0, 0, 0xff, 0x0d, 0x48, 0xcd, 0x36, 0x36, 0x07, 0x00]);
}

#[test]
fn what_does_not_compress_grows_by_little_at_any_level() {
    for level in 0..=10 {
        for len in [1, 5, 100, 16_000, 70_000, 1 << 20] {
            let mut out = Vec::new();
            Deflater::new(level, WindowBits::MAX).compress(&noise(len), &mut out);
            let most = len + 10 + if level == 1 { len / 16 } else { len / 1000 };
            assert!(out.len() <= most, "level {level}: {len} became {}", out.len());
        }
    }
}

#[test]
fn a_client_and_a_server_understand_each_other_compressed() {
    let mut deflater = Deflater::new(6, WindowBits::MAX);
    let mut client = Connection::new(Config::client(1 << 20, 42).with_deflate(agreed()));
    let mut server = server(1 << 20);
    let long = "scores and tickers, ".repeat(5000);
    let mut wire = Vec::new();
    client.send_deflated(Opcode::Text, long.as_bytes(), &mut wire, &mut deflater);
    client.send_deflated(Opcode::Binary, &noise(500), &mut wire, &mut deflater);
    client.send(Opcode::Text, b"plain", &mut wire);
    client.send_deflated(Opcode::Text, b"", &mut wire, &mut deflater);
    assert!(wire.len() < 2000, "{} bytes", wire.len());
    server.arrives(&wire);
    let lens: Vec<_> =
        server.outcome.events.iter().map(|(kind, bytes)| (kind.as_str(), bytes.len())).collect();
    assert_eq!(lens, [("text", long.len()), ("binary", 500), ("text", 5), ("text", 0)]);

    let mut answer = Vec::new();
    server.connection.send_deflated(Opcode::Text, long.as_bytes(), &mut answer, &mut deflater);
    let received = client.receive(&mut answer, &mut wire);
    let Some(Event::Message { bytes, .. }) = received.event else {
        panic!("{received:?}");
    };
    assert!(*bytes == *long.as_bytes());

    client.close(1000, "", &mut wire);
    wire.clear();
    client.send_deflated(Opcode::Text, b"late", &mut wire, &mut deflater);
    assert!(wire.is_empty(), "nothing is sent after our close frame");
}

/// A sender whose messages refer to all it has sent before.
struct Clinging(flate2::Compress);

impl Clinging {
    fn frame(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::with_capacity(payload.len() + 100);
        self.0.compress_vec(payload, &mut compressed, flate2::FlushCompress::Sync).unwrap();
        compressed.truncate(compressed.len() - 4);
        let header = FrameHeader::new(Opcode::Binary, compressed.len());
        let mut frame = Vec::new();
        FrameHeader { rsv1: true, mask: KEY, ..header }.encode_with(&compressed, &mut frame);
        frame
    }
}

#[test]
fn peers_that_keep_their_context_are_understood_beside_one_another() {
    let mut inflaters = Inflaters::new();
    let mut clinging: Vec<_> = (0..3)
        .map(|_| (server(1 << 20), Clinging(flate2::Compress::new(flate2::Compression::best(), false))))
        .collect();
    let mut tidy = server(1 << 20);
    let noise = noise(60_000);
    for round in 0..40 {
        // Short and long ones, that repeat what was up to 32 KiB before.
        let len = [10, 31_000, 700, 1, 5_000, 60_000][round % 6];
        for (number, (story, sender)) in clinging.iter_mut().enumerate() {
            let payload = &noise[(number * 7).min(60_000 - len)..][..len];
            let frame = sender.frame(payload);
            assert!(len != 5_000 || frame.len() < 3_000, "it refers to what was before");
            let (begin, end) = frame.split_at(frame.len() * (round % 3) / 2);
            story.arrives_with(begin, &mut inflaters);
            story.arrives_with(end, &mut inflaters);
            let (kind, bytes) = story.outcome.events.pop().unwrap();
            assert!(kind == "binary" && bytes == payload, "round {round}");
            assert!(story.connection.remembered_bytes() < 33 * 1024);
        }
        tidy.arrives_with(&whole(Opcode::Binary, &noise[..len]), &mut inflaters);
        assert_eq!(tidy.outcome.events.len(), round + 1);
    }
}

#[test]
fn violations_name_the_numbers() {
    let said = |payload: &[u8]| {
        let mut story = server(10);
        let header = FrameHeader { rsv1: true, mask: KEY, ..FrameHeader::new(Opcode::Text, payload.len()) };
        let mut frame = Vec::new();
        header.encode_with(payload, &mut frame);
        story.arrives(&frame);
        let Some(Closed { by: ClosedBy::Violation(violation), .. }) = story.outcome.closed else {
            panic!("no violation");
        };
        violation.to_string()
    };
    assert_eq!(said(b"\xf2\x48\xcd"), "compressed message ends inside a block after 2 inflated bytes");
    assert_eq!(said(b"\x00\x02\x00\xfd\xffab\x07"), "compressed message is corrupt after 2 inflated bytes");
    assert_eq!(said(&[0; 1045]), "compressed message of 1045 bytes, limit is 1044");
}

#[test]
fn windows_are_9_to_15_bits_and_what_is_agreed_reaches_the_deflater() {
    assert_eq!((WindowBits::new(8), WindowBits::new(16)), (None, None));
    for bits in 9..=15 {
        let window_bits = WindowBits::new(bits).unwrap();
        let settings = Settings { server_window_bits_min: WindowBits::MIN };
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let agreed = negotiate([offer.as_str()].into_iter(), &settings).unwrap();
        assert_eq!(agreed.server_window_bits(), window_bits);
    }
    assert_eq!(agreed().server_window_bits(), WindowBits::MAX);
}

/// Half a window of noise comes twice. Only a window that is larger than what lies between can make use of that.
#[test]
fn a_smaller_window_is_kept_to() {
    for bits in 9..=15 {
        let half = noise(1 << (bits - 1));
        let near = [half.clone(), vec![0; 8], half.clone()].concat();
        let far = [half.clone(), vec![0; 3 << (bits - 1)], half.clone()].concat();
        let mut deflater = Deflater::new(9, WindowBits::new(bits).unwrap());
        let mut out = Vec::new();
        deflater.compress(&far, &mut out);
        assert!(out.len() > 2 * half.len(), "{bits} bits: {} bytes", out.len());
        if bits > 9 {
            out.clear();
            deflater.compress(&near, &mut out);
            assert!(out.len() < 2 * half.len(), "{bits} bits: {} bytes", out.len());
        }
    }
}
