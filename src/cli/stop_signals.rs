//! The signals that stop the server. What is done about them is `serve`'s.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(not(unix))]
use tokio::signal::windows::{CtrlC, ctrl_c};

/// The signal of those who start and stop services.
pub(super) const SIGTERM: &str = "SIGTERM";

/// Listens from its beginning to its end: a signal that comes while nobody waits is told to the next who does.
pub(super) struct StopSignals {
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(not(unix))]
    interrupt: CtrlC,
}

#[cfg(unix)]
impl StopSignals {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => SIGTERM,
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
impl StopSignals {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: ctrl_c()? })
    }

    /// The name of the next. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> &'static str {
        self.interrupt.recv().await;
        "Ctrl-C"
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// As an operator does it; returns when it has been heard of here.
    async fn kill(name: &str, kind: SignalKind) {
        let mut heard = signal(kind).expect("signals");
        let pid = std::process::id().to_string();
        let killed = Command::new("kill").args(["-s", name, &pid]).status().expect("there is kill");
        assert!(killed.success(), "{killed}");
        heard.recv().await;
    }

    #[tokio::test]
    async fn a_signal_that_comes_while_nobody_waits_is_told_to_the_next_who_does() {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        let mut signals = StopSignals::listen().expect("signals");
        for (name, kind, told) in
            [("TERM", terminate, SIGTERM), ("INT", interrupt, "SIGINT"), ("TERM", terminate, SIGTERM)]
        {
            kill(name, kind).await;
            let next = timeout(Duration::from_secs(20), signals.next()).await;
            assert_eq!(next, Ok(told));
        }
    }
}
