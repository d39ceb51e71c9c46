//! `slow`: readers that subscribe and then never read, beside healthy ones: what they do to them and to the server.
//! Afterwards they are read out, to see what has become of each.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix_rt::task::JoinHandle;
use futures_util::future::join_all;
use socket2::SockRef;
use tokio::time::{interval, timeout};
use topichub::Filter;
use topichub::protocol::{Push, ServerMessage};

use super::bar::Bar;
use super::error::{BenchError, PeerError};
use super::gauge::{Figures, Gauge};
use super::outcome::Outcome;
use super::peer::{Peer, Wish};
use super::process::Process;
use super::publisher::Publisher;
use super::report::{ALL_ARRIVED, Report, number};
use super::stage::{Stage, WARM_UP};

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What has become of a reader that did not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The server cut it off: with a close code, or without a word.
    Disconnected(Option<u16>),
    /// It has got everything, late.
    CaughtUp,
    /// It is still connected, and has not got everything.
    Pending,
    /// It has got something else than what came next.
    Wrong,
}

/// The same rate twice: without those that do not read, and with them.
pub(super) async fn run(stage: &Stage<'_>, stalled: usize, rate: f64) -> Result<Report, BenchError> {
    let Stage { plan, target, stop, .. } = *stage;
    let subscriptions = stage.one_topic()?;
    let run = stage.run(&subscriptions)?;
    let filters = stage.filters(&subscriptions);
    let audience = stage.open(&run, &filters).await?;
    let mut publisher = Publisher::open(stage, Rc::clone(&run)).await?;
    let mut outcome = publisher.warm_up(WARM_UP).await?;

    let gauge = Gauge::start(target, &run)?;
    if outcome == Outcome::Complete {
        let bar = Bar::of_length("without", plan.length);
        outcome = publisher.publish(1, Some(rate), plan.length, &bar).await?;
    }
    let without = gauge.stop(&run)?;

    let first = run.ledger.borrow().published(0) + 1;
    let sleepers = match outcome {
        Outcome::Complete => fall_asleep(stage, stalled, &filters[0]).await?,
        _ => Vec::new(),
    };
    let watch = Watch::start(target.process);
    let gauge = Gauge::start(target, &run)?;
    if outcome == Outcome::Complete {
        let bar = Bar::of_length("beside", plan.length);
        outcome = publisher.publish(1, Some(rate), plan.length, &bar).await?;
    }
    let beside = gauge.stop(&run)?;
    let peak = watch.map(|watch| watch.peak.get().max(beside.server_bytes.unwrap_or(0)));
    let last = run.ledger.borrow().published(0);
    let fates = if outcome == Outcome::Complete {
        tokio::select! {
            fates = join_all(sleepers.into_iter().map(|peer| read_out(stage, peer, first, last))) => fates,
            () = stop.asked() => { outcome = Outcome::Interrupted; Vec::new() }
        }
    } else {
        Vec::new()
    };
    outcome = audience.farewell(outcome, stop, plan.timeout).await;

    let mut ledger = run.ledger.borrow_mut();
    if outcome != Outcome::Interrupted {
        ledger.close();
    }
    let found = Found { without, beside, peak, fates };
    let wrong = found.fates.iter().filter(|fate| **fate == Fate::Wrong).count();
    if wrong > 0 {
        ledger.faults.altered += wrong as u64;
        ledger.faults.tell(|| format!("{wrong} stalled readers got something else than what came next"));
    }
    let mut report = stage.report(&audience);
    report.value("stalled", stalled);
    report.value("rate_wanted_messages_per_s", rate);
    report.row(
        "published",
        format!("at {rate} per second, twice: without and beside {stalled} that do not read"),
    );
    found.tell(&mut report, stage.bytes_before);
    report.conclude(&ledger.faults, outcome, ALL_ARRIVED);
    Ok(report)
}

/// Connects those that do not read.
async fn fall_asleep(stage: &Stage<'_>, count: usize, filters: &[Filter]) -> Result<Vec<Peer>, BenchError> {
    let mut sleepers = Vec::with_capacity(count);
    for number in 0..count {
        let wish = Wish { small_window: true, ..stage.wish(number) };
        let who = || format!("stalled subscriber {number}");
        sleepers.push(stage.connect(who, wish, filters).await?);
    }
    Ok(sleepers)
}

