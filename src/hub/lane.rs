//! What one session has yet to get of one topic when it is not simply sent everything: messages that wait for its
//! reader or for their time, and the gaps before them. Which message is given up for which is decided here.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::command::SlowPolicy;
use topichub_protocol::message::Position;
use topichub_protocol::push::{Gap, GapReason};

use super::outbox::Outboxes;
use super::published::Published;
use crate::metrics::figure::Figure;

/// A message that waits for somebody on this thread: made once, shared by all for whom it waits, and counted with the
/// outboxes.
#[derive(Debug)]
pub(crate) struct Kept {
    published: Arc<Published>,
    outboxes: Rc<Outboxes>,
}

impl Kept {
    pub(crate) fn new(published: &Arc<Published>, outboxes: &Rc<Outboxes>) -> Rc<Self> {
        let kept = Self { published: Arc::clone(published), outboxes: Rc::clone(outboxes) };
        outboxes.add(kept.size());
        Rc::new(kept)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + size_of::<Published>() + self.published.message.payload.as_bytes().len()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.outboxes.subtract(self.size());
    }
}

/// How the messages of a topic reach a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) policy: SlowPolicy,
    /// The shortest time between two of them; zero is none.
    pub(crate) interval: Duration,
}

impl Mode {
    /// Everything, at once.
    pub(crate) const PLAIN: Self = Self { policy: SlowPolicy::Disconnect, interval: Duration::ZERO };

    pub(crate) fn is_plain(self) -> bool {
        self == Self::PLAIN
    }

    /// Of two subscriptions to the same messages the one that loses least decides.
    pub(crate) fn completer(self, other: Self) -> Self {
        let loss = |mode: Self| {
            let policy = SlowPolicy::ALL.iter().position(|policy| *policy == mode.policy);
            (mode.interval, policy)
        };
        if loss(other) < loss(self) { other } else { self }
    }
}

/// Offsets that do not come, before the next message that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missed {
    from: u64,
    to: u64,
    why: GapReason,
}

impl Missed {
    /// Both as one: nothing that comes lies between them.
    fn with(self, earlier: Option<Self>) -> Self {
        match earlier {
            Some(earlier) => {
                Self { from: self.from.min(earlier.from), to: self.to.max(earlier.to), why: self.why }
            }
            None => self,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    kept: Rc<Kept>,
    missed: Option<Missed>,
}

/// When the next message may come, and which one that will be.
#[derive(Debug)]
struct Gate {
    /// When it was open last.
    opened: Duration,
    /// When somebody will look whether it is to open.
    timer: Duration,
    /// The newest; with `latest-per-key`, of each key.
    held: Vec<Rc<Kept>>,
}

/// One topic of one session.
#[derive(Debug)]
pub(crate) struct Lane {
    mode: Mode,
    waiting: VecDeque<Waiting>,
    /// What they take, roughly.
    bytes: usize,
    /// How many of them, from the first, are known to have different keys.
    settled: usize,
    gate: Option<Gate>,
}

/// What is next in a lane.
pub(crate) enum Next<'a> {
    Gap(Gap),
    Message(&'a Arc<Published>),
}

impl Lane {
    /// What an entry takes beside its message, roughly.
    const ENTRY_BYTES: usize = size_of::<Waiting>() + size_of::<Published>();

    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, waiting: VecDeque::new(), bytes: 0, settled: 0, gate: None }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// From now on it goes by another mode. What is held back for its time waits for the reader only, unless the new
    /// mode has times as well: then [`open`](Self::open) is to be called at the time returned.
    pub(crate) fn set_mode(&mut self, mode: Mode) -> Option<Duration> {
        self.mode = mode;
        self.settled = 0;
        if mode.interval.is_zero()
            && let Some(gate) = self.gate.take()
        {
            gate.held.into_iter().for_each(|kept| self.append(kept));
        }
        // If it is to open later than it was to, whoever looks will find that out.
        let gate = self.gate.as_mut()?;
        let opens = gate.opened + mode.interval;
        let sooner = opens < gate.timer;
        gate.timer = gate.timer.min(opens);
        sooner.then_some(opens)
    }

    /// Whether nothing is left to remember.
    pub(crate) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.gate.is_none()
    }

