//! The same work on other servers, side by side in one run: 1,000 subscribers, payloads of 128 bytes, one publisher, a
//! neutral client that speaks each one's protocol and checks that every subscriber gets every message in order. The
//! servers are on one core, one at a time and fresh for each turn; the client is on another. They take turns, so that noise
//! hits all alike, and the medians count. It prints a table and, for a whole run, writes `benches/RESULTS.md`.
//!
//! ```sh
//! make bench-peers                                    # installs the peers first
//! cargo bench --bench peers -- --quick                # shorter, prints only
//! cargo bench --bench peers -- topichub limit nats    # some of them, prints only
//! cargo bench --bench peers -- topichub url --url ws://127.0.0.1:9001/ --pid 4711
//! ```

#[path = "peers/mod.rs"]
mod peers;
mod support;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use peers::launch::Outside;
use peers::report::{Report, Row};
use peers::target::{Installation, Target};
use peers::turn::{self, Figures, Plan};
use support::limit;
use support::process;

/// Deliveries per second while latency is measured: well below what the slowest can do, and three times as many.
const PACES: [u32; 2] = [20_000, 60_000];

/// Open files that are not subscribers' connections.
const SPARE_FILES: u64 = 200;

/// Compares TopicHub with other servers.
#[derive(Parser)]
struct Arguments {
    /// Which servers; all that are installed if none is named
    targets: Vec<Target>,
    /// A shorter run
    #[arg(long)]
    quick: bool,
    /// How many turns each server has
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    subscribers: usize,
    /// How many connections there are while memory is looked at
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    idle: usize,
    /// A WebSocket server that sends to all clients what one sends
    #[arg(long, env = "PEER_URL")]
    url: Option<String>,
    /// Its process, for its processor time and memory
    #[arg(long, env = "PEER_PID", requires = "url")]
    pid: Option<u32>,
    /// Where the results are written; a whole run writes benches/RESULTS.md
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let time = |full, quick| Duration::from_millis(if self.quick { quick } else { full });
        Plan {
            rounds: self.rounds.unwrap_or(if self.quick { 1 } else { 5 }),
            subscribers: self.subscribers,
            idle: self.idle,
            idle_rounds: if self.quick { 1 } else { 3 },
            warm_up: time(800, 400),
            time: time(1_200, 700),
            paces: PACES.to_vec(),
            paced: time(1_500, 1_000),
        }
    }

    /// Those named, or all; somebody's server only if it is known where.
    fn targets(&self) -> Vec<Target> {
        let wanted = |target: &Target| match target {
            Target::Url if self.targets.is_empty() => self.url.is_some(),
            target => self.targets.is_empty() || self.targets.contains(target),
        };
        Target::ALL.into_iter().filter(wanted).collect()
    }

    /// Only a whole run may replace the published results.
    fn output(&self) -> Option<PathBuf> {
        let is_whole = self.targets.is_empty() && !self.quick && self.subscribers == 1_000;
        let published = || Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/RESULTS.md");
        self.output.clone().or_else(|| is_whole.then(published))
    }
}

fn main() -> io::Result<()> {
    if std::env::args().any(|arg| arg == limit::ARGUMENT) {
        return limit::run();
    }
    let arguments = Arguments::parse();
    let (plan, outside) = (arguments.plan(), Outside { url: arguments.url.clone(), pid: arguments.pid });
    let installation = Installation::read();
    process::leave_the_first_core()?;
    let files = support::sys::open_files_max()?;
    let connections = plan.subscribers.max(plan.idle) as u64;
    if files < connections + SPARE_FILES {
        let text =
            format!("{connections} connections are too many for the {files} open files that are allowed");
        return Err(io::Error::other(text));
    }

    let targets = arguments.targets().into_iter();
    let rows = targets.map(|target| Row::new(target, installation.version(target, &outside))).collect();
    let mut report = Report::new(plan.clone(), rows);
    for round in 1..=plan.rounds {
        // Nobody is always the next of the same one.
        let rows = report.rows();
        rows.rotate_left(1);
        for row in rows.iter_mut().filter(|row| row.goes_on()) {
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers").join(row.target.name());
            eprint!("round {round} of {}: {} … ", plan.rounds, row.target.title());
            let (mut figures, start) = (Figures::default(), support::now());
            let with_idle = round <= plan.idle_rounds;
            let result = turn::measure(row.target, &outside, &directory, &plan, with_idle, &mut figures);
            match &result {
                Ok(()) => eprintln!("{:.1} s", start.elapsed().as_secs_f64()),
                Err(error) => eprintln!("failed: {error}"),
            }
            row.push(figures, result.err());
        }
    }

    report.rows().sort_by_key(|row| Target::ALL.iter().position(|target| *target == row.target));
    print!("{report}");
    if let Some(path) = arguments.output() {
        std::fs::write(&path, report.markdown()?)?;
        eprintln!("written to {}", path.display());
    }
    Ok(())
}
