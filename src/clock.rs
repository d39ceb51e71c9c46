//! The only place that reads the monotonic clock. Everybody else is handed a `Duration` since the hub began.

use std::time::{Duration, Instant};

/// The time since the hub began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn start() -> Self {
        Self { began: Instant::now() }
    }

    pub(crate) fn now(self) -> Duration {
        self.began.elapsed()
    }
}
