//! How a hub lets its clients go: what they are told is the session's business, when and for how long it goes on is here.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Hub;
use crate::actors::fan_out::{Cut, Drain};
use crate::actors::leaving::Chance;
use crate::transport::problem::Problem;

/// How long clients have to answer the server's close when it stops.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// When to try again at a server that is being drained, or the one in its place.
const RETRY_SECONDS: u64 = 1;

/// What has come of a [drain](Hub::drain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The sessions there were when it began.
    pub sessions: usize,
    /// Those that had not ended in time and were cut off.
    pub cut: usize,
}

impl Hub {
    /// Whether clients are being sent away.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.borrow().is_some()
    }

    /// Returns when clients begin to be sent away, with the time over which that is done.
    pub async fn drain_begun(&self) -> Duration {
        let mut draining = self.inner.draining.subscribe();
        match draining.wait_for(Option::is_some).await.map(|over| *over) {
            Ok(Some(over)) => over,
            // The hub holds the other end.
            _ => std::future::pending().await,
        }
    }

    /// Nobody who comes while the others are sent away is let in.
    pub(crate) fn takes_newcomers(&self) -> Result<(), Problem> {
        if self.is_draining() {
            return Err(Problem::unavailable("the server is being drained".to_owned(), RETRY_SECONDS));
        }
        Ok(())
    }

    /// Returns when somebody who waits is to be sent away: while the hub is drained, at a moment of its own.
    pub(crate) async fn sent_away(&self) {
        let mut draining = self.inner.draining.subscribe();
        let Ok(over) = draining.wait_for(Option::is_some).await.map(|over| over.unwrap_or_default()) else {
            return std::future::pending().await;
        };
        tokio::time::sleep(over.mul_f64(Chance::new().share())).await;
    }

    /// Tells every client to come back (4201) and closes its connection, one after the other over this time, each at a
    /// moment of its own. From the call on newcomers are refused. What this returns waits until all have gone; those
    /// who have not answered two seconds after the time is over are cut off.
    ///
    /// ```no_run
    /// # async fn stop(hub: topichub::Hub, server: actix_web::dev::ServerHandle) {
    /// hub.drain(std::time::Duration::from_secs(30)).await;
    /// server.stop(true).await;
    /// # }
    /// ```
    pub fn drain(&self, over: Duration) -> impl Future<Output = Drained> + use<> {
        let sessions = self.sessions();
        let begins = self.inner.draining.send_if_modified(|draining| {
            let begins = draining.is_none();
            draining.get_or_insert(over);
            begins
        });
        if begins {
            self.inner.beginnings.census.draining.store(true, Ordering::Relaxed);
            self.inner.beginnings.registry.do_send(Drain { over });
        }
        let hub = self.clone();
        async move {
            let cut = match tokio::time::timeout(over + GOODBYE_MAX, hub.all_gone()).await {
                Ok(()) => 0,
                Err(_) => {
                    let left = hub.sessions();
                    hub.inner.beginnings.registry.do_send(Cut);
                    let _ = tokio::time::timeout(GOODBYE_MAX, hub.all_gone()).await;
                    left
                }
            };
            Drained { sessions, cut }
        }
    }

    async fn all_gone(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while self.sessions() > 0 {
            look.tick().await;
        }
    }
}
