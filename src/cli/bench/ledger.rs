//! What must arrive and what has arrived, for every subscriber and topic: order, count, content and latency.
//! No sockets: readers hand in messages and the time, scenarios ask how far it is.

use std::collections::BTreeSet;
use std::task::{Poll, Waker};

use hdrhistogram::Histogram;
use topichub::protocol::{Codec, Gap, Push, Reply, ServerMessage};
use topichub::{Payload, Topic};

use super::error::BenchError;
use super::faults::Faults;
use super::stamp::{Stamp, Stamper};

/// Verified copies kept of one topic and codec, and the most memory for all of them, in bytes.
const COPIES_MAX: usize = 1024;
const COPIES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The longest latency that is told from longer ones, in nanoseconds: an hour.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// The books of one run.
pub(super) struct Ledger {
    stamper: Stamper,
    topics: Vec<TopicBook>,
    seats: Vec<Seat>,
    copies: usize,
    /// Where the stamp was in the last message of each codec.
    hints: [usize; 2],
    /// Deliveries that must have come when everybody has everything, and those that have, or never will in order.
    expected: u64,
    settled: u64,
    /// Answers of subscribers' connections to what was asked of all.
    answers: usize,
    answers_wanted: usize,
    is_broken: bool,
    /// Whether the server may pass over messages, if it says so.
    may_lose: bool,
    waker: Option<Waker>,
    pub(super) measured: Measured,
    pub(super) faults: Faults,
}

/// What counts towards the figures: not the warm-up.
pub(super) struct Measured {
    pub(super) messages: u64,
    pub(super) deliveries: u64,
    /// As they came over the network.
    pub(super) received_bytes: u64,
    /// In nanoseconds, from when a message was due to when a subscriber had read it.
    pub(super) latency: Histogram<u64>,
    /// In nanoseconds, from when a message was due to when we published it at a rate.
    pub(super) late: Histogram<u64>,
    /// In nanoseconds, from when a subscriber wanted to come back to when it had all that it had missed.
    pub(super) caught_up: Histogram<u64>,
    /// Messages that the server said would not come.
    pub(super) withheld: u64,
}

impl Measured {
    fn new() -> Result<Self, BenchError> {
        Ok(Self {
            messages: 0,
            deliveries: 0,
            received_bytes: 0,
            latency: histogram()?,
            late: histogram()?,
            caught_up: histogram()?,
            withheld: 0,
        })
    }
}

struct TopicBook {
    topic: Topic,
    subscribers: u64,
    published: u64,
    /// What to add to a number for the offset, once one has been seen.
    offset_base: Option<i128>,
    /// Messages that have been decoded and checked, by codec, so that all others can be compared byte for byte.
    verified: [Vec<Verified>; 2],
}

#[derive(Clone, Default)]
struct Verified {
    number: u64,
    bytes: Vec<u8>,
}

/// What one subscriber waits for.
struct Seat {
    /// By topic.
    next: Vec<(u32, u64)>,
    /// What was passed over and may still come late.
    missing: BTreeSet<(u32, u64)>,
    /// Since when it is coming back for what it has missed, in nanoseconds since the run began.
    returning: Option<u64>,
}

/// The topics of a run, and which of them each subscriber has.
pub(super) struct Subscriptions {
    pub(super) topics: Vec<Topic>,
    /// For each subscriber, in rising order.
    pub(super) of_seats: Vec<Vec<u32>>,
}

pub(super) fn histogram() -> Result<Histogram<u64>, BenchError> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).map_err(|error| BenchError::Histogram(error.to_string()))
}

impl Ledger {
    pub(super) fn new(
        stamper: Stamper,
        payload_bytes: usize,
        subscriptions: &Subscriptions,
    ) -> Result<Self, BenchError> {
        let mut topics: Vec<_> = subscriptions.topics.iter().cloned().map(TopicBook::new).collect();
        for topic in subscriptions.of_seats.iter().flatten() {
            topics[*topic as usize].subscribers += 1;
        }
        let seat = |topics: &Vec<u32>| Seat {
            next: topics.iter().map(|topic| (*topic, 1)).collect(),
            missing: BTreeSet::new(),
            returning: None,
        };
        let copies = COPIES_BYTES_MAX / (payload_bytes + 256) / 2 / topics.len().max(1);
        Ok(Self {
            stamper,
            topics,
            seats: subscriptions.of_seats.iter().map(seat).collect(),
            copies: copies.clamp(2, COPIES_MAX),
            hints: [0; 2],
            expected: 0,
            settled: 0,
            answers: 0,
            answers_wanted: 0,
            is_broken: false,
            may_lose: false,
            waker: None,
            measured: Measured::new()?,
            faults: Faults::default(),
        })
    }

    /// Makes the next message of a topic. From now on its subscribers must get it.
    pub(super) fn publish(&mut self, topic: u32, due: u64) -> Result<(Topic, Payload), BenchError> {
        let book = &mut self.topics[topic as usize];
        let number = book.published + 1;
        let payload = self.stamper.payload(Stamp { topic, number, due })?;
        book.published = number;
        self.expected += book.subscribers;
        self.measured.messages += 1;
        Ok((book.topic.clone(), payload))
    }

