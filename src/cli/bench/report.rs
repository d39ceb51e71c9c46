//! What a run has found: a table for people, or one JSON object with the units in its keys.
//! The figures are made elsewhere; here they get names and words.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value};

use super::args::{Deflate, Protocols};
use super::faults::Faults;
use super::gauge::Figures;
use super::outcome::Outcome;
use super::plan::{Length, Load, Plan};
use super::target::Target;

/// The percentiles that are told: for people, for keys, and the quantile.
const PERCENTILES: [(&str, &str, f64); 4] =
    [("p50", "p50", 0.5), ("p99", "p99", 0.99), ("p99.9", "p99_9", 0.999), ("max", "max", 1.0)];

/// What can be said of a run whose messages all arrived.
pub(super) const ALL_ARRIVED: &str = "every message: none lost, doubled, out of order or altered";

/// The findings so far.
pub(super) struct Report {
    rows: Vec<(String, String)>,
    values: Map<String, Value>,
    json: bool,
    pub(super) outcome: Outcome,
    pub(super) is_sound: bool,
    /// What was wrong, in a few words.
    pub(super) faults: String,
}

impl Report {
    /// What was done, with whom.
    pub(super) fn new(plan: &Plan, target: &Target, server: Option<&str>) -> Self {
        let json = plan.json;
        let mut report = Self {
            rows: Vec::new(),
            values: Map::new(),
            json,
            outcome: Outcome::Complete,
            is_sound: true,
            faults: String::new(),
        };
        report.value("scenario", plan.scenario);
        report.value("url", target.url.to_string());
        report.value("server", server);
        report.value("subscribers", plan.subscribers);
        report.value("payload_bytes", plan.payload_bytes);
        let protocol = match plan.protocol {
            Protocols::Json => "json",
            Protocols::MsgPack => "msgpack",
            Protocols::Mixed => "mixed",
        };
        report.value("protocol", protocol);
        let mut what =
            format!("{}, {} subscribers, {protocol}", plan.scenario, number(plan.subscribers as u64));
        if !matches!(plan.load, Load::Idle | Load::Storm { .. }) {
            let _ = write!(what, ", payloads of {} bytes", number(plan.payload_bytes as u64));
            match plan.length {
                _ if matches!(plan.load, Load::Recover(_)) => {}
                Length::Time(duration) => report.value("duration_wanted_s", duration.as_secs_f64()),
                Length::Messages(messages) => report.value("messages_wanted", messages),
            }
        }
        if let Some(messages) = plan.history {
            report.value("history_messages", messages);
            let _ = write!(what, ", history of {}", number(messages as u64));
        }
        if let Some(policy) = plan.slow {
            report.value("policy", policy.as_str());
            let _ = write!(what, ", slow {:?}", policy.as_str());
        }
        report.row("run", what);
        let whose = match &target.server {
            Some(server) => {
                report.value("server_workers", plan.workers);
                report.value("server_has_own_cores", server.has_cores);
                let workers = if plan.workers == 1 {
                    "1 worker".to_owned()
                } else {
                    format!("{} workers", plan.workers)
                };
                format!(
                    "started for this run, {workers}{}",
                    if server.has_cores { ", on cores of its own" } else { "" }
                )
            }
            None => format!("at {}", target.url),
        };
        report.row("server", format!("{} {whose}", server.unwrap_or("unknown")));
        report
    }

    pub(super) fn value(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
    }

    pub(super) fn row(&mut self, label: &str, text: impl Into<String>) {
        self.rows.push((label.to_owned(), text.into()));
    }

    /// How many connections offered compression, and how many of those got it.
    pub(super) fn add_deflate(&mut self, wanted: Deflate, offered: usize, accepted: usize) {
        let word = match (wanted, accepted) {
            (Deflate::Off, _) => "off",
            (_, 0) => "declined",
            _ => "accepted",
        };
        self.value("deflate", word);
        self.value("deflate_offered_connections", offered);
        self.value("deflate_accepted_connections", accepted);
        if wanted != Deflate::Off {
            let text = match accepted {
                0 => "declined by the server: everything is plain".to_owned(),
                _ => format!(
                    "accepted for {} of {} that offered it",
                    number(accepted as u64),
                    number(offered as u64)
                ),
            };
            self.row("deflate", text);
        }
    }

    /// Counts and rates of a stretch.
    pub(super) fn add_counts(&mut self, figures: &Figures) {
        let (elapsed, measured) = (figures.elapsed.as_secs_f64(), &figures.measured);
        let rate = |count: u64| count as f64 / elapsed;
        self.value("duration_s", elapsed);
        self.value("messages", measured.messages);
        self.value("messages_per_s", rate(measured.messages));
        self.value("deliveries", measured.deliveries);
        self.value("deliveries_per_s", rate(measured.deliveries));
        self.value("received_bytes", measured.received_bytes);
        self.value("received_bytes_per_s", rate(measured.received_bytes));
        let line =
            |count: u64| format!("{:>12}   {:>11} /s", number(count), number(rate(count).round() as u64));
        self.row("time", format!("{elapsed:>12.2} s"));
        self.row("messages", line(measured.messages));
        self.row("deliveries", line(measured.deliveries));
        let bytes = measured.received_bytes;
        let each = (measured.deliveries > 0).then(|| bytes as f64 / measured.deliveries as f64);
        self.value("received_bytes_per_delivery", each);
        let each = each.map(|each| format!("   {each:.0} bytes each")).unwrap_or_default();
        self.row("received", format!("{:>12}   {:>11} /s{each}", size(bytes), size(rate(bytes) as u64)));
    }

