//! The topics `system.cpu`, `system.memory` and `system.network`: what /proc tells of this machine, every second.
//! Reading is apart from understanding, so that the latter can be tested.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};
use topichub::{Hub, PublishError};

const EVERY: Duration = Duration::from_secs(1);

/// Whether this machine has what we read.
pub(super) fn is_readable() -> bool {
    ["/proc/stat", "/proc/meminfo", "/proc/net/dev"].iter().all(|path| Path::new(path).exists())
}

/// `system.cpu`, in percent of the time since the last message.
#[derive(Debug, PartialEq, Serialize)]
struct Cpu {
    percent: f64,
    per_core: Vec<f64>,
}

/// `system.memory`.
#[derive(Debug, PartialEq, Serialize)]
struct Memory {
    used_bytes: u64,
    total_bytes: u64,
    percent: f64,
}

/// `system.network`: all interfaces but the loopback.
#[derive(Debug, PartialEq, Serialize)]
struct Network {
    rx_bytes_per_s: u64,
    tx_bytes_per_s: u64,
}

pub(super) async fn run(hub: Hub) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Instant, Counters)> = None;
    loop {
        let now = ticks.tick().await;
        let Some(counters) = Counters::read() else {
            continue;
        };
        if let Some((then, earlier)) = &before
            && publish(&hub, &counters, earlier, now - *then).await.is_err()
        {
            return;
        }
        before = Some((now, counters));
    }
}

async fn publish(
    hub: &Hub,
    now: &Counters,
    before: &Counters,
    between: Duration,
) -> Result<(), PublishError> {
    super::publish(hub, "system.cpu", &now.cpu(before)).await?;
    if let Some(memory) = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(Memory::parse) {
        super::publish(hub, "system.memory", &memory).await?;
    }
    super::publish(hub, "system.network", &now.network(before, between)).await
}

/// What the kernel counts since the machine has started.
#[derive(Debug, PartialEq)]
struct Counters {
    /// All cores together, then each.
    cores: Vec<Ticks>,
    rx_bytes: u64,
    tx_bytes: u64,
}

/// Time of a core, in ticks of the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Counters {
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let net = std::fs::read_to_string("/proc/net/dev").ok()?;
        let (rx_bytes, tx_bytes) = parse_net(&net);
        Some(Self { cores: parse_stat(&stat), rx_bytes, tx_bytes })
    }

    fn cpu(&self, before: &Self) -> Cpu {
        let mut percents = self.cores.iter().zip(&before.cores).map(|(now, before)| {
            let all = now.all.saturating_sub(before.all).max(1);
            percent(now.busy.saturating_sub(before.busy), all)
        });
        Cpu { percent: percents.next().unwrap_or_default(), per_core: percents.collect() }
    }

    fn network(&self, before: &Self, between: Duration) -> Network {
        let per_s =
            |now: u64, before: u64| (now.saturating_sub(before) as f64 / between.as_secs_f64()) as u64;
        Network {
            rx_bytes_per_s: per_s(self.rx_bytes, before.rx_bytes),
            tx_bytes_per_s: per_s(self.tx_bytes, before.tx_bytes),
        }
    }
}

impl Memory {
    /// Of /proc/meminfo, which counts in KiB (proc_meminfo(5)).
    fn parse(meminfo: &str) -> Option<Self> {
        let bytes = |name: &str| -> Option<u64> {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        let (total_bytes, available) = (bytes("MemTotal:")?, bytes("MemAvailable:")?);
        let used_bytes = total_bytes.saturating_sub(available);
        Some(Self { used_bytes, total_bytes, percent: percent(used_bytes, total_bytes.max(1)) })
    }
}

/// Of /proc/stat, the lines `cpu` and `cpuN`: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)). Guest
/// time, which follows, is in user time already.
fn parse_stat(stat: &str) -> Vec<Ticks> {
    let cores = stat.lines().filter(|line| line.starts_with("cpu"));
    cores
        .map(|line| {
            let ticks: Vec<u64> =
                line.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse().unwrap_or(0)).collect();
            let all = ticks.iter().sum();
            let idle: u64 = ticks.iter().skip(3).take(2).sum();
            Ticks { busy: all - idle, all }
        })
        .collect()
}

/// Of /proc/net/dev, the bytes received and sent: the first and ninth number of each interface (proc_pid_net(5)).
fn parse_net(dev: &str) -> (u64, u64) {
    let interfaces =
        dev.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    interfaces.fold((0, 0), |(rx, tx), (_, numbers)| {
        let number = |index| {
            numbers.split_whitespace().nth(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        (rx + number(0), tx + number(8))
    })
}

/// To one decimal.
fn percent(part: u64, whole: u64) -> f64 {
    (1000.0 * part as f64 / whole as f64).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(stat: &str, net: &str) -> Counters {
        let (rx_bytes, tx_bytes) = parse_net(net);
        Counters { cores: parse_stat(stat), rx_bytes, tx_bytes }
    }

    #[test]
    fn load_is_what_was_not_idle_since_the_last_look() {
        let before =
            counters("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 100 0 100 700 100 0 0 0 9 9\nintr 5\n", "");
        let now =
            counters("cpu  125 0 125 725 125 0 0 0 0 0\ncpu0 125 0 125 725 125 0 0 0 9 9\nintr 6\n", "");
        assert_eq!(now.cpu(&before), Cpu { percent: 50.0, per_core: vec![50.0] });
        assert_eq!(now.cpu(&now), Cpu { percent: 0.0, per_core: vec![0.0] });
    }

    #[test]
    fn the_loopback_is_no_network() {
        let head = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";
        let dev = |bytes: u64| {
            format!(
                "{head}    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n  eth0: {bytes} 1 0 0 0 0 0 0 {} 1 0 0 0 0 0 0\n",
                2 * bytes
            )
        };
        let (before, now) = (counters("", &dev(1000)), counters("", &dev(3000)));
        let expected = Network { rx_bytes_per_s: 1000, tx_bytes_per_s: 2000 };
        assert_eq!(now.network(&before, Duration::from_secs(2)), expected);
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let meminfo = "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     250 kB\n";
        let expected = Memory { used_bytes: 768_000, total_bytes: 1_024_000, percent: 75.0 };
        assert_eq!(Memory::parse(meminfo), Some(expected));
        assert_eq!(Memory::parse("nothing"), None);
    }
}
