//! Clients that were cut off and come back, as clients do: they try, back off, and try again.
//! When they were cut, and what they ask for, is the scenarios' business.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use topichub::Filter;
use topichub::protocol::{SubscribeOptions, Subscribed};

use super::bar::Bar;
use super::error::{BenchError, PeerError};
use super::ledger::histogram;
use super::outcome::Outcome;
use super::peer::Peer;
use super::readers::{Readers, Run};
use super::report::{Report, number};
use super::stage::Stage;

/// How long a client waits after its first failure; each time twice as long, up to the other.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// How one client has come back, or not.
pub(super) struct Return {
    subscriber: usize,
    peer: Option<Peer>,
    /// What it was told of its subscriptions.
    pub(super) subscribed: Vec<Subscribed>,
    took: Duration,
    /// Times the server said 503.
    refused: u64,
    /// How it went wrong otherwise.
    failed: Vec<String>,
    last: Option<PeerError>,
}

/// One client: from `begin` on it tries until it is subscribed again or its patience is over.
pub(super) async fn come_back(
    stage: &Stage<'_>,
    subscriber: usize,
    filters: &[Filter],
    options: &SubscribeOptions,
    begin: Instant,
    patience: Duration,
) -> Return {
    let mut returned = Return {
        subscriber,
        peer: None,
        subscribed: Vec::new(),
        took: Duration::ZERO,
        refused: 0,
        failed: Vec::new(),
        last: None,
    };
    let mut back_off = BACK_OFF_MIN;
    let trying = async {
        loop {
            let attempt = async {
                let mut peer = Peer::open(stage.target, stage.wish(subscriber)).await?;
                let subscribed = peer.subscribe(filters, options).await?;
                Ok((peer, subscribed))
            };
            let wait = match attempt.await {
                Ok((peer, subscribed)) => {
                    (returned.peer, returned.subscribed) = (Some(peer), subscribed);
                    return;
                }
                Err(PeerError::Busy { after, why }) => {
                    returned.refused += 1;
                    returned.last = Some(PeerError::Busy { after, why });
                    after.unwrap_or(back_off)
                }
                Err(error) => {
                    returned.failed.push(error.to_string());
                    returned.last = Some(error);
                    back_off
                }
            };
            // Not all at the same time again: up to half as long again, by number.
            let jitter = wait.mul_f64((subscriber % 101) as f64 / 202.0);
            sleep(wait + jitter).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    };
    if begin > Instant::now() {
        sleep_until(begin).await;
    }
    let _ = timeout_at(begin + patience, trying).await;
    returned.took = begin.elapsed();
    returned
}

/// What has become of all of them so far.
pub(super) struct Returns {
    /// From when each wanted to come back until it was subscribed, in nanoseconds.
    latency: Histogram<u64>,
    refused: u64,
    /// How attempts went wrong, and how often each.
    failed: BTreeMap<String, u64>,
    /// Those that never came back.
    pub(super) away: usize,
    pub(super) took: Duration,
}

impl Returns {
    pub(super) fn new() -> Result<Self, BenchError> {
        Ok(Self { latency: histogram()?, refused: 0, failed: BTreeMap::new(), away: 0, took: Duration::ZERO })
    }

    /// Until all are back or have lost their patience. Each is shown to `look` before it is among the readers.
    pub(super) async fn pass(
        &mut self,
        stage: &Stage<'_>,
        run: &Run,
        mut returning: FuturesUnordered<impl Future<Output = Return>>,
        readers: &mut Readers,
        mut look: impl FnMut(usize, &Return),
    ) -> Outcome {
        let bar = Bar::new("coming back", stage.plan.subscribers as u64);
        loop {
            let returned = tokio::select! {
                returned = returning.next() => returned,
                () = stage.stop.asked() => return Outcome::Interrupted,
            };
            let Some(mut returned) = returned else { return Outcome::Complete };
            self.refused += returned.refused;
            for how in std::mem::take(&mut returned.failed) {
                *self.failed.entry(how).or_default() += 1;
            }
            let Some(peer) = returned.peer.take() else {
                self.away += 1;
                let why = returned.last.map_or("no answer".to_owned(), |error| error.to_string());
                run.ledger.borrow_mut().disconnected(&format!("subscriber {}", returned.subscriber), &why);
                continue;
            };
            look(returned.subscriber, &returned);
            self.latency.saturating_record(returned.took.as_nanos() as u64);
            readers.add(returned.subscriber, peer);
            bar.set(readers.len());
        }
    }

    pub(super) fn tell(&self, report: &mut Report, returned: usize, all: usize) {
        let seconds = self.took.as_secs_f64();
        let rate = returned as f64 / seconds;
        report.value("came_back_connections", returned);
        report.value("came_back_s", seconds);
        report.value("came_back_connections_per_s", rate);
        report.value("refused_attempts", self.refused);
        let failed: u64 = self.failed.values().sum();
        report.value("failed_attempts", failed);
        report.value("failed_attempts_by_reason", serde_json::json!(self.failed));
        let (returned, all, rate) = (number(returned as u64), number(all as u64), number(rate as u64));
        report.row(
            "came back",
            format!("{returned} of {all}, subscribed again within {seconds:.2} s ({rate} /s)"),
        );
        let refused = number(self.refused);
        report.row(
            "attempts",
            format!("{refused} refused by the server (503), {} failed, all tried again", number(failed)),
        );
        for (how, count) in &self.failed {
            report.row("", format!("{} times {how}", number(*count)));
        }
        report.add_latency("came_back", "until subscribed", &self.latency);
    }
}
