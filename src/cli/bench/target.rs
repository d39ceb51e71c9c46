//! The server a run is made against: its address, and its process if it is on this machine.
//! What is said to it is `peer`'s.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use topichub_client::ServerUrl;

use super::error::{BenchError, PeerError};
use super::peer::CONNECT_TIMEOUT;
use super::plan::Plan;
use super::process::Process;
use super::server::Server;

/// The server.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: ServerUrl,
    pub(super) address: SocketAddr,
    /// What is to be measured, if it can be.
    pub(super) process: Option<Process>,
    /// Ours, if it was started for the run.
    pub(super) server: Option<Server>,
}

impl Target {
    /// Starts a server if the plan names none, and finds it.
    pub(super) async fn of(plan: &Plan) -> Result<Self, BenchError> {
        let (url, server) = match &plan.url {
            Some(url) => (url.clone(), None),
            None => {
                let server = Server::start(plan.workers, plan.config().as_deref())?;
                let url = format!("ws://{}", server.address).parse();
                (url.map_err(|_| BenchError::NotStarted(server.address.clone()))?, Some(server))
            }
        };
        let process = match (&server, plan.pid) {
            (Some(server), _) => Some(server.process()),
            (None, Some(pid)) => {
                let process = Process::new(pid);
                Some(process.resident_bytes().map(|_| process).ok_or(BenchError::NoProcess(pid))?)
            }
            (None, None) => None,
        };
        let finding = timeout(CONNECT_TIMEOUT, find(&url)).await;
        let found = finding.unwrap_or(Err(PeerError::NoAnswer(CONNECT_TIMEOUT)));
        let address = found.map_err(|error| error.of("us", &url))?;
        Ok(Self { url, address, process, server })
    }

    /// The same server, for whoever must not end it.
    pub(super) fn borrowed(&self) -> Self {
        Self { url: self.url.clone(), address: self.address, process: self.process, server: None }
    }

    /// What is named in the `Host` header.
    pub(super) fn host(&self) -> &str {
        self.url.authority()
    }

    /// What is asked for.
    pub(super) fn path(&self) -> &str {
        self.url.path()
    }
}

/// The first address of a host at which somebody listens.
async fn find(url: &ServerUrl) -> Result<SocketAddr, PeerError> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in lookup_host((url.host(), url.port())).await.map_err(PeerError::Unreachable)? {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(PeerError::Unreachable(last))
}
