//! What a connection tells its caller: messages, pings, pongs and the end.
//! Plain values; they are made in `connection`.

use std::borrow::Cow;

use super::Violation;

/// How a message says it is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8, and checked as such.
    Text,
    /// Any bytes.
    Binary,
}

/// What [`Connection::receive`](super::Connection::receive) made of the input.
#[derive(Debug)]
pub struct Received<'a> {
    /// How many bytes of the input are done with. All of them if there is no event.
    pub consumed: usize,
    /// At most one; call again with the rest of the input for more.
    pub event: Option<Event<'a>>,
}

/// Something for the caller. Bytes are borrowed from the input where they were whole in it, without a copy (or from
/// the inflaters, if a compressed message was), and owned where they had to be gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message {
        /// Text or binary.
        kind: MessageKind,
        /// Its payload; UTF-8 if it is text.
        bytes: Cow<'a, [u8]>,
    },
    /// A ping; its pong is in `out` already.
    Ping(Cow<'a, [u8]>),
    /// A pong, asked for or not.
    Pong(Cow<'a, [u8]>),
    /// The end: send `out`, then close the transport. Nothing that follows is read.
    Closed(Closed),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The code of the peer's close frame, 1005 if it had none (RFC 6455 §7.1.5). After a violation the code it
    /// earned, after a transport that just ended 1006.
    pub code: u16,
    /// The reason in the peer's close frame, else empty.
    pub reason: String,
    /// Who or what ended it.
    pub by: ClosedBy,
}

/// Who or what ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The peer sent the first close frame; ours, with the same code, is in `out`.
    Peer,
    /// We did, and the peer has answered.
    Us,
    /// The peer broke the protocol or a limit; unless we had sent a close frame before, one is in `out`.
    Violation(Violation),
    /// The transport ended before the peer's close frame came.
    Transport,
}

/// An event whose bytes are named but not yet borrowed: the borrow checker does not let a loop do that.
pub(super) enum Found {
    Message(MessageKind, Source),
    Ping(Source),
    Pong(Source),
    Closed(Closed),
}

pub(super) enum Source {
    /// The last bytes of what was consumed, this many.
    Input(usize),
    /// The first bytes of the inflaters' scratch, this many.
    Scratch(usize),
    Gathered(Vec<u8>),
}

impl Found {
    pub(super) fn into_event<'a>(self, consumed: &'a [u8], scratch: &'a [u8]) -> Event<'a> {
        match self {
            Self::Message(kind, source) => Event::Message { kind, bytes: source.bytes(consumed, scratch) },
            Self::Ping(source) => Event::Ping(source.bytes(consumed, scratch)),
            Self::Pong(source) => Event::Pong(source.bytes(consumed, scratch)),
            Self::Closed(closed) => Event::Closed(closed),
        }
    }

    /// The same without a need for the scratch.
    pub(super) fn without_scratch(self, scratch: &[u8]) -> Self {
        match self {
            Self::Message(kind, Source::Scratch(len)) => {
                Self::Message(kind, Source::Gathered(scratch[..len].to_vec()))
            }
            found => found,
        }
    }
}

impl Source {
    fn bytes<'a>(self, consumed: &'a [u8], scratch: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Self::Input(len) => Cow::Borrowed(&consumed[consumed.len() - len..]),
            Self::Scratch(len) => Cow::Borrowed(&scratch[..len]),
            Self::Gathered(bytes) => Cow::Owned(bytes),
        }
    }
}