    /// Percentiles; keys are `NAME_p50_us` and so on.
    pub(super) fn add_latency(&mut self, key: &str, label: &str, latency: &Histogram<u64>) {
        self.value(&format!("{key}_count"), latency.len());
        let mut text = String::new();
        for (name, suffix, quantile) in PERCENTILES {
            let nanoseconds = latency.value_at_quantile(quantile);
            let value = (!latency.is_empty()).then(|| nanoseconds as f64 / 1e3);
            self.value(&format!("{key}_{suffix}_us"), value);
            let _ = write!(text, "{name} {}   ", time(Duration::from_nanos(nanoseconds)));
        }
        self.row(label, if latency.is_empty() { "nothing was measured" } else { text.trim_end() });
    }

    /// What both sides spent in a stretch; `per` names what there were `count` of.
    pub(super) fn add_cpu(&mut self, figures: &Figures, per: &str, count: u64) {
        let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / figures.elapsed.as_secs_f64();
        let server = figures.server_cpu.map(|cpu| cpu.as_secs_f64());
        let per_million = server.filter(|_| count > 0).map(|cpu| cpu * 1e6 / count as f64);
        self.value("server_cpu_s", server);
        self.value(&format!("server_cpu_s_per_million_{per}"), per_million);
        self.value("client_cpu_s", figures.client_cpu.map(|cpu| cpu.as_secs_f64()));
        match (figures.server_cpu, per_million) {
            (Some(cpu), Some(per_million)) => self.row(
                "server CPU",
                format!("{per_million:.2} s per million {per} ({:.0} % of a core)", share(cpu)),
            ),
            (None, _) => self.row("server CPU", "unknown: name its process with --pid"),
            (Some(_), None) => {}
        }
        if let Some(cpu) = figures.client_cpu {
            self.row("client CPU", format!("{:.0} % of a core", share(cpu)));
        }
    }

    /// Resident memory of the server at moments that have a key and a name.
    pub(super) fn add_memory(&mut self, moments: &[(&str, &str, Option<u64>)]) {
        let mut texts = Vec::new();
        for (key, name, bytes) in moments {
            self.value(&format!("server_memory_{key}_bytes"), *bytes);
            texts.extend(bytes.map(|bytes| format!("{} {name}", size(bytes))));
        }
        if !texts.is_empty() {
            self.row("server memory", texts.join(", "));
        }
    }

    /// What was wrong, and whether the run went to its end; `sound` is what can be said if nothing was wrong.
    pub(super) fn conclude(&mut self, faults: &Faults, outcome: Outcome, sound: &str) {
        self.outcome = outcome;
        self.is_sound &= faults.is_none() && matches!(outcome, Outcome::Complete | Outcome::Interrupted);
        let mut counts = Vec::new();
        for (key, name, count) in faults.counts() {
            self.value(key, count);
            counts.extend((count > 0).then(|| format!("{} {name}", number(count))));
        }
        self.faults = counts.join(", ");
        self.value("faults", faults.told().to_vec());
        self.value("interrupted", outcome == Outcome::Interrupted);
        self.value("ok", self.is_sound && outcome == Outcome::Complete);
        let checked = if counts.is_empty() { sound.to_owned() } else { format!("FAILED: {}", self.faults) };
        self.row("checked", checked);
        faults.told().iter().for_each(|text| self.row("", text));
        match outcome {
            Outcome::Complete => {}
            Outcome::Interrupted => self.row("interrupted", "these are the figures so far"),
            Outcome::GaveUp => self.row("ended early", "nothing arrived for too long (--timeout)"),
            Outcome::Broken => self.row("ended early", "a connection was lost"),
        }
    }

    /// To standard output.
    pub(super) fn print(&self) -> io::Result<()> {
        let mut text = String::new();
        if self.json {
            text = Value::Object(self.values.clone()).to_string();
            text.push('\n');
        } else {
            let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
            for (label, row) in &self.rows {
                let _ = writeln!(text, "{label:<width$}  {row}");
            }
        }
        io::stdout().lock().write_all(text.as_bytes())
    }
}

/// `1,234,567`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In the unit that suits it.
pub(super) fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds @ 1.0.. => format!("{seconds:.2} s"),
        seconds @ 0.001.. => format!("{:.2} ms", seconds * 1e3),
        seconds => format!("{:.0} µs", seconds * 1e6),
    }
}

/// In the unit that suits it.
pub(super) fn size(bytes: u64) -> String {
    match bytes as f64 / 1024.0 {
        kib @ 1_048_576.0.. => format!("{:.2} GiB", kib / 1_048_576.0),
        kib @ 1024.0.. => format!("{:.1} MiB", kib / 1024.0),
        kib => format!("{kib:.1} KiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_in_the_unit_that_suits_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        let times = [250, 1_500, 2_340_000, 61_000_000_000].map(|it| time(Duration::from_nanos(it)));
        assert_eq!(times, ["0 µs", "2 µs", "2.34 ms", "61.00 s"]);
        let sizes = [512, 10 * 1024, 3 << 20, 5 << 30].map(size);
        assert_eq!(sizes, ["0.5 KiB", "10.0 KiB", "3.0 MiB", "5.00 GiB"]);
    }
}
