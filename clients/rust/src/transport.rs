//! The WebSocket: opening it, frames in and out, and what went wrong in our own words.
//! The only place that knows tungstenite and HTTP.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::{ProtocolError, UrlError};
use tokio_tungstenite::tungstenite::http::{Response, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message as Frame, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use topichub_protocol::{Codec, ErrorCode, Reconnect};

use crate::address::ServerUrl;
use crate::error::Error;
use crate::session::{End, Refusal};

/// The most that is read before others have their turn.
const BATCH: usize = 64;

/// What is needed to open a connection.
pub(crate) struct Settings {
    pub(crate) url: Arc<ServerUrl>,
    pub(crate) codec: Codec,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) message_bytes_max: usize,
    #[cfg(feature = "rustls")]
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// What has come.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// A ping or pong.
    Sign,
    /// The end; nothing comes after it.
    End(End),
}

/// An open WebSocket.
pub(crate) struct Transport {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    codec: Codec,
    outgoing: VecDeque<Frame>,
    is_flushed: bool,
    /// A write has failed. What the server has said before is still to be read: it says why.
    is_mute: bool,
}

impl Transport {
    /// Connects, with TLS if the URL says so, and shakes hands.
    pub(crate) async fn open(settings: Arc<Settings>) -> Result<Self, Refusal> {
        let refusal = |error| refusal(&settings.url, error);
        let mut request = ClientRequestBuilder::new(settings.url.uri().clone())
            .with_sub_protocol(settings.codec.subprotocol());
        for (name, value) in &settings.headers {
            request = request.with_header(name, value);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(settings.message_bytes_max))
            .max_frame_size(Some(settings.message_bytes_max));
        #[cfg(feature = "rustls")]
        let connecting = {
            let connector = settings.tls.clone().map(tokio_tungstenite::Connector::Rustls);
            tokio_tungstenite::connect_async_tls_with_config(request, Some(config), true, connector)
        };
        #[cfg(not(feature = "rustls"))]
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        let (socket, _) = connecting.await.map_err(refusal)?;
        let codec = settings.codec;
        Ok(Self { socket, codec, outgoing: VecDeque::new(), is_flushed: true, is_mute: false })
    }

    /// Says this when the connection takes it.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        let frame = match self.codec {
            Codec::Json => Utf8Bytes::try_from(bytes).map(Frame::Text).ok(),
            Codec::MsgPack => Some(Frame::Binary(bytes.into())),
        };
        self.outgoing.extend(frame);
    }

    /// Says that this is the end.
    pub(crate) fn close(&mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::default() };
        self.outgoing.push_back(Frame::Close(Some(frame)));
    }

    /// Writes what waits, as far as it goes.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) {
        while !self.is_mute && !self.outgoing.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    if let Some(frame) = self.outgoing.pop_front() {
                        self.is_mute = Pin::new(&mut self.socket).start_send(frame).is_err();
                        self.is_flushed = false;
                    }
                }
                Poll::Ready(Err(_)) => self.is_mute = true,
                Poll::Pending => break,
            }
        }
        if !self.is_mute && !self.is_flushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.is_flushed = true,
                Poll::Ready(Err(_)) => self.is_mute = true,
                Poll::Pending => {}
            }
        }
    }

    /// Writes what waits and reads what is there, up to a batch. Ready if anything has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Incoming>) -> Poll<()> {
        self.poll_write(cx);
        while batch.len() < BATCH {
            let Poll::Ready(frame) = Pin::new(&mut self.socket).poll_next(cx) else { break };
            let incoming = Incoming::from(frame);
            let is_end = matches!(incoming, Incoming::End(_));
            batch.push(incoming);
            if is_end {
                break;
            }
        }
        if batch.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl From<Option<Result<Frame, tungstenite::Error>>> for Incoming {
    fn from(frame: Option<Result<Frame, tungstenite::Error>>) -> Self {
        match frame {
            Some(Ok(Frame::Text(text))) => Self::Text(text),
            Some(Ok(Frame::Binary(bytes))) => Self::Binary(bytes),
            Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => Self::Sign,
            Some(Ok(Frame::Close(Some(frame)))) => {
                Self::End(End::Closed { code: frame.code.into(), reason: frame.reason.as_str().to_owned() })
            }
            Some(Ok(Frame::Close(None))) => Self::End(End::Closed { code: 1005, reason: String::new() }),
            Some(Err(error)) => Self::End(End::Lost(error.to_string())),
            None => Self::End(End::Lost("it ended without a close".to_owned())),
        }
    }
}

/// Whether a batch has been cut short.
pub(crate) fn is_whole(batch: &[Incoming]) -> bool {
    batch.len() >= BATCH
}

/// Why the handshake failed, and whether to come back.
fn refusal(url: &Arc<ServerUrl>, error: tungstenite::Error) -> Refusal {
    let url = Arc::clone(url);
    let later =
        |error| Refusal { error, verdict: Reconnect::Later, after: Duration::ZERO, is_unauthorized: false };
    let unreachable =
        |source: io::Error| Error::Unreachable { url: Arc::clone(&url), source: Arc::new(source) };
    let stranger = |why: &str| Error::Stranger { url: Arc::clone(&url), why: why.into(), code: None };
    match error {
        tungstenite::Error::Io(source) => later(unreachable(source)),
        tungstenite::Error::Url(UrlError::UnableToConnect(_)) => {
            later(unreachable(io::ErrorKind::ConnectionRefused.into()))
        }
        tungstenite::Error::Url(UrlError::TlsFeatureNotEnabled) => {
            let why = io::Error::new(io::ErrorKind::Unsupported, "this program was built without TLS");
            Refusal { verdict: Reconnect::Never, ..later(unreachable(why)) }
        }
        tungstenite::Error::Http(response) => refusal_by_http(&url, &response),
        tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            later(stranger("the server took none of our subprotocols"))
        }
        other => later(stranger(&other.to_string())),
    }
}

pub(crate) fn refusal_by_http(url: &Arc<ServerUrl>, response: &Response<Option<Vec<u8>>>) -> Refusal {
    let url = Arc::clone(url);
    let status = response.status();
    let (why, code) = answer_of(response);
    let (verdict, error) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (Reconnect::Never, Error::NotLetIn { url, why, code })
        }
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::UPGRADE_REQUIRED => {
            (Reconnect::Never, Error::Stranger { url, why, code })
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = seconds.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            (Reconnect::Later, Error::Full { url, why, after })
        }
        _ => (Reconnect::Later, Error::Stranger { url, why, code }),
    };
    let after = match &error {
        Error::Full { after: Some(after), .. } => *after,
        _ => Duration::ZERO,
    };
    Refusal { error, verdict, after, is_unauthorized: status == StatusCode::UNAUTHORIZED }
}

/// An HTTP answer where a WebSocket was asked for: its status, and what a problem document (RFC 9457) says.
fn answer_of(response: &Response<Option<Vec<u8>>>) -> (Arc<str>, Option<ErrorCode>) {
    let status = response.status();
    let problem: Option<serde_json::Value> =
        response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
    let text = |key| problem.as_ref().and_then(|problem| problem.get(key)).and_then(|text| text.as_str());
    let why = match text("detail") {
        Some(detail) => format!("the answer is {status}: {detail}"),
        None => format!("the answer is {status}"),
    };
    (why.into(), text("code").and_then(ErrorCode::parse))
}
