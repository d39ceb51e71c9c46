//! One blocking WebSocket client: enough to open a connection, to ask, and to publish.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use topichub::Filter;
use topichub::protocol::websocket::handshake::accept_key;
use topichub::protocol::websocket::{Config, Connection, Event, Received};
use topichub::protocol::{
    Codec, Command, CommandId, OneOrMany, Operation, Push, Reply, ServerMessage, Subscribe, SubscribeOptions,
};

use super::opcode;
use super::process::Server;

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// One client.
pub(crate) struct Peer {
    stream: TcpStream,
    codec: Codec,
    websocket: Connection,
    unread: Vec<u8>,
}

/// Connects, and forgets the connection at its end at once: thousands in `TIME_WAIT` would use up the ports.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

impl Peer {
    /// A client whose handshake is done and who has been welcomed.
    pub(crate) fn connect(server: &Server, codec: Codec) -> io::Result<Self> {
        let mut peer = Self::knock(server, codec)?;
        peer.enter()?;
        Ok(peer)
    }

    /// Connects and sends the request; [`enter`](Self::enter) comes next.
    pub(super) fn knock(server: &Server, codec: Codec) -> io::Result<Self> {
        let address = server.address;
        let mut stream = connect(address)?;
        let authorization = server.authorization();
        let subprotocol = codec.subprotocol();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n{authorization}\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let websocket = Connection::new(Config::client(MESSAGE_BYTES_MAX, 0));
        Ok(Self { stream, codec, websocket, unread: Vec::new() })
    }

    /// Reads the answer to the request, and the welcome.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        let head_len = loop {
            let end = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            self.read()?;
        };
        let head: Vec<u8> = self.unread.drain(..head_len).collect();
        let head = String::from_utf8_lossy(&head);
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(&accept_key(KEY)) {
            return Err(io::Error::other(format!("refused: {head}")));
        }
        match self.next()? {
            ServerMessage::Push(Push::Welcome(_)) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks to be subscribed; [`subscribed`](Self::subscribed) comes next.
    pub(super) fn subscribe(&mut self, filter: Filter) -> io::Result<()> {
        let subscribe = Subscribe { filters: OneOrMany::One(filter), options: SubscribeOptions::default() };
        self.send(&[Command { id: Some(CommandId::Integer(1)), operation: Operation::Subscribe(subscribe) }])
    }

    /// Reads the answer: at which offset the topic stands.
    pub(super) fn subscribed(&mut self) -> io::Result<u64> {
        match self.next()? {
            ServerMessage::Reply(Reply::Subscribed { topics: OneOrMany::One(topic), .. }) => {
                Ok(topic.position.map_or(0, |position| position.offset))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Sends commands in one write.
    pub(crate) fn send(&mut self, commands: &[Command]) -> io::Result<()> {
        let (mut frames, mut payload) = (Vec::new(), Vec::new());
        for command in commands {
            payload.clear();
            self.codec.encode_command(command, &mut payload);
            self.websocket.send(opcode(self.codec), &payload, &mut frames);
        }
        self.stream.write_all(&frames)
    }

    /// The next reply or push.
    pub(crate) fn next(&mut self) -> io::Result<ServerMessage> {
        loop {
            let mut answers = Vec::new();
            let Received { consumed, event } = self.websocket.receive(&mut self.unread, &mut answers);
            let message = match event {
                Some(Event::Message { bytes, .. }) => {
                    Some(self.codec.decode_server(&bytes).map_err(io::Error::other)?)
                }
                Some(Event::Closed(closed)) => return Err(io::Error::other(format!("closed: {closed:?}"))),
                Some(Event::Ping(_) | Event::Pong(_)) | None => None,
            };
            self.unread.drain(..consumed);
            self.stream.write_all(&answers)?;
            match message {
                Some(message) => return Ok(message),
                None if self.unread.is_empty() => self.read()?,
                None => {}
            }
        }
    }

    /// The bare socket, of which everything that came has been read.
    pub(super) fn into_stream(self) -> io::Result<TcpStream> {
        if self.unread.is_empty() { Ok(self.stream) } else { Err(io::Error::other("something came unasked")) }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

fn unexpected(message: &ServerMessage) -> io::Error {
    io::Error::other(format!("unexpected: {message:?}"))
}
