//! A hub behind either door, on a port of its own, and clients to talk to it. Everything waits with a deadline.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use topichub::{Authority, Hub, Listener, Open, Settings};

/// Far longer than anything here takes on a slow machine, so that only what never comes fails a test.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub const JSON: &str = "pubsub.json";
pub const MSGPACK: &str = "pubsub.msgpack";

/// How connections reach the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The server of the binary: raw sockets.
    A,
    /// A route in somebody's own `App`.
    B,
}

impl Door {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];
}

/// A running hub.
pub struct Server {
    pub address: SocketAddr,
    pub hub: Hub,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(door: Door) -> Self {
        Self::with(door, Settings::default())
    }

    pub fn with(door: Door, settings: Settings) -> Self {
        Self::with_workers(door, settings, 2)
    }

    pub fn with_workers(door: Door, settings: Settings, workers: usize) -> Self {
        Self::build(door, settings, workers, Arc::new(Open::new()))
    }

    /// One that asks who somebody is.
    pub fn with_authority(door: Door, settings: Settings, authority: impl Authority) -> Self {
        Self::build(door, settings, 2, Arc::new(authority))
    }

    fn build(door: Door, settings: Settings, workers: usize, authority: Arc<dyn Authority>) -> Self {
        Self::run(settings, authority, move |hub, listener| match door {
            Door::A => topichub::serve(hub, vec![listener.into()], workers, |_| {}).unwrap(),
            Door::B => {
                let app = move || App::new().configure(|app| hub.configure(app));
                let server = HttpServer::new(app).workers(workers).disable_signals();
                let server = server.client_disconnect_timeout(Duration::ZERO).h1_allow_half_closed(false);
                server.listen(listener).unwrap().run()
            }
        })
    }

    /// Door A at listeners that are made of a TCP listener, its own address.
    pub fn listening(
        settings: Settings,
        listeners: impl FnOnce(TcpListener) -> Vec<Listener> + Send + 'static,
    ) -> Self {
        Self::run(settings, Arc::new(Open::new()), |hub, listener| {
            topichub::serve(hub, listeners(listener), 2, |_| {}).unwrap()
        })
    }

    fn run(
        settings: Settings,
        authority: Arc<dyn Authority>,
        serve: impl FnOnce(Hub, TcpListener) -> actix_web::dev::Server + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = mpsc::channel();
        WATCH_WORKERS.call_once(watch_workers);
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let hub = Hub::start_with(settings, authority).unwrap();
                let server = serve(hub.clone(), listener);
                sender.send((hub, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (hub, handle) = receiver.recv_timeout(DEADLINE).unwrap();
        Self { address, hub, handle, thread: Some(thread) }
    }

    pub async fn connect(&self, subprotocol: &str) -> Client {
        let mut client = self.connect_unread(subprotocol).await;
        let welcome = client.next().await;
        assert_eq!(welcome["op"], "welcome", "{welcome}");
        client
    }

    /// Connects with a token in the header.
    pub async fn connect_as(&self, token: &str) -> Client {
        let mut request = format!("ws://{}/ws", self.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut client = Client { socket, msgpack: false };
        assert_eq!(client.next().await["op"], "welcome");
        client
    }

    /// Connects without reading the welcome.
    pub async fn connect_unread(&self, subprotocol: &str) -> Client {
        Client::connect(&self.address.to_string(), subprotocol).await
    }

    /// A plain socket after a WebSocket handshake, for what no client library would do.
    pub fn connect_raw(&self, subprotocol: &str) -> TcpStream {
        let mut stream = self.request_raw(&upgrade(&format!("Sec-WebSocket-Protocol: {subprotocol}\r\n")));
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    }

    /// What is answered to a GET on a connection of its own: the status, and all of head and body.
    pub fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let mut answer = String::new();
        self.request_raw(&request).read_to_string(&mut answer).unwrap();
        (answer[9..12].parse().unwrap(), answer)
    }

    /// A plain socket to which `request` has been written.
    pub fn request_raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
        let panics = WORKER_PANICS.load(Ordering::Relaxed);
        assert!(panics == 0 || std::thread::panicking(), "a worker of this or another test panicked");
    }
}

/// A panic of a worker ends its thread and nothing else: it would pass unseen.
static WORKER_PANICS: AtomicUsize = AtomicUsize::new(0);
static WATCH_WORKERS: Once = Once::new();

fn watch_workers() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name().is_some_and(|name| name.starts_with("actix-")) {
            WORKER_PANICS.fetch_add(1, Ordering::Relaxed);
        }
        hook(panic);
    }));
}

/// A handshake request with some headers more.
pub fn upgrade(headers: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Reads the head of an HTTP response, and not a byte more.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// One small masked frame.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// Looks again and again, until it is so or the deadline has passed.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + DEADLINE;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client nobody here wrote, in either codec.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    msgpack: bool,
}

impl Client {
    /// A client in JSON on a connection that has been opened otherwise; reads the welcome.
    pub async fn welcomed(socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>) -> Self {
        let mut client = Self { socket, msgpack: false };
        assert_eq!(client.next().await["op"], "welcome");
        client
    }

    /// Connects without reading the welcome.
    pub async fn connect(address: &str, subprotocol: &str) -> Self {
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().unwrap());
        let (socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], subprotocol);
        Self { socket, msgpack: subprotocol == MSGPACK }
    }

    pub async fn send(&mut self, command: Value) {
        let message = if self.msgpack {
            Message::binary(rmp_serde::to_vec_named(&command).unwrap())
        } else {
            Message::text(command.to_string())
        };
        self.socket.send(message).await.unwrap();
    }

    /// The next reply or push.
    pub async fn next(&mut self) -> Value {
        loop {
            match self.next_message().await {
                Message::Text(text) if !self.msgpack => return serde_json::from_str(&text).unwrap(),
                Message::Binary(bytes) if self.msgpack => return rmp_serde::from_slice(&bytes).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} came in place of a reply or push"),
            }
        }
    }

    async fn next_message(&mut self) -> Message {
        let message = tokio::time::timeout(DEADLINE, self.socket.next()).await;
        message.expect("nothing came in time").expect("the connection has ended").unwrap()
    }

    /// Sends a command and returns its reply, which is the next thing to come.
    pub async fn ask(&mut self, command: Value) -> Value {
        let id = command["id"].clone();
        self.send(command).await;
        let reply = self.next().await;
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }

    /// Reads up to the close frame: the last `goodbye` if there was one, and the frame.
    pub async fn read_to_close(&mut self) -> (Option<Value>, CloseFrame) {
        let mut goodbye = None;
        loop {
            match self.next_message().await {
                Message::Close(Some(frame)) => return (goodbye, frame),
                Message::Text(text) => {
                    goodbye =
                        serde_json::from_str::<Value>(&text).ok().filter(|push| push["op"] == "goodbye");
                }
                _ => {}
            }
        }
    }

    /// Reads to the end of the connection, whatever comes.
    pub async fn read_to_end(&mut self) {
        let end = async { while let Some(Ok(_)) = self.socket.next().await {} };
        tokio::time::timeout(DEADLINE, end).await.expect("the connection has not ended in time");
    }
}

/// A handshake that fails: the HTTP response.
pub async fn refused(
    request: impl IntoClientRequest + Unpin,
) -> tungstenite::http::Response<Option<Vec<u8>>> {
    match tokio_tungstenite::connect_async(request).await {
        Err(tungstenite::Error::Http(response)) => *response,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the handshake should have failed"),
    }
}
