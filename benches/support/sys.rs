//! The system calls that the standard library does not have. The only unsafe code of the benchmarks.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

pub(crate) type Event = libc::epoll_event;

pub(crate) const NO_EVENT: Event = Event { events: 0, u64: 0 };

/// A level-triggered epoll set for reading.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; the descriptor is new and nobody else's.
        unsafe {
            let fd = check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Watches `file`; its events bear `token`.
    pub(crate) fn add(&self, file: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = Event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: `event` outlives the call.
        unsafe {
            check(libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, file.as_raw_fd(), &raw mut event))
        }?;
        Ok(())
    }

    /// How many of `events` it has filled; none if nothing happens for the time of `timeout`.
    pub(crate) fn wait(&self, events: &mut [Event], timeout: Duration) -> io::Result<usize> {
        let (len, timeout) = (events.len() as i32, timeout.as_millis() as i32);
        // SAFETY: the kernel writes at most `len` events.
        match unsafe { check(libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), len, timeout)) } {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.wait(events, Duration::from_secs(1))
            }
            result => Ok(result? as usize),
        }
    }
}

/// The cores this process may use.
pub(crate) fn cores() -> io::Result<Vec<usize>> {
    // SAFETY: a set of cores is plain bits, and the kernel writes at most its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        check(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set))?;
        Ok((0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect())
    }
}

/// Keeps this thread, and the threads and processes that it starts, on one core. Allocates nothing.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(0, size_of_val(&set), &raw const set))?;
    }
    Ok(())
}

/// The processor time of a process, user and system, of all its threads, in nanoseconds (`/proc/PID/stat` counts in
/// hundredths of a second).
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    // SAFETY: both calls write one plain value that outlives them.
    unsafe {
        let mut clock = 0;
        let errno = libc::clock_getcpuclockid(pid as i32, &raw mut clock);
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let mut time: libc::timespec = std::mem::zeroed();
        check(libc::clock_gettime(clock, &raw mut time))?;
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

/// Has this process killed when the thread that started it ends, however that happens. Allocates nothing.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes no pointers.
    unsafe { check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)) }?;
    Ok(())
}

/// Asks a process to end.
pub(crate) fn ask_to_end(pid: u32) {
    // SAFETY: takes no pointers. A process that is gone is an error that changes nothing.
    unsafe { libc::kill(pid as i32, libc::SIGTERM) };
}

/// Kills a process and all of its group, which it leads.
pub(crate) fn kill_group(leader: u32) {
    // SAFETY: takes no pointers. A group that is gone is an error that changes nothing.
    unsafe { libc::kill(-(leader as i32), libc::SIGKILL) };
}

/// Allows this process, and those it starts, as many open files as it may ask for. How many they are.
pub(crate) fn open_files_max() -> io::Result<u64> {
    // SAFETY: both calls use one plain value that outlives them.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
        Ok(limit.rlim_cur)
    }
}

/// The group to kill if this process is told to end; none if zero.
static GROUP: AtomicI32 = AtomicI32::new(0);

/// From now on, an interrupt or a request to end takes the group of `leader` along, whose processes may have children
/// that [`die_with_parent`] does not reach.
pub(crate) fn take_along(leader: u32) {
    GROUP.store(leader as i32, Ordering::Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler calls only what may be called in one.
        unsafe { libc::signal(signal, end as extern "C" fn(i32) as libc::sighandler_t) };
    }
}

extern "C" fn end(signal: i32) {
    let group = GROUP.load(Ordering::Relaxed);
    // SAFETY: kill(2) and _exit(2) are safe in signal handlers, and take no pointers.
    unsafe {
        if group != 0 {
            libc::kill(-group, libc::SIGKILL);
        }
        libc::_exit(128 + signal)
    }
}

/// The size of a page, in bytes.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: takes and writes no pointers.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
