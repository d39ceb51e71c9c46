//! The counts as OpenMetrics text. A name that is given here once stays: dashboards and alarms are built on them.

use std::collections::HashMap;
use std::fmt::{Error, Write as _};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use topichub_protocol::code::ErrorCode;
use topichub_protocol::push::GapReason;

use super::board::Posted;
use super::delays::{BOUNDS, Delays};
use super::figure::{Figure, Op, Side};
use super::process::Process;
use super::tally::Figures;
use crate::hub::published::Class;

/// What it is served as.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that is shown, as of one moment.
#[derive(Debug)]
pub(crate) struct Exposition {
    pub(crate) posted: Posted,
    pub(crate) connections: u64,
    pub(crate) admitted: u64,
    pub(crate) refused: Vec<(&'static str, u64)>,
    pub(crate) draining: bool,
}

/// A label with its value.
type Label<'a> = (&'static str, &'a str);

const NO_EXEMPLAR: Option<&Exemplar<[Label<'static>; 0], f64>> = None;
const NO_EXEMPLARS: Option<&HashMap<usize, Exemplar<[Label<'static>; 0], f64>>> = None;

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> Result<(), Error> {
        self.counter_in(None, name, help, value)
    }

    fn counter_in(
        &mut self,
        unit: Option<Unit>,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        metric.encode_counter(&value, NO_EXEMPLAR)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([Label<'static>; N], u64)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter(&value, NO_EXEMPLAR)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> Result<(), Error> {
        self.gauge_in(None, name, help, value)
    }

    fn gauge_in(
        &mut self,
        unit: Option<Unit>,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }
}

impl Exposition {
    pub(crate) fn into_text(self) -> Result<String, Error> {
        let mut hub = Registry::with_prefix("topichub");
        hub.register_collector(Box::new(self));
        let mut machine = Registry::with_prefix("process");
        machine.register_collector(Box::new(Process::look()));
        let (mut text, mut own) = (String::new(), String::new());
        encode(&mut own, &machine)?;
        encode(&mut text, &hub)?;
        // Each ends with a mark of its own, and there is to be one.
        text.truncate(text.len() - "# EOF\n".len());
        text.write_str(&own)?;
        Ok(text)
    }

    fn connections(&self, page: &mut Page<'_>) -> Result<(), Error> {
        page.gauge(
            "connections",
            "TCP connections that are open, whatever they speak",
            self.connections as i64,
        )?;
        page.counter("connections_accepted", "TCP connections that were let in", self.admitted)?;
        page.counters(
            "connections_refused",
            "TCP connections that were refused, by the limit that was in their way",
            self.refused.iter().map(|(reason, count)| ([("reason", *reason)], *count)),
        )?;
        page.gauge("draining", "Whether clients are being sent away: 1 or 0", i64::from(self.draining))
    }

    fn workers(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let workers = &self.posted.workers;
        // One of them serves the subscriptions of this process, and no connections.
        page.gauge("workers", "Threads that serve connections", workers.len().saturating_sub(1) as i64)?;
        let help = "How late timers fire on each thread: how long whatever else it does has to wait";
        let unit = Some(Unit::Seconds);
        let mut metric =
            page.0.encode_descriptor("worker_loop_delay", help, unit.as_ref(), MetricType::Histogram)?;
        for (worker, sample) in workers {
            let name = worker.0.to_string();
            let labels = [("worker", name.as_str())];
            let mut metric = metric.encode_family(&labels)?;
            let Delays { sum, count, .. } = &sample.delays;
            metric.encode_histogram(sum.as_secs_f64(), *count, &buckets(&sample.delays), NO_EXEMPLARS)?;
        }
        let (help, lag) = ("How long what is sent to the registry waits there", &self.posted.registry.delays);
        let mut metric =
            page.0.encode_descriptor("registry_lag", help, unit.as_ref(), MetricType::Histogram)?;
        metric.encode_histogram(lag.sum.as_secs_f64(), lag.count, &buckets(lag), NO_EXEMPLARS)
    }
}

fn buckets(delays: &Delays) -> Vec<(f64, u64)> {
    BOUNDS.into_iter().zip(delays.buckets).collect()
}

/// The classes that are shown as one, each beside its labels.
fn forms() -> impl Iterator<Item = ([Label<'static>; 2], &'static [Class])> {
    Class::ALL_ENCODED.chunk_by(|one, other| one.names() == other.names()).map(|classes| {
        let (protocol, deflate) = classes[0].names();
        ([("protocol", protocol), ("deflate", deflate)], classes)
    })
}

fn sum(total: &Figures, classes: &[Class], figure: fn(Class) -> Figure) -> u64 {
    classes.iter().map(|class| total.get(figure(*class))).sum()
}

fn sessions(page: &mut Page<'_>, total: &Figures) -> Result<(), Error> {
    let help = "Sessions that are open or closing: WebSockets, event streams and long polls";
    let mut metric = page.0.encode_descriptor("sessions", help, None, MetricType::Gauge)?;
    for (labels, classes) in forms() {
        let count = sum(total, classes, Figure::sessions) as i64;
        metric.encode_family(&labels)?.encode_gauge(&count)?;
    }
    page.counters(
        "sessions_opened",
        "Sessions that have begun",
        forms().map(|(labels, classes)| (labels, sum(total, classes, Figure::opened))),
    )?;
    let help = "Sessions that have ended, by the code of the first close frame, or of the goodbye of a stream, and who sent it; 1006 is none";
    let mut metric = page.0.encode_descriptor("sessions_closed", help, None, MetricType::Counter)?;
    for by in Side::ALL {
        for (code, figure) in Figure::all_closed(by) {
            let labels = [("code", code.as_str()), ("by", by.as_str())];
            metric.encode_family(&labels)?.encode_counter(&total.get(figure), NO_EXEMPLAR)?;
        }
    }
    page.counter(
        "slow_consumers",
        "Sessions that were given up because their readers did not keep up",
        total.get(Figure::SLOW_CONSUMERS),
    )
}

fn commands(page: &mut Page<'_>, total: &Figures) -> Result<(), Error> {
    page.counters(
        "commands",
        "Commands on WebSockets that were understood and permitted",
        Op::ALL.map(|op| ([("op", op.as_str())], total.get(Figure::commands(op)))),
    )?;
    page.counters(
        "command_errors",
        "Commands on WebSockets that were answered with an error",
        ErrorCode::ALL.map(|code| ([("code", code.as_str())], total.get(Figure::errors(code)))),
    )?;
    let publishes = total.get(Figure::PUBLISHES);
    page.counter("publishes", "Messages that came to be published, from everywhere", publishes)?;
    page.counter("requests", "Messages that wait for an answer", total.get(Figure::REQUESTS))?;
    page.counter("replays", "Subscribe commands that asked for what was before", total.get(Figure::REPLAYS))?;
    page.counter(
        "presence_changes",
        "Pushes about who comes and goes, once for each thread that they go to",
        total.get(Figure::PRESENCE_CHANGES),
    )
}

fn traffic(page: &mut Page<'_>, total: &Figures) -> Result<(), Error> {
    let bytes = || Some(Unit::Bytes);
    let help = "Bytes of sessions that came, frames and all, without what TLS adds";
    page.counter_in(bytes(), "websocket_received", help, total.get(Figure::BYTES_IN))?;
    let help = "Bytes of sessions that went out, frames and all, without what TLS adds";
    page.counter_in(bytes(), "websocket_sent", help, total.get(Figure::BYTES_OUT))?;
    let received = total.get(Figure::MESSAGES_IN);
    page.counter("websocket_messages_received", "WebSocket messages that came: commands", received)?;
    let sent = total.get(Figure::MESSAGES_OUT);
    page.counter("websocket_messages_sent", "WebSocket messages for peers: replies and pushes", sent)?;
    let help = "Published messages as they are published, once for each subscriber who gets them";
    page.counter("deliveries", help, total.get(Figure::DELIVERIES))?;
    let help = "Messages of the past, once for each subscriber who gets them";
    page.counter("replayed_messages", help, total.get(Figure::REPLAYED))?;
    page.counter(
        "queue_group_messages",
        "Messages handed to a member of a queue group",
        total.get(Figure::HANDOUTS),
    )?;
    page.counters(
        "dropped_messages",
        "Messages that a slow reader does not get, by its policy: dropped is drop, conflated the latest ones",
        [GapReason::Dropped, GapReason::Conflated]
            .map(|why| ([("reason", why.as_str())], total.get(Figure::dropped(why)))),
    )?;
    page.counters(
        "gaps",
        "Gaps that subscribers were told of",
        GapReason::ALL.map(|why| ([("reason", why.as_str())], total.get(Figure::gaps(why)))),
    )
}

fn holdings(page: &mut Page<'_>, total: &Figures) -> Result<(), Error> {
    let level = |figure| total.get(figure) as i64;
    page.gauge("subscriptions", "Subscriptions that there are", level(Figure::SUBSCRIPTIONS))?;
    page.gauge("queue_group_members", "Places in queue groups that are taken", level(Figure::GROUP_MEMBERS))?;
    page.gauge("topics", "Topics that there are", level(Figure::TOPICS))?;
    let help = "Memory that topics and their messages of the past take";
    page.gauge_in(Some(Unit::Bytes), "history", help, level(Figure::HISTORY_BYTES))?;
    let help = "Memory of what waits for slow readers";
    page.gauge_in(Some(Unit::Bytes), "outboxes", help, level(Figure::OUTBOX_BYTES))
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let (mut page, total) = (Page(encoder), self.posted.total());
        let mut metric = page.0.encode_descriptor("build", "What runs here", None, MetricType::Info)?;
        metric.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        self.connections(&mut page)?;
        sessions(&mut page, &total)?;
        commands(&mut page, &total)?;
        traffic(&mut page, &total)?;
        holdings(&mut page, &total)?;
        self.workers(&mut page)
    }
}

/// By the names that exporters of processes have agreed on.
impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page(encoder);
        if let Some(seconds) = self.cpu_seconds {
            let help = "Processor time, of user and system together";
            page.counter_in(Some(Unit::Seconds), "cpu", help, seconds)?;
        }
        if let Some(bytes) = self.resident_bytes {
            let help = "Memory that is resident";
            page.gauge_in(Some(Unit::Bytes), "resident_memory", help, bytes as i64)?;
        }
        if let Some(seconds) = self.start_seconds {
            let help = "When the process began, since 1970";
            page.gauge_in(Some(Unit::Seconds), "start_time", help, seconds)?;
        }
        let counts = [
            ("open_fds", "Files and sockets that are open", self.open_files),
            ("max_fds", "Files and sockets that may be open", self.open_files_max),
            ("threads", "Threads", self.threads),
        ];
        for (name, help, count) in counts {
            if let Some(count) = count {
                page.gauge(name, help, count as i64)?;
            }
        }
        Ok(())
    }
}
