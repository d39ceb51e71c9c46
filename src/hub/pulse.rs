//! Who is due for a ping, an answer, a look at whether it reads, or the end of its closing. All sessions of a thread
//! wait equally long for each, so four queues in order of time do, instead of a timer for each session.

use std::collections::VecDeque;
use std::time::Duration;

use super::input::SubscriberKey;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PulseTimes {
    /// From one ping to the next.
    pub(crate) ping_interval: Duration,
    /// From a ping to a sign of life.
    pub(crate) pong_timeout: Duration,
    /// From our close frame to the peer's.
    pub(crate) close_timeout: Duration,
    /// How long a peer may take nothing of what waits for it.
    pub(crate) stall_timeout: Duration,
}

/// What is due for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Send a ping, and answer with [`Pulse::pinged`].
    Ping(SubscriberKey),
    /// There should have been a sign of life since the ping. If there was, answer with [`Pulse::alive`].
    Check(SubscriberKey),
    /// Something waits for it. If it has taken some of that, and more waits, answer with [`Pulse::waiting`].
    Flow(SubscriberKey),
    /// The peer has had its time to close.
    Part(SubscriberKey),
}

/// Whole milliseconds since the hub began: half the size of a `Duration`, and there is one for each session.
type Millis = u64;

/// The heartbeats of one thread's sessions.
#[derive(Debug)]
pub(crate) struct Pulse {
    times: PulseTimes,
    pings: VecDeque<(Millis, SubscriberKey)>,
    checks: VecDeque<(Millis, SubscriberKey)>,
    flows: VecDeque<(Millis, SubscriberKey)>,
    partings: VecDeque<(Millis, SubscriberKey)>,
}

fn millis(time: Duration) -> Millis {
    time.as_millis() as Millis
}

impl Pulse {
    pub(crate) fn new(times: PulseTimes) -> Self {
        let (pings, checks) = (VecDeque::new(), VecDeque::new());
        Self { times, pings, checks, flows: VecDeque::new(), partings: VecDeque::new() }
    }

    /// Waits otherwise from the next wait on. What is awaited now comes first, so a shorter time may begin late.
    pub(crate) fn set_times(&mut self, times: PulseTimes) {
        self.times = times;
    }

    /// A session has begun.
    pub(crate) fn joined(&mut self, key: SubscriberKey, now: Duration) {
        self.pings.push_back((millis(now + self.times.ping_interval), key));
    }

    /// A ping was sent.
    pub(crate) fn pinged(&mut self, key: SubscriberKey, now: Duration) {
        self.checks.push_back((millis(now + self.times.pong_timeout), key));
    }

    /// There was a sign of life in time.
    pub(crate) fn alive(&mut self, key: SubscriberKey, now: Duration) {
        let rest = self.times.ping_interval.saturating_sub(self.times.pong_timeout);
        self.pings.push_back((millis(now + rest), key));
    }

    /// Something waits that the peer does not take at once.
    pub(crate) fn waiting(&mut self, key: SubscriberKey, now: Duration) {
        self.flows.push_back((millis(now + self.times.stall_timeout), key));
    }

    /// We have begun to close.
    pub(crate) fn closing(&mut self, key: SubscriberKey, now: Duration) {
        self.partings.push_back((millis(now + self.times.close_timeout), key));
    }

    /// The next thing due at `now`. Sessions that have left meanwhile come up too, and are passed over by the caller.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Beat> {
        fn due(queue: &mut VecDeque<(Millis, SubscriberKey)>, now: Duration) -> Option<SubscriberKey> {
            queue.pop_front_if(|(at, _)| *at <= millis(now)).map(|(_, key)| key)
        }
        due(&mut self.partings, now)
            .map(Beat::Part)
            .or_else(|| due(&mut self.flows, now).map(Beat::Flow))
            .or_else(|| due(&mut self.checks, now).map(Beat::Check))
            .or_else(|| due(&mut self.pings, now).map(Beat::Ping))
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    fn pulse() -> (Pulse, SubscriberKey) {
        let second = Duration::from_secs(1);
        let times = PulseTimes {
            ping_interval: 25 * second,
            pong_timeout: 8 * second,
            close_timeout: 5 * second,
            stall_timeout: 30 * second,
        };
        let mut seats: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        (Pulse::new(times), seats.insert(()))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_that_answers_is_pinged_every_interval() {
        let (mut pulse, key) = pulse();
        pulse.joined(key, at(0));
        assert_eq!(pulse.next(at(24)), None);
        for round in 1..4 {
            assert_eq!(pulse.next(at(25 * round)), Some(Beat::Ping(key)));
            pulse.pinged(key, at(25 * round));
            assert_eq!(pulse.next(at(25 * round + 7)), None);
            assert_eq!(pulse.next(at(25 * round + 8)), Some(Beat::Check(key)));
            pulse.alive(key, at(25 * round + 8));
            assert_eq!(pulse.next(at(25 * round + 24)), None);
        }
    }

    #[test]
    fn a_session_found_silent_is_not_asked_again() {
        let (mut pulse, key) = pulse();
        pulse.joined(key, at(0));
        assert_eq!(pulse.next(at(25)), Some(Beat::Ping(key)));
        pulse.pinged(key, at(25));
        assert_eq!(pulse.next(at(33)), Some(Beat::Check(key)));
        pulse.closing(key, at(33));
        assert_eq!(pulse.next(at(37)), None);
        assert_eq!(pulse.next(at(38)), Some(Beat::Part(key)));
        assert_eq!(pulse.next(at(1000)), None);
    }
}
