//! How many messages a second come through one subscription, beside bare tokio-tungstenite with serde_json, which reads
//! the same frames into the same type. `cargo bench -p topichub-client --bench throughput [-- MESSAGES ROUNDS]`
//!
//! The server is a thread that writes ready-made bytes as fast as they are taken; the client has one thread. Beside the
//! time that passes stands the CPU time of the client's thread, where Linux tells it: that is less disturbed by others.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message as Frame;
use topichub_client::protocol::websocket::handshake::accept_key;
use topichub_client::protocol::websocket::{Opcode, encode_frame};
use topichub_client::{Full, connect};

#[derive(Deserialize)]
struct Price {
    price: f64,
    #[expect(dead_code, reason = "read as a program would")]
    size: u32,
    #[expect(dead_code, reason = "read as a program would")]
    exchange: String,
}

/// What a program of few lines reads.
#[derive(Deserialize)]
struct Bare {
    op: String,
    #[expect(dead_code, reason = "read as a program would")]
    topic: String,
    offset: u64,
    data: Price,
}

fn frame(text: &str, out: &mut Vec<u8>) {
    encode_frame(out, Opcode::Text, text.as_bytes(), None);
}

/// Welcomes everybody, answers one `subscribe`, and then pours.
fn serve(messages: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut flood = Vec::new();
    frame(
        r#"{"op":"subscribed","id":1,"topic":"ticker.AAPL","epoch":"k3v9","offset":0,"replayed":0,"recovered":true}"#,
        &mut flood,
    );
    for offset in 1..=messages {
        let epoch = if offset == 1 { r#","epoch":"k3v9""# } else { "" };
        frame(
            &format!(
                r#"{{"op":"message","topic":"ticker.AAPL","offset":{offset}{epoch},"data":{{"price":{}.25,"size":100,"exchange":"XNAS"}}}}"#,
                offset % 1000
            ),
            &mut flood,
        );
    }
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            pour(stream, &flood);
        }
    });
    address
}

fn pour(mut stream: TcpStream, flood: &[u8]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    });
    let mut out = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: pubsub.json\r\n\r\n",
        accept_key(key.unwrap())
    )
    .into_bytes();
    frame(
        r#"{"op":"welcome","session":"0f8b7a52-9d1c-4f6e-8a53-1c2d3e4f5a6b","server":"flood/1","protocol":1,"ping_ms":25000,"limits":{"message_bytes":65536,"topics_per_session":128,"topic_bytes":255,"depth":64}}"#,
        &mut out,
    );
    stream.write_all(&out).unwrap();
    let _ = stream.read(&mut [0; 1024]).unwrap(); // the `subscribe`
    let _ = stream.write_all(flood);
    let _ = stream.read(&mut [0; 1024]); // the end
}

async fn bare(address: SocketAddr, messages: u64) -> Duration {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "pubsub.json".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let subscribe = r#"{"op":"subscribe","id":1,"topic":"ticker.AAPL","replay":{"last":0}}"#;
    futures_util::SinkExt::send(&mut socket, Frame::text(subscribe)).await.unwrap();
    let (mut sum, mut last) = (0.0, 0);
    let _welcome = socket.next().await.unwrap().unwrap();
    let _subscribed = socket.next().await.unwrap().unwrap();
    let began = Instant::now();
    while last < messages {
        let Frame::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        let message: Bare = serde_json::from_str(&text).unwrap();
        if message.op == "message" && message.offset > last {
            last = message.offset;
            sum += message.data.price;
        }
    }
    assert!(sum > 0.0);
    began.elapsed()
}

async fn ours(address: SocketAddr, messages: u64) -> Duration {
    let hub = connect(&format!("ws://{address}")).await.unwrap();
    let mut prices = hub.subscribe("ticker.AAPL").full(Full::Wait).await.unwrap();
    let (mut sum, mut last) = (0.0, 0);
    let began = Instant::now();
    while last < messages {
        let message = prices.next().await.unwrap().unwrap();
        last = message.offset;
        sum += message.json::<Price>().unwrap().price;
    }
    assert!(sum > 0.0);
    let elapsed = began.elapsed();
    hub.close().await;
    elapsed
}

/// How long this thread has been on a CPU.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split_whitespace().next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Times of several rounds: what has passed, and how much of it on a CPU.
#[derive(Default)]
struct Times {
    passed: Vec<Duration>,
    on_cpu: Vec<Duration>,
}

impl Times {
    fn take(&mut self, round: impl FnOnce() -> Duration) {
        let before = cpu_time();
        self.passed.push(round());
        self.on_cpu.push(cpu_time() - before);
    }
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let messages = numbers.next().unwrap_or(300_000);
    let rounds = numbers.next().unwrap_or(7);
    let address = serve(messages);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut theirs, mut us) = (Times::default(), Times::default());
    for _ in 0..rounds {
        theirs.take(|| runtime.block_on(bare(address, messages)));
        us.take(|| runtime.block_on(ours(address, messages)));
    }
    let (bare, ours) = (median(&mut theirs.passed), median(&mut us.passed));
    let rate = |seconds: f64| messages as f64 / seconds;
    println!("bare tokio-tungstenite and serde_json: {:>9.0} messages/s", rate(bare));
    println!("topichub-client, one subscription:     {:>9.0} messages/s", rate(ours));
    println!("ratio: {:.2}", bare / ours);
    println!("ratio by CPU time: {:.2}", median(&mut theirs.on_cpu) / median(&mut us.on_cpu));
}
