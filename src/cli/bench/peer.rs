//! One connection that asks and waits for answers: handshake, subscribing, publishing.
//! Thousands that only receive become `readers`; what messages mean for the run is the `ledger`'s.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use topichub::Filter;
use topichub::protocol::websocket::deflate::OFFER;
use topichub::protocol::websocket::{Closed, ClosedBy, Config, Connection, Event, Opcode, Received};
use topichub::protocol::{
    Codec, Command, CommandId, OneOrMany, Operation, Push, Reply, ServerMessage, Subscribe, SubscribeOptions,
    Subscribed, Welcome,
};
use uuid::Uuid;

use super::error::PeerError;
use super::response::Response;
use super::target::Target;

/// From the first packet to the answer.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// More than any payload of ours in any codec.
const MESSAGE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The most topics in one command.
const TOPICS_PER_COMMAND: usize = 500;

/// How a connection is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) codec: Codec,
    /// Whether to offer permessage-deflate.
    pub(super) deflate: bool,
    /// Whether to take as little as possible, which is for those that do not read.
    pub(super) small_window: bool,
}

impl Wish {
    pub(super) fn plain(codec: Codec) -> Self {
        Self { codec, deflate: false, small_window: false }
    }
}

/// A connection that has been welcomed.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    pub(super) websocket: Connection,
    pub(super) codec: Codec,
    /// Whether the server accepted compression.
    pub(super) deflates: bool,
    pub(super) welcome: Option<Welcome>,
    /// What has come and not been looked at.
    pub(super) unread: Vec<u8>,
    unsent: Vec<u8>,
    /// How much of that has been sent.
    sent: usize,
    payload: Vec<u8>,
}

impl Peer {
    /// Connects and waits for `welcome`.
    pub(super) async fn open(target: &Target, wish: Wish) -> Result<Self, PeerError> {
        let opening = timeout(CONNECT_TIMEOUT, Self::handshake(target, wish)).await;
        opening.unwrap_or(Err(PeerError::NoAnswer(CONNECT_TIMEOUT)))
    }

    async fn handshake(target: &Target, wish: Wish) -> Result<Self, PeerError> {
        let mut stream = connect(target, wish.small_window).await.map_err(PeerError::Unreachable)?;
        let (key, codec) = (generate_key(), wish.codec);
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {}\r\n",
            target.path(),
            target.host(),
            codec.subprotocol()
        );
        if wish.deflate {
            request.push_str("Sec-WebSocket-Extensions: ");
            request.push_str(OFFER);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        write_all(&stream, request.as_bytes()).await?;
        let (response, unread) = Response::read(&mut stream).await?;
        let agreed = response.check(&key, codec, wish.deflate)?;
        let config = Config::client(MESSAGE_BYTES_MAX, Uuid::new_v4().as_u64_pair().0);
        let websocket = Connection::new(agreed.map_or(config, |agreed| config.with_deflate(agreed)));
        let mut peer = Self {
            stream,
            websocket,
            codec,
            deflates: agreed.is_some(),
            welcome: None,
            unread,
            unsent: Vec::new(),
            sent: 0,
            payload: Vec::new(),
        };
        match peer.next().await? {
            ServerMessage::Push(Push::Welcome(welcome)) => peer.welcome = Some(welcome),
            _ => return Err(PeerError::Unreadable("something before welcome".to_owned())),
        }
        Ok(peer)
    }

    /// Subscribes to all of them and waits for the answers. What comes behind them is still unread.
    pub(super) async fn subscribe(
        &mut self,
        filters: &[Filter],
        options: &SubscribeOptions,
    ) -> Result<Vec<Subscribed>, PeerError> {
        let subscribing = timeout(CONNECT_TIMEOUT, self.subscribe_to_all(filters, options)).await;
        subscribing.unwrap_or(Err(PeerError::NoAnswer(CONNECT_TIMEOUT)))
    }