/// What both halves came to.
struct Found {
    without: Figures,
    beside: Figures,
    /// The most memory the server had beside the stalled readers.
    peak: Option<u64>,
    fates: Vec<Fate>,
}

impl Found {
    fn tell(&self, report: &mut Report, bytes_before: Option<u64>) {
        let Self { without, beside, peak, fates } = self;
        report.add_latency("latency_without", "latency without", &without.measured.latency);
        report.add_latency("latency_beside", "latency beside", &beside.measured.latency);
        compare(report, without, beside);
        if !fates.is_empty() {
            tell_fates(report, fates);
        }
        let (half, figures) = match beside.measured.messages {
            0 => ("without them", without),
            _ => ("beside them", beside),
        };
        report.row("", format!("what follows was measured {half}:"));
        report.add_counts(figures);
        report.add_cpu(figures, "deliveries", figures.measured.deliveries);
        report.add_memory(&[
            ("before", "before", bytes_before),
            ("without", "without", without.server_bytes),
            ("peak", "at most beside", *peak),
            ("after", "after", beside.server_bytes),
        ]);
    }
}

fn compare(report: &mut Report, without: &Figures, beside: &Figures) {
    let p99 = |figures: &Figures| figures.measured.latency.value_at_quantile(0.99) as f64;
    let ratio = (p99(without) > 0.0 && p99(beside) > 0.0).then(|| p99(beside) / p99(without));
    report.value("latency_p99_ratio", ratio);
    if let Some(ratio) = ratio {
        report.row("p99", format!("{ratio:.2} times what it is without"));
    }
}

fn tell_fates(report: &mut Report, fates: &[Fate]) {
    let mut counts = BTreeMap::new();
    fates.iter().for_each(|fate| *counts.entry(fate).or_insert(0) += 1);
    let disconnected = fates.iter().filter(|fate| matches!(fate, Fate::Disconnected(_))).count();
    report.value("stalled_disconnected", disconnected);
    report.value("stalled_caught_up", counts.get(&Fate::CaughtUp).copied().unwrap_or(0));
    report.value("stalled_pending", counts.get(&Fate::Pending).copied().unwrap_or(0));
    let name = |fate: &Fate| match fate {
        Fate::Disconnected(Some(code)) => format!("disconnected with {code}"),
        Fate::Disconnected(None) => "cut off".to_owned(),
        Fate::CaughtUp => "got everything in the end".to_owned(),
        Fate::Pending => "still connected, and behind".to_owned(),
        Fate::Wrong => "got something wrong".to_owned(),
    };
    let texts: Vec<_> =
        counts.iter().map(|(fate, count)| format!("{} {}", number(*count), name(fate))).collect();
    report.row("stalled", texts.join(", "));
}

/// Reads what a reader has not read, up to message `last`.
async fn read_out(stage: &Stage<'_>, mut peer: Peer, first: u64, last: u64) -> Fate {
    // It may read as fast as it can now.
    let _ = SockRef::from(&peer.stream).set_recv_buffer_size(1 << 20);
    let stamper = stage.stamper();
    let mut next = first;
    while next <= last {
        match timeout(stage.plan.timeout, peer.next()).await {
            Err(_) => return Fate::Pending,
            Ok(Ok(ServerMessage::Push(Push::Message { payload, .. }))) => {
                match stamper.find(payload.as_bytes(), 1) {
                    Some((stamp, _)) if stamp.number == next => next += 1,
                    _ => return Fate::Wrong,
                }
            }
            Ok(Ok(_)) => {}
            Ok(Err(PeerError::Closed { code, .. })) => return Fate::Disconnected(Some(code)),
            Ok(Err(PeerError::Lost(_))) => return Fate::Disconnected(None),
            Ok(Err(_)) => return Fate::Wrong,
        }
    }
    Fate::CaughtUp
}

/// Looks at the memory of a process until it is dropped.
struct Watch {
    peak: Rc<Cell<u64>>,
    task: JoinHandle<()>,
}

impl Watch {
    fn start(process: Option<Process>) -> Option<Self> {
        let process = process?;
        let peak = Rc::new(Cell::new(0));
        let seen = Rc::clone(&peak);
        let task = actix_rt::spawn(async move {
            let mut look = interval(LOOK);
            loop {
                look.tick().await;
                seen.set(seen.get().max(process.resident_bytes().unwrap_or(0)));
            }
        });
        Some(Self { peak, task })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
