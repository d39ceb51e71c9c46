//! `recover`: every connection is cut, messages are published while they are away, and they come back for what they have
//! missed. Beside them are readers of another topic, who should notice nothing.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use topichub::Position;
use topichub::protocol::{CommandId, Replay, Reply, ServerMessage, SubscribeOptions, Subscribed};

use super::bystanders::{Bystanders, Stretch};
use super::error::{BenchError, PeerError};
use super::gauge::{Figures, Gauge};
use super::ledger::Subscriptions;
use super::outcome::{Outcome, everybody_has_it};
use super::peer::{CONNECT_TIMEOUT, Peer, Wish};
use super::plan::Recovery;
use super::process::{self, Process};
use super::publisher::feed;
use super::readers::{Readers, Run};
use super::report::{Report, number, time};
use super::returning::{Return, Returns, come_back};
use super::stage::{Audience, Stage};
use super::watch::Watch;

/// Messages of each topic that everybody has before the cut.
const KNOWN: u64 = 3;

/// How long new connections are left alone before anything is measured.
const REST: Duration = Duration::from_millis(500);

/// Messages that are written in one go.
const WRITTEN_MAX: u64 = 256;

/// What is found on the way.
struct Found {
    /// What the healthy readers measured: undisturbed, while all were cut and messages published, while all came back.
    quiet: Stretch,
    cut: Option<Stretch>,
    storm: Option<Stretch>,
    returns: Returns,
    /// Who was told that nothing is lost.
    recovered: Vec<bool>,
    /// From the first that came back to the last that had everything.
    took: Option<Duration>,
    figures: Option<Figures>,
    connected: Option<u64>,
    away: Option<u64>,
    peak: Option<u64>,
    after: Option<u64>,
}

/// Cut, and back for what was missed.
pub(super) async fn run(stage: &Stage<'_>, recovery: Recovery) -> Result<Report, BenchError> {
    let Stage { plan, stop, .. } = *stage;
    let bystanders = Bystanders::start(stage, recovery.healthy, recovery.healthy_rate).await?;
    // They have the same core, unless there are many: what we do is not to make their figures worse.
    let steps_back = process::step_back();
    let subscriptions = spread(stage, recovery.topics)?;
    let run = stage.run(&subscriptions)?;
    let mut audience = stage.open(&run, &stage.filters(&subscriptions)).await?;
    let mut topics = Topics::open(stage, &run, recovery.topics).await?;
    let positions = topics.publish(KNOWN).await?;
    let mut outcome = topics.attended(everybody_has_it(&run, stop, plan.timeout)).await;

    sleep_or_stop(stage, REST).await;
    bystanders.measured().await?;
    sleep_or_stop(stage, recovery.quiet).await;
    let mut found = Found::new(stage, bystanders.measured().await?)?;
    if stop.is_asked() {
        outcome = Outcome::Interrupted;
    }
    if outcome == Outcome::Complete {
        outcome =
            storm(stage, recovery, &mut topics, &positions, &bystanders, &mut audience, &mut found).await?;
    }
    // Whoever says that he is subscribed gets the next message.
    if outcome == Outcome::Complete && found.returns.away == 0 {
        topics.publish(1).await?;
        outcome = topics.attended(everybody_has_it(&run, stop, plan.timeout)).await;
    }
    outcome = audience.farewell(outcome, stop, plan.timeout).await;

    let mut report = stage.report(&audience);
    let mut ledger = run.ledger.borrow_mut();
    let is_complete = |seat: usize| found.recovered[seat] && ledger.has_all(seat);
    let complete = (0..plan.subscribers).filter(|seat| is_complete(*seat)).count();
    if outcome != Outcome::Interrupted {
        ledger.close();
    }
    let have_core = bystanders.have_core;
    let theirs = bystanders.end(&mut ledger.faults)?;
    if outcome == Outcome::Complete {
        outcome = theirs;
    }
    report.value("topics", recovery.topics);
    report.value("missed_messages", recovery.missed);
    report.value("returns_wanted_per_s", recovery.at);
    report.value("healthy", recovery.healthy);
    report.value("healthy_rate_messages_per_s", recovery.healthy_rate);
    report.value("healthy_have_own_core", have_core);
    report.value("healthy_go_first", steps_back);
    report.row("missed", missed(recovery));
    report.row(
        "healthy",
        format!(
            "{} at {} messages per second, on a thread of their own{}",
            number(recovery.healthy as u64),
            recovery.healthy_rate,
            match (have_core, steps_back) {
                (true, _) => " and a core of their own",
                (false, true) => " that goes before all else here",
                (false, false) => "",
            }
        ),
    );
    found.tell(&mut report, stage, audience.readers.len(), complete);
    report.conclude(&ledger.faults, outcome, "who is back has every message it missed, each once, in order");
    Ok(report)
}