    /// How many messages of a topic have been made.
    pub(super) fn published(&self, topic: u32) -> u64 {
        self.topics.get(topic as usize).map_or(0, |book| book.published)
    }

    /// Forgets the figures so far, not the books, and returns them.
    pub(super) fn restart(&mut self) -> Result<Measured, BenchError> {
        Ok(std::mem::replace(&mut self.measured, Measured::new()?))
    }

    /// The books of subscribers whose server may pass over messages, as long as it says so.
    pub(super) fn with_gaps(self) -> Self {
        Self { may_lose: true, ..self }
    }

    /// What to add to the number of a message for its offset, once one has come.
    pub(super) fn offset_base(&self, topic: u32) -> Option<i128> {
        self.topics.get(topic as usize)?.offset_base
    }

    /// A subscriber that is not connected wants to come back, at `since` nanoseconds since the run began.
    pub(super) fn returns(&mut self, seat: usize, since: u64) {
        self.seats[seat].returning = Some(since);
    }

    /// Whether a subscriber has got all there is for it, in order.
    pub(super) fn has_all(&self, seat: usize) -> bool {
        let Seat { next, missing, .. } = &self.seats[seat];
        let has_all = |(topic, next): &(u32, u64)| *next > self.topics[*topic as usize].published;
        missing.is_empty() && next.iter().all(has_all)
    }

    /// A subscriber has got a whole WebSocket message, at `now` nanoseconds since the run began.
    pub(super) fn receive(&mut self, seat: usize, codec: Codec, bytes: &[u8], now: u64) {
        let hint = &mut self.hints[usize::from(codec.is_text())];
        let Some((stamp, at)) = self.stamper.find(bytes, *hint) else {
            return self.receive_other(seat, codec, bytes);
        };
        *hint = at;
        let is_genuine = self.is_genuine(codec, bytes, stamp);
        if !is_genuine {
            self.faults.altered += 1;
            let bytes = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
            self.faults.tell(|| format!("subscriber {seat} got what was not published: {bytes}"));
            if !self.exists(stamp) {
                return;
            }
        }
        // An altered one has come too: it is not lost as well.
        if self.is_due(seat, stamp) && is_genuine {
            self.measured.deliveries += 1;
            self.measured.latency.saturating_record(now.saturating_sub(stamp.due));
            if let Some(since) = self.seats[seat].returning
                && self.has_all(seat)
            {
                self.seats[seat].returning = None;
                self.measured.caught_up.saturating_record(now.saturating_sub(since));
            }
        }
        self.wake_if_done();
    }

    fn exists(&self, stamp: Stamp) -> bool {
        let book = self.topics.get(stamp.topic as usize);
        book.is_some_and(|book| (1..=book.published).contains(&stamp.number))
    }

    /// Whether a message is what was published. The first of each codec is decoded, all others are compared with it.
    fn is_genuine(&mut self, codec: Codec, bytes: &[u8], stamp: Stamp) -> bool {
        if !self.exists(stamp) {
            return false;
        }
        let book = &mut self.topics[stamp.topic as usize];
        let copies = &mut book.verified[usize::from(codec.is_text())];
        let slot = (stamp.number % self.copies as u64) as usize;
        if copies.get(slot).is_some_and(|copy| copy.number == stamp.number && copy.bytes == bytes) {
            return true;
        }
        let decoded = codec.decode_server(bytes);
        let Ok(ServerMessage::Push(Push::Message { topic, offset, payload, .. })) = decoded else {
            return false;
        };
        if topic != book.topic {
            return false;
        }
        let base = i128::from(offset) - i128::from(stamp.number);
        if *book.offset_base.get_or_insert(base) != base
            || !self.stamper.payload(stamp).is_ok_and(|it| same(&it, &payload))
        {
            return false;
        }
        if copies.len() <= slot {
            copies.resize(slot + 1, Verified::default());
        }
        let copy = &mut copies[slot];
        // A laggard's must not take the place of what the others are about to get.
        if copy.number < stamp.number {
            copy.number = stamp.number;
            copy.bytes.clear();
            copy.bytes.extend_from_slice(bytes);
        }
        true
    }

    /// Whether this message is new to this subscriber. Enters what is wrong with its place.
    fn is_due(&mut self, number: usize, stamp: Stamp) -> bool {
        let Self { seats, faults, .. } = self;
        let seat = &mut seats[number];
        let Ok(index) = seat.next.binary_search_by_key(&stamp.topic, |(topic, _)| *topic) else {
            faults.altered += 1;
            faults.tell(|| format!("subscriber {number} got a message of a topic it has not subscribed to"));
            return false;
        };
        let next = &mut seat.next[index].1;
        let (due, got) = (*next, stamp.number);
        if got < due {
            let was_missing = seat.missing.remove(&(stamp.topic, got));
            if was_missing {
                faults.lost -= 1;
                faults.out_of_order += 1;
                faults.tell(|| format!("subscriber {number} got message {got} after message {}", due - 1));
            } else {
                faults.doubled += 1;
                faults.tell(|| format!("subscriber {number} got message {got} again"));
            }
            return was_missing;
        }
        if got > due {
            faults.lost += got - due;
            seat.missing.extend((due..got).map(|number| (stamp.topic, number)));
            faults.tell(|| format!("subscriber {number} got message {got} where {due} was due"));
        }
        *next = got + 1;
        self.settled += got + 1 - due;
        true
    }

