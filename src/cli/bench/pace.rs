//! When messages are due at a fixed rate, and a clock that wakes us in time for them.
//! What is due is published elsewhere.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What is due closer together than this is published together.
const PERIOD_MIN: Duration = Duration::from_micros(100);

/// Ticks from a thread of its own: tokio's timers are a millisecond coarse, which is more than a latency here.
#[derive(Debug)]
pub(super) struct Pace {
    tick: Arc<Notify>,
    period: f64,
    /// Nanoseconds since the run began.
    began: u64,
}

impl Pace {
    /// Something is due every `period` seconds, first at `began`, which is `at` in nanoseconds of the run.
    pub(super) fn start(period: f64, at: u64, began: Instant) -> Self {
        let tick = Arc::new(Notify::new());
        let listener = Arc::downgrade(&tick);
        thread::spawn(move || beat(&listener, began, Duration::from_secs_f64(period).max(PERIOD_MIN)));
        Self { tick, period, began: at }
    }

    /// When the item of this index is due, in nanoseconds since the run began.
    pub(super) fn due(&self, index: u64) -> u64 {
        self.began + (index as f64 * self.period * 1e9) as u64
    }

    /// Until something may be due. May be dropped while it waits.
    pub(super) async fn tick(&self) {
        self.tick.notified().await;
    }
}

/// Ticks until nobody listens any more.
fn beat(listener: &Weak<Notify>, mut next: Instant, period: Duration) {
    loop {
        next += period;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        match listener.upgrade() {
            Some(tick) => tick.notify_one(),
            None => return,
        }
    }
}
