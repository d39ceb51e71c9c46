//! `storm`: every connection is cut at once, as when a network fails, and all come back at once.
//! Backing off is what clients do on their own; it is part of what is measured.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::BenchError;
use super::gauge::Gauge;
use super::outcome::Outcome;
use super::process::Process;
use super::publisher::Publisher;
use super::readers::Readers;
use super::report::Report;
use super::returning::{Returns, come_back};
use super::stage::Stage;

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
    let mut returns = Returns::new()?;
    if outcome == Outcome::Complete {
        let options = stage.options();
        let returning = (0..plan.subscribers)
            .map(|number| come_back(stage, number, &filters[number], &options, cut_at, patience))
            .collect();
        outcome = returns.pass(stage, &run, returning, &mut audience.readers, |_, _| ()).await;
    }
    returns.took = cut_at.elapsed();
    let figures = gauge.stop(&run)?;
    // Whoever says that he is subscribed gets the next message.
    if outcome == Outcome::Complete && returns.away == 0 {
        outcome = publisher.warm_up(1).await?;
    }
    outcome = audience.farewell(outcome, stop, plan.timeout).await;

    let mut report = stage.report(&audience);
    let returned = audience.readers.len();
    returns.tell(&mut report, returned, plan.subscribers);
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
