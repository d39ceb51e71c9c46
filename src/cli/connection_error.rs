//! Why there is no connection to a server, or no longer, and what to do about it.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio_tungstenite::tungstenite::error::{ProtocolError, UrlError};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::RETRY_AFTER;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, http};
use topichub::protocol::Reconnect;

use super::server_url::ServerUrl;
use super::{Exit, Failure};

/// No connection, or no longer.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    /// It could not be opened.
    #[error("cannot connect to {url}")]
    Unreachable { url: ServerUrl, source: io::Error },
    /// Whoever is there does not speak with us.
    #[error("no TopicHub at {url}: {why}")]
    Stranger { url: ServerUrl, why: String },
    /// It does not let us in.
    #[error("{url} does not let us in: {why}")]
    Unauthorized { url: ServerUrl, why: String },
    /// It takes no more connections now.
    #[error("{url} takes no more connections now: {why}")]
    Full { url: ServerUrl, why: String, retry_after: Option<u32> },
    /// It took too long.
    #[error("{url} did not answer within {} s", .within.as_secs())]
    NoAnswer { url: ServerUrl, within: Duration },
    /// The server closed it.
    #[error("the server closed the connection: {code}{}{reason}", if reason.is_empty() { "" } else { " " })]
    Closed { code: u16, reason: String },
    /// It ended without a close.
    #[error("the connection was lost")]
    Lost(#[source] tungstenite::Error),
    /// Nothing came for too long.
    #[error("the connection was lost: nothing heard for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server says what this version cannot read.
    #[error("the server said something that is not of this protocol: {0}")]
    Unreadable(String),
}

impl ConnectionError {
    /// Why the handshake failed.
    pub(crate) fn of_handshake(url: &ServerUrl, error: tungstenite::Error) -> Self {
        let url = url.clone();
        let stranger = |why: String| Self::Stranger { url: url.clone(), why };
        match error {
            tungstenite::Error::Io(source) => Self::Unreachable { url, source },
            tungstenite::Error::Url(UrlError::UnableToConnect(_)) => {
                Self::Unreachable { url, source: io::ErrorKind::ConnectionRefused.into() }
            }
            tungstenite::Error::Http(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                let seconds = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok());
                let (why, retry_after) =
                    (answer_of(&response), seconds.and_then(|seconds| seconds.parse().ok()));
                Self::Full { url, why, retry_after }
            }
            tungstenite::Error::Http(response) if response.status() == StatusCode::UNAUTHORIZED => {
                Self::Unauthorized { url, why: answer_of(&response) }
            }
            tungstenite::Error::Http(response) => stranger(answer_of(&response)),
            tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
                stranger("the server took none of our subprotocols".to_owned())
            }
            other => stranger(other.to_string()),
        }
    }

    /// Why an open connection ended.
    pub(crate) fn of_close(frame: Option<CloseFrame>) -> Self {
        match frame {
            Some(frame) => Self::Closed { code: frame.code.into(), reason: frame.reason.as_str().to_owned() },
            None => Self::Closed { code: 1005, reason: String::new() },
        }
    }

    fn advice(&self) -> Option<Cow<'static, str>> {
        if let Self::Full { retry_after: Some(seconds), .. } = self {
            return Some(format!("try again in {seconds} s").into());
        }
        self.fixed_advice().map(Cow::Borrowed)
    }

    fn fixed_advice(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                Some("is the server running? start one with: topichub serve")
            }
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::InvalidData => Some(
                "does the server speak TLS, with a certificate this machine trusts? without TLS begin with ws://",
            ),
            Self::Unreachable { .. } | Self::NoAnswer { .. } => {
                Some("is the address right, and can it be reached from here?")
            }
            Self::Stranger { .. } => {
                Some("is the address right? TopicHub's WebSocket is at /ws, over TLS begin with wss://")
            }
            Self::Unauthorized { .. } => Some("show a token or an API key: --token, or TOPICHUB_TOKEN"),
            Self::Full { .. } => Some("try again later"),
            Self::Closed { code, .. } => match Reconnect::after_close(*code) {
                Reconnect::Never => None,
                Reconnect::Later => Some("try again later"),
                Reconnect::Now => Some("connect again"),
            },
            Self::Lost(_) | Self::Silent(_) | Self::Unreadable(_) => None,
        }
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        Failure::new(Exit::NoConnection, &error, error.advice().as_deref())
    }
}

/// An HTTP answer where a WebSocket was asked for: its status, and what a problem document (RFC 9457) says.
fn answer_of(response: &http::Response<Option<Vec<u8>>>) -> String {
    let status = response.status();
    let problem: Option<serde_json::Value> =
        response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
    match problem.as_ref().and_then(|problem| problem["detail"].as_str()) {
        Some(detail) => format!("the answer is {status}: {detail}"),
        None => format!("the answer is {status}"),
    }
}
