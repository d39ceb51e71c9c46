//! Who may come in: how many connections in all and from one address, how many handshakes at a time, how many new
//! ones in a second. What a refused peer is told is written here too; what an admitted one does is not known.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::problem::Problem;
use super::proxies::{self, TrustedProxy};
use super::socket::Socket;
use crate::clock::Clock;
use crate::settings::Settings;

/// Refused peers that are being told so. Beyond, they are hung up on without a word.
const REFUSALS_MAX: usize = 8192;

/// How long it may take to tell a peer that it is refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Those who are refused at the same time are told to come back in so many different seconds.
const RETRY_AFTER_SECONDS: std::ops::Range<u64> = 2..10;

/// How often the log tells of refusals.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The counts behind the limits, for all threads of a hub.
pub(crate) struct Admission {
    clock: Clock,
    connections_max: usize,
    connections_per_address_max: usize,
    handshakes_max: usize,
    accepts_per_second_max: u32,
    trusted_proxies: Vec<TrustedProxy>,
    connections: Arc<Connections>,
    /// The household of all, where addresses are not limited.
    anybody: Arc<Household>,
    handshakes: AtomicUsize,
    refusals: AtomicUsize,
    rate: Option<DefaultDirectRateLimiter>,
    admitted: AtomicU64,
    refused: AtomicU64,
    /// By reason, in the order of [`Refusal::REASONS`].
    refused_by: [AtomicU64; Refusal::REASONS.len()],
    logged: AtomicU64,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Connections {
    count: AtomicUsize,
    /// Only where addresses are limited.
    households: Mutex<HashMap<IpAddr, Weak<Household>>>,
}

/// Those who share an address. It lives as long as one of their connections.
#[derive(Debug)]
struct Household {
    address: Option<IpAddr>,
    connections: Arc<Connections>,
}

/// Which limit a newcomer would pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the limit of {max} open connections is reached")]
    Connections { max: usize },
    #[error("the limit of {max} open connections from one address is reached")]
    Address { max: usize },
    #[error("the limit of {max} handshakes at a time is reached")]
    Handshakes { max: usize },
    #[error("the limit of {max} new connections in a second is reached")]
    Rate { max: u32 },
}

impl Refusal {
    /// In a word each.
    pub(crate) const REASONS: [&str; 4] = ["connections", "address", "handshakes", "rate"];

    fn number(self) -> usize {
        match self {
            Self::Connections { .. } => 0,
            Self::Address { .. } => 1,
            Self::Handshakes { .. } => 2,
            Self::Rate { .. } => 3,
        }
    }
}

/// One connection, counted for as long as this lives. A pointer and no more, because each session has one.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Household>);

/// One connection that has begun to say what it wants, counted until it has or this is dropped.
pub(crate) struct Handshake {
    admission: Arc<Admission>,
    open: std::cell::Cell<bool>,
}

impl Admission {
    pub(crate) fn new(settings: &Settings, clock: Clock) -> Arc<Self> {
        let rate = NonZeroU32::new(settings.accepts_per_second_max);
        let connections = Arc::<Connections>::default();
        let anybody = Arc::new(Household { address: None, connections: Arc::clone(&connections) });
        Arc::new(Self {
            clock,
            connections_max: settings.connections_max,
            connections_per_address_max: settings.connections_per_address_max,
            handshakes_max: settings.handshakes_max,
            accepts_per_second_max: settings.accepts_per_second_max,
            trusted_proxies: settings.trusted_proxies.clone(),
            connections,
            anybody,
            handshakes: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            rate: rate.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            admitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_by: Default::default(),
            logged: AtomicU64::new(0),
        })
    }

