//! The server's answer to a handshake: whether it agrees, on what, and if not, why.
//! The request is `peer`'s.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use topichub::protocol::Codec;
use topichub::protocol::websocket::deflate::{Agreed, confirm};
use topichub::protocol::websocket::handshake::accept_key;

use super::error::PeerError;

/// A head or a body that is longer is not read to its end.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 4 * 1024;

/// An answer of HTTP/1.1.
#[derive(Debug)]
pub(super) struct Response {
    status: u16,
    reason: String,
    headers: Vec<(String, String)>,
    /// What a problem document (RFC 9457) says.
    detail: Option<String>,
}

impl Response {
    /// Reads the head, and the body if it is no agreement; with it comes what follows the head of an agreement.
    pub(super) async fn read(stream: &mut TcpStream) -> Result<(Self, Vec<u8>), PeerError> {
        let mut bytes = Vec::with_capacity(1024);
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(PeerError::Stranger("the answer is endless".to_owned()));
            }
            read(stream, &mut bytes).await?;
        };
        let mut rest = bytes.split_off(end + 4);
        let mut response = Self::parse(&String::from_utf8_lossy(&bytes))?;
        if response.status != 101 {
            let len = response.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
            while rest.len() < len && rest.len() < BODY_BYTES_MAX && read(stream, &mut rest).await.is_ok() {}
            let problem: Option<serde_json::Value> = serde_json::from_slice(&rest).ok();
            let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
            response.detail = detail.map(str::to_owned);
        }
        Ok((response, rest))
    }

    fn parse(head: &str) -> Result<Self, PeerError> {
        let mut lines = head.lines();
        let mut status = lines.next().unwrap_or_default().splitn(3, ' ');
        let version = status.next().unwrap_or_default();
        let code = status.next().and_then(|code| code.parse().ok());
        let (true, Some(code)) = (version.starts_with("HTTP/1."), code) else {
            return Err(PeerError::Stranger("the answer is not HTTP".to_owned()));
        };
        let reason = status.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Ok(Self { status: code, reason, headers, detail: None })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether it agrees to what was asked (RFC 6455 §4.1, RFC 7692 §5.1), and on compression.
    pub(super) fn check(&self, key: &str, codec: Codec, offered: bool) -> Result<Option<Agreed>, PeerError> {
        if self.status != 101 {
            return Err(self.refusal());
        }
        let stranger = |why: &str| Err(PeerError::Stranger(why.to_owned()));
        if self.header("sec-websocket-accept") != Some(&accept_key(key)) {
            return stranger("the answer is not to our handshake");
        }
        if self.header("sec-websocket-protocol") != Some(codec.subprotocol()) {
            return stranger("the server took none of our subprotocols");
        }
        let agreed = confirm(self.header("sec-websocket-extensions").into_iter());
        let agreed = agreed.map_err(|error| PeerError::Stranger(error.to_string()))?;
        if agreed.is_some() && !offered {
            return stranger("the server took an extension that was not offered");
        }
        Ok(agreed)
    }

    fn refusal(&self) -> PeerError {
        let Self { status, reason, .. } = self;
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let why = format!("the answer is {status} {reason}{detail}");
        match status {
            503 => {
                let after = self.header("retry-after").and_then(|seconds| seconds.parse().ok());
                PeerError::Busy { after: after.map(Duration::from_secs), why }
            }
            _ => PeerError::Stranger(why),
        }
    }
}

async fn read(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<(), PeerError> {
    match stream.read_buf(into).await {
        Ok(0) => Err(PeerError::Lost(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(error) => Err(PeerError::Lost(error)),
    }
}