    fn receive_other(&mut self, seat: usize, codec: Codec, bytes: &[u8]) {
        match codec.decode_server(bytes) {
            Ok(ServerMessage::Reply(Reply::Subscribed { .. } | Reply::Pong { .. })) => {
                self.answers += 1;
                self.wake_if_done();
            }
            Ok(ServerMessage::Push(Push::Gap(gap))) if self.may_lose => {
                self.pass_over(seat, &gap);
                self.wake_if_done();
            }
            // Says why the connection ends, which is told when it does.
            Ok(ServerMessage::Push(Push::Goodbye(_))) => {}
            Err(error) if error.is_unknown() => {}
            Ok(other) => {
                self.faults.unexpected += 1;
                self.faults.tell(|| format!("subscriber {seat} was told {other:?}"));
            }
            Err(error) => {
                self.faults.unexpected += 1;
                self.faults.tell(|| format!("subscriber {seat} got something unreadable: {error}"));
            }
        }
    }

    /// The server says that messages do not come. They must be the next.
    fn pass_over(&mut self, number: usize, gap: &Gap) {
        let Self { topics, seats, faults, .. } = self;
        let seat = &mut seats[number];
        let due = seat.next.iter_mut().find(|(topic, _)| topics[*topic as usize].topic == gap.topic);
        let place = due.and_then(|(topic, next)| {
            let book = &topics[*topic as usize];
            let [from, to] =
                [gap.from, gap.to].map(|offset| i128::from(offset) - book.offset_base.unwrap_or(0));
            let is_next = from == i128::from(*next) && (from..=i128::from(book.published)).contains(&to);
            is_next.then(|| (next, to as u64 + 1))
        });
        let Some((next, after)) = place else {
            faults.unexpected += 1;
            return faults
                .tell(|| format!("subscriber {number} was told of a gap where there is none: {gap:?}"));
        };
        let withheld = after - *next;
        *next = after;
        self.settled += withheld;
        self.measured.withheld += withheld;
    }

    /// A connection has ended that should not have: the run is over.
    pub(super) fn disconnected(&mut self, who: &str, why: &str) {
        self.faults.disconnected += 1;
        self.faults.tell(|| format!("{who} was disconnected: {why}"));
        self.is_broken = true;
        self.wake_if_done();
    }

    /// So many connections are about to be asked something that each will answer.
    pub(super) fn ask(&mut self, connections: usize) {
        (self.answers, self.answers_wanted) = (0, connections);
    }

    /// What has arrived so far, for whoever looks whether anything moves.
    pub(super) fn progress(&self) -> u64 {
        self.settled + self.answers as u64
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether everybody has everything and has answered.
    fn is_done(&self) -> bool {
        self.settled >= self.expected && self.answers >= self.answers_wanted
    }

    /// Ready when everybody has everything and has answered, or nobody ever will.
    pub(super) fn poll_done(&mut self, waker: &Waker) -> Poll<()> {
        if self.is_done() || self.is_broken {
            return Poll::Ready(());
        }
        self.waker = Some(waker.clone());
        Poll::Pending
    }

    fn wake_if_done(&mut self) {
        if (self.is_done() || self.is_broken)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// No more is waited for: what has not come is lost, who has not answered is named. If a connection was lost the
    /// run ended early, and what was on its way then is not held against anybody.
    pub(super) fn close(&mut self) {
        if self.is_broken {
            return;
        }
        let Self { topics, seats, faults, .. } = self;
        for (number, seat) in seats.iter().enumerate() {
            for (topic, next) in &seat.next {
                let published = topics[*topic as usize].published;
                if *next <= published {
                    faults.lost += published + 1 - next;
                    faults.tell(|| match published - next {
                        0 => format!("subscriber {number} never got message {next}"),
                        _ => format!("subscriber {number} never got messages {next} to {published}"),
                    });
                }
            }
        }
        let silent = self.answers_wanted.saturating_sub(self.answers);
        if silent > 0 {
            faults.unexpected += silent as u64;
            faults.tell(|| format!("{silent} subscribers did not answer at the end"));
        }
        (self.settled, self.answers_wanted) = (self.expected, 0);
    }
}

impl TopicBook {
    fn new(topic: Topic) -> Self {
        Self { topic, subscribers: 0, published: 0, offset_base: None, verified: [Vec::new(), Vec::new()] }
    }
}

/// Whether two payloads are the same value; one is JSON, the other of any codec.
fn same(json: &Payload, other: &Payload) -> bool {
    let (mut wanted, mut got) = (Vec::new(), Vec::new());
    json.write_msgpack(&mut wanted);
    other.write_msgpack(&mut got);
    wanted == got
}
