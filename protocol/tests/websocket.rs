//! The WebSocket codec against `vectors/websocket.json`: every case whole, byte by byte and cut at random, with the
//! same outcome demanded each time. What vectors cannot say (memory, sizes, our own frames) follows as stories.
#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach functions that tests share

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use topichub_protocol::websocket::{
    Closed, ClosedBy, Config, Connection, Event, FrameHeader, MessageKind, Opcode, Violation, encode_close,
    encode_frame, is_close_code,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "$schema")]
    _schema: String,
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "rfc")]
    _rfc: String,
    role: End,
    message_bytes_max: usize,
    we_close: Option<WeClose>,
    input: Bytes,
    events: Vec<Delivered>,
    output: Bytes,
    close: Option<Close>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum End {
    Server,
    Client,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeClose {
    at: usize,
    code: u16,
    reason: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Hex(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Hex(String),
    Repeat { hex: String, repeat: usize },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delivered {
    kind: String,
    payload: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    by: String,
    code: u16,
    #[serde(default)]
    reason: String,
    violation: Option<String>,
    at: usize,
}

impl Bytes {
    fn decode(&self) -> Vec<u8> {
        match self {
            Self::Hex(hex) => from_hex(hex),
            Self::Parts(parts) => parts
                .iter()
                .flat_map(|part| match part {
                    Part::Hex(hex) => from_hex(hex),
                    Part::Repeat { hex, repeat } => from_hex(hex).repeat(*repeat),
                })
                .collect(),
        }
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(16).unwrap())
        .collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits in {hex}");
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

fn vectors() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/websocket.json");
    serde_json::from_str::<Vectors>(&fs::read_to_string(path).unwrap())
        .unwrap()
        .cases
}

fn config(role: End, message_bytes_max: usize) -> Config {
    match role {
        End::Server => Config::server(message_bytes_max),
        End::Client => Config::client(message_bytes_max, 0x5eed),
    }
}

/// Everything that came of an input.
#[derive(Debug, Default, PartialEq, Clone)]
struct Outcome {
    events: Vec<(String, Vec<u8>)>,
    out: Vec<u8>,
    closed: Option<Closed>,
    /// How many bytes had been handed over when the end was known.
    closed_at: Option<usize>,
}

/// A connection and what came of it so far.
struct Story {
    connection: Connection,
    message_bytes_max: usize,
    handed_over: usize,
    /// How often the buffer has changed its size: what a copy of it may each time cost.
    moves: usize,
    buffered: usize,
    outcome: Outcome,
}

impl Story {
    fn new(config: Config) -> Self {
        Self {
            connection: Connection::new(config),
            message_bytes_max: config.message_bytes_max,
            handed_over: 0,
            moves: 0,
            buffered: 0,
            outcome: Outcome::default(),
        }
    }

    /// One read of the transport.
    fn arrives(&mut self, piece: &[u8]) {
        let mut piece = piece.to_vec();
        self.handed_over += piece.len();
        let mut at = 0;
        while at < piece.len() {
            let received = self.connection.receive(&mut piece[at..], &mut self.outcome.out);
            at += received.consumed;
            let (kind, bytes) = match received.event {
                Some(Event::Message {
                    kind: MessageKind::Text,
                    bytes,
                }) => ("text", bytes),
                Some(Event::Message {
                    kind: MessageKind::Binary,
                    bytes,
                }) => ("binary", bytes),
                Some(Event::Ping(bytes)) => ("ping", bytes),
                Some(Event::Pong(bytes)) => ("pong", bytes),
                Some(Event::Closed(closed)) => {
                    assert_eq!(self.outcome.closed.replace(closed), None, "closed twice");
                    self.outcome.closed_at = Some(self.handed_over);
                    continue;
                }
                None => {
                    assert_eq!(at, piece.len(), "without an event all input is consumed");
                    continue;
                }
            };
            assert_eq!(self.outcome.closed, None, "{kind} after the end");
            self.outcome.events.push((kind.to_owned(), bytes.into_owned()));
        }
        let buffered = self.connection.buffered_bytes();
        assert!(
            buffered <= self.message_bytes_max + 125,
            "{buffered} bytes buffered"
        );
        assert!(
            buffered <= 2 * self.handed_over,
            "{buffered} bytes buffered of {}",
            self.handed_over
        );
        self.moves += usize::from(buffered != self.buffered);
        self.buffered = buffered;
    }
}

fn run(case: &Case, pieces: impl IntoIterator<Item = usize>) -> Outcome {
    let input = case.input.decode();
    let mut story = Story::new(config(case.role, case.message_bytes_max));
    let mut we_close = case.we_close.as_ref();
    let mut pieces = pieces.into_iter();
    let mut at = 0;
    loop {
        if let Some(close) = we_close.take_if(|close| close.at == at) {
            story
                .connection
                .close(close.code, &close.reason, &mut story.outcome.out);
        }
        if at == input.len() {
            break;
        }
        let stop = we_close.map_or(input.len(), |close| close.at);
        let end = stop.min(at + pieces.next().unwrap_or(usize::MAX - at));
        story.arrives(&input[at..end]);
        at = end;
    }
    assert_eq!(story.connection.is_closed(), case.close.is_some(), "is_closed");
    if story.connection.is_closed() {
        assert_eq!(story.connection.buffered_bytes(), 0, "buffered after the end");
        assert_eq!(story.connection.transport_ended(), None);
    } else {
        let ended = story.connection.transport_ended().unwrap();
        assert_eq!((ended.code, ended.by), (1006, ClosedBy::Transport));
    }
    story.outcome
}

/// The frames of an output without their masks. A client's must have one, a server's must not.
fn unmasked(role: End, mut out: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let [first, second, rest @ ..] = out {
        assert_eq!(
            second & 0x80 != 0,
            role == End::Client,
            "mask bit of a frame from a {role:?}"
        );
        let len = usize::from(second & 0x7f);
        assert!(len <= 125, "automatic answers are control frames");
        plain.extend([*first, len as u8]);
        let (key, payload) = if role == End::Client {
            rest.split_at(4)
        } else {
            ([0; 4].as_slice(), rest)
        };
        plain.extend(
            payload[..len]
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        out = &payload[len..];
    }
    assert!(out.is_empty(), "half a frame in the output");
    plain
}

fn snake_case(violation: Violation) -> String {
    let debug = format!("{violation:?}");
    let name = debug.split(' ').next().unwrap();
    name.char_indices().fold(String::new(), |mut snake, (at, c)| {
        if at > 0 && c.is_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
        snake
    })
}

fn check(case: &Case, how: &str, outcome: &Outcome) {
    let name = &case.name;
    let wanted: Vec<_> = case
        .events
        .iter()
        .map(|event| (event.kind.clone(), event.payload.decode()))
        .collect();
    assert!(
        outcome.events == wanted,
        "{name}, {how}: events {:?}",
        outcome.events
    );

    let mut out = unmasked(case.role, &outcome.out);
    if let Some(Close {
        code,
        violation: Some(violation),
        ..
    }) = &case.close
    {
        let Some(Closed {
            code: got,
            by: ClosedBy::Violation(seen),
            ..
        }) = &outcome.closed
        else {
            panic!("{name}, {how}: {:?} instead of {violation}", outcome.closed);
        };
        assert_eq!((&snake_case(*seen), got), (violation, code), "{name}, {how}");
        assert_eq!(seen.close_code(), *code, "{name}, {how}");
        if case.we_close.is_none() {
            let start = case.output.decode().len();
            let answer = out.split_off(start.min(out.len()));
            let mut wanted = vec![0x88, answer.len() as u8 - 2];
            wanted.extend(code.to_be_bytes());
            wanted.extend(seen.to_string().bytes());
            assert_eq!(answer, wanted, "{name}, {how}: the close frame that answers");
        }
    } else {
        let seen = outcome.closed.as_ref().map(|closed| {
            let by = match closed.by {
                ClosedBy::Peer => "peer",
                ClosedBy::Us => "us",
                ClosedBy::Transport => "transport",
                ClosedBy::Violation(violation) => panic!("{name}, {how}: {violation}"),
            };
            (by, closed.code, closed.reason.as_str())
        });
        let wanted = case
            .close
            .as_ref()
            .map(|close| (close.by.as_str(), close.code, close.reason.as_str()));
        assert_eq!(seen, wanted, "{name}, {how}: close");
    }
    assert_eq!(out, case.output.decode(), "{name}, {how}: output");
}

/// Pseudo-random numbers (SplitMix64), the same in every run.
fn numbers(mut seed: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[test]
fn every_vector_holds_whole_byte_by_byte_and_in_random_pieces() {
    let cases = vectors();
    for case in &cases {
        check(case, "whole", &run(case, []));
        let outcome = run(case, std::iter::repeat(1));
        check(case, "byte by byte", &outcome);
        assert_eq!(
            outcome.closed_at,
            case.close.as_ref().map(|close| close.at),
            "{}: known at",
            case.name
        );
        for seed in 0..24 {
            let longest = [3, 8, 300][seed as usize % 3];
            let pieces = numbers(seed).map(|number| 1 + (number % longest) as usize);
            check(case, &format!("in pieces from seed {seed}"), &run(case, pieces));
        }
    }
}

#[test]
fn the_end_is_known_although_nothing_more_arrives() {
    for mut case in vectors() {
        let Some(close) = &case.close else { continue };
        let input = case.input.decode();
        let hex: String = input[..close.at]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        case.input = Bytes::Hex(hex);
        check(&case, "cut at its end", &run(&case, []));
    }
}

#[test]
fn every_violation_has_a_vector_for_the_server_and_names_are_unique() {
    let cases = vectors();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len());

    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/websocket.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let known = schema["$defs"]["violated"]["properties"]["violation"]["enum"]
        .as_array()
        .unwrap()
        .clone();
    let seen: BTreeSet<_> = cases
        .iter()
        .filter_map(|case| case.close.as_ref()?.violation.as_deref())
        .collect();
    assert_eq!(seen, known.iter().map(|name| name.as_str().unwrap()).collect());
}

fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_frame(&mut frame, opcode, payload, Some([0x37, 0xfa, 0x21, 0x3d]));
    frame
}

fn masked_piece(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let header = FrameHeader {
        fin,
        mask: Some([9, 8, 7, 6]),
        ..FrameHeader::new(opcode, payload.len())
    };
    header.encode_with(payload, &mut frame);
    frame
}

#[test]
fn an_idle_connection_is_small_and_owns_no_heap() {
    let size = size_of::<Connection>();
    assert!(size <= 96, "{size} bytes");
    let mut story = Story::new(Config::server(1 << 20));
    assert_eq!(story.connection.buffered_bytes(), 0);
    let frame = masked(Opcode::Binary, &[7; 5000]);
    story.arrives(&frame[..3000]);
    assert!(story.connection.buffered_bytes() > 0);
    story.arrives(&frame[3000..]);
    assert_eq!(
        story.connection.buffered_bytes(),
        0,
        "a partial message is freed with its end"
    );
    let ping = masked(Opcode::Ping, b"still there?");
    story.arrives(&ping[..9]);
    story.arrives(&ping[9..]);
    assert_eq!(
        story.connection.buffered_bytes(),
        0,
        "a partial ping is freed with its end"
    );
    assert_eq!(story.outcome.events.len(), 2);
}

#[test]
fn our_close_frees_a_partial_message() {
    let mut story = Story::new(Config::server(1 << 20));
    story.arrives(&masked(Opcode::Binary, &[7; 5000])[..3000]);
    story.connection.close(1000, "", &mut Vec::new());
    assert_eq!(story.connection.buffered_bytes(), 0);
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut story = Story::new(Config::server(1 << 30));
    let header = FrameHeader {
        mask: Some([0; 4]),
        ..FrameHeader::new(Opcode::Binary, 1 << 30)
    }
    .encode();
    story.arrives(&header);
    assert_eq!(story.connection.buffered_bytes(), 0);
    story.arrives(&[1; 1000]);
    assert_eq!(story.connection.buffered_bytes(), 1000);
}

#[test]
fn a_whole_message_is_borrowed_from_the_input() {
    let mut connection = Connection::new(Config::server(100));
    let mut input = masked(Opcode::Text, b"borrowed");
    let range = input.as_ptr_range();
    let received = connection.receive(&mut input, &mut Vec::new());
    let Some(Event::Message { bytes, .. }) = received.event else {
        panic!("{received:?}");
    };
    assert!(range.contains(&bytes.as_ptr()), "copied");
    assert_eq!(&*bytes, b"borrowed");

    let mut input = masked(Opcode::Text, b"header came first");
    let (header, payload) = input.split_at_mut(6);
    assert!(connection.receive(header, &mut Vec::new()).event.is_none());
    let range = payload.as_ptr_range();
    let received = connection.receive(payload, &mut Vec::new());
    let Some(Event::Message { bytes, .. }) = received.event else {
        panic!("{received:?}");
    };
    assert!(range.contains(&bytes.as_ptr()), "copied");
}

#[test]
fn violations_name_the_numbers() {
    let said = |config: Config, input: &[u8]| {
        let mut story = Story::new(config);
        story.arrives(input);
        let Some(Closed {
            by: ClosedBy::Violation(violation),
            ..
        }) = story.outcome.closed
        else {
            panic!("no violation");
        };
        violation.to_string()
    };
    let server = Config::server(10);
    let fragments = [
        masked_piece(Opcode::Text, false, b"01234567"),
        masked(Opcode::Continuation, b"890"),
    ]
    .concat();
    assert_eq!(
        said(server, &fragments),
        "message of 11 bytes or more, limit is 10"
    );
    let text = [
        masked_piece(Opcode::Text, false, b"abc\xe2"),
        masked(Opcode::Continuation, b"\x82z"),
    ]
    .concat();
    assert_eq!(said(server, &text), "text is not utf-8 at byte 3");
    assert_eq!(
        said(server, &masked(Opcode::Text, b"abcd\xe2\x82")),
        "text of 6 bytes ends inside a character"
    );
    assert_eq!(
        said(server, &[0xf1, 0x80]),
        "reserved bits 111 are set, but no extension uses them"
    );
    assert_eq!(said(server, &[0x8b, 0x80]), "opcode 11 is not known");
    assert_eq!(
        said(server, &[0x81, 0xfe, 0, 7]),
        "length 7 is written in 2 bytes instead of fewer"
    );
    assert_eq!(
        said(server, &masked(Opcode::Close, &[0x03, 0xed])),
        "close code 1005 must not be sent"
    );
    assert_eq!(
        said(server, &masked(Opcode::Close, b"\x03\xe8abc\xff")),
        "close reason is not utf-8 at byte 3"
    );
}

#[test]
fn a_close_reason_is_cut_between_characters() {
    let mut out = Vec::new();
    encode_close(&mut out, 1000, &"€".repeat(50), None);
    assert_eq!(out[..4], [0x88, 125, 0x03, 0xe8]);
    assert_eq!(&out[4..], "€".repeat(41).as_bytes());
    out.clear();
    encode_close(&mut out, 1000, &format!("a{}", "€".repeat(50)), None);
    assert_eq!(out[1], 2 + 1 + 40 * 3);
    out.clear();
    encode_close(&mut out, 1005, "not sent", None);
    assert_eq!(out, [0x88, 0]);
    assert!(is_close_code(4999) && !is_close_code(1005));
}

#[test]
fn nothing_is_sent_after_our_close_frame() {
    let mut connection = Connection::new(Config::server(100));
    let mut out = Vec::new();
    connection.send(Opcode::Text, b"hi", &mut out);
    assert_eq!(out, [0x81, 2, b'h', b'i']);
    assert!(connection.is_open());
    connection.close(1001, "", &mut out);
    assert!(!connection.is_open() && !connection.is_closed());
    connection.send(Opcode::Text, b"late", &mut out);
    connection.close(1000, "twice", &mut out);
    assert_eq!(out[4..], [0x88, 2, 0x03, 0xe9]);
}

#[test]
fn a_client_and_a_server_understand_each_other() {
    let mut client = Connection::new(Config::client(1 << 20, 42));
    let mut server = Story::new(Config::server(1 << 20));
    let mut wire = Vec::new();
    client.send(Opcode::Text, b"hello", &mut wire);
    client.send(Opcode::Text, b"hello", &mut wire);
    assert_ne!(wire[2..11], wire[13..22], "each frame has its own mask");
    client.send(Opcode::Binary, &[0xff; 70_000], &mut wire);
    client.send(Opcode::Ping, b"?", &mut wire);
    client.close(3000, "done", &mut wire);
    server.arrives(&wire);
    let kinds: Vec<_> = server
        .outcome
        .events
        .iter()
        .map(|(kind, bytes)| (kind.as_str(), bytes.len()))
        .collect();
    assert_eq!(kinds, [("text", 5), ("text", 5), ("binary", 70_000), ("ping", 1)]);
    let closed = server.outcome.closed.unwrap();
    assert_eq!(
        (closed.code, closed.reason.as_str(), closed.by),
        (3000, "done", ClosedBy::Peer)
    );

    // The pong before the server's close frame is no event for a client that has closed.
    let mut answer = server.outcome.out;
    let end = client.receive(&mut answer, &mut wire);
    let closed = Closed {
        code: 3000,
        reason: String::new(),
        by: ClosedBy::Us,
    };
    assert_eq!((end.consumed, end.event), (7, Some(Event::Closed(closed))));
}

/// Sixteen MiB, as the Autobahn suite's cases 9.1.6 and 9.2.6 send them, and four in pieces of 64 bytes (9.3.1): a
/// buffer that grew by a fixed step would be moved 16,000 and 65,000 times.
#[test]
fn large_messages_take_linear_time() {
    let text = "€abcdefghijklm".repeat((16 << 20) / 16);
    let frame = masked(Opcode::Text, text.as_bytes());
    let mut story = Story::new(Config::server(16 << 20));
    frame.chunks(997).for_each(|piece| story.arrives(piece));
    assert!(story.outcome.events == [("text".to_owned(), text.into_bytes())]);
    assert!(story.moves < 30, "{} moves", story.moves);

    let mut story = Story::new(Config::server(4 << 20));
    let count = (4 << 20) / 64;
    for at in 0..count {
        let opcode = if at == 0 {
            Opcode::Text
        } else {
            Opcode::Continuation
        };
        story.arrives(&masked_piece(opcode, at == count - 1, &[b'*'; 64]));
    }
    assert_eq!(story.outcome.events[0].1.len(), 4 << 20);
    assert!(story.moves < 30, "{} moves", story.moves);
}
