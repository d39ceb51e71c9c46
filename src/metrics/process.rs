//! What the system knows of this process, where there is `/proc` (proc_pid_status(5), proc_pid_stat(5)).

use std::fs;

/// In which unit the kernel tells times to programs, whatever it counts in itself.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is known; nothing where it cannot be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_files: Option<u64>,
    pub(super) open_files_max: Option<u64>,
    pub(super) threads: Option<u64>,
    /// Since the beginning of 1970.
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    pub(super) fn look() -> Self {
        let (status, stat) = (read("status"), read("stat"));
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let limits = read("limits");
        // The name of the program stands in brackets and may hold anything.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        let ticks = |number: usize| fields.get(number).and_then(|field| field.parse::<f64>().ok());
        let booted = value(&machine, "btime");
        let started = ticks(19).map(|ticks| ticks / TICKS_PER_SECOND);
        Self {
            resident_bytes: value(&status, "VmRSS:").map(|kib| kib * 1024),
            threads: value(&status, "Threads:"),
            cpu_seconds: ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            open_files: open_files(),
            open_files_max: value(&limits, "Max open files"),
            start_seconds: booted.zip(started).map(|(booted, started)| booted as f64 + started),
        }
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

/// The number behind a word at the beginning of a line.
fn value(text: &str, word: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Newer kernels say so as the size of the directory (since 6.2); with a million of them, counting would take a while.
fn open_files() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        count => Some(count),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let process = Process::look();
        assert!(process.resident_bytes > Some(100_000), "{process:?}");
        assert!(process.open_files >= Some(3) && process.open_files <= process.open_files_max, "{process:?}");
        assert!(process.threads >= Some(1) && process.cpu_seconds.is_some(), "{process:?}");
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let booted = value(&fs::read_to_string("/proc/stat").unwrap(), "btime").unwrap() as f64;
        let age = booted + uptime - process.start_seconds.unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age} s old");
    }
}
