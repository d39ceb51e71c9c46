//! What a stretch of a run cost: time, processor time of both sides, and what arrived in it.
//! How it is shown is the `report`'s.

use std::time::Duration;

use tokio::time::Instant;

use super::error::BenchError;
use super::ledger::Measured;
use super::process::Process;
use super::readers::Run;
use super::target::Target;

/// A stretch under way.
pub(super) struct Gauge {
    began: Instant,
    server: Option<Process>,
    server_cpu: Option<Duration>,
    client_cpu: Option<Duration>,
}

/// What it came to.
pub(super) struct Figures {
    pub(super) elapsed: Duration,
    pub(super) server_cpu: Option<Duration>,
    pub(super) client_cpu: Option<Duration>,
    pub(super) server_bytes: Option<u64>,
    pub(super) measured: Measured,
}

impl Gauge {
    /// From now on; what was measured before is forgotten.
    pub(super) fn start(target: &Target, run: &Run) -> Result<Self, BenchError> {
        run.ledger.borrow_mut().restart()?;
        Ok(Self {
            began: Instant::now(),
            server: target.process,
            server_cpu: target.process.and_then(Process::cpu_time),
            client_cpu: Process::ourselves().cpu_time(),
        })
    }

    /// Until now.
    pub(super) fn stop(self, run: &Run) -> Result<Figures, BenchError> {
        let since = |before: Option<Duration>, process: Option<Process>| {
            Some(process.and_then(Process::cpu_time)?.saturating_sub(before?))
        };
        Ok(Figures {
            elapsed: self.began.elapsed(),
            server_cpu: since(self.server_cpu, self.server),
            client_cpu: since(self.client_cpu, Some(Process::ourselves())),
            server_bytes: self.server.and_then(Process::resident_bytes),
            measured: run.ledger.borrow_mut().restart()?,
        })
    }
}