    async fn subscribe_to_all(
        &mut self,
        filters: &[Filter],
        options: &SubscribeOptions,
    ) -> Result<Vec<Subscribed>, PeerError> {
        let mut subscribed = Vec::with_capacity(filters.len());
        for filters in filters.chunks(TOPICS_PER_COMMAND) {
            let filters = match filters {
                [filter] => OneOrMany::One(filter.clone()),
                _ => OneOrMany::Many(filters.to_vec()),
            };
            let operation = Operation::Subscribe(Subscribe { filters, options: options.clone() });
            self.feed(&Command { id: Some(CommandId::Integer(0)), operation });
            self.flush().await?;
            loop {
                match self.next().await? {
                    ServerMessage::Reply(Reply::Subscribed { topics, .. }) => {
                        subscribed.extend(topics.iter().cloned());
                        break;
                    }
                    ServerMessage::Reply(Reply::Error(error)) => return Err(PeerError::Command(error)),
                    _ => {}
                }
            }
        }
        Ok(subscribed)
    }

    /// Writes a command down. Returns how long it is, in bytes.
    pub(super) fn feed(&mut self, command: &Command) -> usize {
        self.payload.clear();
        self.codec.encode_command(command, &mut self.payload);
        self.websocket.send(opcode(self.codec), &self.payload, &mut self.unsent);
        self.payload.len()
    }

    /// Sends what has been written down. May be dropped while it waits.
    pub(super) async fn flush(&mut self) -> Result<(), PeerError> {
        while self.sent < self.unsent.len() {
            self.stream.writable().await.map_err(PeerError::Lost)?;
            match self.stream.try_write(&self.unsent[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(PeerError::Lost(error)),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }

    /// The next reply or push that this version knows. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<ServerMessage, PeerError> {
        loop {
            while !self.unread.is_empty() {
                if let Some(message) = self.take()? {
                    return Ok(message);
                }
            }
            self.flush().await?;
            match self.stream.read_buf(&mut self.unread).await {
                Ok(0) => return Err(PeerError::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(PeerError::Lost(error)),
            }
        }
    }

    /// Goes on in what has come. Pongs are written down on the way.
    fn take(&mut self) -> Result<Option<ServerMessage>, PeerError> {
        let Received { consumed, event } = self.websocket.receive(&mut self.unread, &mut self.unsent);
        let message = match event {
            Some(Event::Message { bytes, .. }) => match self.codec.decode_server(&bytes) {
                Ok(message) => Some(message),
                Err(error) if error.is_unknown() => None,
                Err(error) => return Err(PeerError::Unreadable(error.to_string())),
            },
            Some(Event::Closed(closed)) => return Err(ended(closed)),
            Some(Event::Ping(_) | Event::Pong(_)) | None => None,
        };
        self.unread.drain(..consumed);
        match message {
            // The close frame that follows says the same.
            Some(ServerMessage::Push(Push::Goodbye(goodbye))) => {
                Err(PeerError::Closed { code: goodbye.code, reason: goodbye.reason })
            }
            message => Ok(message),
        }
    }
}

/// The kind of frame that a codec goes in.
pub(super) fn opcode(codec: Codec) -> Opcode {
    if codec.is_text() { Opcode::Text } else { Opcode::Binary }
}

/// How a connection ended.
pub(super) fn ended(closed: Closed) -> PeerError {
    match closed.by {
        ClosedBy::Violation(violation) => PeerError::Unreadable(violation.to_string()),
        _ => PeerError::Closed { code: closed.code, reason: closed.reason },
    }
}

/// Connects; the connection is forgotten at its end at once, because thousands in `TIME_WAIT` would use up the ports.
async fn connect(target: &Target, small_window: bool) -> io::Result<TcpStream> {
    let socket = if target.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if small_window {
        socket.set_recv_buffer_size(4096)?;
    }
    let stream = socket.connect(target.address).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> Result<(), PeerError> {
    while !bytes.is_empty() {
        stream.writable().await.map_err(PeerError::Lost)?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(PeerError::Lost(error)),
        }
    }
    Ok(())
}
