//! Thousands of subscribers in one thread, who compare every byte they get with what they must get: a message that is
//! lost, comes twice, comes late or is altered makes a difference.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use topichub::Filter;
use topichub::protocol::Codec;
use topichub::protocol::websocket::encode_frame;

use super::peer::{self, Peer};
use super::process::Server;
use super::sys::{Epoll, Event, NO_EVENT};
use super::{limit, opcode};

/// How many handshakes are under way together.
const HANDSHAKES: usize = 64;

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(20);

/// From one look at the sockets to the next. Who waits in `epoll_wait` is woken at the cost of the server, on some machines
/// at every send and on others at none: that cost is the client's, who would be elsewhere.
pub(crate) const PAUSE: Duration = Duration::from_micros(500);

/// Stands for the number of a subscriber in the name of a topic that only this one asks for.
pub(crate) const NUMBER: &str = "{number}";

/// Each byte of what another one must get in its place.
pub(crate) const OWN: &str = "#";

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// The subscribers.
pub(crate) struct Subscribers {
    epoll: Epoll,
    subscribers: Vec<Subscriber>,
    read: Vec<u8>,
    events: Vec<Event>,
}

struct Subscriber {
    stream: TcpStream,
    codec: Codec,
    /// What it gets that the others do not: its own topic with the place in it.
    own: String,
    /// How much of what it must get it has got.
    got: usize,
}

/// What all who use one codec must get.
#[derive(Default)]
pub(crate) struct Expected {
    pub(crate) json: Vec<u8>,
    pub(crate) msgpack: Vec<u8>,
}

impl Expected {
    fn of(&self, codec: Codec) -> &[u8] {
        match codec {
            Codec::Json => &self.json,
            Codec::MsgPack => &self.msgpack,
        }
    }
}

impl Subscribers {
    fn new() -> io::Result<Self> {
        let (read, events) = (vec![0; READ_BYTES], vec![NO_EVENT; 1024]);
        Ok(Self { epoll: Epoll::new()?, subscribers: Vec::new(), read, events })
    }

    /// Opens `count` connections to a hub, which take the codecs in turn, subscribed to `filter` if there is one.
    pub(crate) fn of_hub(
        server: &Server,
        count: usize,
        codecs: &[Codec],
        filter: Option<&Filter>,
    ) -> io::Result<Self> {
        let mut subscribers = Self::new()?;
        let mut codecs = codecs.iter().copied().cycle();
        while subscribers.len() < count {
            let batch = HANDSHAKES.min(count - subscribers.len());
            let peers = codecs.by_ref().take(batch).map(|codec| Ok((codec, Peer::knock(server, codec)?)));
            let mut peers: Vec<_> = peers.collect::<io::Result<_>>()?;
            peers.iter_mut().try_for_each(|(_, peer)| peer.enter())?;
            if let Some(filter) = filter {
                peers.iter_mut().try_for_each(|(_, peer)| peer.subscribe(filter.clone()))?;
                peers.iter_mut().try_for_each(|(_, peer)| peer.subscribed().map(drop))?;
            }
            for (codec, peer) in peers {
                subscribers.add(peer.into_stream()?, codec)?;
            }
        }
        Ok(subscribers)
    }