    /// Lets a new connection in, or says which limit is in its way. The ticket goes with the connection from one stage of
    /// its life to the next, so that none is ever counted twice.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Result<Ticket, Refusal> {
        if self.rate.as_ref().is_some_and(|rate| rate.check().is_err()) {
            return Err(self.refused(Refusal::Rate { max: self.accepts_per_second_max }));
        }
        let within = |count| (count < self.connections_max).then_some(count + 1);
        if self.connections.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return Err(self.refused(Refusal::Connections { max: self.connections_max }));
        }
        let mut ticket = Ticket(Arc::clone(&self.anybody));
        match address {
            Some(address) if !self.trusts(Some(address)) => self.attribute(&mut ticket, address)?,
            _ => {}
        }
        self.admitted.fetch_add(1, Ordering::Relaxed);
        Ok(ticket)
    }

    /// Whether a peer is a trusted proxy. Its connections are its clients'.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        proxies::trusts(&self.trusted_proxies, peer)
    }

    /// Counts a connection for its client's address from here on, or finds that there are too many from there.
    pub(crate) fn attribute(&self, ticket: &mut Ticket, client: IpAddr) -> Result<(), Refusal> {
        let max = self.connections_per_address_max;
        if max == 0 {
            return Ok(());
        }
        let household = self.household(prefix(client));
        if Arc::strong_count(&household) > max {
            return Err(self.refused(Refusal::Address { max }));
        }
        ticket.0 = household;
        Ok(())
    }

    fn household(&self, address: IpAddr) -> Arc<Household> {
        let mut households = self.connections.households();
        let known = households.get(&address).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let connections = Arc::clone(&self.connections);
            let household = Arc::new(Household { address: Some(address), connections });
            households.insert(address, Arc::downgrade(&household));
            household
        })
    }

    /// Counts a connection that begins to say what it wants, or finds that there are too many of them.
    pub(crate) fn begin_handshake(self: &Arc<Self>) -> Result<Handshake, Refusal> {
        let within = |count| (count < self.handshakes_max).then_some(count + 1);
        if self.handshakes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return Err(self.refused(Refusal::Handshakes { max: self.handshakes_max }));
        }
        Ok(Handshake { admission: Arc::clone(self), open: std::cell::Cell::new(true) })
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.count.load(Ordering::Relaxed)
    }

    /// How many have been let in.
    pub(crate) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// How many have been refused, by reason.
    pub(crate) fn refused_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused_by.iter().map(|count| count.load(Ordering::Relaxed));
        Refusal::REASONS.into_iter().zip(counts)
    }

    fn refused(&self, refusal: Refusal) -> Refusal {
        self.refused_by[refusal.number()].fetch_add(1, Ordering::Relaxed);
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if self.log_is_due(self.clock.now()) {
            log::warn!("connections refused so far: {refused}; {refusal}");
        }
        refusal
    }

    /// Whether a line of the log is due, of which there is one at a time. Of two workers, one may be late with its `now`.
    fn log_is_due(&self, now: Duration) -> bool {
        let now = now.as_millis() as u64 + 1;
        let logged = self.logged.load(Ordering::Relaxed);
        if logged != 0 && now.saturating_sub(logged) <= LOG_INTERVAL.as_millis() as u64 {
            return false;
        }
        self.logged.compare_exchange(logged, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What a refused peer is answered.
    pub(crate) fn problem(&self, refusal: Refusal) -> Problem {
        let spread = RETRY_AFTER_SECONDS.end - RETRY_AFTER_SECONDS.start;
        let seconds = RETRY_AFTER_SECONDS.start + self.refused.load(Ordering::Relaxed) % spread;
        Problem::unavailable(refusal.to_string(), seconds)
    }

    /// Tells a peer whose request has not been read that it is refused, and hangs up.
    pub(crate) async fn refuse(&self, mut socket: Socket, refusal: Refusal) {
        if self.refusals.fetch_add(1, Ordering::Relaxed) < REFUSALS_MAX {
            let answer = self.problem(refusal).to_response_bytes();
            let tell = async {
                let mut unread = [0; 512];
                // A client that has not asked yet does not expect an answer.
                if socket.read(&mut unread).await? == 0 {
                    return Ok(());
                }
                socket.write_all(&answer).await?;
                socket.shutdown().await?;
                // Hanging up on unread bytes would reset the connection and could take the answer along.
                while socket.read(&mut unread).await? > 0 {}
                Ok::<_, std::io::Error>(())
            };
            let _ = tokio::time::timeout(REFUSAL_TIMEOUT, tell).await;
        }
        self.refusals.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What counts as one address: in IPv6 the 64 bits that a provider gives to one customer.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl Connections {
    fn households(&self) -> MutexGuard<'_, HashMap<IpAddr, Weak<Household>>> {
        self.households.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.connections.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Household {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut households = self.connections.households();
        // Another may have taken its place already.
        if households.get(&address).is_some_and(|household| household.strong_count() == 0) {
            households.remove(&address);
        }
    }
}

impl Handshake {
    /// The connection has said what it wants.
    pub(crate) fn end(&self) {
        if self.open.replace(false) {
            self.admission.handshakes.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(set: impl FnOnce(&mut Settings)) -> Arc<Admission> {
        let mut settings = Settings::default();
        set(&mut settings);
        Admission::new(&settings, Clock::start())
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let admission = admission(|settings| settings.connections_max = 2);
        let first = admission.admit(None).unwrap();
        let _second = admission.admit(None).unwrap();
        assert_eq!(admission.admit(None).unwrap_err(), Refusal::Connections { max: 2 });
        drop(first);
        admission.admit(None).unwrap();
    }

    #[test]
    fn one_address_does_not_take_the_places_of_others() {
        let admission = admission(|settings| settings.connections_per_address_max = 1);
        let first = admission.admit(address("192.0.2.1")).unwrap();
        let refusal = admission.admit(address("::ffff:192.0.2.1")).unwrap_err();
        assert_eq!(refusal, Refusal::Address { max: 1 });
        let _other = admission.admit(address("192.0.2.2")).unwrap();
        let _host = admission.admit(address("2001:db8::1")).unwrap();
        let refusal = admission.admit(address("2001:db8::2")).unwrap_err();
        assert_eq!(refusal, Refusal::Address { max: 1 }, "one customer has 2^64 of them");
        drop(first);
        admission.admit(address("192.0.2.1")).unwrap();
        drop((_other, _host));
        assert!(admission.connections.households().is_empty());
    }

    #[test]
    fn connections_of_a_trusted_proxy_count_for_their_clients() {
        let admission = admission(|settings| {
            settings.connections_per_address_max = 1;
            settings.connections_max = 3;
            settings.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        });
        let [mut first, mut second, third] = [0; 3].map(|_| admission.admit(address("10.0.0.1")).unwrap());
        let client = "203.0.113.9".parse().unwrap();
        admission.attribute(&mut first, client).unwrap();
        let refusal = admission.attribute(&mut second, client).unwrap_err();
        assert_eq!(refusal, Refusal::Address { max: 1 });
        drop(third);
        assert_eq!(admission.admit(address("203.0.113.9")).unwrap_err(), Refusal::Address { max: 1 });
        drop(first);
        admission.attribute(&mut second, client).unwrap();
        drop(second);
        assert_eq!(admission.connections.count.load(Ordering::Relaxed), 0);
        assert!(admission.connections.households().is_empty());
    }

    #[test]
    fn a_handshake_counts_until_the_peer_has_said_what_it_wants() {
        let admission = admission(|settings| settings.handshakes_max = 1);
        let handshake = admission.begin_handshake().unwrap();
        assert_eq!(admission.begin_handshake().err(), Some(Refusal::Handshakes { max: 1 }));
        handshake.end();
        let next = admission.begin_handshake().unwrap();
        drop(handshake);
        assert!(admission.begin_handshake().is_err(), "who has ended is not counted off again");
        drop(next);
        admission.begin_handshake().unwrap();
    }

    #[test]
    fn a_rate_lets_a_burst_of_one_second_in_and_no_more() {
        let admission = admission(|settings| settings.accepts_per_second_max = 5);
        let admitted = (0..50).filter(|_| admission.admit(None).is_ok()).count();
        assert!((5..10).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_flood_of_refusals_is_logged_at_once_and_then_once_in_an_interval() {
        let admission = admission(|_| ());
        let begin = Duration::from_secs(5);
        assert!(admission.log_is_due(begin));
        assert!(
            !admission.log_is_due(begin - Duration::from_millis(1)),
            "another worker's clock was read before"
        );
        let lines =
            (1..=1000).filter(|step| admission.log_is_due(begin + LOG_INTERVAL * *step / 100)).count();
        assert_eq!(lines, 9, "each time a little more than an interval has to pass");
    }

    #[test]
    fn who_is_refused_at_the_same_time_comes_back_at_different_times() {
        let admission = admission(|settings| settings.connections_max = 0);
        let mut answers: Vec<_> = (0..16)
            .map(|_| {
                let refusal = admission.admit(None).unwrap_err();
                String::from_utf8(admission.problem(refusal).to_response_bytes()).unwrap()
            })
            .collect();
        assert!(answers.iter().all(|answer| answer.contains("\r\nretry-after: ")), "{answers:?}");
        answers.sort();
        answers.dedup();
        assert_eq!(answers.len(), 8);
    }
}
