//! How a server is emptied: paced, with everything delivered that was on its way, and nobody kept waiting.

use std::time::{Duration, Instant};

use actix_web::rt::time::timeout;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use topichub::Settings;

use crate::support::{Client, DEADLINE, Door, JSON, Server, upgrade};

/// Reads up to the drain's close, and when that came. All messages, and the goodbye.
async fn sent_away(mut client: Client) -> (Instant, Vec<Value>, Value) {
    let mut messages = Vec::new();
    loop {
        let push = client.next().await;
        if push["op"] == "goodbye" {
            let at = Instant::now();
            assert_eq!(client.read_to_close().await.1.code, CloseCode::from(4201));
            return (at, messages, push);
        }
        messages.push(push);
    }
}

#[actix_web::test]
async fn clients_are_sent_away_over_the_time_there_is() {
    const CLIENTS: usize = 200;
    let over = Duration::from_millis(1500);
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(server.connect(JSON).await);
        }
        let (begin, drained) = (Instant::now(), server.hub.drain(over));
        let (left, drained) = join(join_all(clients.into_iter().map(sent_away)), drained).await;
        assert_eq!((drained.sessions, drained.cut), (CLIENTS, 0), "{door:?}");
        for third in 0..3 {
            let within = over * third / 3..over * (third + 1) / 3;
            let count = left.iter().filter(|(at, ..)| within.contains(&(*at - begin))).count();
            assert!((CLIENTS / 6..=CLIENTS / 2).contains(&count), "{door:?}: {count} in third {third}");
        }
        for (_, _, goodbye) in &left {
            assert_eq!((&goodbye["reconnect"], &goodbye["code"]), (&json!("now"), &json!(4201)));
            assert!(goodbye["after_ms"].as_u64().unwrap() <= 100, "{goodbye}");
        }
        assert!(left.iter().any(|(.., goodbye)| goodbye["after_ms"] != left[0].2["after_ms"]));
    }
}

#[actix_web::test]
async fn what_was_published_before_the_goodbye_is_delivered_before_it() {
    const MESSAGES: u64 = 300;
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut clients = Vec::new();
        for options in [json!({}), json!({"slow": "latest-per-key"}), json!({"max_rate": 5})] {
            let mut client = server.connect(JSON).await;
            let mut subscribe = json!({"op": "subscribe", "id": 1, "topic": "big"});
            subscribe.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
            client.ask(subscribe).await;
            clients.push(client);
        }
        let filling = "x".repeat(2_000);
        for _ in 0..MESSAGES {
            server.hub.publish("big", &filling).await.unwrap();
        }
        let drained = server.hub.drain(Duration::from_secs(1));
        let (left, _) = join(join_all(clients.into_iter().map(sent_away)), drained).await;
        for (number, (_, messages, _)) in left.iter().enumerate() {
            let last = messages.last().expect("something was delivered");
            assert_eq!(last["offset"], MESSAGES, "{door:?}: the newest for client {number}");
        }
        assert_eq!(left[0].1.len() as u64, MESSAGES, "{door:?}");
    }
}

#[actix_web::test]
async fn newcomers_are_refused_and_balancers_are_told() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let stays = server.connect(JSON).await;
        assert_eq!(server.get("/readyz", "").0, 200);
        drop(server.hub.drain(Duration::from_secs(60)));
        for path in ["/readyz", "/healthz", "/metrics"] {
            let (status, answer) = server.get(path, "");
            assert_eq!(status, if path == "/readyz" { 503 } else { 200 }, "{door:?} {path}: {answer}");
            assert!(path != "/metrics" || answer.contains("topichub_draining 1"), "{answer}");
        }
        let mut refused = server.request_raw(&upgrade(""));
        let head = crate::support::read_head(&mut refused);
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: "), "{door:?}: {head}");
        drop(stays);
    }
}

#[actix_web::test]
async fn who_waits_for_messages_over_http_is_answered() {
    let server = Server::start(Door::A);
    server.hub.publish("a", &1).await.unwrap();
    let (_, page) = server.get("/topics/a/messages", "");
    let page: Value = serde_json::from_str(page.split_once("\r\n\r\n").unwrap().1).unwrap();
    let path = format!("/topics/a/messages?after={}:1&wait=30", page["epoch"].as_str().unwrap());
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get(&path, ""));
        crate::support::wait_until("it waits", || {
            server.get("/metrics", "").1.contains("topichub_subscriptions 1")
        });
        drop(server.hub.drain(Duration::ZERO));
        waiting.join().unwrap()
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert!(answer.1.contains(r#""messages":[]"#), "{}", answer.1);
}

#[actix_web::test]
async fn who_does_not_answer_is_cut_off_and_counted() {
    let mut settings = Settings::default();
    settings.close_timeout = DEADLINE;
    let server = Server::with(Door::A, settings);
    let _silent = server.connect_raw(JSON);
    crate::support::wait_until("its session has begun", || server.hub.sessions() == 1);
    let drained = timeout(DEADLINE, server.hub.drain(Duration::ZERO)).await.unwrap();
    assert_eq!((drained.sessions, drained.cut, server.hub.sessions()), (1, 1, 0));
}
