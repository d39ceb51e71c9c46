//! The figures of all targets: medians, the table that is printed, and the page that is written. Nothing is measured
//! here.

use std::fmt::{self, Write};
use std::io;

use super::target::Target;
use super::turn::{Figures, Plan};
use crate::support::PAYLOAD_BYTES;
use crate::support::stats::Samples;

/// How many turns may fail.
const FAILURES_MAX: usize = 2;

/// The load average above which a machine is too busy for figures that mean something by themselves.
const QUIET: f64 = 0.5;

/// What became of one target.
pub(crate) struct Row {
    pub(crate) target: Target,
    /// Or why it is absent.
    version: Result<String, String>,
    single: Samples,
    bursts: Samples,
    speed: Samples,
    latencies: Vec<[Samples; 2]>,
    idle: Samples,
    /// How many turns it had, and what went wrong in those that ended early.
    turns: usize,
    failures: Vec<String>,
}

impl Row {
    pub(crate) fn new(target: Target, version: Result<String, String>) -> Self {
        Self {
            target,
            version,
            single: Samples::default(),
            bursts: Samples::default(),
            speed: Samples::default(),
            latencies: Vec::new(),
            idle: Samples::default(),
            turns: 0,
            failures: Vec::new(),
        }
    }

    fn is_present(&self) -> bool {
        self.version.is_ok()
    }

    /// Whether it has another turn: not if it fails again and again.
    pub(crate) fn goes_on(&self) -> bool {
        self.is_present() && self.failures.len() < FAILURES_MAX
    }

    pub(crate) fn push(&mut self, figures: Figures, failure: Option<io::Error>) {
        for (samples, figure) in [
            (&mut self.single, figures.single),
            (&mut self.bursts, figures.bursts),
            (&mut self.speed, figures.speed),
            (&mut self.idle, figures.idle),
        ] {
            figure.into_iter().for_each(|figure| samples.push(figure));
        }
        for (at, latencies) in figures.latencies.into_iter().enumerate() {
            if self.latencies.len() == at {
                self.latencies.push(Default::default());
            }
            for (samples, latency) in self.latencies[at].iter_mut().zip(latencies) {
                samples.push(latency);
            }
        }
        self.turns += 1;
        self.failures.extend(failure.map(|error| error.to_string()));
    }
}

/// Everything.
pub(crate) struct Report {
    plan: Plan,
    rows: Vec<Row>,
    /// How busy the machine was before, as the kernel says it.
    load: String,
}

/// One column: its heading, and its cell in a row.
type Column = (String, Box<dyn Fn(&Row) -> String>);

