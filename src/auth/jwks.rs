//! Keys that are fetched: a thread for each address, which fetches them before they are stale and when somebody needs
//! one that is not there. However many wait, there is one fetch, and never two within the interval.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tokio::sync::watch;

use super::fetch::{Fetched, Fetcher};
use super::jwk::KeySet;
use super::key::Key;
use super::policy::SourceSpec;
use crate::clock::Clock;

/// How long after the first failed fetch the next is tried; then twice as long each time, up to the interval.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The keys of one address. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Source {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spec: SourceSpec,
    clock: Clock,
    state: Mutex<State>,
    wake: Condvar,
    /// How many fetches have come to an end.
    fetches: watch::Sender<u64>,
}

/// All times since the start of the clock.
#[derive(Debug, Default)]
struct State {
    keys: Arc<[Key]>,
    fetched: Option<Duration>,
    begun: Option<Duration>,
    due: Duration,
    failures: u32,
    is_fetching: bool,
    is_closed: bool,
}

/// What comes of asking for newer keys.
pub(super) enum Refresh {
    /// They have been fetched too lately for another time.
    TooSoon,
    /// A fetch is under way.
    UnderWay(watch::Receiver<u64>),
}

impl Refresh {
    /// Waits for the end of the fetch, however it ends; returns whether there was one.
    pub(super) async fn done(self) -> bool {
        match self {
            Self::TooSoon => false,
            // It can only fail if the source has gone.
            Self::UnderWay(mut fetches) => fetches.changed().await.is_ok(),
        }
    }
}

impl Source {
    /// Begins to fetch.
    pub(super) fn start(spec: SourceSpec) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            spec,
            clock: Clock::start(),
            state: Mutex::default(),
            wake: Condvar::new(),
            fetches: watch::Sender::new(0),
        });
        let thread = Arc::clone(&shared);
        std::thread::Builder::new().name("jwks".to_owned()).spawn(move || thread.run())?;
        Ok(Self { shared })
    }

    pub(super) fn spec(&self) -> &SourceSpec {
        &self.shared.spec
    }

    /// The keys there are; `None` if there never were any, or too long ago.
    pub(super) fn keys(&self) -> Option<Arc<[Key]>> {
        let now = self.shared.clock.now();
        let state = self.shared.state();
        let fetched = state.fetched?;
        (now < fetched + self.spec().stale_max).then(|| Arc::clone(&state.keys))
    }

    /// Whether a key of this algorithm could come from here.
    pub(super) fn may_bring(&self, algorithm: Algorithm) -> bool {
        let is_public = algorithm.family() != jsonwebtoken::AlgorithmFamily::Hmac;
        is_public && self.spec().algorithm.is_none_or(|pinned| pinned == algorithm)
    }

    /// Asks for newer keys.
    pub(super) fn refresh(&self) -> Refresh {
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        let is_too_soon = state.begun.is_some_and(|begun| now < begun + self.spec().interval);
        if !state.is_fetching && is_too_soon {
            return Refresh::TooSoon;
        }
        let mut fetches = self.shared.fetches.subscribe();
        fetches.mark_unchanged();
        if !state.is_fetching {
            state.due = now;
            self.shared.wake.notify_one();
        }
        Refresh::UnderWay(fetches)
    }

    /// How long it is until the next fetch.
    pub(super) fn next(&self) -> Duration {
        self.shared.state().due.saturating_sub(self.shared.clock.now())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.state().is_closed = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn run(&self) {
        let fetcher = Fetcher::new(&self.spec);
        while self.wait() {
            // Whatever comes, those who wait are told.
            let fetched = catch_unwind(AssertUnwindSafe(|| {
                let fetched = fetcher.fetch()?;
                let set = KeySet::parse(&fetched.body, &self.spec).map_err(|error| error.to_string())?;
                Ok((fetched, set))
            }));
            self.take(fetched.unwrap_or_else(|_| Err("the client has failed".to_owned())));
            self.fetches.send_modify(|fetches| *fetches += 1);
        }
    }

    /// Waits until a fetch is due; returns whether there is to be one.
    fn wait(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return false;
            }
            let now = self.clock.now();
            if now >= state.due {
                state.begun = Some(now);
                state.is_fetching = true;
                return true;
            }
            let wait = state.due - now;
            state = self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn take(&self, fetched: Result<(Fetched, KeySet), String>) {
        let (now, url, spec) = (self.clock.now(), &self.spec.url, &self.spec);
        let mut state = self.state();
        state.is_fetching = false;
        match fetched {
            Ok((fetched, set)) => {
                for line in &set.left_out {
                    log::warn!("keys from {url}: {line}");
                }
                let age = fetched
                    .age_max
                    .unwrap_or(spec.age_max)
                    .clamp(spec.interval.min(spec.age_max), spec.age_max);
                if state.fetched.is_none() || state.failures > 0 || set.keys.len() != state.keys.len() {
                    log::info!("keys from {url}: {} in use", set.keys.len());
                }
                state.keys = set.keys.into();
                state.fetched = Some(now);
                state.failures = 0;
                // Before they are stale, so that nobody waits.
                state.due = now + (age * 4 / 5).max(spec.interval);
            }
            Err(error) => {
                let retry = spec.interval.min(RETRY_MIN * 2_u32.pow(state.failures.min(16)));
                state.failures += 1;
                state.due = now + retry;
                let until = state.fetched.map(|fetched| (fetched + spec.stale_max).saturating_sub(now));
                let [retry, until] = [retry, until.unwrap_or_default()]
                    .map(|time| humantime::format_duration(Duration::from_secs(time.as_secs())));
                match state.fetched {
                    Some(_) => log::warn!(
                        "keys from {url} cannot be fetched: {error}; the {} from before go on for {until}, next try in {retry}",
                        state.keys.len()
                    ),
                    None => log::warn!(
                        "keys from {url} cannot be fetched: {error}; there are none yet, next try in {retry}"
                    ),
                }
            }
        }
    }
}
