//! What both doors do alike: the same stories behind the binary's server and behind somebody's own `App`.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use topichub::Settings;

use crate::support::{DEADLINE, Door, JSON, MSGPACK, Server, read_head, upgrade};

#[actix_web::test]
async fn a_message_published_in_one_codec_arrives_in_both() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut browser = server.connect(JSON).await;
        let mut service = server.connect(MSGPACK).await;
        browser.ask(json!({"op": "subscribe", "id": 1, "topic": "ticker.*"})).await;
        let subscribed = service.ask(json!({"op": "subscribe", "id": "s", "topic": "ticker.AAPL"})).await;
        assert_eq!((&subscribed["op"], &subscribed["offset"]), (&json!("subscribed"), &json!(0)));

        let publish = json!({"op": "publish", "id": 2, "topic": "ticker.AAPL", "data": {"price": 190.1}});
        let published = service.ask(publish).await;
        assert_eq!(published["epoch"], subscribed["epoch"]);
        let expected = json!({"op": "message", "topic": "ticker.AAPL", "offset": 1, "epoch": subscribed["epoch"],
                "data": {"price": 190.1}});
        assert_eq!(browser.next().await, expected);
        assert_eq!(service.next().await, expected);
    }
}

#[actix_web::test]
async fn a_session_that_asked_for_no_echo_gets_everything_but_its_own() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut chatter = server.connect(JSON).await;
        let mut other = server.connect(JSON).await;
        chatter.ask(json!({"op": "subscribe", "id": 1, "topic": "chat", "echo": false})).await;
        other.ask(json!({"op": "subscribe", "id": 1, "topic": "chat"})).await;
        chatter.ask(json!({"op": "publish", "id": 2, "topic": "chat", "data": "mine"})).await;
        other.send(json!({"op": "publish", "topic": "chat", "data": "theirs"})).await;
        assert_eq!(chatter.next().await["data"], "theirs");
        assert_eq!(other.next().await["data"], "mine");
        assert_eq!(other.next().await["data"], "theirs");
    }
}

#[actix_web::test]
async fn commands_sent_in_one_breath_are_carried_out_in_order() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut client = server.connect(JSON).await;
        client.send(json!({"op": "publish", "topic": "a", "data": 1})).await;
        client.send(json!({"op": "subscribe", "id": 2, "topics": ["a", "b"]})).await;
        client.send(json!({"op": "publish", "topic": "a", "data": 3})).await;
        client.send(json!({"op": "unsubscribe", "id": 4, "topic": "a"})).await;
        client.send(json!({"op": "publish", "topic": "a", "data": 5})).await;
        client.send(json!({"op": "publish", "topic": "b", "data": 6})).await;
        assert_eq!(client.next().await["topics"][0]["offset"], 1);
        assert_eq!(client.next().await["data"], 3);
        assert_eq!(client.next().await["op"], "unsubscribed");
        assert_eq!(client.next().await["data"], 6);
    }
}

#[actix_web::test]
async fn many_subscribers_of_both_codecs_get_every_message_once_and_in_order() {
    const SUBSCRIBERS: usize = 60;
    const MESSAGES: u64 = 400;
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut readers = Vec::new();
        for number in 0..SUBSCRIBERS {
            let mut client = server.connect(if number % 2 == 0 { JSON } else { MSGPACK }).await;
            client.ask(json!({"op": "subscribe", "id": 1, "topics": ["count", "count.>", "*"]})).await;
            readers.push(actix_web::rt::spawn(async move {
                for offset in 1..=MESSAGES {
                    let message = client.next().await;
                    assert_eq!((&message["offset"], &message["data"]), (&json!(offset), &json!(offset)));
                }
            }));
        }
        let mut publisher = server.connect(MSGPACK).await;
        for number in 1..=MESSAGES {
            publisher.send(json!({"op": "publish", "topic": "count", "data": number})).await;
        }
        for reader in readers {
            tokio::time::timeout(DEADLINE, reader).await.unwrap().unwrap();
        }
    }
}

#[actix_web::test]
async fn a_publisher_faster_than_its_subscribers_is_slowed_down_and_loses_nothing() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut reader = server.connect(JSON).await;
        reader.ask(json!({"op": "subscribe", "id": 1, "topic": "flood"})).await;
        let mut publisher = server.connect(JSON).await;
        let flood = actix_web::rt::spawn(async move {
            for number in 0..5_000 {
                publisher.send(json!({"op": "publish", "topic": "flood", "data": number})).await;
            }
            publisher.ask(json!({"op": "ping", "id": "end"})).await;
        });
        for number in 0..5_000 {
            assert_eq!(reader.next().await["data"], number);
        }
        flood.await.unwrap();
    }
}

#[actix_web::test]
async fn a_peer_that_closes_gets_the_same_code_back_and_the_end_of_the_connection_at_once() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut socket = server.connect_raw(JSON);
        // A masked close frame with code 1000 and the mask 0.
        socket.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).unwrap();
        let began = std::time::Instant::now();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
        assert_eq!(rest[rest.len() - 4..], [0x88, 0x02, 0x03, 0xe8], "{door:?}");
        // Stacks that linger do so for a second.
        assert!(
            began.elapsed() < Duration::from_millis(900),
            "{door:?}: the end came after {:?}",
            began.elapsed()
        );
    }
}

