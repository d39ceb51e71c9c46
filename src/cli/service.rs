//! What the service manager is told, if there is one that listens (systemd's `NOTIFY_SOCKET`): that the server is ready,
//! reads its configuration again, stops; and as long as it works, that it is alive.

#[cfg(not(target_os = "linux"))]
pub(super) use self::nobody::{keep_alive, ready, reloading, stopping};
#[cfg(target_os = "linux")]
pub(super) use self::systemd::{keep_alive, ready, reloading, stopping};

#[cfg(target_os = "linux")]
mod systemd {
    use std::io;

    use sd_notify::{NotifyState, notify};
    use topichub::{Hub, Topic};

    /// Connections are taken.
    pub(crate) fn ready() {
        heard(notify(&[NotifyState::Ready]));
    }

    /// The configuration is read again; [`ready`] follows.
    pub(crate) fn reloading() {
        let now = NotifyState::monotonic_usec_now();
        heard(now.and_then(|now| notify(&[NotifyState::Reloading, now])));
    }

    /// The end begins.
    pub(crate) fn stopping() {
        heard(notify(&[NotifyState::Stopping]));
    }

    /// Says that the server is alive, if somebody wants to know, as long as the registry answers and this thread runs.
    pub(crate) async fn keep_alive(hub: Hub) {
        let timeout = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero());
        let (Some(timeout), Ok(topic)) = (timeout, Topic::parse("$sys.watchdog")) else { return };
        let pause = timeout / 3;
        let mut beat = tokio::time::interval(pause);
        loop {
            beat.tick().await;
            match tokio::time::timeout(pause, hub.presence(topic.clone())).await {
                Ok(Ok(_)) => heard(notify(&[NotifyState::Watchdog])),
                Ok(Err(_)) => return,
                Err(_) => log::error!(
                    "the registry has not answered for {pause:?}: systemd is not told that all is well"
                ),
            }
        }
    }

    fn heard(told: io::Result<()>) {
        if let Err(error) = told {
            log::warn!("the service manager cannot be told: {error}");
        }
    }
}

/// Where there is no systemd.
#[cfg(not(target_os = "linux"))]
mod nobody {
    pub(crate) fn ready() {}
    pub(crate) fn reloading() {}
    pub(crate) fn stopping() {}
    pub(crate) async fn keep_alive(_: topichub::Hub) {}
}
