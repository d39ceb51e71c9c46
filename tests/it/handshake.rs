//! The opening handshake: who gets in, in which subprotocol, and what the others are told.

use std::io::{Read, Write};
use std::net::TcpStream;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use topichub::Settings;

use crate::support::{Door, Server, read_head, refused, upgrade};

/// The status and the whole text of the answer to `request`.
fn answer(server: &Server, request: &str) -> (u16, String) {
    let mut socket = server.request_raw(request);
    let mut text = String::new();
    let _ = socket.read_to_string(&mut text);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {text:?}")), text)
}

fn head_of(server: &Server, headers: &str) -> String {
    let mut socket: TcpStream = server.request_raw(&upgrade(headers));
    read_head(&mut socket).to_ascii_lowercase()
}

#[actix_web::test]
async fn the_clients_order_of_preference_decides() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let cases = [
            ("Sec-WebSocket-Protocol: pubsub.msgpack, pubsub.json\r\n", "pubsub.msgpack"),
            ("Sec-WebSocket-Protocol: pubsub.json, pubsub.msgpack\r\n", "pubsub.json"),
            ("Sec-WebSocket-Protocol: foo\r\nSec-WebSocket-Protocol: pubsub.msgpack\r\n", "pubsub.msgpack"),
        ];
        for (headers, chosen) in cases {
            let head = head_of(&server, headers);
            assert!(head.starts_with("http/1.1 101 "), "{head}");
            assert!(head.contains(&format!("sec-websocket-protocol: {chosen}\r\n")), "{headers} got {head}");
            assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        }
    }
}

#[actix_web::test]
async fn nothing_offered_means_json_and_no_header_in_the_answer() {
    for door in Door::BOTH {
        let head = head_of(&Server::start(door), "");
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(!head.contains("sec-websocket-protocol"), "{head}");
    }
}

#[actix_web::test]
async fn nothing_offered_is_refused_where_the_setting_says_so() {
    let mut settings = Settings::default();
    settings.subprotocol_required = true;
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let response = refused(format!("ws://{}/ws", server.address)).await;
        assert_eq!(response.status(), 400);
    }
}

#[actix_web::test]
async fn unknown_subprotocols_are_answered_with_ours() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut request = format!("ws://{}/ws", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-ws, mqtt".parse().unwrap());
        let response = refused(request).await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = String::from_utf8(response.into_body().unwrap()).unwrap();
        assert!(body.contains("pubsub.json and pubsub.msgpack"), "{body}");
    }
}

#[actix_web::test]
async fn requests_that_are_no_handshake_are_told_what_is_missing() {
    let version = upgrade("Connection: close\r\n").replace("Version: 13", "Version: 8");
    let key = upgrade("Connection: close\r\n").replace("dGhlIHNhbXBsZSBub25jZQ==", "short");
    let plain = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned();
    let cases = [(plain, 426, "ws://"), (version, 426, "must be 13"), (key, 400, "Sec-WebSocket-Key")];
    for door in Door::BOTH {
        let server = Server::start(door);
        for (request, status, text) in &cases {
            let (got, body) = answer(&server, request);
            assert_eq!(got, *status, "door {door:?}, {request} got {body}");
            assert!(body.contains(text), "{body}");
        }
    }
}

#[actix_web::test]
async fn a_handshake_by_another_method_is_told_what_it_was() {
    let server = Server::start(Door::A);
    let (status, body) = answer(&server, &upgrade("").replace("GET", "POST"));
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("got POST HTTP/1.1"), "{body}");
}

#[actix_web::test]
async fn a_websocket_elsewhere_is_not_found() {
    let server = Server::start(Door::A);
    let (status, body) = answer(&server, &upgrade("").replace("/ws", "/elsewhere"));
    assert_eq!(status, 404, "{body}");
    assert!(body.contains("WebSockets are at /ws"), "{body}");
}

#[actix_web::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let mut settings = Settings::default();
    settings.handshake_timeout = std::time::Duration::from_millis(300);
    let server = Server::with(Door::A, settings);
    let (status, text) = answer(&server, "GET /ws HTTP/1.1\r\nHost: local");
    assert_eq!(status, 408);
    assert!(text.contains("did not come within the limit of 300ms"), "{text}");
}

#[actix_web::test]
async fn a_later_request_that_never_ends_is_given_up_too() {
    let mut settings = Settings::default();
    settings.handshake_timeout = std::time::Duration::from_millis(300);
    let server = Server::with(Door::A, settings);
    for half in ["GET /healthz HTTP/1.1\r\nHost: local", "GET /ws HTT"] {
        let mut socket = server.request_raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(read_head(&mut socket).starts_with("HTTP/1.1 200 "));
        socket.write_all(half.as_bytes()).unwrap();
        let mut text = String::new();
        let read = socket.read_to_string(&mut text);
        assert!(read.is_ok(), "it is still there after {text:?}");
        assert!(text.contains("HTTP/1.1 408 "), "{text}");
    }
}

#[actix_web::test]
async fn a_megabyte_of_headers_is_refused_without_being_read() {
    let server = Server::start(Door::A);
    let mut socket = server.request_raw("GET /ws HTTP/1.1\r\nHost: localhost\r\n");
    let line = format!("X-Filling: {}\r\n", "x".repeat(1000));
    let mut written = 0;
    while written < 1_000_000 && socket.write_all(line.as_bytes()).is_ok() {
        written += line.len();
    }
    let mut text = String::new();
    let _ = socket.read_to_string(&mut text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    // Nobody else was hurt.
    assert!(head_of(&server, "").starts_with("http/1.1 101 "));
}
