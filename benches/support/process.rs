//! Servers under measurement: each a process of its own on the first core, while the benchmark keeps to the second.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::sys;

/// No ping falls into a measurement; everything else as it comes.
const CONFIG: &str = "[limits]\nping_interval = \"1h\"\n";

/// A server in a process of its own; it ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// `topichub serve`, as it is shipped, with one worker thread. `TOPICHUB_BIN` names another build of it.
    pub(crate) fn hub() -> io::Result<Self> {
        let program = std::env::var_os("TOPICHUB_BIN");
        let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_topichub").into()));
        command.args(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--log", "info"]);
        command.args(["--config", "/dev/stdin"]).env_clear();
        Self::start(command, CONFIG)
    }

    /// This program again, as the bare limit: see [`limit`](super::limit).
    pub(crate) fn limit() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(super::limit::ARGUMENT);
        Self::start(command, "")
    }

    /// Starts a server that says on standard error at which port of 127.0.0.1 it listens.
    fn start(mut command: Command, input: &str) -> io::Result<Self> {
        if let [core, _, ..] = *cores() {
            // SAFETY: between fork and exec, it makes one system call and allocates nothing.
            unsafe { command.pre_exec(move || sys::pin(core)) };
        }
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let mut log = BufReader::new(child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        server.address = address(&mut log)?;
        std::thread::spawn(move || io::copy(&mut log, &mut io::stderr()));
        Ok(server)
    }

    /// Its processor time so far, user and system.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        sys::cpu_time(self.child.id())
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Ok(pages.ok_or(io::ErrorKind::InvalidData)? * sys::page_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first address in what a server says, which it repeats to whoever looks on if there is none.
fn address(log: &mut impl BufRead) -> io::Result<SocketAddr> {
    let mut said = String::new();
    while log.read_line(&mut said)? > 0 {
        if let Some((_, rest)) = said.split_once("127.0.0.1:") {
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let port = port.parse().map_err(io::Error::other)?;
            return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
        }
    }
    Err(io::Error::other(format!("the server did not start: {said}")))
}

/// Keeps this process to the second core, if there is one, away from the server.
pub(crate) fn leave_the_first_core() -> io::Result<()> {
    match *cores() {
        [_, core, ..] => sys::pin(core),
        _ => Ok(()),
    }
}

/// The cores we were given, as they were before we chose one.
fn cores() -> &'static [usize] {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    CORES.get_or_init(|| sys::cores().unwrap_or_default())
}
