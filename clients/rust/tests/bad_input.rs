//! Servers that do not behave, and programs that do not either: typed errors, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::result_large_err, missing_docs)]

use std::future::{Future, IntoFuture};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use topichub_client::{
    Backoff, Connect, Error, Event, Full, Gap, GapReason, Hub, Offline, State, connect as begin,
};

const DEADLINE: Duration = Duration::from_secs(20);

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("nothing came in time")
}

fn connect(url: &str) -> Connect {
    begin(url).backoff(Backoff { base: Duration::from_millis(2), max: Duration::from_millis(20) })
}

/// A server that does with each connection what it is told to. Its address.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    url
}

/// A server that answers every request by this text.
async fn answering(answer: &'static str) -> String {
    server(move |mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

/// A WebSocket that has said `welcome`.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn accept(stream: TcpStream) -> Option<Self> {
        let choose = |_: &Request, mut response: Response| {
            response.headers_mut().insert("sec-websocket-protocol", "pubsub.json".parse().unwrap());
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.ok()?;
        let mut peer = Self(socket);
        let limits =
            json!({"message_bytes": 200, "topics_per_session": 128, "topic_bytes": 255, "depth": 64});
        let welcome = json!({"op": "welcome", "session": "0f8b7a52-9d1c-4f6e-8a53-1c2d3e4f5a6b",
            "server": "fake/1", "protocol": 1, "ping_ms": 25000, "limits": limits});
        peer.say(&welcome).await;
        Some(peer)
    }

    async fn say(&mut self, map: &Value) {
        let _ = self.0.send(Frame::text(map.to_string())).await;
    }

    /// The next command; nothing at the end.
    async fn hear(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await? {
                Ok(Frame::Text(text)) => return serde_json::from_str(&text).ok(),
                Ok(Frame::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Agrees to the next command, a `subscribe`, and sends so many messages.
    async fn pour(&mut self, messages: u64) {
        let Some(subscribe) = self.hear().await else { return };
        let topic = &subscribe["topic"];
        self.say(&json!({"op": "subscribed", "id": subscribe["id"], "topic": topic, "epoch": "a",
            "offset": 0, "replayed": 0, "recovered": true}))
            .await;
        for offset in 1..=messages {
            self.say(&json!({"op": "message", "topic": topic, "offset": offset, "data": offset})).await;
        }
    }
}

/// The first state that is not `Connecting`.
async fn first_state(hub: &Hub) -> State {
    let mut states = hub.states();
    within(states.wait_for(|state| !matches!(state, State::Connecting))).await.unwrap().clone()
}

/// How many tasks there are, when it has come down to `count`.
async fn only_tasks(count: usize) {
    let end = Instant::now() + DEADLINE;
    while Handle::current().metrics().num_alive_tasks() > count {
        assert!(Instant::now() < end, "a task was left behind");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn whoever_speaks_something_else_is_named_and_asked_again_later() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin", "the answer is 200 OK"),
        ("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", "the answer is 302 Found"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "the answer is 502 Bad Gateway"),
        ("220 mail.example.com ESMTP\r\n\r\n", "HTTP"),
        ("", "Handshake not finished"),
    ] {
        let url = answering(answer).await;
        let error = within(connect(&url).into_future()).await.expect_err(answer);
        assert!(error.to_string().contains(expected), "{error} for {answer:?}");
        assert!(matches!(error, Error::Stranger { .. }) && error.advice().is_some(), "{error:?}");
        let hub = connect(&url).start().unwrap();
        assert!(matches!(first_state(&hub).await, State::Waiting { .. }), "{answer:?}");
    }
}

#[tokio::test]
async fn whoever_refuses_for_good_is_not_asked_again() {
    for (answer, code) in [
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", "unauthorized"),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nContent-Length: 20\r\n\r\n{\"code\":\"forbidden\"}",
            "forbidden",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "no_topichub"),
    ] {
        let hub = connect(&answering(answer).await).start().unwrap();
        let mut numbers = hub.subscribe("numbers").start().unwrap();
        let error = within(numbers.next()).await.unwrap().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(within(numbers.next()).await.is_none());
        assert!(matches!(hub.state(), State::Closed { why: Some(_) }));
        assert_eq!(within(hub.publish("a", &1).into_future()).await.unwrap_err().code(), code);
        assert_eq!(hub.subscribe("late").start().err().unwrap().code(), code);
    }
}

#[tokio::test]
async fn a_server_of_another_subprotocol_is_a_stranger() {
    let url = server(|stream| async {
        let _ = tokio_tungstenite::accept_async(stream).await;
    })
    .await;
    let error = within(connect(&url).into_future()).await.unwrap_err();
    assert!(error.to_string().contains("took none of our subprotocols"), "{error}");
}

/// What comes of a handshake whose answer has these lines too.
async fn shaken(compression: bool, lines: &'static [&'static str]) -> Result<Hub, Error> {
    let url = server(move |stream| async move {
        let choose = |_: &Request, mut response: Response| {
            response.headers_mut().insert("sec-websocket-protocol", "pubsub.json".parse().unwrap());
            for line in lines {
                response.headers_mut().append("sec-websocket-extensions", line.parse().unwrap());
            }
            Ok(response)
        };
        if let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, choose).await {
            while socket.next().await.is_some() {}
        }
    })
    .await;
    within(connect(&url).compression(compression).into_future()).await
}

#[tokio::test]
async fn an_extension_that_was_not_offered_is_not_put_up_with() {
    for (compression, lines) in [
        (false, &["permessage-deflate; server_no_context_takeover; client_no_context_takeover"][..]),
        (false, &["x-multiplex"]),
        (true, &["x-multiplex"]),
        (true, &["permessage-deflate"]),
        (true, &["permessage-deflate; server_no_context_takeover", "x-multiplex"]),
    ] {
        let error = shaken(compression, lines).await.expect_err("refused");
        assert!(matches!(error, Error::Stranger { .. }) && error.advice().is_some(), "{error:?}");
        let words = "the server took an extension that was not offered: ";
        assert!(error.to_string().contains(words), "{compression} {lines:?}: {error}");
    }
}

#[tokio::test]
async fn garbage_ends_a_connection_with_its_code_and_the_next_one_is_asked() {
    let no_text = RawFrame::message(vec![b'"', 0xff, b'"'], OpCode::Data(Data::Text), true);
    for (garbage, code) in [
        (Frame::text("}{"), 1002),
        (Frame::text("[1]"), 1002),
        (Frame::binary(vec![1, 2]), 1002),
        (Frame::text("{\"op\":1}"), 1002),
        (Frame::Frame(no_text), 1007),
    ] {
        let (closed, mut closes) = tokio::sync::mpsc::unbounded_channel();
        let url = server(move |stream| {
            let (garbage, closed) = (garbage.clone(), closed.clone());
            async move {
                let Some(mut peer) = Peer::accept(stream).await else { return };
                let _ = peer.0.send(garbage).await;
                while let Some(Ok(frame)) = peer.0.next().await {
                    if let Frame::Close(Some(frame)) = frame {
                        let _ = closed.send(u16::from(frame.code));
                    }
                }
            }
        })
        .await;
        let hub = connect(&url).start().unwrap();
        for _ in 0..2 {
            assert_eq!(within(closes.recv()).await, Some(code));
        }
        drop(hub);
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_ends_the_connection() {
    let url = server(|stream| async {
        let Some(mut peer) = Peer::accept(stream).await else { return };
        peer.say(&json!({"op": "message", "topic": "a", "offset": 1, "data": "x".repeat(100_000)})).await;
        while peer.hear().await.is_some() {}
    })
    .await;
    let hub = connect(&url).message_bytes_max(50_000).start().unwrap();
    let mut states = hub.states();
    let waiting = within(states.wait_for(|state| matches!(state, State::Waiting { .. }))).await.unwrap();
    let State::Waiting { why, .. } = &*waiting else { unreachable!() };
    assert!(why.to_string().contains("limit is 50000"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_is_given_up_after_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let began = Instant::now();
    let error = connect(&format!("ws://{}", listener.local_addr().unwrap())).await.unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_source_without_tokens_is_asked_again_and_one_with_bad_ones_twice() {
    let hub =
        connect("ws://127.0.0.1:9").token_from(|| async { Err::<String, _>("the vault is shut") }).start();
    let State::Waiting { why, .. } = first_state(&hub.unwrap()).await else { panic!("does not wait") };
    assert_eq!(why.to_string(), "there is no token: the vault is shut");

    let url = server(|stream| async {
        let Some(mut peer) = Peer::accept(stream).await else { return };
        while let Some(command) = peer.hear().await {
            peer.say(&json!({"op": "error", "id": command["id"], "code": "unauthorized",
                "message": "the token has expired", "retry": false}))
                .await;
        }
    })
    .await;
    let (asked, mut times) = tokio::sync::mpsc::unbounded_channel();
    let source = move || {
        let _ = asked.send(());
        async { Ok::<_, Error>("eyJ.expired".to_owned()) }
    };
    let hub = connect(&url).token_from(source).start().unwrap();
    let mut numbers = hub.subscribe("numbers").start().unwrap();
    let error = within(numbers.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
    drop((hub, numbers));
    let mut count = 0;
    while within(times.recv()).await.is_some() {
        count += 1;
    }
    assert_eq!(count, 2);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_before_anything_is_sent() {
    let hub = connect("ws://127.0.0.1:9").start().unwrap();
    assert_eq!(connect("127.0.0.1:9").start().unwrap_err().code(), "bad_request");
    assert_eq!(hub.subscribe("a..b").start().err().unwrap().code(), "invalid_topic");
    assert_eq!(hub.subscribe("a").max_rate(f64::NAN).start().err().unwrap().code(), "bad_request");
    assert_eq!(hub.subscribe("a").max_rate(-1.0).start().err().unwrap().code(), "bad_request");
    assert_eq!(hub.publish("a.*", &1).await.unwrap_err().code(), "invalid_topic");
    let header = connect("ws://127.0.0.1:9").header("bad name", "x").start().unwrap();
    assert!(matches!(first_state(&header).await, State::Waiting { .. } | State::Closed { .. }));
    drop((hub, header));
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    assert!(matches!(begin("ws://127.0.0.1:9").start(), Err(Error::NoRuntime)));
}

#[tokio::test]
async fn without_a_connection_publishes_are_refused_or_wait_up_to_a_limit() {
    let hub = connect("ws://127.0.0.1:9").start().unwrap();
    assert!(matches!(hub.publish("a", &1).await, Err(Error::NotConnected)));
    let limits = Offline::Queue { messages: 2, bytes: 100 };
    let hub = connect("ws://127.0.0.1:9").offline(limits).start().unwrap();
    let waiting = [hub.publish("a", &1).start().unwrap(), hub.publish("a", &2).start().unwrap()];
    assert!(matches!(hub.publish("a", &3).await, Err(Error::OfflineFull { messages: 2, .. })));
    hub.close().await;
    for publish in waiting {
        assert!(matches!(within(publish).await, Err(Error::Closed)));
    }
}

#[tokio::test]
async fn a_command_longer_than_the_server_takes_is_not_sent() {
    let url = server(|stream| async {
        let Some(mut peer) = Peer::accept(stream).await else { return };
        while let Some(command) = peer.hear().await {
            let id = &command["id"];
            peer.say(&json!({"op": "published", "id": id, "topic": "a", "epoch": "a", "offset": 1, "subscribers": 0}))
                .await;
        }
    })
    .await;
    let hub = within(connect(&url).into_future()).await.unwrap();
    let error = within(hub.publish("a", &"x".repeat(200)).into_future()).await.unwrap_err();
    assert!(matches!(error, Error::TooLong { max: 200, .. }), "{error:?}");
    assert_eq!(within(hub.publish("a", "short").into_future()).await.unwrap().position.offset, 1);
}

/// A server that pours so many messages.
async fn pouring(messages: u64) -> String {
    server(move |stream| async move {
        let Some(mut peer) = Peer::accept(stream).await else { return };
        peer.pour(messages).await;
        while peer.hear().await.is_some() {}
    })
    .await
}

#[tokio::test]
async fn a_reader_that_sleeps_loses_the_oldest_or_its_stream_or_holds_all_up() {
    let hub = within(connect(&pouring(1000).await).into_future()).await.unwrap();
    let mut dropping = hub.subscribe("a").buffer(10).await.unwrap().events();
    // Everything has come when the reply to what was asked behind it would: here the gap says so.
    let mut lost = 0;
    let mut came = Vec::new();
    while lost + came.len() as u64 != 1000 {
        match within(dropping.next()).await.unwrap().unwrap() {
            Event::Gap(Gap { range: Some((from, to)), why: GapReason::Buffer, .. }) => lost += to - from + 1,
            Event::Message(message) => came.push(message.offset),
            _ => sleep(Duration::from_millis(20)).await, // sleeps, that is the story
        }
    }
    assert!(came.is_sorted() && came.last() == Some(&1000) && lost > 0, "{lost} lost");

    let hub = within(connect(&pouring(1000).await).into_future()).await.unwrap();
    let mut ending = hub.subscribe("a").buffer(10).full(Full::Error).await.unwrap();
    let ended = within(async {
        loop {
            tokio::task::yield_now().await;
            sleep(Duration::from_millis(5)).await;
            match ending.next().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    });
    assert!(matches!(ended.await, Some(Err(Error::Overflow { max: 10, .. }))));
    assert!(within(ending.next()).await.is_none());

    let hub = within(connect(&pouring(1000).await).into_future()).await.unwrap();
    let mut waiting = hub.subscribe("a").buffer(10).full(Full::Wait).await.unwrap();
    for offset in 1..=1000 {
        assert_eq!(within(waiting.next()).await.unwrap().unwrap().offset, offset);
    }
}

#[tokio::test]
async fn a_subscription_that_is_dropped_is_unsubscribed_and_the_last_handle_takes_the_task_along() {
    let (heard, mut commands) = tokio::sync::mpsc::unbounded_channel();
    let url = server(move |stream| {
        let heard = heard.clone();
        async move {
            let Some(mut peer) = Peer::accept(stream).await else { return };
            peer.pour(1).await;
            while let Some(command) = peer.hear().await {
                let _ = heard.send(command["op"].as_str().unwrap().to_owned());
            }
            let _ = heard.send("the end".to_owned());
        }
    })
    .await;
    let before = Handle::current().metrics().num_alive_tasks();
    let hub = within(connect(&url).into_future()).await.unwrap();
    let numbers = hub.subscribe("a").await.unwrap();
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before + 1, "one task for each Hub");
    drop(numbers);
    assert_eq!(within(commands.recv()).await.as_deref(), Some("unsubscribe"));
    drop(hub);
    assert_eq!(within(commands.recv()).await.as_deref(), Some("the end"));
    only_tasks(before).await;

    // Nor does one stay that looks for a server in vain, or is awaited no more.
    let nowhere = connect("ws://127.0.0.1:9").start().unwrap();
    let kept = nowhere.subscribe("a").start().unwrap();
    let _ = timeout(Duration::from_millis(5), nowhere.opened()).await;
    drop(nowhere);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before + 1, "a subscription keeps it alive");
    drop(kept);
    only_tasks(before).await;
}

#[tokio::test]
async fn one_name_has_one_set_of_options() {
    let hub = connect("ws://127.0.0.1:9").start().unwrap();
    let _one = hub.subscribe("a").last(1).start().unwrap();
    let _same = hub.subscribe("a").last(1).start().unwrap();
    let mut other = hub.subscribe("a").last(2).start().unwrap();
    assert!(matches!(within(other.next()).await, Some(Err(Error::AlreadySubscribed(_)))));
}