    /// The first message that has not been delivered, or announced as missing.
    pub(crate) fn first(&self) -> Option<Position> {
        let held = self.gate.iter().flat_map(|gate| &gate.held).map(|kept| kept.published.message.position);
        match self.waiting.front() {
            Some(first) => {
                let Position { epoch, offset } = first.position();
                Some(Position { epoch, offset: first.missed.map_or(offset, |missed| missed.from) })
            }
            None => held.min_by_key(|position| position.offset),
        }
    }

    /// Messages and bytes that wait for the reader.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// A message has come. If it is the first for a while and there is to be time between messages, the time is
    /// returned at which [`open`](Self::open) is to be called.
    pub(crate) fn push(&mut self, kept: Rc<Kept>, now: Duration) -> Option<Duration> {
        if self.mode.interval.is_zero() {
            self.append(kept);
            return None;
        }
        match &mut self.gate {
            None => {
                let timer = now + self.mode.interval;
                self.gate = Some(Gate { opened: now, timer, held: Vec::new() });
                self.append(kept);
                Some(timer)
            }
            Some(gate) => {
                let by_key = self.mode.policy == SlowPolicy::LatestPerKey;
                let same = |other: &Rc<Kept>| !by_key || key(other) == key(&kept);
                gate.held.retain(|other| !same(other));
                gate.held.push(kept);
                None
            }
        }
    }

    /// It was to be called at `due`, and if that still holds, what was held back goes on. Returns when to call this again,
    /// if there is anything to wait for.
    pub(crate) fn open(&mut self, due: Duration, now: Duration) -> Option<Duration> {
        let gate = self.gate.as_mut().filter(|gate| gate.timer == due)?;
        gate.timer = gate.opened + self.mode.interval;
        if now < gate.timer {
            return Some(gate.timer);
        }
        if gate.held.is_empty() {
            self.gate = None;
            return None;
        }
        (gate.opened, gate.timer) = (now, now + self.mode.interval);
        let (timer, held) = (gate.timer, std::mem::take(&mut gate.held));
        held.into_iter().for_each(|kept| self.append(kept));
        Some(timer)
    }

    fn append(&mut self, kept: Rc<Kept>) {
        let waiting = Waiting { kept, missed: None };
        self.bytes += waiting.bytes();
        self.waiting.push_back(waiting);
    }

    /// The reader does not keep up: keeps what the policy says.
    pub(crate) fn settle(&mut self) {
        match self.mode.policy {
            SlowPolicy::Disconnect | SlowPolicy::Drop => {}
            SlowPolicy::Latest => {
                while self.waiting.len() > 1 {
                    self.give_up(0, GapReason::Conflated);
                }
            }
            SlowPolicy::LatestPerKey => {
                // Only what is new can have replaced anything: it stands behind what was settled before.
                let (mut at, mut settled) = (self.waiting.len(), self.settled);
                while at > settled {
                    at -= 1;
                    let again = |other: &Waiting| key(&other.kept) == key(&self.waiting[at].kept);
                    if let Some(older) = self.waiting.iter().take(at).position(again) {
                        self.give_up(older, GapReason::Conflated);
                        settled -= usize::from(older < settled);
                    }
                }
                self.settled = self.waiting.len();
            }
        }
    }

