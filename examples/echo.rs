//! The echo server of the WebSocket tutorials, at every path: what you send comes back, compressed if you offer
//! permessage-deflate. It shows the sans-I/O WebSocket code of `topichub-protocol` under a plain tokio socket, and
//! is what conformance suites run against.
//!
//! ```sh
//! cargo run --example echo -- 127.0.0.1:9001
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use topichub::protocol::websocket::deflate::{Agreed, Deflater, Inflaters, Settings, WindowBits, negotiate};
use topichub::protocol::websocket::handshake::{accept_key, is_valid_key};
use topichub::protocol::websocket::{Closed, ClosedBy, Config, Connection, Event, MessageKind, Opcode};

const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer that broke the protocol has to read why.
const LINGER: Duration = Duration::from_secs(2);
/// Each connection has its own deflater here, so that clients get the window they ask for. A server that sends one
/// message to many keeps the default, one window for all.
const DEFLATE: Settings = Settings { server_window_bits_min: WindowBits::MIN };
/// An echo has one reader, for whom it is compressed once. Autobahn's group 12, 4.5 GB, takes 50 s of this server's
/// processor time, and 88 s at level 6.
const DEFLATE_LEVEL: u8 = 1;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: echo ADDR:PORT, for instance: echo 127.0.0.1:9001");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(address).await?;
    println!("echoing at ws://{}/", listener.local_addr()?);
    let inflaters = Rc::new(RefCell::new(Inflaters::new()));
    loop {
        let (stream, _) = listener.accept().await?;
        actix_web::rt::spawn(serve(stream, inflaters.clone()));
    }
}

async fn serve(mut stream: TcpStream, inflaters: Rc<RefCell<Inflaters>>) {
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(&mut stream)).await {
        Ok(Ok(Some(accepted))) => _ = echo(stream, accepted, &inflaters).await,
        Ok(Ok(None)) => _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await,
        Ok(Err(_)) | Err(_) => {}
    }
}

struct Accepted {
    deflate: Option<Agreed>,
    /// What came behind the request already.
    early: Vec<u8>,
}

/// Reads the request and accepts it. `None` if it is no WebSocket handshake.
async fn handshake(stream: &mut TcpStream) -> std::io::Result<Option<Accepted>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > HEADER_BYTES_MAX {
            return Ok(None);
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(parsed) = request.parse(&bytes) else { return Ok(None) };
        let httparse::Status::Complete(length) = parsed else { continue };

        let values = |name: &'static str| {
            let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
            named.filter_map(|header| std::str::from_utf8(header.value).ok())
        };
        let key = values("sec-websocket-key").next().map(str::trim);
        let Some(key) = key.filter(|key| is_valid_key(key)) else { return Ok(None) };
        let deflate = negotiate(values("sec-websocket-extensions"), &DEFLATE);
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {}\r\n",
            accept_key(key)
        );
        if let Some(agreed) = deflate {
            head += &format!("sec-websocket-extensions: {agreed}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).await?;
        return Ok(Some(Accepted { deflate, early: bytes.split_off(length) }));
    }
}

async fn echo(
    mut stream: TcpStream,
    accepted: Accepted,
    inflaters: &RefCell<Inflaters>,
) -> std::io::Result<()> {
    let mut config = Config::server(MESSAGE_BYTES_MAX);
    config.deflate = accepted.deflate;
    let deflater = accepted.deflate.map(|agreed| Deflater::new(DEFLATE_LEVEL, agreed.server_window_bits()));
    let mut echo = Echo { connection: Connection::new(config), deflater, out: Vec::new() };
    let mut input = accepted.early;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let closed = echo.receive(&mut input, &mut inflaters.borrow_mut());
        stream.write_all(&echo.out).await?;
        match closed.map(|closed| closed.by) {
            Some(ClosedBy::Violation(_)) => return hang_up_last(stream, &mut buffer).await,
            Some(_) => return Ok(()),
            None => echo.out.clear(),
        }
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        input.clear();
        input.extend_from_slice(&buffer[..count]);
    }
}

struct Echo {
    connection: Connection,
    /// If compression was agreed on.
    deflater: Option<Deflater>,
    out: Vec<u8>,
}

impl Echo {
    /// Takes all of `input`, answers into `out`, and says if that was the end.
    fn receive(&mut self, input: &mut [u8], inflaters: &mut Inflaters) -> Option<Closed> {
        let mut at = 0;
        while at < input.len() {
            let received = self.connection.receive_with(&mut input[at..], &mut self.out, inflaters);
            at += received.consumed;
            match received.event {
                Some(Event::Message { kind, bytes }) => self.send(kind, &bytes),
                Some(Event::Closed(closed)) => return Some(closed),
                Some(Event::Ping(_) | Event::Pong(_)) | None => {}
            }
        }
        None
    }

    fn send(&mut self, kind: MessageKind, bytes: &[u8]) {
        let opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
        match &mut self.deflater {
            Some(deflater) => self.connection.send_deflated(opcode, bytes, &mut self.out, deflater),
            None => self.connection.send(opcode, bytes, &mut self.out),
        }
    }
}

/// Lets the peer read our close frame: hanging up on bytes it still sends would reset the connection.
async fn hang_up_last(mut stream: TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    stream.shutdown().await?;
    let rest = async { while stream.read(buffer).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(LINGER, rest).await;
    Ok(())
}
