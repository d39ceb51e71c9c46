//! The feed of `topichub serve --demo`: this machine's load, a clock, and recordings, published from within the process
//! as any program that embeds the hub would.

mod clock;
mod machine;
mod recording;

use std::time::Duration;

use serde::Serialize;
use topichub::protocol::topic::TopicError;
use topichub::{HistoryRule, Hub, PublishError, TopicRule};

use self::recording::Recording;

const OFTEN_AGE: Duration = Duration::from_secs(120);

/// A symbol has some 270 prices in this time, and more at another pace.
const OFTEN_KEPT: usize = 1000;

/// How fast recordings are replayed: 2 is twice as fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace(pub(crate) f64);

impl Pace {
    /// How long a pause in a recording becomes.
    fn of(self, pause: Duration) -> Duration {
        pause.div_f64(self.0)
    }
}

/// What the pages count on: two minutes of all that comes often, for plots and for those who were away, and of matches and
/// rooms what it takes to know how they stand.
///
/// # Errors
/// Never, as the patterns are ours.
pub(crate) fn rules() -> Result<Vec<TopicRule>, TopicError> {
    let often = HistoryRule::last(OFTEN_KEPT).for_age(OFTEN_AGE);
    Ok(vec![
        TopicRule::new("ticker.>")?.with_history(often),
        TopicRule::new("system.>")?.with_history(often),
        TopicRule::new("sports.>")?.with_history(HistoryRule::last(100)),
        TopicRule::new("chat.>")?.with_history(HistoryRule::last(100)),
        TopicRule::new("inbox.*.read")?.with_history(HistoryRule::last(1)),
        TopicRule::new("inbox.*")?.with_history(HistoryRule::last(100)),
    ])
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
