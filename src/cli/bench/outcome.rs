//! How a stretch of a run ends, and waiting for it.
//! What led there is the scenarios' business.

use std::time::Duration;

use tokio::time::sleep;

use super::readers::Run;
use super::stop::Stop;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    /// Somebody pressed Ctrl-C.
    Interrupted,
    /// For too long nothing came.
    GaveUp,
    /// A connection was lost.
    Broken,
}

/// Until every subscriber has everything that was published, and has answered if it was asked. May be dropped while
/// it waits.
pub(super) async fn everybody_has_it(run: &Run, stop: &Stop, timeout: Duration) -> Outcome {
    let mut before = run.ledger.borrow().progress();
    loop {
        tokio::select! {
            biased;
            () = run.done() => {
                return if run.ledger.borrow().is_broken() { Outcome::Broken } else { Outcome::Complete };
            }
            () = stop.asked() => return Outcome::Interrupted,
            () = sleep(timeout) => {
                let now = run.ledger.borrow().progress();
                if now == before {
                    return Outcome::GaveUp;
                }
                before = now;
            }
        }
    }
}