    /// Gives up the oldest message, unless it is the only one.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let drops = self.waiting.len() > 1;
        if drops {
            self.settled = self.settled.saturating_sub(1);
            self.give_up(0, GapReason::Dropped);
        }
        drops
    }

    /// The message at `at` does not come; the one behind it announces that.
    fn give_up(&mut self, at: usize, why: GapReason) {
        let Some(gone) = self.waiting.remove(at) else { return };
        gone.kept.outboxes.tally.add(Figure::dropped(why), 1);
        self.bytes -= gone.bytes();
        let Some(next) = self.waiting.get_mut(at) else { return };
        let (offset, epoch) = (gone.position().offset, gone.position().epoch);
        if next.position().epoch != epoch {
            return;
        }
        let missed = Missed { from: offset, to: offset, why }.with(gone.missed);
        next.missed = Some(next.missed.map_or(missed, |later| later.with(Some(missed))));
    }

    /// What is to be sent, in order.
    pub(crate) fn next(&self) -> impl Iterator<Item = Next<'_>> {
        self.waiting.iter().flat_map(|waiting| {
            let gap = waiting.missed.map(|Missed { from, to, why }| {
                let message = &waiting.kept.published.message;
                let (topic, epoch) = (message.topic.clone(), message.position.epoch);
                Next::Gap(Gap { topic, epoch, from, to, why })
            });
            gap.into_iter().chain([Next::Message(&waiting.kept.published)])
        })
    }

    /// The first of what [`next`](Self::next) gives was sent.
    pub(crate) fn sent(&mut self) {
        let Some(first) = self.waiting.front_mut() else { return };
        if first.missed.take().is_none() {
            self.bytes -= first.bytes();
            self.settled = self.settled.saturating_sub(1);
            self.waiting.pop_front();
        }
    }
}

impl Waiting {
    fn position(&self) -> Position {
        self.kept.published.message.position
    }

    fn bytes(&self) -> usize {
        Lane::ENTRY_BYTES + self.kept.published.message.payload.as_bytes().len()
    }
}

