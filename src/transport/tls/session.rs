//! One TLS connection over a TCP socket. Records are opened and sealed in buffers that the connections of a thread share:
//! what a connection holds of its own is what has arrived of a record, and what the kernel has not taken of one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, WriteTraffic};
use tokio::net::TcpStream;

/// The longest plaintext of a record (RFC 8446 §5.1), and how much is sealed before the socket is tried.
const RECORD_BYTES: usize = 16 * 1024;

/// More than sealing adds to a record, and to what goes before it when keys change.
const SEALING_BYTES: usize = 1024;

/// How much is read at once.
const READ_BYTES: usize = RECORD_BYTES + SEALING_BYTES;

/// The most that is kept of what has not come whole: a handshake message may be longer than a record.
const UNOPENED_BYTES_MAX: usize = 64 * 1024 + READ_BYTES;

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { sealed: Vec::new(), plain: Vec::new() }) };
}

/// One for each thread, in use within a call only.
struct Scratch {
    /// Bytes from the socket or for it.
    sealed: Vec<u8>,
    /// Parts that leave in one record.
    plain: Vec<u8>,
}

/// A TLS session and the socket below it.
pub(crate) struct TlsSocket {
    stream: TcpStream,
    session: UnbufferedServerConnection,
    /// What has come of a record that is not whole.
    unopened: Vec<u8>,
    /// What its reader had no room for.
    opened: Vec<u8>,
    /// What the kernel has not taken.
    sealed: Vec<u8>,
    peer_has_closed: bool,
    has_said_goodbye: bool,
    /// An error has ended the session: it must not be asked again.
    is_broken: bool,
}

