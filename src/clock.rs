//! The only place that reads a clock. Everybody else is handed a `Duration` since the hub began, or since 1970 where
//! tokens say until when they hold.

use std::time::{Duration, Instant, SystemTime};

/// The time since the hub began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "here alone the time is read")]
    pub(crate) fn start() -> Self {
        Self { began: Instant::now() }
    }

    pub(crate) fn now(self) -> Duration {
        self.began.elapsed()
    }

    /// The time since the beginning of 1970 in UTC.
    pub(crate) fn today(self) -> Duration {
        since_1970()
    }

    /// How long it is until a time since the beginning of 1970 in UTC; nothing if it is over.
    pub(crate) fn left_until(self, time: Duration) -> Duration {
        time.saturating_sub(since_1970())
    }
}

/// The time since the beginning of 1970 in UTC.
pub(crate) fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
