//! `storm`: every connection is cut at once, as when a network fails, and all come back at once.
//! Backing off is what clients do on their own; it is part of what is measured.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep, timeout_at};
use topichub::Filter;

use super::bar::Bar;
use super::error::{BenchError, PeerError};
use super::gauge::Gauge;
use super::ledger::histogram;
use super::outcome::Outcome;
use super::peer::Peer;
use super::process::Process;
use super::publisher::Publisher;
use super::readers::{Readers, Run};
use super::report::{Report, number};
use super::stage::Stage;

/// How long a client waits after its first failure; each time twice as long, up to the other.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// How one client has come back, or not.
struct Return {
    subscriber: usize,
    peer: Option<Peer>,
    took: Duration,
    /// Times the server said 503.
    refused: u64,
    /// How it went wrong otherwise.
    failed: Vec<String>,
    last: Option<PeerError>,
}

/// Cut, and back.
pub(super) async fn run(stage: &Stage<'_>, patience: Duration) -> Result<Report, BenchError> {
    let Stage { plan, target, stop, .. } = *stage;
    let subscriptions = stage.one_topic()?;
    let run = stage.run(&subscriptions)?;
    let filters = stage.filters(&subscriptions);
    let mut audience = stage.open(&run, &filters).await?;
    let mut publisher = Publisher::open(stage, Rc::clone(&run)).await?;
    let mut outcome = publisher.warm_up(1).await?;
    let connected = target.process.and_then(Process::resident_bytes);

    let gauge = Gauge::start(target, &run)?;
    let cut_at = Instant::now();
    audience.readers = Readers::new(Rc::clone(&run)); // drops the others, and their sockets with them
    let mut storm =
        Storm { latency: histogram()?, refused: 0, failed: BTreeMap::new(), away: 0, took: Duration::ZERO };
    if outcome == Outcome::Complete {
        let returning = (0..plan.subscribers)
            .map(|number| come_back(stage, number, &filters[number], cut_at, patience))
            .collect();
        outcome = storm.pass(stage, &run, returning, &mut audience.readers).await;
    }
    storm.took = cut_at.elapsed();
    let figures = gauge.stop(&run)?;
    // Whoever says that he is subscribed gets the next message.
    if outcome == Outcome::Complete && storm.away == 0 {
        outcome = publisher.warm_up(1).await?;
    }
    outcome = audience.farewell(outcome, stop, plan.timeout).await;

    let mut report = stage.report(&audience);
    let returned = audience.readers.len();
    storm.tell(&mut report, returned, plan.subscribers);
    report.add_cpu(&figures, "connections", returned as u64);
    report.add_memory(&[
        ("before", "before", stage.bytes_before),
        ("connected", "connected", connected),
        ("after", "after the storm", figures.server_bytes),
    ]);
    let mut ledger = run.ledger.borrow_mut();
    if outcome != Outcome::Interrupted {
        ledger.close();
    }
    report.conclude(&ledger.faults, outcome, "who is back gets messages, each once");
    Ok(report)
}

/// What has become of all of them so far.
struct Storm {
    /// From the cut until subscribed, in nanoseconds.
    latency: Histogram<u64>,
    refused: u64,
    /// How attempts went wrong, and how often each.
    failed: BTreeMap<String, u64>,
    /// Those that never came back.
    away: usize,
    took: Duration,
}

impl Storm {
    /// Until all are back or have lost their patience.
    async fn pass(
        &mut self,
        stage: &Stage<'_>,
        run: &Run,
        mut returning: FuturesUnordered<impl Future<Output = Return>>,
        readers: &mut Readers,
    ) -> Outcome {
        let bar = Bar::new("coming back", stage.plan.subscribers as u64);
        loop {
            let returned = tokio::select! {
                returned = returning.next() => returned,
                () = stage.stop.asked() => return Outcome::Interrupted,
            };
            let Some(returned) = returned else { return Outcome::Complete };
            self.refused += returned.refused;
            returned.failed.into_iter().for_each(|how| *self.failed.entry(how).or_default() += 1);
            let Some(peer) = returned.peer else {
                self.away += 1;
                let why = returned.last.map_or("no answer".to_owned(), |error| error.to_string());
                run.ledger.borrow_mut().disconnected(&format!("subscriber {}", returned.subscriber), &why);
                continue;
            };
            self.latency.saturating_record(returned.took.as_nanos() as u64);
            readers.add(returned.subscriber, peer);
            bar.set(readers.len());
        }
    }

    fn tell(&self, report: &mut Report, returned: usize, all: usize) {
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

/// One client: tries until it is subscribed again or its patience is over.
async fn come_back(
    stage: &Stage<'_>,
    subscriber: usize,
    filters: &[Filter],
    cut_at: Instant,
    patience: Duration,
) -> Return {
    let mut returned =
        Return { subscriber, peer: None, took: Duration::ZERO, refused: 0, failed: Vec::new(), last: None };
    let mut back_off = BACK_OFF_MIN;
    let trying = async {
        loop {
            let attempt = async {
                let mut peer = Peer::open(stage.target, stage.wish(subscriber)).await?;
                peer.subscribe(filters).await?;
                Ok(peer)
            };
            let wait = match attempt.await {
                Ok(peer) => {
                    returned.peer = Some(peer);
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
    let _ = timeout_at(cut_at + patience, trying).await;
    returned.took = cut_at.elapsed();
    returned
}
