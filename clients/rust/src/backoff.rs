//! When to come back: full jitter, as a function of what has happened. The clock and the dice are the caller's.

use std::time::Duration;

use topichub_protocol::Reconnect;

/// A connection that lived this long starts the back-off afresh.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Among how long those are spread who may come back now.
const NOW_SPREAD: Duration = Duration::from_millis(300);

/// How often in a row `now` is taken at its word.
const NOW_MAX: u32 = 3;

/// How long to wait between two connections: a random time up to `base` × 2^attempt, at most `max`.
///
/// Random from nothing on (full jitter): when a server restarts, its clients come back one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait; 500 ms by default.
    pub base: Duration,
    /// The longest wait of all; 30 s by default.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The spread of attempt number so and so, counted from 0.
    pub(crate) fn spread(self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }
}

/// The longest time that a server is believed when it says when to come back.
const AFTER_MAX: Duration = Duration::from_secs(3600);

/// What is believed of a time to wait that a server has named.
pub(crate) fn believed(after: Duration) -> Duration {
    after.min(AFTER_MAX)
}

/// What has become of the connections so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts {
    later: u32,
    now: u32,
}

impl Attempts {
    /// How long to wait after a connection that was open for `open`, if it ever was; `fraction` is of [0, 1).
    pub(crate) fn wait(
        &mut self,
        backoff: Backoff,
        verdict: Reconnect,
        open: Option<Duration>,
        after: Duration,
        fraction: f64,
    ) -> Duration {
        if open.is_some_and(|open| open >= STABLE_AFTER) {
            *self = Self::default();
        }
        let spread = if verdict == Reconnect::Now && self.now < NOW_MAX {
            self.now += 1;
            // Whoever wants to be back sooner than that may.
            NOW_SPREAD.min(backoff.max)
        } else {
            let spread = backoff.spread(self.later);
            self.later = self.later.saturating_add(1);
            spread
        };
        believed(after).saturating_add(spread.mul_f64(fraction.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The longest waits of so many ends in a row, none of them after a stable connection.
    fn longest(verdict: Reconnect, ends: usize) -> Vec<Duration> {
        let mut attempts = Attempts::default();
        let wait = |_| attempts.wait(Backoff::default(), verdict, Some(ms(1)), ms(7), 1.0);
        (0..ends).map(wait).collect()
    }

    #[test]
    fn later_doubles_up_to_the_limit() {
        let expected = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].map(|wait| ms(wait + 7));
        assert_eq!(longest(Reconnect::Later, 8), expected);
    }

    #[test]
    fn now_is_taken_at_its_word_three_times() {
        assert_eq!(longest(Reconnect::Now, 5), [307, 307, 307, 507, 1007].map(ms));
    }

    #[test]
    fn ten_seconds_of_connection_make_all_good() {
        let mut attempts = Attempts::default();
        let mut wait = |open| attempts.wait(Backoff::default(), Reconnect::Later, open, ms(0), 1.0);
        assert_eq!([wait(None), wait(Some(ms(9_999)))], [ms(500), ms(1000)]);
        assert_eq!([wait(Some(ms(10_000))), wait(None)], [ms(500), ms(1000)]);
    }

    #[test]
    fn the_dice_reach_from_nothing_to_the_whole_spread() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.wait(Backoff::default(), Reconnect::Later, None, ms(40), 0.0), ms(40));
        assert_eq!(Backoff::default().spread(u32::MAX), ms(30_000));
    }
}