    /// Opens `count` event streams of these topics, `a&topic=b`, and reads them up to the `subscribed`. What they must get
    /// counts as JSON. A last topic with [`NUMBER`] is another one for each. Also the event id of the last.
    pub(crate) fn of_events(server: &Server, count: usize, topics: &str) -> io::Result<(Self, String)> {
        let (mut subscribers, mut id) = (Self::new()?, String::new());
        while subscribers.len() < count {
            let batch = HANDSHAKES.min(count - subscribers.len());
            let streams = (subscribers.len()..).take(batch).map(|number| {
                let topics = topics.replace(NUMBER, &format!("{number:05}"));
                let mut stream = peer::connect(server.address)?;
                write!(stream, "GET /events?topic={topics} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
                Ok(stream)
            });
            for mut stream in streams.collect::<io::Result<Vec<_>>>()? {
                let (mut said, mut byte) = (Vec::new(), [0]);
                while !(said.ends_with(b"\n\n") && said.windows(10).any(|bytes| bytes == b"subscribed")) {
                    stream.read_exact(&mut byte)?;
                    said.push(byte[0]);
                }
                let said = String::from_utf8_lossy(&said);
                let said = said.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default();
                said.clone_into(&mut id);
                subscribers.add(stream, Codec::Json)?;
                if topics.contains(NUMBER)
                    && let Some(subscriber) = subscribers.subscribers.last_mut()
                {
                    subscriber.own = said.split(' ').skip(2).collect::<Vec<_>>().join(" ");
                }
            }
        }
        Ok((subscribers, id))
    }

    /// Opens `count` connections to the bare limit, with as much talk as a handshake and a subscription take: TCP
    /// remembers it.
    pub(crate) fn of_limit(address: SocketAddr, count: usize) -> io::Result<Self> {
        let mut subscribers = Self::new()?;
        for _ in 0..count {
            let mut stream = peer::connect(address)?;
            for question in [[b'?'; 200], [b'?'; 200]] {
                stream.write_all(&question)?;
                stream.read_exact(&mut [0; limit::ANSWER.len()])?;
            }
            subscribers.add(stream, Codec::Json)?;
        }
        Ok(subscribers)
    }

    fn add(&mut self, stream: TcpStream, codec: Codec) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        self.epoll.add(&stream, self.subscribers.len() as u64)?;
        self.subscribers.push(Subscriber { stream, codec, own: String::new(), got: 0 });
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// Reads until every subscriber has got exactly what is expected.
    ///
    /// # Errors
    /// If one gets anything else, is disconnected, or too long nothing comes.
    pub(crate) fn receive(&mut self, expected: &Expected) -> io::Result<()> {
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.got = 0);
        let mut waiting = self.subscribers.len();
        let mut quiet = Duration::ZERO;
        while waiting > 0 {
            let count = self.epoll.wait(&mut self.events, Duration::ZERO)?;
            for event in &self.events[..count] {
                let number = event.u64 as usize;
                let read = self.subscribers[number].read(&mut self.read, expected);
                waiting -= usize::from(read.map_err(|error| in_whose(number, &error))?);
            }
            quiet = if count == 0 { quiet + PAUSE } else { Duration::ZERO };
            if quiet > PATIENCE {
                let text = format!("{waiting} of {} subscribers have not got everything", self.len());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            if waiting > 0 && count < self.events.len() {
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Sends a command of a few bytes on every connection.
    pub(crate) fn ask_all(&mut self, command: &topichub::protocol::Command) -> io::Result<()> {
        for subscriber in &mut self.subscribers {
            let (mut payload, mut frame) = (Vec::new(), Vec::new());
            subscriber.codec.encode_command(command, &mut payload);
            encode_frame(&mut frame, opcode(subscriber.codec), &payload, Some([1, 2, 3, 4]));
            subscriber.stream.write_all(&frame)?;
        }
        Ok(())
    }
}

impl Subscriber {
    /// Reads once. Whether it has everything now.
    fn read(&mut self, into: &mut [u8], expected: &Expected) -> io::Result<bool> {
        let count = match self.stream.read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let expected = expected.of(self.codec);
        self.stand_in(&mut into[..count], expected);
        if expected.get(self.got..self.got + count) != Some(&into[..count]) {
            let got = String::from_utf8_lossy(&into[..count.min(400)]);
            return Err(io::Error::other(format!(
                "lost, twice, or out of order at byte {}: {got:?}",
                self.got
            )));
        }
        self.got += count;
        Ok(self.got == expected.len())
    }

    /// Where this one gets what is its own, puts what stands for it.
    fn stand_in(&self, got: &mut [u8], expected: &[u8]) {
        let Some(reach) = self.own.len().checked_sub(1) else { return };
        let (from, stands) = (self.got.saturating_sub(reach), OWN.repeat(self.own.len()));
        let near = &expected[from..expected.len().min(self.got + got.len() + reach)];
        for (at, _) in near.windows(stands.len()).enumerate().filter(|(_, bytes)| *bytes == stands.as_bytes())
        {
            for (place, own) in (from + at..).zip(self.own.bytes()) {
                let byte = place.checked_sub(self.got).and_then(|place| got.get_mut(place));
                if let Some(byte) = byte.filter(|byte| **byte == own) {
                    *byte = OWN.as_bytes()[0];
                }
            }
        }
    }
}

fn in_whose(number: usize, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("subscriber {number}: {error}"))
}
