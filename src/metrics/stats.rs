//! What is told once a second on `$sys.stats` (SPEC.md §20) to those who watch.

use std::time::Duration;

use serde_json::{Map, Value, json};
use topichub_protocol::push::GapReason;
use topichub_protocol::topic::Topic;

use super::board::Posted;
use super::figure::{Figure, Side};
use super::tally::Figures;
use crate::hub::published::Class;

/// What was told last, for rates.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    last: Figures,
    at: Duration,
}

/// What is not counted by the threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    pub(crate) connections: usize,
    pub(crate) draining: bool,
    pub(crate) time: Duration,
}

impl Stats {
    /// How long ago it was told last.
    pub(crate) fn elapsed(&self, now: Duration) -> Duration {
        now.saturating_sub(self.at)
    }

    /// Tells how it is `now`, since the hub began.
    pub(crate) fn tell(
        &mut self,
        posted: &Posted,
        busiest: Vec<(Topic, f64)>,
        beside: Beside,
        now: Duration,
    ) -> Value {
        let total = posted.total();
        let seconds = self.elapsed(now).as_secs_f64().max(0.001);
        let (mut totals, mut rates) = (Map::new(), Map::new());
        for (name, count) in counts(&total) {
            let before = counts(&self.last).find(|(other, _)| *other == name).map_or(0, |(_, count)| count);
            totals.insert(name.to_owned(), count.into());
            rates.insert(name.to_owned(), rounded(count.saturating_sub(before) as f64 / seconds));
        }
        let workers: Vec<_> = posted
            .workers
            .iter()
            .map(|(worker, sample)| {
                json!({
                    "worker": worker.0,
                    "sessions": sample.figures.sum(Class::ALL_ENCODED.map(Figure::sessions)),
                    "loop_delay_p99_ms": milliseconds(sample.delays.recent_p99()),
                })
            })
            .collect();
        let topics: Vec<_> = busiest
            .into_iter()
            .map(|(topic, rate)| json!({ "topic": topic.as_str(), "per_s": rounded(rate) }))
            .collect();
        (self.last, self.at) = (total.clone(), now);
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "time_ms": beside.time.as_millis() as u64,
            "uptime_ms": now.as_millis() as u64,
            "draining": beside.draining,
            "connections": beside.connections,
            "sessions": total.sum(Class::ALL_ENCODED.map(Figure::sessions)),
            "subscriptions": total.get(Figure::SUBSCRIPTIONS),
            "topics": total.get(Figure::TOPICS),
            "history_bytes": total.get(Figure::HISTORY_BYTES),
            "outbox_bytes": total.get(Figure::OUTBOX_BYTES),
            "registry_lag_p99_ms": milliseconds(posted.registry.delays.recent_p99()),
            "workers": workers,
            "per_s": rates,
            "total": totals,
            "top_topics": topics,
        })
    }
}

fn counts(total: &Figures) -> impl Iterator<Item = (&'static str, u64)> {
    let closed = Side::ALL.into_iter().flat_map(Figure::all_closed).map(|(_, figure)| figure);
    [
        ("publishes", total.get(Figure::PUBLISHES)),
        ("deliveries", total.get(Figure::DELIVERIES)),
        ("replayed", total.get(Figure::REPLAYED)),
        ("dropped", total.sum(GapReason::ALL.map(Figure::dropped))),
        ("gaps", total.sum(GapReason::ALL.map(Figure::gaps))),
        ("messages_in", total.get(Figure::MESSAGES_IN)),
        ("messages_out", total.get(Figure::MESSAGES_OUT)),
        ("bytes_in", total.get(Figure::BYTES_IN)),
        ("bytes_out", total.get(Figure::BYTES_OUT)),
        ("opened", total.sum(Class::ALL_ENCODED.map(Figure::opened))),
        ("closed", total.sum(closed)),
    ]
    .into_iter()
}

fn milliseconds(time: Duration) -> Value {
    rounded(time.as_secs_f64() * 1000.0)
}

/// With a thousandth as the smallest step, whole numbers as such.
fn rounded(value: f64) -> Value {
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded.fract() == 0.0 { json!(rounded as u64) } else { json!(rounded) }
}