fn key(kept: &Kept) -> Option<&str> {
    kept.published.message.key()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use topichub_protocol::message::{Epoch, Extras, Message, Payload};
    use topichub_protocol::topic::Topic;

    use super::*;
    use crate::hub::outbox::OutboxLimits;

    fn lane(policy: SlowPolicy, interval: Duration) -> Lane {
        Lane::new(Mode { policy, interval })
    }

    fn kept(offset: u64, key: &str) -> Rc<Kept> {
        let extras = Extras { key: (!key.is_empty()).then(|| key.into()), ..Extras::default() };
        let message = Message {
            topic: Topic::parse("t").unwrap(),
            position: Position { epoch: Epoch(1), offset },
            payload: Payload::from_binary(Bytes::new()),
            extras: Some(Arc::new(extras)),
        };
        let outboxes = Outboxes::new(OutboxLimits { bytes: 0, messages: 0 });
        Kept::new(&Arc::new(Published::new(message, None, Duration::ZERO)), &outboxes)
    }

    fn told(lane: &Lane) -> String {
        let each = lane.next().map(|next| match next {
            Next::Gap(gap) => format!("({}-{} {})", gap.from, gap.to, gap.why.as_str()),
            Next::Message(published) => published.offset().to_string(),
        });
        each.collect::<Vec<_>>().join(" ")
    }

    fn push_all(lane: &mut Lane, messages: &[(u64, &str)]) {
        for (offset, key) in messages {
            lane.push(kept(*offset, key), Duration::ZERO);
        }
    }

    #[test]
    fn latest_keeps_the_newest_and_announces_the_rest_as_one_gap() {
        let mut lane = lane(SlowPolicy::Latest, Duration::ZERO);
        push_all(&mut lane, &[(5, ""), (6, ""), (7, "")]);
        assert_eq!(told(&lane), "5 6 7", "a reader that keeps up would get all");
        lane.settle();
        assert_eq!(told(&lane), "(5-6 conflated) 7");
        push_all(&mut lane, &[(8, ""), (10, "")]);
        lane.settle();
        assert_eq!(told(&lane), "(5-8 conflated) 10");
        lane.sent();
        assert_eq!(told(&lane), "10");
        push_all(&mut lane, &[(11, "")]);
        lane.settle();
        assert_eq!(told(&lane), "(10-10 conflated) 11", "the first gap was told");
        lane.sent();
        lane.sent();
        assert!(lane.is_done());
    }

    #[test]
    fn latest_per_key_keeps_the_newest_of_each_key_in_order() {
        let mut lane = lane(SlowPolicy::LatestPerKey, Duration::ZERO);
        push_all(&mut lane, &[(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, ""), (6, "b"), (7, "")]);
        lane.settle();
        assert_eq!(told(&lane), "(1-2 conflated) 3 4 (5-5 conflated) 6 7");
        push_all(&mut lane, &[(8, "a"), (9, "a")]);
        lane.settle();
        assert_eq!(told(&lane), "(1-3 conflated) 4 (5-5 conflated) 6 7 (8-8 conflated) 9");
    }

    #[test]
    fn dropping_takes_the_oldest_and_leaves_one() {
        let mut lane = lane(SlowPolicy::Drop, Duration::ZERO);
        push_all(&mut lane, &[(1, ""), (2, ""), (3, "")]);
        lane.settle();
        assert_eq!(told(&lane), "1 2 3");
        assert!(lane.drop_oldest());
        assert_eq!(told(&lane), "(1-1 dropped) 2 3");
        assert!(lane.drop_oldest() && !lane.drop_oldest());
        assert_eq!(told(&lane), "(1-2 dropped) 3");
    }

    #[test]
    fn a_rate_lets_the_first_through_and_then_the_newest_of_each_interval() {
        let second = Duration::from_secs(1);
        let mut lane = lane(SlowPolicy::Latest, second);
        assert_eq!(lane.push(kept(1, ""), 10 * second), Some(11 * second));
        assert_eq!(lane.push(kept(2, ""), 10 * second), None);
        assert_eq!(lane.push(kept(3, ""), 10 * second), None);
        assert_eq!(told(&lane), "1");
        lane.sent();
        assert_eq!(lane.open(11 * second, 11 * second), Some(12 * second));
        assert_eq!(told(&lane), "3", "what was not asked for is no gap");
        lane.settle();
        assert_eq!(lane.open(12 * second, 12 * second), None, "nothing came, so nothing is waited for");
        assert_eq!(lane.push(kept(4, ""), 30 * second), Some(31 * second));
        lane.settle();
        assert_eq!(told(&lane), "(3-3 conflated) 4", "3 was due and the reader did not take it");
    }

    #[test]
    fn a_rate_by_key_holds_the_newest_of_each() {
        let second = Duration::from_secs(1);
        let mut lane = lane(SlowPolicy::LatestPerKey, second);
        lane.push(kept(1, "a"), second);
        for (offset, key) in [(2, "a"), (3, "b"), (4, "a")] {
            assert_eq!(lane.push(kept(offset, key), second), None);
        }
        lane.open(2 * second, 2 * second);
        assert_eq!(told(&lane), "1 3 4");
    }

    #[test]
    fn a_rate_that_is_changed_counts_from_the_last_message_on() {
        let second = Duration::from_secs(1);
        let mut lane = lane(SlowPolicy::Latest, 10 * second);
        assert_eq!(lane.push(kept(1, ""), second), Some(11 * second));
        lane.push(kept(2, ""), 2 * second);
        lane.sent();
        assert_eq!(
            lane.set_mode(Mode { policy: SlowPolicy::Latest, interval: 3 * second }),
            Some(4 * second)
        );
        assert_eq!(lane.open(4 * second, 4 * second), Some(7 * second));
        assert_eq!(told(&lane), "2");
        assert_eq!(lane.open(11 * second, 11 * second), None, "that was the time before");
        assert_eq!(lane.set_mode(Mode { policy: SlowPolicy::Latest, interval: 5 * second }), None);
        assert_eq!(lane.open(7 * second, 7 * second), Some(9 * second), "later than it was to be");
    }

    #[test]
    fn a_rate_that_is_lifted_lets_go_of_what_it_held() {
        let mut lane = lane(SlowPolicy::Disconnect, Duration::from_secs(1));
        push_all(&mut lane, &[(1, ""), (2, "")]);
        lane.set_mode(Mode::PLAIN);
        assert_eq!(told(&lane), "1 2");
    }

    #[test]
    fn the_subscription_that_loses_least_decides() {
        let mode = |policy, millis| Mode { policy, interval: Duration::from_millis(millis) };
        let (drop, latest) = (mode(SlowPolicy::Drop, 0), mode(SlowPolicy::Latest, 0));
        assert_eq!(latest.completer(drop), drop);
        assert_eq!(drop.completer(latest), drop);
        assert_eq!(latest.completer(mode(SlowPolicy::Disconnect, 100)), latest);
        assert_eq!(latest.completer(Mode::PLAIN), Mode::PLAIN);
    }
}