/// The cut, what is missed, and the return.
async fn storm(
    stage: &Stage<'_>,
    recovery: Recovery,
    topics: &mut Topics<'_>,
    positions: &[Position],
    bystanders: &Bystanders,
    audience: &mut Audience,
    found: &mut Found,
) -> Result<Outcome, BenchError> {
    let Stage { plan, target, stop, .. } = *stage;
    let run = Rc::clone(&topics.run);
    let resident = || target.process.and_then(Process::resident_bytes);
    found.connected = resident();
    audience.readers = Readers::new(Rc::clone(&run)); // drops the others, and their sockets with them
    topics.publish(recovery.missed).await?;
    sleep_or_stop(stage, REST).await;
    found.away = resident();
    found.cut = Some(bystanders.measured().await?);

    let watch = Watch::start(target.process);
    let gauge = Gauge::start(target, &run)?;
    let (begin, began) = (Instant::now(), run.now());
    // Evenly, or all at once.
    let delay = |seat: usize| Duration::from_secs_f64(recovery.at.map_or(0.0, |rate| seat as f64 / rate));
    for seat in 0..plan.subscribers {
        run.ledger.borrow_mut().returns(seat, began + delay(seat).as_nanos() as u64);
    }
    let filters = stage.filters(&spread(stage, recovery.topics)?);
    let options: Vec<_> = positions.iter().map(|position| after(stage, *position)).collect();
    let returning = (0..plan.subscribers)
        .map(|seat| {
            let options = &options[seat % options.len()];
            come_back(stage, seat, &filters[seat], options, begin + delay(seat), recovery.patience)
        })
        .collect();
    let recovered = RefCell::new(std::mem::take(&mut found.recovered));
    let look = |seat: usize, returned: &Return| {
        let faults = &mut run.ledger.borrow_mut().faults;
        match objection(&returned.subscribed, recovery.missed) {
            None => recovered.borrow_mut()[seat] = true,
            Some(objection) => {
                faults.unexpected += 1;
                faults.tell(|| format!("subscriber {seat} was told {objection}"));
            }
        }
    };
    let passing = found.returns.pass(stage, &run, returning, &mut audience.readers, look);
    let mut outcome = topics.attended(passing).await;
    found.returns.took = begin.elapsed();
    if outcome == Outcome::Complete {
        outcome = topics.attended(everybody_has_it(&run, stop, plan.timeout)).await;
    }
    found.took = (outcome == Outcome::Complete).then(|| begin.elapsed());
    found.recovered = recovered.into_inner();
    let figures = gauge.stop(&run)?;
    found.storm = Some(bystanders.measured().await?);
    found.after = figures.server_bytes;
    found.peak = watch.map(|watch| watch.peak().max(found.after.unwrap_or(0)));
    found.figures = Some(figures);
    Ok(outcome)
}

/// How one subscribes who knows everything up to `position`.
fn after(stage: &Stage<'_>, position: Position) -> SubscribeOptions {
    SubscribeOptions { replay: Some(Replay::After(position)), ..stage.options() }
}

