//! `idle`: what connections that do nothing cost the server in memory.
//! Memory of the kernel, for sockets, is not in it.

use topichub::protocol::{Command, CommandId, OneOrMany, Operation, Subscribe, SubscribeOptions};

use super::error::BenchError;
use super::outcome::{Outcome, everybody_has_it};
use super::process::Process;
use super::report::{Report, size};
use super::stage::Stage;

/// Before, with connections, with a subscription each.
pub(super) async fn run(stage: &Stage<'_>) -> Result<Report, BenchError> {
    let Stage { plan, target, stop, .. } = *stage;
    let subscriptions = stage.one_topic()?;
    let run = stage.run(&subscriptions)?;
    let audience = stage.open(&run, &vec![Vec::new(); plan.subscribers]).await?;
    let resident = || target.process.and_then(Process::resident_bytes);
    let connected = resident();
    let topic = subscriptions.topics.into_iter().next().map(Into::into);
    let filters = OneOrMany::Many(topic.into_iter().collect());
    let operation = Operation::Subscribe(Subscribe { filters, options: SubscribeOptions::default() });
    audience.readers.ask_all(&Command { id: Some(CommandId::Integer(1)), operation });
    let outcome = everybody_has_it(&run, stop, plan.timeout).await;
    let subscribed = resident().filter(|_| outcome == Outcome::Complete);

    let mut report = stage.report(&audience);
    let each = |now: Option<u64>| {
        let more = now? as f64 - stage.bytes_before? as f64;
        Some(more / 1024.0 / plan.subscribers as f64)
    };
    for (key, label, now) in [("0", "no subscription", connected), ("1", "one subscription", subscribed)] {
        let kib = each(now);
        report.value(&format!("memory_per_connection_{key}_subscriptions_kib"), kib);
        let text = kib.map_or("unknown: the server's process cannot be seen".to_owned(), |kib| {
            format!(
                "{kib:.2} KiB of memory for each connection ({} in all)",
                now.map(size).unwrap_or_default()
            )
        });
        report.row(label, text);
    }
    report.add_memory(&[
        ("before", "before", stage.bytes_before),
        ("connected", "connected", connected),
        ("subscribed", "subscribed", subscribed),
    ]);
    let mut ledger = run.ledger.borrow_mut();
    if outcome != Outcome::Interrupted {
        ledger.close();
    }
    report.conclude(&ledger.faults, outcome, "all connections stayed");
    Ok(report)
}
