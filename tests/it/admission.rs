//! Who is let in, and what the others are told: an answer with the time to come back, never a hang.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use topichub::Settings;

use crate::support::{DEADLINE, Door, JSON, Server, refused, upgrade, wait_until};

fn settings(set: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    set(&mut settings);
    settings
}

async fn refused_for(server: &Server, reason: &str) {
    let request = format!("ws://{}/ws", server.address).into_client_request().unwrap();
    let response = refused(request).await;
    assert_eq!(response.status(), 503);
    let seconds: u32 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..60).contains(&seconds), "{seconds}");
    let body = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
    assert!(body.is_empty() || body.contains(reason), "{body}");
}

#[actix_web::test]
async fn beyond_the_limit_of_connections_newcomers_are_told_to_come_later_until_one_leaves() {
    for door in Door::BOTH {
        let server = Server::with(door, settings(|settings| settings.connections_max = 2));
        let mut first = server.connect(JSON).await;
        let mut second = server.connect(JSON).await;
        refused_for(&server, "the limit of 2 open connections").await;
        first.socket.close(None).await.unwrap();
        first.read_to_end().await;
        wait_until("a place is free", || server.hub.sessions() == 1);
        let mut third = server.connect(JSON).await;
        for client in [&mut second, &mut third] {
            assert_eq!(client.ask(json!({"op": "ping", "id": 1})).await["op"], "pong", "{door:?}");
        }
    }
}

#[actix_web::test]
async fn one_address_can_be_limited() {
    for door in Door::BOTH {
        let server = Server::with(door, settings(|settings| settings.connections_per_address_max = 1));
        let _first = server.connect(JSON).await;
        refused_for(&server, "from one address").await;
    }
}

#[actix_web::test]
async fn who_has_begun_to_ask_takes_no_places_from_those_who_have_said_what_they_want() {
    let server = Server::with(Door::A, settings(|settings| settings.handshakes_max = 2));
    let mut session = server.connect(JSON).await;
    let mut publisher = server.request_raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    read_ok(&mut publisher);
    let mut begun = Vec::new();
    // Those who ask may take the place of one who has only begun, so there is always one more of these.
    let mut answer = String::new();
    wait_until("two are waited for", || {
        begun.push(server.request_raw("GET /ws HTTP/1.1\r\n"));
        answer.clear();
        let mut socket = server.request_raw(&upgrade("Connection: close\r\n"));
        let _ = socket.set_read_timeout(Some(Duration::from_millis(200)));
        let _ = socket.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 503 ")
    });
    assert!(answer.contains("the limit of 2 handshakes"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nretry-after: "), "{answer}");

    publisher.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    read_ok(&mut publisher);
    assert_eq!(session.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
    drop(begun);
}

#[actix_web::test]
async fn who_says_nothing_holds_no_place_that_one_who_speaks_needs() {
    // One worker takes them in the order in which they come.
    let settings = settings(|settings| settings.handshakes_max = 1);
    let server = Server::with_workers(Door::A, settings, 1);
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let mut session = server.connect(JSON).await;
    assert_eq!(session.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
    drop(silent);
}

#[actix_web::test]
async fn who_stays_silent_is_hung_up_on_in_time_and_without_a_word() {
    let settings = settings(|settings| {
        settings.handshake_timeout = Duration::from_millis(300);
        settings.connections_max = 1;
    });
    let server = Server::with(Door::A, settings);
    let begun = Instant::now();
    let mut silent = server.request_raw("");
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // Its place is free.
    assert_eq!(server.connect(JSON).await.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
}

fn read_ok(socket: &mut TcpStream) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"ok\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{:?}", String::from_utf8_lossy(&read));
        read.push(byte[0]);
    }
}

#[actix_web::test]
async fn newcomers_beyond_the_rate_are_told_to_come_later() {
    let server = Server::with(Door::A, settings(|settings| settings.accepts_per_second_max = 1));
    let _first = server.connect(JSON).await;
    let mut refusals = 0;
    // Slow machines let some in between.
    while refusals < 3 {
        let mut socket = server.request_raw(&upgrade(""));
        let _ = socket.set_read_timeout(Some(DEADLINE));
        let mut status = [0; 12];
        socket.read_exact(&mut status).unwrap();
        refusals += usize::from(&status == b"HTTP/1.1 503");
    }
}