/// What is wrong with what a subscriber was told that missed so many messages.
fn objection(subscribed: &[Subscribed], missed: u64) -> Option<String> {
    let Some(replayed) = subscribed.first().and_then(|subscribed| subscribed.replay.as_ref()) else {
        return Some("nothing of a replay".to_owned());
    };
    if !replayed.recovered {
        return Some("that its position could not be honoured (recovered: false)".to_owned());
    }
    let told = replayed.messages;
    (told != missed).then(|| format!("that {told} messages are replayed, where {missed} were missed"))
}

/// Each subscriber to one of the topics, in turn.
fn spread(stage: &Stage<'_>, topics: u32) -> Result<Subscriptions, BenchError> {
    let of_seats = (0..stage.plan.subscribers).map(|seat| vec![seat as u32 % topics]).collect();
    let topics = (0..topics).map(|topic| stage.topic(topic)).collect::<Result<_, _>>()?;
    Ok(Subscriptions { topics, of_seats })
}

fn missed(Recovery { topics, missed, at, .. }: Recovery) -> String {
    let (topics, missed) = (number(topics.into()), number(missed));
    let how = match at {
        Some(rate) => format!("{rate} per second came back"),
        None => "all came back at once".to_owned(),
    };
    format!("{missed} messages of one of {topics} topics each; {how}")
}

async fn sleep_or_stop(stage: &Stage<'_>, duration: Duration) {
    tokio::select! {
        () = sleep(duration) => {}
        () = stage.stop.asked() => {}
    }
}

/// The connection that publishes to all topics.
struct Topics<'a> {
    peer: Peer,
    run: Rc<Run>,
    stage: &'a Stage<'a>,
    count: u32,
}

impl<'a> Topics<'a> {
    async fn open(stage: &'a Stage<'a>, run: &Rc<Run>, count: u32) -> Result<Self, BenchError> {
        let wish = Wish::plain(stage.plan.publisher_codec());
        let peer = stage.connect(|| "the publisher".to_owned(), wish, &[]).await?;
        Ok(Self { peer, run: Rc::clone(run), stage, count })
    }

    /// Publishes so many messages to each topic, in turns. Returns where each stands then.
    async fn publish(&mut self, messages: u64) -> Result<Vec<Position>, BenchError> {
        let (stage, run) = (self.stage, Rc::clone(&self.run));
        let patience = stage.plan.timeout.max(CONNECT_TIMEOUT);
        let publishing = async {
            let mut written = 0;
            for message in 1..=messages {
                for topic in 0..self.count {
                    // The last of each is answered.
                    let id = (message == messages).then(|| CommandId::Integer(topic.into()));
                    feed(&mut self.peer, &mut run.ledger.borrow_mut(), topic, run.now(), id, None)?;
                    written += 1;
                    if written % WRITTEN_MAX == 0 {
                        self.flush().await?;
                    }
                }
            }
            self.flush().await?;
            let mut positions = Vec::with_capacity(self.count as usize);
            while positions.len() < self.count as usize {
                match self.peer.next().await {
                    Ok(ServerMessage::Reply(Reply::Published { position, .. })) => positions.push(position),
                    Ok(ServerMessage::Reply(Reply::Error(error))) => {
                        return Err(self.failed(PeerError::Command(error)));
                    }
                    Ok(_) => {}
                    Err(error) => return Err(self.failed(error)),
                }
            }
            Ok(positions)
        };
        tokio::select! {
            published = timeout(patience, publishing) => {
                published.unwrap_or_else(|_| {
                    let error = PeerError::NoAnswer(patience);
                    Err(error.of("the publisher", &stage.target.url))
                })
            }
            () = stage.stop.asked() => Err(BenchError::Interrupted),
        }
    }

