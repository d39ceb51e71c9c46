//! The address of the server: checked as text wherever it comes from, and listened on.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use topichub::Listener;

/// Connections that wait to be accepted. Thousands of clients come back at once after a restart; the kernel may cap it
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// What the address of a unix socket begins with; its path follows.
pub(crate) const UNIX: &str = "unix:";

/// Who may connect to a unix socket: its owner and group.
#[cfg(unix)]
const UNIX_MODE: u32 = 0o660;

/// More threads than this only wait for one another.
pub(crate) const WORKERS_MAX: usize = 1024;

/// Nobody waits longer for a server to stop.
const DRAIN_MAX: Duration = Duration::from_secs(3600);

/// `HOST:PORT`, the port a number up to 65535. Whether the host exists turns out when it is listened on.
pub(crate) fn parse_address(text: &str) -> Result<String, String> {
    if let Some(path) = text.strip_prefix(UNIX) {
        let usable = cfg!(unix) && !path.is_empty();
        return usable
            .then(|| text.to_owned())
            .ok_or_else(|| "a path is needed, such as unix:/run/topichub.sock".to_owned());
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("an address with a port is needed, such as 127.0.0.1:8080, [::1]:8080 or localhost:8080"
            .to_owned()),
    }
}

/// A number of threads.
pub(crate) fn parse_workers(text: &str) -> Result<usize, String> {
    let workers = text.parse().map_err(|_| "not a whole number".to_owned())?;
    check_workers(workers).map(|()| workers)
}

pub(crate) fn check_workers(workers: usize) -> Result<(), String> {
    if (1..=WORKERS_MAX).contains(&workers) {
        Ok(())
    } else {
        Err(format!("1 to {WORKERS_MAX} workers are possible"))
    }
}

/// A time over which clients are sent away.
pub(crate) fn parse_drain(text: &str) -> Result<Duration, String> {
    let drain =
        humantime::parse_duration(text).map_err(|_| "a time is needed, such as 30s or 2m".to_owned())?;
    check_drain(drain).map(|()| drain)
}

pub(crate) fn check_drain(drain: Duration) -> Result<(), String> {
    if drain <= DRAIN_MAX { Ok(()) } else { Err("0s to 1h are possible".to_owned()) }
}

/// The server could not listen.
#[derive(Debug, Error)]
#[error("cannot listen on {address}")]
pub(crate) struct ListenError {
    address: String,
    source: io::Error,
}

impl ListenError {
    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => Some(
                "another program has this port: stop it, or choose another with --listen (port 0 is any free one)",
            ),
            io::ErrorKind::PermissionDenied => Some(
                "ports below 1024 need the capability CAP_NET_BIND_SERVICE: choose a higher one with --listen",
            ),
            io::ErrorKind::AddrNotAvailable => Some(
                "this machine has no such address: 127.0.0.1 is for this machine alone, 0.0.0.0 for all others too",
            ),
            _ => None,
        }
    }
}

/// Listens on a unix socket, or the first address of `HOST:PORT` that can be had.
pub(crate) fn listen(address: &str) -> Result<Listener, ListenError> {
    let failed = |source| ListenError { address: address.to_owned(), source };
    #[cfg(unix)]
    if let Some(path) = address.strip_prefix(UNIX) {
        return Listener::unix(Path::new(path), UNIX_MODE).map_err(failed);
    }
    let mut last = io::ErrorKind::NotFound.into();
    for candidate in address.to_socket_addrs().map_err(failed)? {
        match listen_on(candidate) {
            Ok(listener) => return Ok(listener.into()),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that is started again need not wait until the kernel has forgotten the old one's connections.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
