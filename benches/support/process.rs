//! Servers under measurement: each a process of its own on the first core, while the benchmark keeps to the second.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::sys;

/// No ping falls into a measurement; everything else as it comes.
const CONFIG: &str = "[limits]\nping_interval = \"1h\"\n";

/// Who has no token may do nothing.
const AUTH: &str = "[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"a secret of thirty-two bytes or so\"\n";

/// How often one looks whether a server listens, and how long it is between two looks.
const ATTEMPTS: usize = 200;
const ATTEMPT: Duration = Duration::from_millis(50);

/// A server in a process of its own; it ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What everybody shows who comes.
    token: Option<String>,
}

impl Server {
    /// `topichub serve`, as it is shipped, with one worker thread. The first
    /// message of the topic has been published: it alone names the epoch, which nobody can know.
    pub(crate) fn hub() -> io::Result<Self> {
        Self::hub_with("")
    }

    /// The same where everybody has to show a token, and may do what it says.
    pub(crate) fn hub_by_token() -> io::Result<Self> {
        let mut command = Command::new(program());
        command.args(["token", "--config", "/dev/stdin", "--user", "ada", "--expires", "24h"]);
        command.args(["--subscribe", "bench.>", "--publish", "bench.>"]).env_clear();
        let mut issuing = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = issuing.stdin.take() {
            stdin.write_all(AUTH.as_bytes())?;
        }
        let issued = issuing.wait_with_output()?;
        let token = String::from_utf8(issued.stdout).map_err(io::Error::other)?.trim().to_owned();
        Self::serve(AUTH, Some(token))
    }

    /// The same with more in its configuration. With TLS nothing has been published.
    pub(crate) fn hub_with(config: &str) -> io::Result<Self> {
        Self::serve(config, None)
    }

    fn serve(config: &str, token: Option<String>) -> io::Result<Self> {
        let mut command = Command::new(program());
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "1",
            "--log",
            "info,topichub::sessions=off",
        ]);
        command.args(["--config", "/dev/stdin"]).env_clear();
        let mut server = Self::start(command, &format!("{CONFIG}{config}"))?;
        server.token = token;
        if !config.contains("[tls]") {
            super::publish_first(&server)?;
        }
        Ok(server)
    }

    /// This program again, as the bare limit: see [`limit`](super::limit).
    pub(crate) fn limit() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(super::limit::ARGUMENT);
        Self::start(command, "")
    }

    /// Starts a server that says on standard error at which port of 127.0.0.1 it listens.
    fn start(mut command: Command, input: &str) -> io::Result<Self> {
        let mut server = Self::spawn(command.stdin(Stdio::piped()).stderr(Stdio::piped()))?;
        if let Some(mut stdin) = server.child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let mut log = BufReader::new(server.child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?);
        server.address = address(&mut log)?;
        std::thread::spawn(move || io::copy(&mut log, &mut io::stderr()));
        Ok(server)
    }

    /// Starts a server that has been told where to listen, and waits until it does. What it says goes into `log`, and
    /// into the error if it ends.
    pub(crate) fn listening(mut command: Command, address: SocketAddr, log: &Path) -> io::Result<Self> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut server = Self::spawn(&mut command)?;
        server.address = address;
        for _ in 0..ATTEMPTS {
            if let Some(status) = server.child.try_wait()? {
                let said = std::fs::read(log)?;
                let said = String::from_utf8_lossy(&said);
                let last = said.trim_end().lines().next_back().unwrap_or("it said nothing");
                return Err(io::Error::other(format!("ended at once ({status}): {last}")));
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(ATTEMPT);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "did not listen in time"))
    }

    /// Starts a process on the first core, at the head of a group of its own.
    fn spawn(command: &mut Command) -> io::Result<Self> {
        let core = if let [core, _, ..] = *cores() { Some(core) } else { None };
        let prepare = move || {
            sys::die_with_parent()?;
            core.map_or(Ok(()), sys::pin)
        };
        // SAFETY: between fork and exec, it makes two system calls and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let child = command.process_group(0).spawn()?;
        sys::take_along(child.id());
        Ok(Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), token: None })
    }

    /// The header that shows the token, with its line break.
    pub(crate) fn authorization(&self) -> String {
        self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its processor time so far.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        cpu_time_of(self.pid())
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        resident_bytes_of(self.pid())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// The program under measurement; `TOPICHUB_BIN` names another build of it.
fn program() -> OsString {
    std::env::var_os("TOPICHUB_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_topichub").into())
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever has children should end them itself: nobody else would collect them.
        if family(self.pid()).is_ok_and(|family| family.len() > 1) {
            sys::ask_to_end(self.pid());
            (0..ATTEMPTS / 4).find(|_| {
                std::thread::sleep(ATTEMPT);
                self.ended().is_some()
            });
        }
        sys::kill_group(self.pid());
        let _ = self.child.wait();
    }
}

/// The processor time of a process so far, user and system, with all its threads and the processes it started.
pub(crate) fn cpu_time_of(pid: u32) -> io::Result<Duration> {
    family(pid)?.into_iter().map(sys::cpu_time).sum()
}

/// The resident memory of a process and of those it started, in bytes.
pub(crate) fn resident_bytes_of(pid: u32) -> io::Result<u64> {
    let of_one = |pid| {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Ok(pages.ok_or(io::ErrorKind::InvalidData)? * sys::page_bytes())
    };
    family(pid)?.into_iter().map(of_one).sum()
}

/// A process and all that descend from it.
fn family(pid: u32) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Whoever ends meanwhile is left out.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name, in parentheses, may hold anything.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split(' ').nth(2)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(family)
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
