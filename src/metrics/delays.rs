//! How late things happen: a histogram for those who collect metrics, and the worst of lately for those who look.

use std::time::Duration;

/// The upper bounds of the histogram, in seconds.
pub(crate) const BOUNDS: [f64; 12] =
    [0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, f64::INFINITY];

/// How many delays are remembered one by one.
const RECENT: usize = 128;

/// Delays of one kind on one thread.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    pub(crate) buckets: [u64; BOUNDS.len()],
    pub(crate) sum: Duration,
    pub(crate) count: u64,
    /// In microseconds, a ring.
    recent: [u32; RECENT],
}

impl Default for Delays {
    fn default() -> Self {
        Self { buckets: [0; BOUNDS.len()], sum: Duration::ZERO, count: 0, recent: [0; RECENT] }
    }
}

impl Delays {
    pub(crate) fn observe(&mut self, delay: Duration) {
        let seconds = delay.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len() - 1);
        self.buckets[bucket] += 1;
        self.recent[self.count as usize % RECENT] = u32::try_from(delay.as_micros()).unwrap_or(u32::MAX);
        self.sum += delay;
        self.count += 1;
    }

    /// What 99 of 100 of the last delays do not exceed; nothing before the first.
    pub(crate) fn recent_p99(&self) -> Duration {
        let known = usize::try_from(self.count).unwrap_or(RECENT).min(RECENT);
        let mut recent = self.recent[..known].to_vec();
        recent.sort_unstable();
        let place = (known * 99).div_ceil(100).saturating_sub(1);
        Duration::from_micros(recent.get(place).copied().unwrap_or_default().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delay_falls_into_the_bucket_that_holds_it() {
        let mut delays = Delays::default();
        assert_eq!(delays.recent_p99(), Duration::ZERO);
        for millis in [0, 1, 2, 3, 5000] {
            delays.observe(Duration::from_millis(millis));
        }
        assert_eq!(delays.buckets, [1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((delays.count, delays.sum), (5, Duration::from_millis(5006)));
        assert_eq!(delays.recent_p99(), Duration::from_secs(5));
    }

    #[test]
    fn what_was_long_ago_does_not_count_among_the_last() {
        let mut delays = Delays::default();
        delays.observe(Duration::from_secs(9));
        for _ in 0..RECENT {
            delays.observe(Duration::from_millis(1));
        }
        assert_eq!(delays.recent_p99(), Duration::from_millis(1));
        delays.observe(Duration::from_millis(2));
        delays.observe(Duration::from_millis(3));
        assert_eq!(delays.recent_p99(), Duration::from_millis(2), "the second of 128 from above");
    }
}