#[actix_web::test]
async fn a_peer_that_breaks_the_protocol_is_told_why() {
    let utf8 = [0x81, 0x82, 0, 0, 0, 0, b'a', 0xff];
    let unmasked = [0x81, 0x02, b'{', b'}', 0, 0, 0, 0];
    let reserved = [0xf1, 0x82, 0, 0, 0, 0, b'{', b'}'];
    let oversize = [0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0];
    let binary = [0x82, 0x82, 0, 0, 0, 0, b'{', b'}'];
    let cases: [(&str, &[u8], u16); 5] = [
        ("invalid UTF-8", &utf8, 1007),
        ("an unmasked frame", &unmasked, 1002),
        ("reserved bits", &reserved, 1002),
        ("1 GiB announced", &oversize, 1009),
        ("a binary frame in JSON", &binary, 1003),
    ];
    for door in Door::BOTH {
        let server = Server::start(door);
        for (name, bytes, code) in cases {
            let mut socket = server.connect_raw(JSON);
            socket.write_all(bytes).unwrap();
            let received = read_to_close_frame(&mut socket);
            assert_eq!(received, code, "{name} at door {door:?}");
        }
    }
}

/// The code of the first close frame, which ends what the server sends.
fn read_to_close_frame(socket: &mut std::net::TcpStream) -> u16 {
    let mut header = [0; 2];
    loop {
        socket.read_exact(&mut header).unwrap();
        let length = match header[1] {
            126 => {
                let mut length = [0; 2];
                socket.read_exact(&mut length).unwrap();
                u16::from_be_bytes(length).into()
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        socket.read_exact(&mut payload).unwrap();
        if header[0] == 0x88 {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    }
}

#[actix_web::test]
async fn a_peer_that_does_not_answer_pings_is_closed_with_4103() {
    let mut settings = Settings::default();
    settings.ping_interval = Duration::from_millis(300);
    settings.pong_timeout = Duration::from_millis(300);
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let mut silent = server.connect_raw(JSON);
        let mut healthy = server.connect(JSON).await;
        let waiting = std::thread::spawn(move || read_to_close_frame(&mut silent));
        while !waiting.is_finished() {
            // The library answers pings while it is being read from.
            assert_eq!(healthy.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
        }
        assert_eq!(waiting.join().unwrap(), 4103, "{door:?}");
    }
}

#[actix_web::test]
async fn a_peer_that_never_answers_our_close_is_cut_off_in_the_end() {
    let mut settings = Settings::default();
    settings.close_timeout = Duration::from_millis(300);
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let mut silent = server.connect_raw(JSON);
        drop(server.hub.drain(Duration::ZERO));
        assert_eq!(read_to_close_frame(&mut silent), 4201, "{door:?}");
        let mut rest = Vec::new();
        let end = silent.read_to_end(&mut rest);
        assert!(end.is_err() || rest.is_empty(), "{door:?}: {rest:?}");
    }
}

#[actix_web::test]
async fn a_stalled_reader_is_cut_off_and_the_healthy_one_beside_it_misses_nothing() {
    const MESSAGES: usize = 1_500;
    let mut settings = Settings::default();
    settings.outbox_bytes_max = 256 * 1024;
    settings.close_timeout = Duration::from_millis(500);
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let mut stalled = server.connect(JSON).await;
        let mut healthy = server.connect(JSON).await;
        for client in [&mut stalled, &mut healthy] {
            client.ask(json!({"op": "subscribe", "id": 1, "topic": "big"})).await;
        }
        let filling = "x".repeat(20_000);
        for offset in 1..=MESSAGES {
            server.hub.publish("big", &filling).await.unwrap();
            assert_eq!(healthy.next().await["offset"], offset);
        }
        // Only now does the stalled one read: what the kernels held, and then the end.
        stalled.read_to_end().await;
    }
}

#[actix_web::test]
async fn a_slow_reader_that_reads_on_in_time_learns_that_it_was_too_slow() {
    let mut settings = Settings::default();
    settings.outbox_bytes_max = 64 * 1024;
    settings.close_timeout = DEADLINE;
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let mut slow = server.connect(JSON).await;
        slow.ask(json!({"op": "subscribe", "id": 1, "topic": "big"})).await;
        let filling = "x".repeat(20_000);
        for _ in 0..1_500 {
            server.hub.publish("big", &filling).await.unwrap();
        }
        let (goodbye, close) = slow.read_to_close().await;
        assert_eq!(close.code, CloseCode::from(4104), "{door:?}");
        let goodbye = goodbye.expect("a goodbye comes before the close frame");
        assert_eq!((&goodbye["code"], &goodbye["reconnect"]), (&json!(4104), &json!("later")));
    }
}

#[actix_web::test]
async fn a_drain_says_goodbye_and_asks_to_come_back() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut client = server.connect(JSON).await;
        drop(server.hub.drain(Duration::ZERO));
        let goodbye = client.next().await;
        assert_eq!((&goodbye["op"], &goodbye["reconnect"]), (&json!("goodbye"), &json!("now")));
        assert_eq!(client.read_to_close().await.1.code, CloseCode::from(4201));
    }
}

#[actix_web::test]
async fn half_closing_ends_the_session() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut socket = server.connect_raw(JSON);
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
    }
}

#[actix_web::test]
async fn bytes_that_come_with_the_handshake_are_not_lost() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut together = upgrade("").into_bytes();
        let ping = br#"{"op":"ping","id":1}"#;
        together.extend([0x81, 0x80 | ping.len() as u8, 0, 0, 0, 0]);
        together.extend(ping);
        let mut socket = server.request_raw("");
        socket.write_all(&together).unwrap();
        assert!(read_head(&mut socket).starts_with("HTTP/1.1 101 "));
        let mut text = String::new();
        let mut buffer = [0; 1024];
        while !text.contains(r#"{"op":"pong","id":1}"#) {
            let count = socket.read(&mut buffer).unwrap();
            assert!(count > 0, "{door:?}: only {text} came");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
}