impl Report {
    pub(crate) fn new(plan: Plan, rows: Vec<Row>) -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default().to_owned();
        Self { plan, rows, load }
    }

    pub(crate) fn rows(&mut self) -> &mut [Row] {
        &mut self.rows
    }

    fn columns(&self) -> Vec<Column> {
        let [limit, hub] = [Target::Limit, Target::Topichub].map(|target| {
            let row = self.rows.iter().find(|row| row.target == target);
            row.map_or([f64::NAN; 2], |row| [row.single.median(), row.bursts.median()])
        });
        let mut columns: Vec<Column> = vec![("server".into(), Box::new(|row| row.target.title().into()))];
        let mut column = |heading: String, cell: Box<dyn Fn(&Row) -> String>| columns.push((heading, cell));
        column("CPU, single".into(), Box::new(|row| number(row.single.median(), 2)));
        column("× limit".into(), Box::new(move |row| number(row.single.median() / limit[0], 2)));
        column("× TopicHub".into(), Box::new(move |row| number(row.single.median() / hub[0], 2)));
        column("CPU, bursts".into(), Box::new(|row| number(row.bursts.median(), 2)));
        column("× limit".into(), Box::new(move |row| number(row.bursts.median() / limit[1], 2)));
        column("× TopicHub".into(), Box::new(move |row| number(row.bursts.median() / hub[1], 2)));
        column("deliveries/s".into(), Box::new(|row| thousands(row.speed.median())));
        for (at, pace) in self.plan.paces.iter().enumerate() {
            for (which, percent) in ["p50", "p99"].into_iter().enumerate() {
                let cell = move |row: &Row| {
                    row.latencies.get(at).map_or_else(none, |latencies| number(latencies[which].median(), 1))
                };
                column(format!("{percent} at {}k", pace / 1_000), Box::new(cell));
            }
        }
        column("KiB idle".into(), Box::new(|row| number(row.idle.median(), 1)));
        columns
    }

    /// Headings, and the cells of each target that was measured.
    fn cells(&self) -> Vec<Vec<String>> {
        let columns = self.columns();
        let headings = columns.iter().map(|(heading, _)| heading.clone()).collect();
        let rows = self.rows.iter().filter(|row| row.is_present());
        let cells = rows.map(|row| columns.iter().map(|(_, cell)| cell(row)).collect());
        std::iter::once(headings).chain(cells).collect()
    }

    /// What is absent, and what failed.
    fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        for row in &self.rows {
            let title = row.target.title();
            if let Err(reason) = &row.version {
                troubles.push(format!("{title} is absent: {}", without_paths(reason)));
            }
            let (failed, turns) = (row.failures.len(), row.turns);
            troubles.extend(row.failures.first().map(|first| {
                format!(
                    "{title} failed in {failed} of {turns} turns; the first time: {}",
                    without_paths(first)
                )
            }));
        }
        troubles
    }

    /// The page.
    pub(crate) fn markdown(&self) -> io::Result<String> {
        let plan = &self.plan;
        let mut out = String::new();
        let write = |out: &mut String| -> fmt::Result {
            writeln!(out, "# TopicHub beside others\n")?;
            writeln!(out, "Written by `make bench-peers` (`benches/peers.rs`); do not edit.")?;
            writeln!(out, "{} Its load average before the run was {}.\n", machine()?, self.load)?;
            if self.load.parse().is_ok_and(|load: f64| load > QUIET) {
                writeln!(
                    out,
                    "It was busy with other things: times are longer than they need be, ratios say more.\n"
                )?;
            }
            let cells = self.cells();
            for (at, row) in cells.iter().enumerate() {
                writeln!(out, "| {} |", row.join(" | "))?;
                if at == 0 {
                    writeln!(out, "|---|{}", "--:|".repeat(row.len() - 1))?;
                }
            }
            writeln!(out, "\n{}", self.legend())?;
            let troubles = self.troubles();
            if !troubles.is_empty() {
                writeln!(out, "\n## Not measured, or not always\n")?;
                troubles.iter().try_for_each(|trouble| writeln!(out, "- {trouble}"))?;
            }
            writeln!(out, "\n## How it is measured\n\n{METHOD}")?;
            writeln!(out, "\n## What is compared\n")?;
            for row in self.rows.iter().filter(|row| row.is_present()) {
                let version = row.version.as_deref().unwrap_or_default();
                let bytes = row.target.dialect().delivery_bytes().unwrap_or_default();
                write!(out, "- **{}** ({version}). {} ", row.target.title(), row.target.note())?;
                writeln!(out, "{bytes} bytes for a delivery.")?;
            }
            writeln!(out, "\n## The spread\n\nMedian (least–most) of {} turns.\n", plan.rounds)?;
            writeln!(out, "| server | CPU, single | CPU, bursts | thousand deliveries/s | KiB idle |")?;
            writeln!(out, "|---|--:|--:|--:|--:|")?;
            for row in self.rows.iter().filter(|row| row.is_present()) {
                let title = row.target.title();
                let speed = row.speed.scaled(1e-3);
                writeln!(out, "| {title} | {} | {} | {speed} | {} |", row.single, row.bursts, row.idle)?;
            }
            Ok(())
        };
        write(&mut out).map_err(io::Error::other)?;
        Ok(out)
    }

    /// What the columns say, a line for each.
    fn legend(&self) -> String {
        let plan = &self.plan;
        let paces: Vec<_> = plan.paces.iter().map(|pace| thousands(f64::from(*pace))).collect();
        format!(
            "- {} subscribers of one topic, payloads of {PAYLOAD_BYTES} bytes. Medians; turns of each server: {}.\n\
             - CPU: seconds of the server's processor time, user and system, for a million deliveries; of single \
             messages, and of bursts of 16.\n\
             - deliveries/s: at full speed, by the slower of server and client.\n\
             - p50, p99: milliseconds from when a message was due to be sent to when a subscriber had it, at {} \
             deliveries per second.\n\
             - KiB idle: resident memory for each of {} connections that are subscribed; in {} of the turns.",
            thousands(plan.subscribers as f64),
            plan.rounds,
            paces.join(" and "),
            thousands(plan.idle as f64),
            plan.idle_rounds.min(plan.rounds),
        )
    }
}

/// The table for a terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells();
        let columns = cells.first().map_or(0, Vec::len);
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &cells {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if at == 0 { write!(f, "{cell:<width$}")? } else { write!(f, "  {cell:>width$}")? }
            }
            f.write_char('\n')?;
        }
        writeln!(f, "\n{}", self.legend())?;
        self.troubles().iter().try_for_each(|trouble| writeln!(f, "{trouble}"))
    }
}

const METHOD: &str = "\
- One server runs at a time, fresh for each turn, kept to the first core; the client is one thread on the second. Over a \
loopback interface: no network, no TLS, no compression.
- The client speaks each protocol itself and compares every byte of every subscriber with what it must get. A message \
that is lost, comes twice or out of order ends the turn as a failure.
- Bursts are 16 messages in one write of the publisher. The next message or burst is published when everybody has got \
the last; at full speed up to 64 messages are on their way.
- The client does not sleep in `epoll_wait`, where a server would pay for waking it: it looks at its sockets every half \
millisecond, and ten times as often while it measures latency, for all alike. Latencies below about 0.2 ms are not \
resolved, and the time for reading a thousand sockets is in them.
- Before the figures come 20 messages, for which TCP acknowledges every segment at once, and bursts for most of a second.
- The bare limit holds nothing for a connection, so it has no figure for memory. Memory of the kernel (sockets) is in no \
figure.
- Processor time and memory are those of the server with all its threads and child processes.
- Commands: `make bench-peers`; with 10,000 subscribers `cargo bench --bench peers -- --subscribers 10000`.";

/// The machine, without its name.
fn machine() -> Result<String, fmt::Error> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let models = cpu.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let models: Vec<_> = models.map(|(_, model)| model).collect();
    let mut out = String::new();
    let model = models.first().unwrap_or(&"unknown processor");
    let cores = models.len();
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    write!(out, "Machine: {model}, {cores} cores, Linux {kernel}.")?;
    Ok(out)
}

/// What somebody said, without where things lie on this machine.
fn without_paths(text: &str) -> String {
    [env!("CARGO_TARGET_TMPDIR"), env!("CARGO_MANIFEST_DIR")]
        .iter()
        .fold(text.to_owned(), |text, place| text.replace(place, "…"))
}

fn none() -> String {
    "–".into()
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { none() }
}

fn thousands(value: f64) -> String {
    if !value.is_finite() {
        return none();
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
