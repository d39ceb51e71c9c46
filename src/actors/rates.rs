//! How fast somebody may go: commands and bytes of one session, publishes of one user.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, NotUntil, Quota, RateLimiter};
use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::CommandError;

use crate::settings::Settings;

/// What is made of a command by how many came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Fine,
    /// It is refused.
    TooFast(CommandError),
    /// It has been refused so often that nobody listens.
    Flood,
}

/// The rates of one session.
pub(crate) struct Rates {
    commands: Option<DefaultDirectRateLimiter>,
    bytes: Option<DefaultDirectRateLimiter>,
    commands_max: u32,
    bytes_max: u32,
    /// Who is refused as often as it may command goes,
    refusals: DefaultDirectRateLimiter,
    /// and who is refused as many bytes as it may send.
    refused_bytes: Option<DefaultDirectRateLimiter>,
}

impl Rates {
    /// `None` where nothing is limited.
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        let commands_max = settings.commands_per_second_max;
        let bytes_max = settings.bytes_per_second_max;
        if commands_max == 0 && bytes_max == 0 {
            return None;
        }
        // A message may be longer than what may come in a second.
        let longest = u32::try_from(settings.message_bytes_max).unwrap_or(u32::MAX);
        Some(Self {
            commands: limiter(commands_max, commands_max),
            bytes: limiter(bytes_max, bytes_max.max(longest)),
            refused_bytes: limiter(bytes_max, bytes_max.max(longest)),
            commands_max,
            bytes_max,
            refusals: RateLimiter::direct(quota(commands_max.max(REFUSALS), commands_max.max(REFUSALS))),
        })
    }

    /// Counts a command of so many bytes.
    pub(crate) fn check(&self, bytes: usize) -> Pace {
        let wait = self.commands.as_ref().and_then(|limiter| {
            let until = limiter.check().err()?;
            let max = self.commands_max;
            Some((
                format!("{max} commands a second are the limit"),
                until.wait_time_from(DefaultClock::default().now()),
            ))
        });
        let wait = wait.or_else(|| {
            let until = over(self.bytes.as_ref()?, bytes)?;
            let max = self.bytes_max;
            Some((
                format!("{max} bytes a second are the limit"),
                until.wait_time_from(DefaultClock::default().now()),
            ))
        });
        match wait {
            None => Pace::Fine,
            Some(_) if self.is_flood(bytes) => Pace::Flood,
            Some((message, wait)) => Pace::TooFast(too_fast(message, wait)),
        }
    }

    /// Counts a refusal of so many bytes.
    fn is_flood(&self, bytes: usize) -> bool {
        self.refusals.check().is_err()
            || self.refused_bytes.as_ref().is_some_and(|limiter| over(limiter, bytes).is_some())
    }
}

/// Counts so many bytes; until when to wait if they are too many. One message is never more than a limiter has room for.
fn over(
    limiter: &DefaultDirectRateLimiter,
    bytes: usize,
) -> Option<NotUntil<<DefaultClock as Clock>::Instant>> {
    let bytes = NonZeroU32::new(u32::try_from(bytes).unwrap_or(u32::MAX))?;
    limiter.check_n(bytes).ok()?.err()
}

/// How often a second somebody is told at least before nobody listens.
const REFUSALS: u32 = 100;

/// The rates of all users, over all their sessions and HTTP.
#[derive(Debug)]
pub(crate) struct PublishRates {
    limiter: Option<RateLimiter<Box<str>, HashMapStateStore<Box<str>>, DefaultClock>>,
    max: u32,
    /// With so many users those are forgotten who have not published for a while.
    sweep_at: AtomicUsize,
}

const SWEEP_MIN: usize = 1024;

impl PublishRates {
    pub(crate) fn new(settings: &Settings) -> Self {
        let max = settings.publishes_per_second_per_user_max;
        let limiter = NonZeroU32::new(max).map(|rate| RateLimiter::hashmap(Quota::per_second(rate)));
        Self { limiter, max, sweep_at: AtomicUsize::new(SWEEP_MIN) }
    }

