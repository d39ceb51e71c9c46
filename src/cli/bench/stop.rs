//! Ctrl-C, SIGTERM and SIGHUP, as something that every wait can wait for too.
//! What is done about it is the scenarios' business.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::error::BenchError;

/// Whether somebody wants the run to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_asked: Cell<bool>,
    notify: Notify,
}

impl Stop {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, BenchError> {
        let stop = Self::default();
        let told = stop.clone();
        let signal = signal().map_err(BenchError::Signals)?;
        actix_rt::spawn(async move {
            signal.await;
            told.ask();
        });
        Ok(stop)
    }

    /// Wants the run to end.
    pub(super) fn ask(&self) {
        self.0.is_asked.set(true);
        self.0.notify.notify_waiters();
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.is_asked.get()
    }

    /// Until somebody wants the run to end. May be dropped while it waits.
    pub(super) async fn asked(&self) {
        while !self.is_asked() {
            self.0.notify.notified().await;
        }
    }
}

#[cfg(unix)]
fn signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A terminal that is closed must not leave our server behind.
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
