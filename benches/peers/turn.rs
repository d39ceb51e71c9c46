//! One target's turn: a fresh server for each, warmed up, then each figure once.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::launch::{Outside, Running};
use super::load::Load;
use super::target::Target;
use crate::support::now;

/// Messages in one write of the publisher.
pub(crate) const BURST: u64 = 16;

/// Messages on fresh connections that are not measured: at first TCP acknowledges every segment at once, which the
/// sender pays for on a loopback interface.
const WARM_UP: usize = 20;

/// How long a server has to put away what the last handshakes left, before its memory is looked at.
const REST: Duration = Duration::from_millis(500);

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) subscribers: usize,
    /// Connections while memory is looked at, and in how many of the rounds.
    pub(crate) idle: usize,
    pub(crate) idle_rounds: usize,
    /// Bursts that are not measured: two servers compile themselves while they run.
    pub(crate) warm_up: Duration,
    /// For how long each of single messages, bursts and full speed is measured.
    pub(crate) time: Duration,
    /// Deliveries per second while latency is measured, and for how long.
    pub(crate) paces: Vec<u32>,
    pub(crate) paced: Duration,
}

impl Plan {
    /// From one message to the next at a pace.
    fn interval(&self, pace: u32) -> Duration {
        Duration::from_secs_f64(self.subscribers as f64 / f64::from(pace))
    }
}

/// What one turn gives. Seconds of processor time are the same as µs per delivery, for a million deliveries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Seconds of processor time for a million deliveries.
    pub(crate) single: Option<f64>,
    pub(crate) bursts: Option<f64>,
    /// Deliveries per second.
    pub(crate) speed: Option<f64>,
    /// For each pace, half of the deliveries and 99 of 100 took at most so many milliseconds.
    pub(crate) latencies: Vec<[f64; 2]>,
    /// KiB for each idle connection.
    pub(crate) idle: Option<f64>,
}

/// Measures a target. What has been measured before an error stays in `figures`.
pub(crate) fn measure(
    target: Target,
    outside: &Outside,
    directory: &Path,
    plan: &Plan,
    with_idle: bool,
    figures: &mut Figures,
) -> io::Result<()> {
    // The bare limit holds nothing for its connections.
    if with_idle && !matches!(target, Target::Limit) {
        let mut running = Running::start(target, directory, outside)?;
        let idle = idle(&running, plan.idle);
        figures.idle = explained(idle, &mut running)?;
    }
    let mut running = Running::start(target, directory, outside)?;
    let result = deliveries(&running, plan, figures);
    explained(result, &mut running)
}

fn deliveries(running: &Running, plan: &Plan, figures: &mut Figures) -> io::Result<()> {
    let mut load = Load::connect(&running.endpoint, plan.subscribers)?;
    (0..WARM_UP).try_for_each(|_| load.burst(1))?;
    repeat(&mut load, BURST, plan.warm_up)?;
    figures.single = cost(running, &mut load, 1, plan.time)?;
    figures.bursts = cost(running, &mut load, BURST, plan.time)?;
    let (messages, time) = load.full_speed(plan.time)?;
    figures.speed = Some(messages as f64 * load.len() as f64 / time.as_secs_f64());
    for pace in &plan.paces {
        let interval = plan.interval(*pace);
        let count = (plan.paced.as_secs_f64() / interval.as_secs_f64()).ceil() as u32;
        let mut latencies = load.paced(interval, count)?;
        latencies.sort_unstable();
        figures.latencies.push([50, 99].map(|percent| percentile(&latencies, percent)));
    }
    Ok(())
}

/// Seconds of processor time for a million deliveries in bursts of so many messages.
fn cost(running: &Running, load: &mut Load, burst: u64, time: Duration) -> io::Result<Option<f64>> {
    let Some(before) = running.cpu_time()? else {
        repeat(load, burst, time)?;
        return Ok(None);
    };
    let deliveries = repeat(load, burst, time)?;
    let spent = running.cpu_time()?.unwrap_or_default().saturating_sub(before);
    Ok(Some(spent.as_secs_f64() * 1e6 / deliveries as f64))
}

/// Bursts, each after everybody has the last one. How many deliveries it were.
fn repeat(load: &mut Load, burst: u64, time: Duration) -> io::Result<u64> {
    let (start, mut deliveries) = (now(), 0);
    while start.elapsed() < time {
        load.burst(burst)?;
        deliveries += burst * load.len() as u64;
    }
    Ok(deliveries)
}

/// KiB for each of so many connections.
fn idle(running: &Running, count: usize) -> io::Result<Option<f64>> {
    thread::sleep(REST);
    let Some(before) = running.resident_bytes()? else { return Ok(None) };
    let load = Load::connect(&running.endpoint, count)?;
    thread::sleep(REST);
    let after = running.resident_bytes()?.unwrap_or_default();
    Ok(Some((after as f64 - before as f64) / 1024.0 / load.len() as f64))
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

/// With the end of the server, if that is behind an error.
fn explained<T>(result: io::Result<T>, running: &mut Running) -> io::Result<T> {
    result.map_err(|error| match running.ended() {
        Some(status) => io::Error::new(error.kind(), format!("the server ended ({status}); {error}")),
        None => error,
    })
}
