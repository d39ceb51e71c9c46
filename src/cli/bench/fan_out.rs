//! `fanout`, `burst` and `latency`: one topic, many subscribers, one publisher.
//! Connections and books are the stage's.

use std::rc::Rc;

use super::bar::Bar;
use super::error::BenchError;
use super::gauge::Gauge;
use super::outcome::Outcome;
use super::publisher::Publisher;
use super::report::{ALL_ARRIVED, Report};
use super::stage::{Stage, WARM_UP};

/// The next burst when all have the last, or at a rate.
pub(super) async fn run(stage: &Stage<'_>, burst: u64, rate: Option<f64>) -> Result<Report, BenchError> {
    let Stage { plan, target, stop, .. } = *stage;
    let subscriptions = stage.one_topic()?;
    let run = stage.run(&subscriptions)?;
    let audience = stage.open(&run, &stage.filters(&subscriptions)).await?;
    let mut publisher = Publisher::open(stage, Rc::clone(&run)).await?;

    let mut outcome = publisher.warm_up(WARM_UP).await?;
    let gauge = Gauge::start(target, &run)?;
    if outcome == Outcome::Complete {
        let bar = Bar::of_length("publishing", plan.length);
        outcome = publisher.publish(burst, rate, plan.length, &bar).await?;
    }
    let figures = gauge.stop(&run)?;
    outcome = audience.farewell(outcome, stop, plan.timeout).await;

    let mut report = stage.report(&audience);
    report.value("burst_messages", burst);
    report.value("rate_wanted_messages_per_s", rate);
    report.row(
        "published",
        match (rate, burst) {
            (None, 1) => "one by one: the next when all have the last".to_owned(),
            (None, _) => format!("in bursts of {burst}: the next when all have the last"),
            (Some(rate), 1) => format!("at {rate} per second"),
            (Some(rate), _) => format!("in bursts of {burst}, at {rate} messages per second"),
        },
    );
    report.add_counts(&figures);
    let label = if rate.is_some() { "latency since due" } else { "latency" };
    report.add_latency("latency", label, &figures.measured.latency);
    report.add_cpu(&figures, "deliveries", figures.measured.deliveries);
    report.add_memory(&[
        ("before", "before", stage.bytes_before),
        ("after", "with all connections", figures.server_bytes),
    ]);
    let mut ledger = run.ledger.borrow_mut();
    if outcome != Outcome::Interrupted {
        ledger.close();
    }
    report.conclude(&ledger.faults, outcome, ALL_ARRIVED);
    Ok(report)
}