impl TlsSocket {
    /// Shakes hands. What a client is told that breaks the rules is an alert (RFC 8446 §6.2).
    pub(crate) async fn accept(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut socket = Self {
            stream,
            session,
            unopened: Vec::new(),
            opened: Vec::new(),
            sealed: Vec::new(),
            peer_has_closed: false,
            has_said_goodbye: false,
            is_broken: false,
        };
        poll_fn(|cx| socket.poll_handshake(cx)).await?;
        Ok(socket)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_drain(cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            let mut opened = Vec::new();
            let read = ready!(self.poll_open(cx, &mut |plain| opened.extend_from_slice(plain)));
            self.opened.append(&mut opened);
            if let Err(error) = read {
                let _ = self.poll_drain(cx);
                return Poll::Ready(Err(error));
            }
            if self.peer_has_closed {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// How many bytes are sealed that the kernel has not taken.
    pub(crate) fn sealed_bytes(&self) -> usize {
        self.sealed.len()
    }

    /// Reads once. `Ready(Ok(0))` at the end.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if !self.opened.is_empty() {
                let count = self.opened.len().min(into.len());
                into[..count].copy_from_slice(&self.opened[..count]);
                self.opened.drain(..count);
                if self.opened.is_empty() {
                    self.opened = Vec::new();
                }
                return Poll::Ready(Ok(count));
            }
            if self.peer_has_closed {
                return Poll::Ready(Ok(0));
            }
            let (mut count, mut rest) = (0, Vec::new());
            let read = self.poll_open(cx, &mut |plain| {
                let fits = plain.len().min(into.len() - count);
                into[count..count + fits].copy_from_slice(&plain[..fits]);
                count += fits;
                rest.extend_from_slice(&plain[fits..]);
            });
            self.opened = rest;
            // Answers of the session itself: to a change of keys, or to what it cannot accept.
            let _ = self.poll_drain(cx)?;
            match ready!(read) {
                _ if count > 0 => return Poll::Ready(Ok(count)),
                Ok(()) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads once from the socket and opens what has become whole.
    fn poll_open(&mut self, cx: &mut Context<'_>, open: &mut dyn FnMut(&[u8])) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let read: io::Result<()> = SCRATCH.with_borrow_mut(|scratch| {
                let kept = self.unopened.len();
                scratch.sealed.resize(kept + READ_BYTES, 0);
                let (front, room) = scratch.sealed.split_at_mut(kept);
                front.copy_from_slice(&self.unopened);
                let count = self.stream.try_read(room)?;
                if count == 0 {
                    // Without a goodbye: the protocol above knows whether it was at its end.
                    self.peer_has_closed = true;
                    return Ok(());
                }
                let whole = &mut scratch.sealed[..kept + count];
                let (used, _) = self.advance(whole, open, |_| ())?;
                let rest = &whole[used..];
                if rest.len() > UNOPENED_BYTES_MAX {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // Exactly as long as it must be, and nothing at all if all is opened.
                self.unopened = rest.to_vec();
                Ok(())
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Lets the session have `input` until it waits for more. How much of it is done with; and if data may be sent, what
    /// `seal` has made of that.
    fn advance<Sealed>(
        &mut self,
        input: &mut [u8],
        open: &mut dyn FnMut(&[u8]),
        seal: impl FnOnce(WriteTraffic<'_, ServerConnectionData>) -> Sealed,
    ) -> io::Result<(usize, Option<Sealed>)> {
        if self.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut used = 0;
        loop {
            let status = self.session.process_tls_records(&mut input[used..]);
            let mut discard = status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        open(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.sealed)?,
                // It is on its way to be, before anything else.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_has_closed = true,
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    return Ok((used + discard, Some(seal(traffic))));
                }
                Ok(_) => return Ok((used + discard, None)),
                Err(error) => {
                    self.is_broken = true;
                    // The alert that tells the peer. Further on the session would stumble over the same bytes again.
                    let rest = &mut input[used + discard..];
                    if let Ok(ConnectionState::EncodeTlsData(data)) =
                        self.session.process_tls_records(rest).state
                    {
                        encode(data, &mut self.sealed)?;
                    }
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            used += discard;
        }
    }

    /// Seals and writes what goes out at once, counting as gone what is sealed. `WouldBlock` while sealed bytes wait.
    pub(crate) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_drain()?;
        if !self.sealed.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let [slice] = slices {
            return self.write_records(slice);
        }
        // Small parts share a record: the buffer is taken out meanwhile, because sealing needs the other one.
        let mut plain = SCRATCH.with_borrow_mut(|scratch| std::mem::take(&mut scratch.plain));
        plain.clear();
        for slice in slices {
            let room = 4 * RECORD_BYTES - plain.len();
            plain.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        let written = self.write_records(&plain);
        SCRATCH.with_borrow_mut(|scratch| scratch.plain = plain);
        written
    }

    /// Goes on until the kernel does not take a record whole.
    fn write_records(&mut self, plain: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        for part in plain.chunks(RECORD_BYTES) {
            self.write_record(part)?;
            written += part.len();
            if !self.sealed.is_empty() {
                break;
            }
        }
        Ok(written)
    }

    fn write_record(&mut self, plain: &[u8]) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = &mut scratch.sealed;
            let count = self.seal(room, |mut traffic, room| traffic.encrypt(plain, room))?;
            let record = &room[..count];
            // Behind what the session has to say itself, such as other keys.
            let gone =
                if self.try_drain()? { would_block_is_none(self.stream.try_write(record))? } else { 0 };
            if gone < record.len() {
                self.sealed.reserve_exact(record.len() - gone);
                self.sealed.extend_from_slice(&record[gone..]);
            }
            Ok(())
        })
    }

    /// Says that nothing more will come, so that the peer knows that nothing is missing.
    pub(crate) fn say_goodbye(&mut self) {
        if std::mem::replace(&mut self.has_said_goodbye, true) {
            return;
        }
        let mut room = Vec::new();
        if let Ok(count) = self.seal(&mut room, |mut traffic, room| traffic.queue_close_notify(room)) {
            self.sealed.extend_from_slice(&room[..count]);
            let _ = self.try_drain();
        }
    }

    /// Seals into `room`, which grows to what a record may take.
    fn seal(
        &mut self,
        room: &mut Vec<u8>,
        seal: impl FnOnce(WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        room.resize(READ_BYTES.max(room.len()), 0);
        // The session remembers how far it has come in what is not whole, and wants to see it each time.
        let (mut unopened, mut opened) = (std::mem::take(&mut self.unopened), Vec::new());
        let advanced = self.advance(&mut unopened, &mut |plain| opened.extend_from_slice(plain), |traffic| {
            seal(traffic, room)
        });
        self.opened.append(&mut opened);
        let (used, sealed) = advanced?;
        unopened.drain(..used);
        self.unopened = unopened;
        match sealed {
            Some(sealed) => sealed.map_err(io::Error::other),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Writes what is sealed, as far as it goes out at once; whether all is gone.
    fn try_drain(&mut self) -> io::Result<bool> {
        if !self.sealed.is_empty() {
            let gone = would_block_is_none(self.stream.try_write(&self.sealed))?;
            self.sealed.drain(..gone);
            if self.sealed.is_empty() {
                self.sealed = Vec::new();
            }
        }
        Ok(self.sealed.is_empty())
    }

    /// Writes what is sealed. `Ready` when all is gone.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.try_drain()? {
            ready!(self.stream.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

fn would_block_is_none(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

/// Appends what the session itself has to say.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, sealed: &mut Vec<u8>) -> io::Result<()> {
    let before = sealed.len();
    let mut room = 0;
    loop {
        sealed.resize(before + room, 0);
        match data.encode(&mut sealed[before..]) {
            Ok(count) => {
                sealed.truncate(before + count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(error)) if room == 0 => room = error.required_size,
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}
