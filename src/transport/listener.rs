//! Where a server takes connections: bound sockets, and what is to be expected of what comes there.

use std::io;
use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(unix)]
use std::path::Path;

use super::tls::Tls;

/// A place to be connected to, for [`serve`](crate::serve).
#[derive(Debug)]
pub struct Listener {
    pub(super) bound: Bound,
    pub(super) expected: Expected,
}

/// What comes before HTTP.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    pub(super) tls: Option<Tls>,
    /// Whether connections of trusted proxies begin with a header of theirs.
    pub(super) proxy_protocol: bool,
    /// Whether it is for those who run the server, and for nobody else.
    pub(super) for_operators: bool,
}

#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a unix socket, for whom its file's `mode` allows. A file that a server has left behind is replaced;
    /// one where somebody listens is not.
    ///
    /// # Errors
    /// If somebody listens there, or there is something else than a socket, or the directory may not be written to.
    #[cfg(unix)]
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        use std::os::unix::net::UnixStream;

        let is_socket = |path: &Path| Ok::<_, io::Error>(path.symlink_metadata()?.file_type().is_socket());
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_socket(path)? => {
                let Err(unanswered) = UnixStream::connect(path) else { return Err(error) };
                if unanswered.kind() != io::ErrorKind::ConnectionRefused {
                    return Err(unanswered);
                }
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        Ok(listener.into())
    }

    /// Takes TLS only. On a unix socket, which nobody can listen in on, it makes no difference.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { expected: Expected { tls: Some(tls), ..self.expected }, ..self }
    }

    /// Expects that each connection from a [trusted proxy](crate::Settings::trusted_proxies) begins with a header of the
    /// PROXY protocol, version 1 or 2, that names the client. From others it is not understood.
    #[must_use]
    pub fn with_proxy_protocol(self) -> Self {
        Self { expected: Expected { proxy_protocol: true, ..self.expected }, ..self }
    }

    /// Serves what those who run the server look at, and nothing else: `/healthz`, `/readyz` and `/metrics`, for whoever
    /// reaches it.
    #[must_use]
    pub fn for_operators(self) -> Self {
        Self { expected: Expected { for_operators: true, ..self.expected }, ..self }
    }

    /// Where TCP connections come; none for a unix socket.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match &self.bound {
            Bound::Tcp(listener) => listener.local_addr().map(Some),
            #[cfg(unix)]
            Bound::Unix(_) => Ok(None),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { bound: Bound::Tcp(listener), expected: Expected::default() }
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self { bound: Bound::Unix(listener), expected: Expected::default() }
    }
}
