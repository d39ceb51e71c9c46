//! The feed of `topichub serve --demo`: this machine's load, a clock, and recordings, published from within the process
//! as any program that embeds the hub would.

mod clock;
mod machine;
mod recording;

use std::time::Duration;

use serde::Serialize;
use topichub::{Hub, PublishError};

use self::recording::Recording;

/// How fast recordings are replayed: 2 is twice as fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace(pub(crate) f64);

impl Pace {
    /// How long a pause in a recording becomes.
    fn of(self, pause: Duration) -> Duration {
        pause.div_f64(self.0)
    }
}

/// Starts the feed on this thread; it goes on until the hub stops.
pub(crate) fn start(hub: &Hub, pace: Pace) {
    actix_rt::spawn(clock::run(hub.clone()));
    if machine::is_readable() {
        actix_rt::spawn(machine::run(hub.clone()));
    } else {
        log::info!("there is no /proc here, so the demo has no system topics");
    }
    for recording in [Recording::stocks(), Recording::live_match(), Recording::results()] {
        match recording {
            Ok(recording) => drop(actix_rt::spawn(recording.play(hub.clone(), pace))),
            Err(error) => log::error!("a recording of the demo cannot be played: {error}"),
        }
    }
}

/// Publishes, and passes over what cannot be: a demo must not end because of a limit somebody has set.
///
/// # Errors
/// If the hub has stopped.
async fn publish<T: Serialize + ?Sized>(hub: &Hub, topic: &str, value: &T) -> Result<(), PublishError> {
    match hub.publish(topic, value).await {
        Ok(_) => Ok(()),
        Err(PublishError::HubStopped) => Err(PublishError::HubStopped),
        Err(error) => {
            log::debug!("the demo could not publish to {topic}: {error}");
            Ok(())
        }
    }
}
