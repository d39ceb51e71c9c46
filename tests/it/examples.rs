//! The examples, run as a reader would run them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A running example and the address it says it listens at.
struct Example {
    process: Child,
    address: String,
    /// Kept open, so that the example can go on printing.
    _output: BufReader<ChildStdout>,
}

impl Example {
    fn start(name: &str) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_topichub")).with_file_name("examples").join(name);
        assert!(binary.exists(), "build the examples first: cargo build --examples");
        let mut process = Command::new(binary).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let (_, address) = line.trim().trim_end_matches('/').split_once("//").unwrap();
        Self { address: address.to_owned(), process, _output: output }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[actix_web::test]
async fn echo_sends_back_what_it_gets_at_any_path() {
    let echo = Example::start("echo");
    for path in ["", "/chat", "/a/b?c"] {
        let url = format!("ws://{}{path}", echo.address);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let big = "ä".repeat(1_000_000);
        for message in [Message::text("hello"), Message::binary(vec![0, 255]), Message::text(big)] {
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    }
}

#[actix_web::test]
async fn embed_tells_a_customer_what_the_shop_does() {
    let shop = Example::start("embed");
    let (mut browser, _) =
        tokio_tungstenite::connect_async(format!("ws://{}/ws", shop.address)).await.unwrap();
    let subscribe = json!({"op": "subscribe", "id": 1, "topic": "orders.alice"});
    browser.send(Message::text(subscribe.to_string())).await.unwrap();
    let mut next = async || -> Value {
        loop {
            if let Message::Text(text) = browser.next().await.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    };
    assert_eq!(next().await["op"], "welcome");
    assert_eq!(next().await["op"], "subscribed");
    post(&shop.address, "/orders/bob/paid");
    post(&shop.address, "/orders/alice/shipped");
    let message = next().await;
    assert_eq!(message["data"], json!({"customer": "alice", "status": "shipped"}));
}

fn post(address: &str, path: &str) {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}
