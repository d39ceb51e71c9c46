//! The echo server of the WebSocket tutorials, at every path: what you send comes back. It shows the sans-I/O
//! WebSocket code of `topichub-protocol` under a plain tokio socket, and is what conformance suites run against.
//!
//! ```sh
//! cargo run --example echo -- 127.0.0.1:9001
//! ```

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use topichub::protocol::websocket::handshake::{accept_key, is_valid_key};
use topichub::protocol::websocket::{ClosedBy, Config, Connection, Event, MessageKind, Opcode};

const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer that broke the protocol has to read why.
const LINGER: Duration = Duration::from_secs(2);

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: echo ADDR:PORT, for instance: echo 127.0.0.1:9001");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(address).await?;
    println!("echoing at ws://{}/", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        actix_web::rt::spawn(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(&mut stream)).await {
        Ok(Ok(Some(early))) => _ = echo(stream, early).await,
        Ok(Ok(None)) => _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Reads the request and accepts it. `None` if it is no WebSocket handshake; else what came behind it already.
async fn handshake(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > HEADER_BYTES_MAX {
            return Ok(None);
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(parsed) = request.parse(&bytes) else { return Ok(None) };
        let httparse::Status::Complete(length) = parsed else { continue };

        let header = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        let key = header("sec-websocket-key").and_then(|header| std::str::from_utf8(header.value).ok());
        let Some(key) = key.map(str::trim).filter(|key| is_valid_key(key)) else { return Ok(None) };
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {}\r\n\r\n",
            accept_key(key)
        );
        stream.write_all(head.as_bytes()).await?;
        return Ok(Some(bytes.split_off(length)));
    }
}

async fn echo(mut stream: TcpStream, mut input: Vec<u8>) -> std::io::Result<()> {
    let mut connection = Connection::new(Config::server(MESSAGE_BYTES_MAX));
    let mut buffer = vec![0; 64 * 1024];
    let mut out = Vec::new();
    loop {
        let mut at = 0;
        while at < input.len() {
            let received = connection.receive(&mut input[at..], &mut out);
            at += received.consumed;
            match received.event {
                Some(Event::Message { kind, bytes }) => {
                    let opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
                    connection.send(opcode, &bytes, &mut out);
                }
                Some(Event::Closed(closed)) => {
                    stream.write_all(&out).await?;
                    return match closed.by {
                        ClosedBy::Violation(_) => hang_up_last(stream, &mut buffer).await,
                        _ => Ok(()),
                    };
                }
                Some(Event::Ping(_) | Event::Pong(_)) | None => {}
            }
        }
        stream.write_all(&out).await?;
        out.clear();
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        input.clear();
        input.extend_from_slice(&buffer[..count]);
    }
}

/// Lets the peer read our close frame: hanging up on bytes it still sends would reset the connection.
async fn hang_up_last(mut stream: TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    stream.shutdown().await?;
    let rest = async { while stream.read(buffer).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(LINGER, rest).await;
    Ok(())
}
