//! One end of a WebSocket connection fed with an input in pieces, and everything that came of it.

use topichub_protocol::websocket::deflate::{Agreed, INFLATER_BYTES, Inflaters, Settings, negotiate};
use topichub_protocol::websocket::{
    CONTROL_BYTES_MAX, Closed, Config, Connection, Event, FrameHeader, MessageKind, Opcode,
};

/// What came of an input.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Everything delivered before the end.
    pub events: Vec<Event<'static>>,
    /// What is to be sent.
    pub out: Vec<u8>,
    /// The end, if there was one.
    pub closed: Option<Closed>,
}

/// What any client that offers compression gets.
///
/// # Panics
/// If a good offer were declined.
pub fn agreed() -> Agreed {
    negotiate(["permessage-deflate"].into_iter(), &Settings::default()).expect("a good offer")
}

/// Feeds `input` in pieces of the lengths that `pieces` gives, closes from our side before the byte `we_close`, and
/// watches what is buffered and delivered.
///
/// # Panics
/// If that is too much, or in the wrong order.
pub fn receive(
    config: Config,
    input: &[u8],
    mut pieces: impl FnMut() -> usize,
    we_close: Option<usize>,
) -> Outcome {
    let mut connection = Connection::new(config);
    let mut inflaters = Inflaters::new();
    let mut outcome = Outcome::default();
    let mut at = 0;
    loop {
        if we_close == Some(at) {
            connection.close(1000, "", &mut outcome.out);
        }
        if at == input.len() {
            break;
        }
        let stop = we_close.filter(|close| *close > at).unwrap_or(input.len());
        let end = stop.min(at.saturating_add(pieces().max(1)));
        read(&mut connection, &input[at..end], &mut inflaters, &mut outcome);
        at = end;
        check_buffered(&connection, config, at);
    }
    assert_eq!(connection.is_closed(), outcome.closed.is_some());
    for event in &outcome.events {
        if let Event::Message { kind, bytes } = event {
            assert!(bytes.len() <= config.message_bytes_max, "{} bytes delivered", bytes.len());
            assert!(*kind == MessageKind::Binary || std::str::from_utf8(bytes).is_ok(), "no text delivered");
        }
    }
    outcome
}

fn read(connection: &mut Connection, piece: &[u8], inflaters: &mut Inflaters, outcome: &mut Outcome) {
    let mut piece = piece.to_vec();
    let mut at = 0;
    while at < piece.len() {
        let received = connection.receive_with(&mut piece[at..], &mut outcome.out, inflaters);
        at += received.consumed;
        match received.event.map(owned) {
            Some(Event::Closed(closed)) => assert_eq!(outcome.closed.replace(closed), None, "closed twice"),
            Some(event) => {
                assert_eq!(outcome.closed, None, "{event:?} after the end");
                outcome.events.push(event);
            }
            None => assert_eq!(at, piece.len(), "without an event all input is consumed"),
        }
    }
}

fn check_buffered(connection: &Connection, config: Config, arrived: usize) {
    let buffered = connection.buffered_bytes();
    let inflater = if config.deflate.is_some() { INFLATER_BYTES } else { 0 };
    assert!(buffered <= config.message_bytes_max + CONTROL_BYTES_MAX + inflater, "{buffered} bytes buffered");
    assert!(buffered <= 2 * arrived || inflater > 0, "{buffered} bytes buffered of {arrived}");
    assert!(!connection.is_closed() || buffered == 0, "{buffered} bytes buffered after the end");
}

fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Message { kind, bytes } => Event::Message { kind, bytes: bytes.into_owned().into() },
        Event::Ping(bytes) => Event::Ping(bytes.into_owned().into()),
        Event::Pong(bytes) => Event::Pong(bytes.into_owned().into()),
        Event::Closed(closed) => Event::Closed(closed),
    }
}

/// Masked frames of one compressed message whose payload is `compressed`, in fragments of the lengths that `pieces`
/// gives.
pub fn compressed_message(
    kind: MessageKind,
    compressed: &[u8],
    mut pieces: impl FnMut() -> usize,
) -> Vec<u8> {
    let first = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
    let (mut wire, mut rest, mut begins) = (Vec::new(), compressed, true);
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(pieces()));
        let header = FrameHeader {
            fin: behind.is_empty(),
            rsv1: begins,
            mask: Some([0x37, 0xfa, 0x21, 0x3d]),
            ..FrameHeader::new(if begins { first } else { Opcode::Continuation }, piece.len())
        };
        header.encode_with(piece, &mut wire);
        if behind.is_empty() {
            return wire;
        }
        (rest, begins) = (behind, false);
    }
}
