//! The HTTP side: publishing and its answers, behind both doors.

use std::io::{Read, Write};

use serde_json::{Value, json};
use topichub::Settings;

use crate::support::{Door, JSON, MSGPACK, Server};

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn request(server: &Server, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
    let content_type =
        if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{content_type}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = server.request_raw(&head);
    let _ = socket.write_all(body);
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: bytes[end + 4..].to_vec() }
}

fn post(server: &Server, path: &str, content_type: &str, body: &[u8]) -> Answer {
    request(server, "POST", path, content_type, body)
}

#[actix_web::test]
async fn a_body_is_published_in_the_form_its_type_names() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut reader = server.connect(JSON).await;
        reader.ask(json!({"op": "subscribe", "id": 1, "topic": "sports.*"})).await;
        let msgpack = rmp_serde::to_vec_named(&json!({"home": 3})).unwrap();
        type Case<'a> = (&'a str, &'a [u8], &'a str, Value);
        let cases: [Case<'_>; 6] = [
            ("application/json", br#" {"home":3} "#, "data", json!({"home": 3})),
            ("application/x-www-form-urlencoded", br#"{"home":3}"#, "data", json!({"home": 3})),
            ("", b"3", "data", json!(3)),
            ("application/vnd.score+json; charset=utf-8", b"[3]", "data", json!([3])),
            ("application/msgpack", &msgpack, "data", json!({"home": 3})),
            ("image/png", b"\x89PNG", "data_base64", json!("iVBORw==")),
        ];
        for (offset, (content_type, body, key, expected)) in cases.into_iter().enumerate() {
            let answer = post(&server, "/topics/sports.demo", content_type, body);
            assert_eq!(answer.status, 200, "{content_type}: {}", answer.head);
            assert_eq!(answer.json()["offset"], offset + 1);
            assert_eq!(reader.next().await[key], expected, "{content_type}");
        }
    }
}

#[actix_web::test]
async fn a_topic_in_the_path_may_be_percent_encoded() {
    let server = Server::start(Door::A);
    for (path, topic) in [("caf%C3%A9.x", "café.x"), ("a%2Fb", "a/b"), ("100%25", "100%")] {
        let answer = post(&server, &format!("/topics/{path}"), "application/json", b"1");
        assert_eq!(answer.json()["topic"], topic, "{path}");
    }
}

#[actix_web::test]
async fn what_is_wrong_is_said_in_a_problem_document() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let long = format!("\"{}\"", "x".repeat(70_000));
        type Case<'a> = (&'a str, &'a str, &'a [u8], u16, &'a str, &'a str);
        let cases: [Case<'_>; 6] = [
            ("/topics/a..b", "", b"1", 400, "invalid_topic", "a..b"),
            ("/topics/a.*", "", b"1", 400, "invalid_topic", "a.*"),
            ("/topics/$sys.x", "", b"1", 403, "forbidden", "$sys"),
            ("/topics/a", "", b"{home:3}", 400, "bad_request", "not JSON"),
            ("/topics/a", "application/msgpack", b"\x92\x01", 400, "bad_request", "MessagePack"),
            ("/topics/a", "", long.as_bytes(), 413, "too_large", "65536"),
        ];
        for (path, content_type, body, status, code, detail) in cases {
            let answer = post(&server, path, content_type, body);
            let problem = answer.json();
            assert_eq!((answer.status, &problem["status"]), (status, &json!(status)), "{path}: {problem}");
            assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
            assert_eq!(problem["code"], code, "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        }
    }
}

#[actix_web::test]
async fn a_batch_is_answered_entry_by_entry() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut reader = server.connect(MSGPACK).await;
        reader.ask(json!({"op": "subscribe", "id": 1, "topic": ">"})).await;
        let batch =
            json!([{"topic": "a", "data": 1}, {"topic": "b..c", "data": 2}, {"topic": "a", "data": 3}, 4]);
        let answer = post(&server, "/publish", "application/json", batch.to_string().as_bytes());
        let entries = answer.json();
        assert_eq!((&entries[0]["offset"], &entries[2]["offset"]), (&json!(1), &json!(2)), "{entries}");
        assert_eq!(entries[1]["error"]["code"], "invalid_topic");
        assert_eq!(entries[3]["error"]["code"], "bad_request");
        assert_eq!(
            (reader.next().await["data"].clone(), reader.next().await["data"].clone()),
            (json!(1), json!(3))
        );

        let batch = rmp_serde::to_vec_named(&json!([{"topic": "a", "data": 5}])).unwrap();
        let answer = post(&server, "/publish", "application/msgpack", &batch);
        assert!(answer.head.contains("application/msgpack"), "{}", answer.head);
        let entries: Value = rmp_serde::from_slice(&answer.body).unwrap();
        assert_eq!(entries[0]["offset"], 3);

        let refused = post(&server, "/publish", "application/json", b"{}");
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("bad_request")));
    }
}

#[actix_web::test]
async fn other_methods_and_addresses_are_told_so() {
    for door in Door::BOTH {
        let server = Server::start(door);
        assert_eq!(request(&server, "GET", "/healthz", "", b"").body, b"ok\n");
        assert_eq!(request(&server, "HEAD", "/healthz", "", b"").status, 200);
        let answer = request(&server, "GET", "/topics/a", "", b"");
        assert_eq!(answer.status, 405);
        assert!(answer.head.contains("allow: post"), "{}", answer.head);
        assert_eq!(request(&server, "GET", "/nowhere", "", b"").status, 404);
    }
}

#[actix_web::test]
async fn a_body_that_never_ends_is_given_up() {
    let mut settings = Settings::default();
    settings.handshake_timeout = std::time::Duration::from_millis(1500);
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let head = "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[";
        let mut text = String::new();
        let _ = server.request_raw(head).read_to_string(&mut text);
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert!(text.contains("the body did not come in time"), "{text}");
    }
}
