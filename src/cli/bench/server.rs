//! A server of our own: this program again, as `topichub serve` in a process of its own, for one run.
//! How it is measured is `process`'s, what is asked of it the scenarios'.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::error::BenchError;
use super::process::{self, Process};

/// A server that ends with this value.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Where it listens, as `127.0.0.1:PORT`.
    pub(super) address: String,
    /// Whether it has cores that we keep off.
    pub(super) has_cores: bool,
}

/// What is said about any other server must not be about this one.
const ENVIRONMENT: [&str; 6] =
    ["TOPICHUB_LISTEN", "TOPICHUB_WORKERS", "TOPICHUB_CONFIG", "TOPICHUB_LOG", "TOPICHUB_DEMO", "RUST_LOG"];

impl Server {
    /// Starts it. Where there are more cores than workers, the first are for it alone and the last is ours.
    pub(super) fn start(workers: usize) -> Result<Self, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::Start)?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--workers", &workers.to_string()]);
        command.args(["--log", "warn,topichub::cli::serve=info"]);
        ENVIRONMENT.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C at the terminal is for us: the server must live until we have the last figures.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);

        let cores = process::cores();
        let has_cores = workers < cores.len() && process::keep_to(&cores[..workers]);
        let child = command.spawn();
        if has_cores {
            process::keep_to(&cores[cores.len() - 1..]);
        }
        let child = child.map_err(BenchError::Start)?;
        let mut server = Self { child, address: String::new(), has_cores };
        server.await_start()?;
        Ok(server)
    }

    fn await_start(&mut self) -> Result<(), BenchError> {
        let Some(stderr) = self.child.stderr.take() else {
            return Err(BenchError::NotStarted("its log cannot be read".to_owned()));
        };
        let mut log = BufReader::new(stderr);
        let mut said = String::new();
        loop {
            let start = said.len();
            if log.read_line(&mut said).map_err(BenchError::Start)? == 0 {
                return Err(BenchError::NotStarted(said.trim_end().to_owned()));
            }
            if let Some((_, rest)) = said[start..].split_once("serves http://") {
                self.address = rest.split(' ').next().unwrap_or_default().to_owned();
                break;
            }
        }
        // Warnings and errors are for who looks on.
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| eprintln!("the server says: {line}"));
        });
        Ok(())
    }

    pub(super) fn process(&self) -> Process {
        Process::new(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
