//! Our frame decoder beside an independent one, tungstenite's: the same messages, pings and pongs of the same bytes, and
//! both refuse, or neither. Where the two differ by intention is listed in `we_are_stricter`.
//!
//! Input: 1 in the lowest bit of a byte for a client, then what the peer sends.
#![no_main]

use std::io::{self, Read, Write};

use libfuzzer_sys::fuzz_target;
use topichub_fuzz::Input;
use topichub_fuzz::wire::{Outcome, receive};
use topichub_protocol::websocket::{ClosedBy, Config, Event, MessageKind, Violation};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

const LIMIT: usize = 2000;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let is_client = input.byte() & 1 == 1;
    let config = if is_client { Config::client(LIMIT, 7) } else { Config::server(LIMIT) };
    let ours = receive(config, input.0, || usize::MAX, None);
    let theirs = theirs(if is_client { Role::Client } else { Role::Server }, input.0);

    let ended = ours.closed.as_ref().map(|closed| closed.by);
    match (ended, theirs.end) {
        // Both live on, or have taken a close frame: then they have seen the same.
        (None, End::None) | (Some(ClosedBy::Peer), End::Closed) => assert_eq!(events(&ours), theirs.events),
        (Some(ClosedBy::Violation(_)), End::Refused) => check_prefix(&ours, &theirs),
        (Some(ClosedBy::Violation(violation)), _) => {
            assert!(we_are_stricter(violation), "{violation}, but tungstenite goes on: {theirs:?}");
            check_prefix(&ours, &theirs);
        }
        _ => panic!("{ours:?} here, {theirs:?} there"),
    }
});

/// What tungstenite lets pass, or refuses only when the frame is complete, which may never happen.
fn we_are_stricter(violation: Violation) -> bool {
    match violation {
        // A length in more bytes than it needs is not looked at (RFC 6455 §5.2 demands the minimal one).
        Violation::NonMinimalLength { .. } => true,
        // An invalid code is answered with 1002 but delivered as a close.
        Violation::InvalidCloseCode { .. } => true,
        // Judged when the whole frame is there; we do it at the first byte or header that shows it.
        Violation::InvalidUtf8 { .. } | Violation::InvalidCloseReason { .. } => true,
        Violation::MessageTooLarge { .. } => true,
        _ => is_in_the_header(violation),
    }
}

/// tungstenite reads the whole header, and the payload too, before it judges the header.
fn is_in_the_header(violation: Violation) -> bool {
    matches!(
        violation,
        Violation::ReservedBits { .. }
            | Violation::UnknownOpcode { .. }
            | Violation::FragmentedControl { .. }
            | Violation::ControlTooLong { .. }
            | Violation::Unmasked
            | Violation::Masked
            | Violation::LengthTopBit { .. }
            | Violation::LoneContinuation
            | Violation::InterleavedMessage
            | Violation::CloseTooShort
    )
}

fn check_prefix(ours: &Outcome, theirs: &Theirs) {
    let ours = events(ours);
    assert!(
        theirs.events.starts_with(&ours) || ours.starts_with(&theirs.events),
        "{ours:?} here, {theirs:?} there"
    );
}

/// In tungstenite's words.
fn events(ours: &Outcome) -> Vec<Message> {
    let message = |event: &Event<'_>| match event {
        Event::Message { kind: MessageKind::Text, bytes } => {
            Message::text(std::str::from_utf8(bytes).expect("text is UTF-8"))
        }
        Event::Message { kind: MessageKind::Binary, bytes } => Message::binary(bytes.to_vec()),
        Event::Ping(bytes) => Message::Ping(bytes.to_vec().into()),
        Event::Pong(bytes) => Message::Pong(bytes.to_vec().into()),
        Event::Closed(_) => unreachable!("the end is kept apart"),
    };
    ours.events.iter().map(message).collect()
}

#[derive(Debug)]
struct Theirs {
    events: Vec<Message>,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    None,
    Closed,
    Refused,
}

fn theirs(role: Role, bytes: &[u8]) -> Theirs {
    let config = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), role, Some(config));
    let mut events = Vec::new();
    loop {
        let end = match socket.read() {
            Ok(Message::Close(_)) => End::Closed,
            Ok(message) => {
                events.push(message);
                continue;
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => End::None,
            Err(_) => End::Refused,
        };
        return Theirs { events, end };
    }
}

/// What has arrived, and nothing more for now.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
