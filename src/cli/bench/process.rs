//! What a process has spent and holds, and which cores it may use. Linux says; elsewhere nothing is known.
//! Whose process it is, and when to look, is not decided here.

use std::process::Stdio;
use std::time::Duration;

/// A process on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(u32);

impl Process {
    pub(super) fn new(pid: u32) -> Self {
        Self(pid)
    }

    /// The one we are.
    pub(super) fn ourselves() -> Self {
        Self(std::process::id())
    }

    /// Its resident memory, in bytes.
    pub(super) fn resident_bytes(self) -> Option<u64> {
        // The first counts page by page; the other may be off by some pages for each core.
        ["smaps_rollup", "status"].iter().find_map(|file| {
            let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.0)).ok()?;
            let line = text.lines().find(|line| line.starts_with("Rss:") || line.starts_with("VmRSS:"))?;
            let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kib * 1024)
        })
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;

    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::time::clock_getcpuclockid;
    use nix::unistd::Pid;

    pub(super) fn thread_id() -> Option<i32> {
        Some(nix::unistd::gettid().as_raw())
    }

    /// Of this thread alone.
    pub(super) fn thread_time() -> Option<Duration> {
        Some(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID.now().ok()?.into())
    }

    /// `/proc/PID/stat` would count in hundredths of a second.
    pub(super) fn cpu_time(pid: u32) -> Option<Duration> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?);
        Some(clock_getcpuclockid(pid).ok()?.now().ok()?.into())
    }

    pub(super) fn cores() -> Vec<usize> {
        let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
        (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
    }

    pub(super) fn keep_to(cores: &[usize]) -> bool {
        let mut set = CpuSet::new();
        let set_all = cores.iter().try_for_each(|core| set.set(*core));
        set_all.and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).is_ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    pub(super) fn thread_id() -> Option<i32> {
        None
    }

    pub(super) fn thread_time() -> Option<Duration> {
        None
    }

    pub(super) fn cpu_time(_: u32) -> Option<Duration> {
        None
    }

    pub(super) fn cores() -> Vec<usize> {
        Vec::new()
    }

    pub(super) fn keep_to(_: &[usize]) -> bool {
        false
    }
}

impl Process {
    /// Its processor time so far, user and system, of all its threads.
    pub(super) fn cpu_time(self) -> Option<Duration> {
        system::cpu_time(self.0)
    }
}

/// The processor time of this thread so far.
pub(super) fn thread_time() -> Option<Duration> {
    system::thread_time()
}

/// Lets other threads of ours go before this one, and before those that it starts from now on. Whether that worked:
/// there is no such call in safe code, so the system's own command is asked.
pub(super) fn step_back() -> bool {
    let Some(thread) = system::thread_id() else { return false };
    let mut renice = std::process::Command::new("renice");
    renice.args(["-n", "10", "-p", &thread.to_string()]);
    renice.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    renice.status().is_ok_and(|status| status.success())
}

/// The cores this thread may use.
pub(super) fn cores() -> Vec<usize> {
    system::cores()
}

/// Keeps this thread, and the threads and processes that it starts from now on, to some cores. Whether that worked.
pub(super) fn keep_to(cores: &[usize]) -> bool {
    system::keep_to(cores)
}
