//! One connection to a server, as the terminal's commands need it: no reconnecting, errors that say what to do.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message as Frame, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use topichub::protocol::{Codec, Command, Push, ServerMessage, Welcome};

use super::connection_error::ConnectionError;
use super::server_url::ServerUrl;

/// From the first packet to `welcome`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// From our close frame to the server's.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long after the time of a ping we wait for it.
const PING_GRACE: Duration = Duration::from_secs(10);

/// An open connection that has been welcomed.
pub(crate) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    codec: Codec,
    silence_max: Duration,
    message_bytes_max: usize,
    scratch: Vec<u8>,
}

impl Connection {
    /// Connects and waits for `welcome`.
    pub(crate) async fn open(
        url: &ServerUrl,
        codec: Codec,
        token: Option<&str>,
    ) -> Result<Self, ConnectionError> {
        let no_answer = |_| ConnectionError::NoAnswer { url: url.clone(), within: CONNECT_TIMEOUT };
        timeout(CONNECT_TIMEOUT, Self::handshake(url, codec, token)).await.map_err(no_answer)?
    }

    async fn handshake(url: &ServerUrl, codec: Codec, token: Option<&str>) -> Result<Self, ConnectionError> {
        // rustls wants to be told whose cryptography it uses; that somebody has told it already is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut request = ClientRequestBuilder::new(url.uri().clone()).with_sub_protocol(codec.subprotocol());
        if let Some(token) = token {
            request = request.with_header("Authorization", format!("Bearer {}", token.trim()));
        }
        let (socket, _) = connect_async_with_config(request, None, true)
            .await
            .map_err(|error| ConnectionError::of_handshake(url, error))?;
        let mut connection = Self {
            socket,
            codec,
            silence_max: CONNECT_TIMEOUT,
            message_bytes_max: usize::MAX,
            scratch: Vec::new(),
        };
        let welcome = loop {
            if let ServerMessage::Push(Push::Welcome(welcome)) = connection.receive().await? {
                break welcome;
            }
        };
        connection.be_welcome(&welcome);
        Ok(connection)
    }

    fn be_welcome(&mut self, welcome: &Welcome) {
        self.silence_max = welcome.ping.saturating_add(PING_GRACE);
        self.message_bytes_max = usize::try_from(welcome.limits.message_bytes).unwrap_or(usize::MAX);
    }

    /// Writes a command without seeing to it that it leaves. Returns how long it is if that is more than the server
    /// takes, and then it is not sent: a server closes the connection over it.
    pub(crate) async fn feed(&mut self, command: &Command) -> Result<Result<(), TooLong>, ConnectionError> {
        self.scratch.clear();
        self.codec.encode_command(command, &mut self.scratch);
        let (len, max) = (self.scratch.len(), self.message_bytes_max);
        if len > max {
            return Ok(Err(TooLong { len, max }));
        }
        let bytes = Bytes::copy_from_slice(&self.scratch);
        let frame = match self.codec {
            Codec::Json => Utf8Bytes::try_from(bytes).map(Frame::Text).map_err(tungstenite::Error::from),
            Codec::MsgPack => Ok(Frame::Binary(bytes)),
        };
        self.socket.feed(frame.map_err(ConnectionError::Lost)?).await.map_err(ConnectionError::Lost)?;
        Ok(Ok(()))
    }

    /// Sends what has been fed.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.socket.flush().await.map_err(ConnectionError::Lost)
    }

    /// The next reply or push that this version knows. May be dropped while it waits.
    pub(crate) async fn receive(&mut self) -> Result<ServerMessage, ConnectionError> {
        loop {
            let silent = |_| ConnectionError::Silent(self.silence_max);
            let frame = timeout(self.silence_max, self.socket.next()).await.map_err(silent)?;
            let bytes: Bytes = match frame {
                Some(Ok(Frame::Text(text))) if self.codec.is_text() => text.into(),
                Some(Ok(Frame::Binary(bytes))) if !self.codec.is_text() => bytes,
                Some(Ok(Frame::Close(frame))) => return Err(ConnectionError::of_close(frame)),
                Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => continue,
                Some(Ok(Frame::Text(_) | Frame::Binary(_))) => {
                    return Err(ConnectionError::Unreadable("the wrong frame type".to_owned()));
                }
                Some(Err(error)) => return Err(ConnectionError::Lost(error)),
                None => return Err(ConnectionError::of_close(None)),
            };
            match self.codec.decode_server(&bytes) {
                Ok(message) => return Ok(message),
                Err(error) if error.is_unknown() => {}
                Err(error) => return Err(ConnectionError::Unreadable(error.to_string())),
            }
        }
    }

    /// Says goodbye; waits a moment for the answer.
    pub(crate) async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let closing = async {
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// A command is longer than the server takes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the message has {len} bytes on the wire, the server takes at most {max}")]
pub(crate) struct TooLong {
    len: usize,
    max: usize,
}