    async fn flush(&mut self) -> Result<(), BenchError> {
        let flushed = self.peer.flush().await;
        flushed.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: PeerError) -> BenchError {
        error.of("the publisher", &self.stage.target.url)
    }

    /// Does something that may take long; meanwhile pings of the server are answered.
    async fn attended<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                // The work may use up all that a task may do in one turn.
                biased;
                said = self.peer.next() => if let Err(error) = said {
                    self.run.ledger.borrow_mut().disconnected("the publisher", &error.to_string());
                    return work.await;
                },
                done = &mut work => return done,
            }
        }
    }
}

impl Found {
    fn new(stage: &Stage<'_>, quiet: Stretch) -> Result<Self, BenchError> {
        Ok(Self {
            quiet,
            cut: None,
            storm: None,
            returns: Returns::new()?,
            recovered: vec![false; stage.plan.subscribers],
            took: None,
            figures: None,
            connected: None,
            away: None,
            peak: None,
            after: None,
        })
    }

    fn tell(&self, report: &mut Report, stage: &Stage<'_>, returned: usize, complete: usize) {
        let all = stage.plan.subscribers;
        if let Some(figures) = &self.figures {
            self.returns.tell(report, returned, all);
            let seconds = self.took.map(|took| took.as_secs_f64());
            report.value("recovered_connections", complete);
            report.value("recovered_s", seconds);
            let within = self.took.map(|took| format!(" within {}", time(took))).unwrap_or_default();
            let (complete, all) = (number(complete as u64), number(all as u64));
            report.row("recovered", format!("{complete} of {all}: all they missed{within}"));
            report.add_latency("recovered", "until recovered", &figures.measured.caught_up);
            let replayed = figures.measured.deliveries;
            report.value("replayed_deliveries", replayed);
            report.value("received_bytes", figures.measured.received_bytes);
            report.row("replayed", format!("{} deliveries", number(replayed)));
            report.add_cpu(figures, "deliveries", replayed);
        }
        report.add_memory(&[
            ("before", "before", stage.bytes_before),
            ("connected", "connected", self.connected),
            ("away", "with all away", self.away),
            ("peak", "at most while they came back", self.peak),
            ("after", "after", self.after),
        ]);
        self.tell_healthy(report);
    }

    /// What the healthy readers noticed.
    fn tell_healthy(&self, report: &mut Report) {
        let stretches =
            [("quiet", Some(&self.quiet)), ("cut", self.cut.as_ref()), ("storm", self.storm.as_ref())];
        for (name, stretch) in stretches {
            let Some(stretch) = stretch else { continue };
            let Stretch { elapsed, measured, cpu } = stretch;
            report.value(&format!("healthy_{name}_s"), elapsed.as_secs_f64());
            report.value(&format!("healthy_{name}_cpu_s"), cpu.map(|cpu| cpu.as_secs_f64()));
            report.add_latency(&format!("healthy_{name}"), &format!("healthy, {name}"), &measured.latency);
            let late = measured.late.value_at_quantile(0.99);
            report.value(&format!("healthy_{name}_late_p99_us"), late as f64 / 1e3);
            let share = cpu.map(|cpu| 100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64());
            let share = share.map(|share| format!(", {share:.0} % of a core")).unwrap_or_default();
            report.row(
                "",
                format!(
                    "{}{share}; our own publishing was late by p99 {}",
                    time(*elapsed),
                    time(Duration::from_nanos(late))
                ),
            );
        }
        let p99 = |stretch: &Stretch| stretch.measured.latency.value_at_quantile(0.99) as f64;
        let storm = self.storm.as_ref().map(p99).filter(|p99| *p99 > 0.0);
        let ratio = storm.map(|storm| storm / p99(&self.quiet)).filter(|ratio| ratio.is_finite());
        report.value("healthy_p99_ratio", ratio);
        if let Some(ratio) = ratio {
            report.row("healthy p99", format!("{ratio:.2} times what it is undisturbed"));
        }
    }
}
