//! One connection while it is opened, and of a publisher: it says a thing and waits for what must come. And the frames
//! that come, taken apart without being kept.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use topichub::protocol::websocket::encode_frame;
use topichub::protocol::websocket::handshake::accept_key;

use super::dialect::{Dialect, MASK, Step};
use crate::support::peer::{self, KEY};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest answer to a handshake or a subscription.
const HEARD_BYTES_MAX: usize = 1 << 16;

/// A connection whose peer is asked one thing after another.
pub(crate) struct Line {
    stream: TcpStream,
    dialect: Dialect,
    /// The frames that come, once there are any.
    frames: Option<Frames>,
    heard: Vec<u8>,
}

impl Line {
    pub(crate) fn connect(address: SocketAddr, dialect: Dialect) -> io::Result<Self> {
        let stream = peer::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, dialect, frames: None, heard: Vec::new() })
    }

    /// The first half of a step.
    pub(crate) fn say(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Upgrade { path, subprotocol } => {
                let subprotocol =
                    subprotocol.map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
                let address = self.stream.peer_addr()?;
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{subprotocol}\r\n"
                );
                self.stream.write_all(request.as_bytes())
            }
            Step::Talk { say, .. } if say.is_empty() => Ok(()),
            Step::Talk { say, .. } => {
                let mut bytes = Vec::new();
                match self.frames {
                    Some(_) => encode_frame(&mut bytes, self.dialect.opcode(), say, Some(MASK)),
                    None => bytes.extend(say),
                }
                self.stream.write_all(&bytes)
            }
        }
    }

    /// The second half.
    pub(crate) fn hear(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Upgrade { .. } => self.enter(),
            Step::Talk { hear, .. } => {
                let is_there = |heard: &[u8]| heard.windows(hear.len()).any(|bytes| bytes == *hear);
                while !(is_there(&self.heard) && self.frames.as_ref().is_none_or(Frames::is_between)) {
                    self.read()?;
                }
                self.heard.clear();
                Ok(())
            }
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Throws away what has come.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut bytes = [0; 16_384];
        let error = loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => break io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        self.stream.set_nonblocking(false)?;
        if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) }
    }

    /// The socket, of which everything that came has been read, and where its frames stand.
    pub(crate) fn into_parts(self) -> (TcpStream, Option<Frames>) {
        (self.stream, self.frames)
    }

    fn enter(&mut self) -> io::Result<()> {
        let end = loop {
            if let Some(end) = self.heard.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            self.read()?;
        };
        let rest = self.heard.split_off(end);
        let head = String::from_utf8_lossy(&self.heard);
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(&accept_key(KEY)) {
            return Err(io::Error::other(format!("refused: {}", head.lines().next().unwrap_or_default())));
        }
        self.heard.clear();
        self.frames = Some(Frames::default());
        self.take(&rest)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.take(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let heard = String::from_utf8_lossy(&self.heard);
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer but {heard:?}")))
            }
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.heard.len() > HEARD_BYTES_MAX {
            return Err(io::Error::other("the answer does not end"));
        }
        match &mut self.frames {
            None => self.heard.extend(bytes),
            Some(frames) => {
                while let Some((kind, part)) = frames.next(&mut bytes)? {
                    if kind == Kind::Data {
                        self.heard.extend(part);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where one stands in a stream of frames from a server.
#[derive(Default)]
pub(crate) struct Frames {
    head: [u8; 10],
    head_len: u8,
    kind: Kind,
    /// How much of the frame's payload is still to come.
    left: u64,
}

/// What a frame is for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Data,
    Ping,
    Pong,
}

impl Frames {
    /// The next piece of payload in `bytes`, which it shortens; nothing if they are used up.
    ///
    /// # Errors
    /// If the server closes, masks, or compresses.
    pub(crate) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> io::Result<Option<(Kind, &'a [u8])>> {
        while self.left == 0 {
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            self.head[self.head_len as usize] = *first;
            self.head_len += 1;
            *bytes = rest;
            self.parse()?;
            if self.head_len == 0 && self.left == 0 && self.kind == Kind::Ping {
                return Ok(Some((Kind::Ping, &[])));
            }
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let len = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let (part, rest) = bytes.split_at(len);
        *bytes = rest;
        self.left -= len as u64;
        Ok(Some((self.kind, part)))
    }

    /// Whether no frame has begun that has not ended.
    pub(crate) fn is_between(&self) -> bool {
        self.left == 0 && self.head_len == 0
    }

    /// Begins the payload when the header is whole.
    fn parse(&mut self) -> io::Result<()> {
        let [first, second, ..] = self.head;
        let needed = match (self.head_len, second) {
            (..2, _) => return Ok(()),
            (_, ..126) => 2,
            (_, 126) => 4,
            (_, 127) => 10,
            (_, 128..) => return Err(io::Error::other("the server masks its frames")),
        };
        if self.head_len < needed {
            return Ok(());
        }
        self.kind = match first {
            0x00..=0x02 | 0x80..=0x82 => Kind::Data,
            0x89 => Kind::Ping,
            0x8a => Kind::Pong,
            0x88 => return Err(io::Error::other("the server closes the connection")),
            other => return Err(io::Error::other(format!("a frame that begins with {other:#x}"))),
        };
        self.left = self.head[2..needed as usize].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if needed == 2 {
            self.left = u64::from(second);
        }
        self.head_len = 0;
        Ok(())
    }
}
