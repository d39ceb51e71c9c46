//! The most memory a process has had, looked up every now and then by a thread of its own.
//! What else a stretch of a run costs is the `gauge`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::process::Process;

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(100);

/// Looks until it is dropped.
pub(super) struct Watch(Arc<AtomicU64>);

impl Watch {
    pub(super) fn start(process: Option<Process>) -> Option<Self> {
        let process = process?;
        let peak = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&peak);
        thread::spawn(move || {
            while let Some(peak) = seen.upgrade() {
                peak.fetch_max(process.resident_bytes().unwrap_or(0), Ordering::Relaxed);
                drop(peak);
                thread::sleep(LOOK);
            }
        });
        Some(Self(peak))
    }

    /// The most so far.
    pub(super) fn peak(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
