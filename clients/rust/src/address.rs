//! The address of a server as people type it, and as the WebSocket handshake needs it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use tokio_tungstenite::tungstenite::http::Uri;

/// Where WebSockets are at home if the URL says nothing else.
const PATH: &str = "/ws";

/// The WebSocket address of a server: `ws://` or `wss://`, host, port and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Uri);

/// A text is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No `ws://` or its like.
    #[error("begin with ws:// or http:// (over TLS wss:// or https://), as in ws://127.0.0.1:8080")]
    Scheme,
    /// Something else is wrong.
    #[error("not an address such as ws://127.0.0.1:8080")]
    Malformed,
}

impl ServerUrl {
    /// What the handshake asks for.
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("wss")
    }

    /// The name or IP address, an IPv6 one without its brackets.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port: 80, or over TLS 443, if the URL names none.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// Host and port as they stand in the URL, for a `Host` header.
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// Path and query of the WebSocket.
    pub fn path(&self) -> &str {
        self.0.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl FromStr for ServerUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => "ws",
            "wss" | "https" => "wss",
            _ => return Err(AddressError::Scheme),
        };
        let given: Uri = format!("{scheme}://{rest}").parse().map_err(|_| AddressError::Malformed)?;
        let authority = given.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or(AddressError::Malformed)?.as_str();
        let path = if given.path() == "/" { PATH } else { given.path() };
        let query = given.query().map(|query| format!("?{query}")).unwrap_or_default();
        let uri = format!("{scheme}://{authority}{path}{query}").parse();
        Ok(Self(uri.map_err(|_| AddressError::Malformed)?))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, AddressError>) {
        let got = text.parse::<ServerUrl>().map(|url| url.to_string());
        assert_eq!(got, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn a_url_without_a_path_means_the_websocket_of_the_server() {
        check("ws://127.0.0.1:8080", Ok("ws://127.0.0.1:8080/ws"));
        check("http://127.0.0.1:8080/", Ok("ws://127.0.0.1:8080/ws"));
        check("https://live.example.com", Ok("wss://live.example.com/ws"));
        check("wss://example.com/live/ws?a=b", Ok("wss://example.com/live/ws?a=b"));
        check("WS://[::1]:8080", Ok("ws://[::1]:8080/ws"));
    }

    #[test]
    fn other_texts_are_refused() {
        check("127.0.0.1:8080", Err(AddressError::Scheme));
        check("ftp://127.0.0.1", Err(AddressError::Scheme));
        check("ws://", Err(AddressError::Malformed));
        check("ws://a b", Err(AddressError::Malformed));
    }
}
