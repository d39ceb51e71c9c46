//! The way to the server: TCP, and TLS over it if the address says so.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::transport::Settings;

/// What frames are read from and written to.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

pub(crate) type Stream = Pin<Box<dyn Io>>;

/// Connects to the first of the host's addresses that lets us.
pub(crate) async fn dial(settings: &Settings) -> io::Result<Stream> {
    let url = &settings.url;
    let tcp = TcpStream::connect((url.host(), url.port())).await?;
    tcp.set_nodelay(true)?;
    if url.is_tls() { encrypt(tcp, settings).await } else { Ok(Box::pin(tcp)) }
}

#[cfg(feature = "rustls")]
async fn encrypt(tcp: TcpStream, settings: &Settings) -> io::Result<Stream> {
    let host = settings.url.host().to_owned();
    let name = rustls::pki_types::ServerName::try_from(host)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let config = settings.tls.clone().ok_or_else(|| io::Error::other("there is no TLS configuration"))?;
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?;
    Ok(Box::pin(tls))
}

#[cfg(not(feature = "rustls"))]
async fn encrypt(_: TcpStream, _: &Settings) -> io::Result<Stream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this program was built without TLS"))
}
