//! `slow`: readers that subscribe and then never read, beside healthy ones: what they do to them and to the server.
//! Afterwards they are read out, to see what has become of each: what it got, and what it was told it does not get.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;
use socket2::SockRef;
use tokio::time::timeout;
use topichub::Filter;
use topichub::protocol::{Gap, Push, ServerMessage, SlowPolicy};

use super::bar::Bar;
use super::error::{BenchError, PeerError};
use super::gauge::{Figures, Gauge};
use super::outcome::Outcome;
use super::peer::{Peer, Wish};
use super::publisher::Publisher;
use super::report::{ALL_ARRIVED, Report, number};
use super::stage::{Stage, WARM_UP};
use super::stamp::Stamper;
use super::watch::Watch;

/// What has become of a reader that did not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The server cut it off: with a close code, or without a word.
    Disconnected(Option<u16>),
    /// It has got everything, late.
    CaughtUp,
    /// It has got the newest, and of all it has not got it was told.
    Told,
    /// It is still connected, and has not got everything.
    Pending,
    /// It has got something else than what came next.
    Wrong,
}

/// What one reader that did not read has found when it did.
struct Sleeper {
    fate: Fate,
    delivered: u64,
    /// Messages that it was told would not come.
    withheld: u64,
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
    let peak = watch.map(|watch| watch.peak().max(beside.server_bytes.unwrap_or(0)));
    let last = run.ledger.borrow().published(0);
    let base = run.ledger.borrow().offset_base(0).unwrap_or(0);
    let slept = if outcome == Outcome::Complete {
        tokio::select! {
            slept = join_all(sleepers.into_iter().map(|peer| read_out(stage, peer, first, last, base))) => slept,
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
    let found = Found { without, beside, peak, slept, stalled };
    let wrong = found.slept.iter().filter(|sleeper| sleeper.fate == Fate::Wrong).count();
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
    slept: Vec<Sleeper>,
    stalled: usize,
}

impl Found {
    fn tell(&self, report: &mut Report, bytes_before: Option<u64>) {
        let Self { without, beside, peak, slept, stalled } = self;
        report.add_latency("latency_without", "latency without", &without.measured.latency);
        report.add_latency("latency_beside", "latency beside", &beside.measured.latency);
        compare(report, without, beside);
        if !slept.is_empty() {
            tell_fates(report, slept);
        }
        let withheld = without.measured.withheld + beside.measured.withheld;
        report.value("healthy_withheld_messages", withheld);
        if withheld > 0 {
            let text = format!("{} deliveries passed over, each told of", number(withheld));
            report.row("healthy", text);
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
        let each =
            |bytes: Option<u64>| Some((bytes? as f64 - without.server_bytes? as f64) / *stalled as f64);
        report.value("server_memory_peak_per_stalled_bytes", each(*peak));
        report.value("server_memory_after_per_stalled_bytes", each(beside.server_bytes));
        if let (Some(peak), Some(after)) = (each(*peak), each(beside.server_bytes)) {
            let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
            let text = format!("{} at most and {} at the end for each stalled one", kib(peak), kib(after));
            report.row("", format!("{text}, over what it was without them"));
        }
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

fn tell_fates(report: &mut Report, slept: &[Sleeper]) {
    let mut counts = BTreeMap::new();
    slept.iter().for_each(|sleeper| *counts.entry(&sleeper.fate).or_insert(0) += 1);
    let disconnected = slept.iter().filter(|sleeper| matches!(sleeper.fate, Fate::Disconnected(_))).count();
    report.value("stalled_disconnected", disconnected);
    report.value("stalled_caught_up", counts.get(&Fate::CaughtUp).copied().unwrap_or(0));
    report.value("stalled_told_of_gaps", counts.get(&Fate::Told).copied().unwrap_or(0));
    report.value("stalled_pending", counts.get(&Fate::Pending).copied().unwrap_or(0));
    let name = |fate: &Fate| match fate {
        Fate::Disconnected(Some(code)) => format!("disconnected with {code}"),
        Fate::Disconnected(None) => "cut off".to_owned(),
        Fate::CaughtUp => "got everything in the end".to_owned(),
        Fate::Told => "got the newest, and was told of all it did not get".to_owned(),
        Fate::Pending => "still connected, and behind".to_owned(),
        Fate::Wrong => "got something wrong".to_owned(),
    };
    let texts: Vec<_> =
        counts.iter().map(|(fate, count)| format!("{} {}", number(*count), name(fate))).collect();
    report.row("stalled", texts.join(", "));
    let delivered = slept.iter().map(|sleeper| sleeper.delivered).sum();
    let withheld = slept.iter().map(|sleeper| sleeper.withheld).sum();
    report.value("stalled_delivered_messages", delivered);
    report.value("stalled_withheld_messages", withheld);
    if withheld > 0 {
        report.row("", format!("{} delivered, {} passed over", number(delivered), number(withheld)));
    }
}

/// Reads what a reader has not read, up to message `last`; `base` is what to add to a number for the offset.
async fn read_out(stage: &Stage<'_>, mut peer: Peer, first: u64, last: u64, base: i128) -> Sleeper {
    // It may read as fast as it can now.
    let _ = SockRef::from(&peer.stream).set_recv_buffer_size(1 << 20);
    let (stamper, policy) = (stage.stamper(), stage.plan.slow.unwrap_or(SlowPolicy::Disconnect));
    let (mut delivered, mut withheld) = (0, 0);
    let fate = loop {
        let next = first + delivered + withheld;
        if next > last {
            break if withheld == 0 { Fate::CaughtUp } else { Fate::Told };
        }
        match timeout(stage.plan.timeout, peer.next()).await {
            Err(_) => break Fate::Pending,
            Ok(Ok(ServerMessage::Push(Push::Message { payload, .. }))) => {
                match number_of(&stamper, payload.as_bytes()) {
                    Some(number) if number == next => delivered += 1,
                    _ => break Fate::Wrong,
                }
            }
            Ok(Ok(ServerMessage::Push(Push::Gap(gap)))) => match passed_over(&gap, base, next, last) {
                // The newest must come.
                Some(count) if policy != SlowPolicy::Disconnect && next + count <= last => withheld += count,
                _ => break Fate::Wrong,
            },
            Ok(Ok(_)) => {}
            Ok(Err(PeerError::Closed { code, .. })) => break Fate::Disconnected(Some(code)),
            Ok(Err(PeerError::Lost(_))) => break Fate::Disconnected(None),
            Ok(Err(_)) => break Fate::Wrong,
        }
    };
    Sleeper { fate, delivered, withheld }
}

fn number_of(stamper: &Stamper, payload: &[u8]) -> Option<u64> {
    stamper.find(payload, 1).map(|(stamp, _)| stamp.number)
}

/// How many messages a gap tells of, if it begins with message `next`.
fn passed_over(gap: &Gap, base: i128, next: u64, last: u64) -> Option<u64> {
    let [from, to] = [gap.from, gap.to].map(|offset| i128::from(offset) - base);
    (from == i128::from(next) && (from..=i128::from(last)).contains(&to)).then(|| (to - from) as u64 + 1)
}

#[cfg(test)]
mod tests {
    use topichub::protocol::GapReason;
    use topichub::{Epoch, Topic};

    use super::*;

    #[test]
    fn a_gap_counts_if_it_begins_with_what_is_next_and_ends_with_what_was_published() {
        let gap = |from, to| {
            let topic = Topic::parse("a").unwrap();
            Gap { topic, epoch: Epoch(1), from, to, why: GapReason::Conflated }
        };
        // Message 1 has offset 101; messages up to 20 were published, and 5 is next.
        let counted = |gap| passed_over(&gap, 100, 5, 20);
        assert_eq!([counted(gap(105, 105)), counted(gap(105, 120))], [Some(1), Some(16)]);
        let wrong = [gap(104, 110), gap(106, 110), gap(105, 121), gap(105, 104), gap(5, 6)];
        assert_eq!(wrong.map(counted), [None; 5]);
    }
}
