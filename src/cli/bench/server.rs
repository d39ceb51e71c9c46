//! A server of our own: this program again, as `topichub serve` in a process of its own, for one run.
//! How it is measured is `process`'s, what is asked of it the scenarios'.

use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use uuid::Uuid;

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
    /// Cores that are neither its nor ours.
    pub(super) spare_cores: Vec<usize>,
}

/// A configuration that a server reads once; it is gone with this value.
struct ConfigFile(PathBuf);

impl ConfigFile {
    fn write(text: &str) -> io::Result<Self> {
        let file = Self(std::env::temp_dir().join(format!("topichub-bench-{}.toml", Uuid::new_v4())));
        std::fs::write(&file.0, text)?;
        Ok(file)
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What is said about any other server must not be about this one.
const ENVIRONMENT: [&str; 7] = [
    "TOPICHUB_LISTEN",
    "TOPICHUB_WORKERS",
    "TOPICHUB_CONFIG",
    "TOPICHUB_LOG",
    "TOPICHUB_DEMO",
    "TOPICHUB_DRAIN",
    "RUST_LOG",
];

impl Server {
    /// Starts it, with a configuration if there is one. Where there are more cores than workers, the first are for it alone and the last is ours.
    pub(super) fn start(workers: usize, config: Option<&str>) -> Result<Self, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::Start)?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--workers", &workers.to_string()]);
        command.args(["--log", "warn,topichub::cli::serve=info"]);
        let config = config.map(ConfigFile::write).transpose().map_err(BenchError::Start)?;
        if let Some(ConfigFile(path)) = &config {
            command.arg("--config").arg(path);
        }
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
        let spare_cores = if has_cores { cores[workers..cores.len() - 1].to_vec() } else { Vec::new() };
        let mut server = Self { child, address: String::new(), has_cores, spare_cores };
        server.await_start()?;
        drop(config);
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
