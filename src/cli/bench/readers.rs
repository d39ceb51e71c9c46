//! The connections of the subscribers: thousands in one thread, which read into one scratch buffer.
//! What they read goes to the `ledger`; how they were opened is `peer`'s.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_rt::task::JoinHandle;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use topichub::protocol::websocket::deflate::Inflaters;
use topichub::protocol::websocket::{Connection, Event, Received};
use topichub::protocol::{Codec, Command};

use super::error::PeerError;
use super::ledger::Ledger;
use super::peer::{self, Peer};

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// What all connections of a run share.
pub(super) struct Run {
    pub(super) ledger: RefCell<Ledger>,
    scratch: RefCell<Scratch>,
    began: Instant,
}

struct Scratch {
    bytes: Vec<u8>,
    inflaters: Inflaters,
}

impl Run {
    pub(super) fn new(ledger: Ledger) -> Rc<Self> {
        let scratch = Scratch { bytes: vec![0; READ_BYTES], inflaters: Inflaters::new() };
        Rc::new(Self { ledger: RefCell::new(ledger), scratch: RefCell::new(scratch), began: Instant::now() })
    }

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment so many nanoseconds after the run began.
    pub(super) fn at(&self, nanoseconds: u64) -> Instant {
        self.began + std::time::Duration::from_nanos(nanoseconds)
    }

    /// Until everybody has everything, or nobody ever will. May be dropped while it waits.
    pub(super) async fn done(&self) {
        poll_fn(|cx| self.ledger.borrow_mut().poll_done(cx.waker())).await;
    }
}

/// The subscribers. They are cut off when it is dropped.
pub(super) struct Readers {
    run: Rc<Run>,
    readers: Vec<Rc<RefCell<Reader>>>,
    tasks: Vec<JoinHandle<()>>,
}

struct Reader {
    /// Gone once it has ended.
    stream: Option<TcpStream>,
    websocket: Connection,
    codec: Codec,
    seat: usize,
    /// What has come before it was a reader.
    unread: Vec<u8>,
    /// Pongs on their way.
    unsent: Vec<u8>,
}

impl Readers {
    pub(super) fn new(run: Rc<Run>) -> Self {
        Self { run, readers: Vec::new(), tasks: Vec::new() }
    }

    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    pub(super) fn len(&self) -> usize {
        self.readers.len()
    }

    /// Reads from `peer` from now on, for the subscriber of this number.
    pub(super) fn add(&mut self, seat: usize, peer: Peer) {
        let Peer { stream, websocket, codec, unread, .. } = peer;
        let stream = Some(stream);
        let reader =
            Rc::new(RefCell::new(Reader { stream, websocket, codec, seat, unread, unsent: Vec::new() }));
        self.readers.push(Rc::clone(&reader));
        let run = Rc::clone(&self.run);
        self.tasks.push(actix_rt::spawn(poll_fn(move |cx| {
            let polled = ready!(reader.borrow_mut().poll(cx, &run));
            if let Err(error) = polled {
                run.ledger.borrow_mut().disconnected(&format!("subscriber {seat}"), &error.to_string());
            }
            Poll::Ready(())
        })));
    }

    /// Sends a command of a few bytes on every connection; the ledger counts the answers.
    pub(super) fn ask_all(&self, command: &Command) {
        self.run.ledger.borrow_mut().ask(self.readers.len());
        for reader in &self.readers {
            let mut reader = reader.borrow_mut();
            if let Err(error) = reader.ask(command) {
                let who = format!("subscriber {}", reader.seat);
                self.run.ledger.borrow_mut().disconnected(&who, &error.to_string());
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // The tasks go later; the sockets must go now.
        self.readers.iter().for_each(|reader| reader.borrow_mut().stream = None);
    }
}

impl Reader {
    /// Reads what there is. `Ready` at the end of the connection.
    fn poll(&mut self, cx: &mut Context<'_>, run: &Run) -> Poll<Result<(), PeerError>> {
        if !self.unread.is_empty() {
            let mut early = std::mem::take(&mut self.unread);
            self.take(&mut early, run, &mut run.scratch.borrow_mut().inflaters)?;
        }
        loop {
            self.poll_answer(cx)?;
            let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
            let Scratch { bytes, inflaters } = &mut *run.scratch.borrow_mut();
            let mut read = ReadBuf::new(bytes);
            ready!(Pin::new(stream).poll_read(cx, &mut read)).map_err(PeerError::Lost)?;
            let count = read.filled().len();
            if count == 0 {
                return Poll::Ready(Err(PeerError::Lost(io::ErrorKind::UnexpectedEof.into())));
            }
            run.ledger.borrow_mut().measured.received_bytes += count as u64;
            self.take(&mut bytes[..count], run, inflaters)?;
        }
    }

    fn take(&mut self, mut bytes: &mut [u8], run: &Run, inflaters: &mut Inflaters) -> Result<(), PeerError> {
        let now = run.now();
        let mut ledger = run.ledger.borrow_mut();
        while !bytes.is_empty() {
            let Received { consumed, event } =
                self.websocket.receive_with(bytes, &mut self.unsent, inflaters);
            match event {
                Some(Event::Message { bytes, .. }) => ledger.receive(self.seat, self.codec, &bytes, now),
                Some(Event::Closed(closed)) => return Err(peer::ended(closed)),
                Some(Event::Ping(_) | Event::Pong(_)) | None => {}
            }
            bytes = &mut bytes[consumed..];
        }
        Ok(())
    }

    /// Sends pongs, as far as the socket takes them.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Result<(), PeerError> {
        while let (Some(stream), false) = (&self.stream, self.unsent.is_empty()) {
            let Poll::Ready(ready) = stream.poll_write_ready(cx) else { break };
            match ready.and_then(|()| stream.try_write(&self.unsent)) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(PeerError::Lost(error)),
            }
        }
        Ok(())
    }

    fn ask(&mut self, command: &Command) -> Result<(), PeerError> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let (mut payload, mut frame) = (Vec::new(), Vec::new());
        self.codec.encode_command(command, &mut payload);
        self.websocket.send(peer::opcode(self.codec), &payload, &mut frame);
        // An idle socket takes a few bytes.
        match stream.try_write(&frame) {
            Ok(count) if count == frame.len() => Ok(()),
            Ok(_) => Err(PeerError::Lost(io::ErrorKind::WouldBlock.into())),
            Err(error) => Err(PeerError::Lost(error)),
        }
    }
}
