//! An open WebSocket: bytes in and out, frames by the protocol crate, and how it ended.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use topichub_protocol::Codec;
use topichub_protocol::websocket::deflate::Inflaters;
use topichub_protocol::websocket::{
    Closed, ClosedBy, Config, Connection, Event, MessageKind, Opcode, Violation,
};

use crate::address::ServerUrl;
use crate::dial::Stream;
use crate::handshake::{Shaken, shake_hands};
use crate::session::{End, Refusal};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// What is needed to open a connection.
pub(crate) struct Settings {
    pub(crate) url: Arc<ServerUrl>,
    pub(crate) codec: Codec,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) message_bytes_max: usize,
    pub(crate) compression: bool,
    #[cfg(feature = "rustls")]
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// What has come.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
    /// A ping or pong.
    Sign,
    /// The end; nothing comes after it.
    End(End),
}

/// An open WebSocket.
pub(crate) struct Transport {
    stream: Stream,
    connection: Connection,
    inflaters: Inflaters,
    opcode: Opcode,
    input: Box<[u8]>,
    /// How much of the input has been read, and how much of that has been told.
    filled: usize,
    told: usize,
    output: Vec<u8>,
    /// How much of the output is written; all that is written and flushed is taken out.
    written: usize,
    /// A write has failed. What the server has said before is still to be read: it says why.
    is_mute: bool,
    /// Nothing more comes, and why.
    lost: Option<String>,
}

impl Transport {
    /// Connects, with TLS if the URL says so, and shakes hands.
    pub(crate) async fn open(settings: Arc<Settings>) -> Result<Self, Refusal> {
        let Shaken { stream, mut input, deflate } = shake_hands(&settings).await?;
        let filled = input.len();
        input.resize(filled.max(READ_BYTES), 0);
        // Of a hash that nobody knows the key of.
        let mask_seed = RandomState::new().hash_one(0);
        let opcode = match settings.codec {
            Codec::Json => Opcode::Text,
            Codec::MsgPack => Opcode::Binary,
        };
        let config = Config::client(settings.message_bytes_max, mask_seed);
        let config = deflate.map_or(config, |agreed| config.with_deflate(agreed));
        Ok(Self {
            stream,
            connection: Connection::new(config),
            inflaters: Inflaters::new(),
            opcode,
            input: input.into_boxed_slice(),
            filled,
            told: 0,
            output: Vec::new(),
            written: 0,
            is_mute: false,
            lost: None,
        })
    }

    /// Says this when the connection takes it.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.connection.send(self.opcode, bytes, &mut self.output);
    }

    /// Says that this is the end.
    pub(crate) fn close(&mut self, code: u16) {
        self.connection.close(code, "", &mut self.output);
    }

    /// Writes what waits and reads what is there. Ready if there is something to [tell](Self::next).
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_write(cx);
        if self.has_news() { Poll::Ready(()) } else { self.poll_read(cx) }
    }

    /// Whether something has been read that has not been told.
    pub(crate) fn has_news(&self) -> bool {
        self.told < self.filled || self.lost.is_some()
    }

    /// The next of what has come, if it is whole.
    pub(crate) fn next(&mut self) -> Option<Incoming<'_>> {
        let rest = self.input.get_mut(self.told..self.filled).unwrap_or_default();
        if rest.is_empty() {
            let why = self.lost.take()?;
            self.connection.transport_ended();
            return Some(Incoming::End(End::Lost(why)));
        }
        if let Some((kind, payload)) = self.connection.peek_message(rest) {
            self.told += payload.end;
            let bytes = rest.get(payload).unwrap_or_default();
            if kind == MessageKind::Binary {
                return Some(Incoming::Binary(Cow::Borrowed(bytes)));
            }
            return Some(match str::from_utf8(bytes) {
                Ok(text) => Incoming::Text(Cow::Borrowed(text)),
                Err(error) => {
                    let violation = Violation::InvalidUtf8 { at: error.valid_up_to() };
                    self.connection.close(violation.close_code(), "", &mut self.output);
                    Incoming::End(End::Lost(violation.to_string()))
                }
            });
        }
        let received = self.connection.receive_with(rest, &mut self.output, &mut self.inflaters);
        self.told += received.consumed;
        Some(match received.event? {
            Event::Message { kind: MessageKind::Text, bytes } => Incoming::Text(text(bytes)),
            Event::Message { kind: MessageKind::Binary, bytes } => Incoming::Binary(bytes),
            Event::Ping(_) | Event::Pong(_) => Incoming::Sign,
            Event::Closed(Closed { by: ClosedBy::Violation(violation), .. }) => {
                Incoming::End(End::Lost(violation.to_string()))
            }
            Event::Closed(Closed { code, reason, .. }) => Incoming::End(End::Closed { code, reason }),
        })
    }

    /// Goes on towards the end of a connection that is being closed; ready when both sides have said so, or one is gone.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.connection.is_closed() && self.poll(cx).is_ready() {
            while self.next().is_some() {}
        }
        self.poll_write(cx);
        let is_done = self.connection.is_closed() && (self.is_mute || self.output.is_empty());
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Writes what waits, as far as it goes.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) {
        if !self.is_mute {
            self.is_mute = matches!(self.poll_written(cx), Poll::Ready(Err(_)));
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.output.get(self.written..) {
            let count = ready!(self.stream.as_mut().poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        if self.written > 0 {
            ready!(self.stream.as_mut().poll_flush(cx))?;
            self.written = 0;
            self.output.clear();
            self.output.shrink_to(READ_BYTES);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut read = ReadBuf::new(&mut self.input);
        let outcome = ready!(self.stream.as_mut().poll_read(cx, &mut read));
        (self.told, self.filled) = (0, read.filled().len());
        match outcome {
            Ok(()) if self.filled > 0 => {}
            Ok(()) => self.lost = Some("it ended without a close".to_owned()),
            Err(error) => self.lost = Some(error.to_string()),
        }
        Poll::Ready(())
    }
}

/// Its text; that it is UTF-8 has been checked.
fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(str::from_utf8(bytes).unwrap_or_default()),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).unwrap_or_default()),
    }
}
