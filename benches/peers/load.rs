//! The load: thousands of subscribers in one thread, and a publisher. Every subscriber compares every byte that it gets
//! with what it must get, so a message that is lost, comes twice or out of order ends the measurement.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use topichub::protocol::websocket::{Opcode, encode_frame};

use super::dialect::{Dialect, MASK, Pulse};
use super::line::{Frames, Kind, Line};
use crate::support::subscribers::PAUSE;
use crate::support::sys::{Epoll, Event, NO_EVENT};
use crate::support::{self, now};

/// How many handshakes are under way together.
const HANDSHAKES: usize = 64;

/// How long nothing may come while something must.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long whoever does not say that its subscription stands has for it, after the last handshake.
const SETTLING: Duration = Duration::from_millis(300);

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// What is sent within one window of full speed, and how many messages may be on their way in it.
const BURST: u64 = 16;
const WINDOW: usize = 64;

/// From one look at the sockets to the next while latency is measured.
const GLANCE: Duration = Duration::from_micros(50);

/// Where a server takes connections.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) dialect: Dialect,
}

/// Subscribers of one server, and what they must still get.
pub(crate) struct Load {
    publisher: Line,
    dialect: Dialect,
    epoll: Epoll,
    subscribers: Vec<Subscriber>,
    expected: Expected,
    /// The number of the last message, in the life of the server.
    published: u64,
    read: Vec<u8>,
    events: Vec<Event>,
}

struct Subscriber {
    stream: TcpStream,
    frames: Option<Frames>,
    /// How much of [`Expected::bytes`] it has got, and how many messages.
    got: usize,
    messages: usize,
}

/// What has been published since everybody had everything.
#[derive(Default)]
struct Expected {
    bytes: Vec<u8>,
    messages: Vec<Expectation>,
    /// The first message that somebody lacks.
    first: usize,
}

struct Expectation {
    /// Where it ends in the bytes.
    end: usize,
    /// When it was to be sent.
    due: Instant,
    /// How many have got it.
    got: usize,
}

impl Load {
    /// Opens the publisher's connection, and then `count` subscribers'.
    pub(crate) fn connect(to: &Endpoint, count: usize) -> io::Result<Self> {
        let dialect = to.dialect;
        let mut publisher = Line::connect(to.address, dialect)?;
        for step in dialect.publisher(&to.path) {
            publisher.say(&step)?;
            publisher.hear(&step)?;
        }
        let mut load = Self {
            publisher,
            dialect,
            epoll: Epoll::new()?,
            subscribers: Vec::new(),
            expected: Expected::default(),
            published: if dialect == Dialect::Hub { support::PUBLISHED } else { 0 },
            read: vec![0; READ_BYTES],
            events: vec![NO_EVENT; 1024],
        };
        while load.subscribers.len() < count {
            let first = load.subscribers.len();
            load.add(to, first..count.min(first + HANDSHAKES))?;
        }
        if !dialect.acknowledges() {
            thread::sleep(SETTLING);
        }
        Ok(load)
    }