    /// Counts a publish.
    ///
    /// # Errors
    /// If the user has published too many in the last second.
    pub(crate) fn check<'a>(&self, user: impl FnOnce() -> Option<&'a str>) -> Result<(), CommandError> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let Some(user) = user() else { return Ok(()) };
        if limiter.len() > self.sweep_at.load(Ordering::Relaxed) {
            limiter.retain_recent();
            self.sweep_at.store((2 * limiter.len()).max(SWEEP_MIN), Ordering::Relaxed);
        }
        limiter.check_key(&user.into()).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            too_fast(format!("{} publishes a second are the limit of one user", self.max), wait)
        })
    }
}

fn too_fast(message: String, wait: Duration) -> CommandError {
    // To the next whole millisecond, and never at once.
    let wait = Duration::from_millis(wait.as_millis() as u64 + 1);
    CommandError::new(ErrorCode::RateLimited, message).with_after(wait)
}

fn limiter(rate: u32, burst: u32) -> Option<DefaultDirectRateLimiter> {
    (rate > 0).then(|| RateLimiter::direct(quota(rate, burst)))
}

fn quota(rate: u32, burst: u32) -> Quota {
    let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(rate)).allow_burst(at_least_one(burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(commands: u32, bytes: u32) -> Option<Rates> {
        let (commands_per_second_max, bytes_per_second_max) = (commands, bytes);
        Rates::new(&Settings { commands_per_second_max, bytes_per_second_max, ..Settings::default() })
    }

    #[test]
    fn a_second_of_commands_may_come_at_once_and_who_goes_on_is_told_and_then_not_heard() {
        assert!(rates(0, 0).is_none());
        let rates = rates(200, 0).unwrap();
        assert!((0..200).all(|_| rates.check(10) == Pace::Fine));
        let (mut told, mut fine) = (0, 0);
        let flood = (0..1_000_000).find(|_| match rates.check(10) {
            Pace::Flood => true,
            Pace::Fine => {
                fine += 1;
                false
            }
            Pace::TooFast(error) => {
                told += 1;
                assert_eq!(error.code, ErrorCode::RateLimited);
                assert!((1..=6).contains(&error.after.unwrap().as_millis()), "{error:?}");
                false
            }
        });
        assert!(flood.is_some() && told >= 200, "{told} told, {fine} fine");
    }

    #[test]
    fn bytes_count_and_the_longest_message_always_has_its_turn() {
        let rates = rates(0, 1000).unwrap();
        assert_eq!(rates.check(64 * 1024), Pace::Fine);
        let Pace::TooFast(error) = rates.check(500) else { panic!("this is too much") };
        assert!(error.message.contains("1000 bytes"), "{error}");
        assert!(error.after.unwrap() > Duration::from_millis(100), "{error:?}");
    }

    #[test]
    fn who_goes_on_with_long_messages_is_told_and_then_not_heard() {
        let rates = rates(0, 256 * 1024).unwrap();
        let paces: Vec<_> = std::iter::repeat_with(|| rates.check(64 * 1024))
            .take(1_000_000)
            .take_while(|pace| *pace != Pace::Flood)
            .collect();
        assert!(paces.len() < 1_000_000, "it is heard on and on");
        assert!(paces[..4].iter().all(|pace| *pace == Pace::Fine), "a second's worth may come at once");
        assert!(paces.iter().filter(|pace| **pace != Pace::Fine).count() >= 4, "{paces:?}");
    }

    #[test]
    fn publishes_count_by_user_and_old_ones_are_forgotten() {
        let settings = Settings { publishes_per_second_per_user_max: 2, ..Settings::default() };
        let rates = PublishRates::new(&settings);
        for user in ["ada", "bob"] {
            assert!(rates.check(|| Some(user)).is_ok() && rates.check(|| Some(user)).is_ok());
            assert_eq!(rates.check(|| Some(user)).unwrap_err().code, ErrorCode::RateLimited);
        }
        assert!((0..9).all(|_| rates.check(|| None).is_ok()));
        for user in 0..10 * SWEEP_MIN {
            let user = user.to_string();
            rates.check(|| Some(&user)).unwrap();
        }
        assert!(rates.sweep_at.load(Ordering::Relaxed) > SWEEP_MIN);
    }
}