    fn add(&mut self, to: &Endpoint, numbers: std::ops::Range<usize>) -> io::Result<()> {
        let new =
            |number| Ok((Line::connect(to.address, to.dialect)?, to.dialect.subscriber(number, &to.path)));
        let mut lines: Vec<_> = numbers.map(new).collect::<io::Result<_>>()?;
        let steps = lines.first().map_or(0, |(_, steps)| steps.len());
        for step in 0..steps {
            lines.iter_mut().try_for_each(|(line, steps)| line.say(&steps[step]))?;
            lines.iter_mut().try_for_each(|(line, steps)| line.hear(&steps[step]))?;
        }
        for (line, _) in lines {
            let (stream, frames) = line.into_parts();
            stream.set_nonblocking(true)?;
            self.epoll.add(&stream, self.subscribers.len() as u64)?;
            self.subscribers.push(Subscriber { stream, frames, got: 0, messages: 0 });
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// Publishes `count` messages in one write and waits until everybody has got them.
    pub(crate) fn burst(&mut self, count: u64) -> io::Result<()> {
        self.publish(count, now())?;
        self.settle()
    }

    /// Publishes as fast as the slowest subscriber gets what is published. How many messages it were, and in what time.
    pub(crate) fn full_speed(&mut self, time: Duration) -> io::Result<(u64, Duration)> {
        let (start, first) = (now(), self.published);
        while start.elapsed() < time {
            if self.expected.waiting() + BURST as usize <= WINDOW {
                self.publish(BURST, now())?;
            }
            self.look(None)?;
            thread::sleep(PAUSE);
            if let Some(oldest) = self.expected.messages.get(self.expected.first)
                && oldest.due.elapsed() > PATIENCE
            {
                return Err(self.impatient());
            }
        }
        self.settle()?;
        Ok((self.published - first, start.elapsed()))
    }

    /// Publishes one message after each `interval`, whatever becomes of the ones before; from when each was due to when
    /// each subscriber had it.
    pub(crate) fn paced(&mut self, interval: Duration, count: u32) -> io::Result<Vec<Duration>> {
        let (start, mut latencies) = (now(), Vec::with_capacity(self.len() * count as usize));
        for message in 0..count {
            let due = start + interval * message;
            while now() < due {
                self.look(Some(&mut latencies))?;
                thread::sleep(GLANCE);
            }
            self.publish(1, due)?;
            self.look(Some(&mut latencies))?;
        }
        while self.expected.waiting() > 0 {
            if start.elapsed() > interval * count + PATIENCE {
                return Err(self.impatient());
            }
            self.look(Some(&mut latencies))?;
            thread::sleep(GLANCE);
        }
        self.expected.clear(&mut self.subscribers);
        Ok(latencies)
    }

    fn publish(&mut self, count: u64, due: Instant) -> io::Result<()> {
        // Answers to a publisher, and what it gets as one of "all clients", are nobody's here.
        self.publisher.drain().map_err(|error| named("the publisher", &error))?;
        let numbers = self.published + 1..=self.published + count;
        self.published += count;
        for number in numbers.clone() {
            self.dialect.deliver(number, &mut self.expected.bytes)?;
            self.expected.messages.push(Expectation { end: self.expected.bytes.len(), due, got: 0 });
        }
        let mut bytes = Vec::new();
        self.dialect.publish(numbers, &mut bytes)?;
        self.publisher.write(&bytes).map_err(|error| named("the publisher", &error))
    }

    /// Reads until everybody has got everything.
    fn settle(&mut self) -> io::Result<()> {
        let mut last = now();
        while self.expected.waiting() > 0 {
            let count = self.look(None)?;
            if count > 0 {
                last = now();
            } else if last.elapsed() > PATIENCE {
                return Err(self.impatient());
            }
            if self.expected.waiting() > 0 && count < self.events.len() {
                thread::sleep(PAUSE);
            }
        }
        self.expected.clear(&mut self.subscribers);
        Ok(())
    }

    /// Reads what is there. How many sockets had something.
    fn look(&mut self, mut latencies: Option<&mut Vec<Duration>>) -> io::Result<usize> {
        let count = self.epoll.wait(&mut self.events, Duration::ZERO)?;
        let all = self.subscribers.len();
        for event in &self.events[..count] {
            let number = event.u64 as usize;
            let subscriber = &mut self.subscribers[number];
            let before = subscriber.messages;
            subscriber
                .read(&mut self.read, &self.expected, self.dialect)
                .map_err(|error| named(&format!("subscriber {number}"), &error))?;
            let got = before..subscriber.messages;
            if let Some(latencies) = &mut latencies
                && !got.is_empty()
            {
                let now = now();
                latencies.extend(self.expected.messages[got.clone()].iter().map(|message| now - message.due));
            }
            self.expected.messages[got].iter_mut().for_each(|message| message.got += 1);
        }
        while self.expected.messages.get(self.expected.first).is_some_and(|message| message.got == all) {
            self.expected.first += 1;
        }
        Ok(count)
    }

    fn impatient(&self) -> io::Error {
        let lacking = self.subscribers.iter().filter(|subscriber| subscriber.got < self.expected.bytes.len());
        let text = format!("{} of {} subscribers have not got everything", lacking.count(), self.len());
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl Expected {
    /// How many messages somebody lacks.
    fn waiting(&self) -> usize {
        self.messages.len() - self.first
    }

    /// Forgets what everybody has.
    fn clear(&mut self, subscribers: &mut [Subscriber]) {
        self.bytes.clear();
        self.messages.clear();
        self.first = 0;
        for subscriber in subscribers {
            (subscriber.got, subscriber.messages) = (0, 0);
        }
    }
}

impl Subscriber {
    /// Reads once.
    fn read(&mut self, into: &mut [u8], expected: &Expected, dialect: Dialect) -> io::Result<()> {
        let count = match self.stream.read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut bytes = &into[..count];
        let Some(mut frames) = self.frames.take() else {
            return self.take(bytes, expected, dialect);
        };
        while let Some((kind, part)) = frames.next(&mut bytes)? {
            match kind {
                Kind::Data => self.take(part, expected, dialect)?,
                Kind::Ping => self.send(Opcode::Pong, part)?,
                Kind::Pong => {}
            }
        }
        self.frames = Some(frames);
        Ok(())
    }

    fn take(&mut self, mut content: &[u8], expected: &Expected, dialect: Dialect) -> io::Result<()> {
        while !content.is_empty() {
            let wanted = expected.bytes.get(self.got..).unwrap_or_default();
            let same = if wanted.starts_with(content) {
                content.len()
            } else {
                wanted.iter().zip(content).take_while(|(wanted, got)| wanted == got).count()
            };
            self.got += same;
            content = &content[same..];
            while expected.messages.get(self.messages).is_some_and(|message| message.end <= self.got) {
                self.messages += 1;
            }
            if content.is_empty() {
                break;
            }
            let is_between = match self.messages.checked_sub(1) {
                Some(last) => expected.messages[last].end == self.got,
                None => self.got == 0,
            };
            match dialect.pulse() {
                Some(Pulse { word, answer }) if is_between && content.starts_with(word) => {
                    content = &content[word.len()..];
                    self.send(dialect.opcode(), answer)?;
                }
                _ => {
                    let got = String::from_utf8_lossy(&content[..content.len().min(200)]);
                    return Err(io::Error::other(format!("lost, twice, or out of order: {got:?}")));
                }
            }
        }
        Ok(())
    }

    /// A few bytes, which the socket has room for.
    fn send(&mut self, opcode: Opcode, bytes: &[u8]) -> io::Result<()> {
        let mut frame = Vec::new();
        encode_frame(&mut frame, opcode, bytes, Some(MASK));
        self.stream.write_all(&frame)
    }
}

fn named(who: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{who}: {error}"))
}
