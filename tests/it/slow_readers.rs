//! Peers that do not read: what they cost is bounded, they are cut off, and nobody else notices.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use topichub::Settings;

use crate::support::{Door, JSON, Server, masked, wait_until};

/// Subscribes a socket that will never be read from again.
fn stalled(server: &Server, topic: &str) -> TcpStream {
    let mut socket = server.connect_raw(JSON);
    let command = json!({"op": "subscribe", "id": 1, "topic": topic}).to_string();
    socket.write_all(&masked(0x81, command.as_bytes())).unwrap();
    socket
}

#[actix_web::test]
async fn a_reader_that_takes_nothing_for_too_long_is_cut_off_within_its_limits() {
    let mut settings = Settings::default();
    settings.outbox_bytes_max = 1 << 30;
    settings.outboxes_bytes_max = 1 << 30;
    settings.outbox_messages_max = 1 << 20;
    settings.stall_timeout = Duration::from_millis(400);
    settings.close_timeout = Duration::from_millis(300);
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let mut healthy = server.connect(JSON).await;
        let _stalled = stalled(&server, "big");
        healthy.ask(json!({"op": "subscribe", "id": 1, "topic": "big"})).await;
        let filling = "x".repeat(60_000);
        // More than two kernels hold for a socket; without the timeout it would wait for ever.
        for offset in 1..=400 {
            server.hub.publish("big", &filling).await.unwrap();
            assert_eq!(healthy.next().await["offset"], offset);
        }
        assert_eq!(healthy.ask(json!({"op": "ping", "id": 2})).await["op"], "pong", "{door:?}");
        wait_until("the stalled one is gone", || server.hub.sessions() == 1);
    }
}

#[actix_web::test]
async fn when_all_outboxes_hold_too_much_together_the_fullest_go_first() {
    let mut settings = Settings::default();
    // Nothing but the limit for all of them can be what cuts off anybody.
    settings.outbox_bytes_max = 1 << 30;
    settings.outbox_messages_max = 1 << 20;
    settings.stall_timeout = Duration::from_secs(3600);
    settings.outboxes_bytes_max = 64 << 20;
    settings.close_timeout = Duration::from_millis(300);
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let mut healthy = server.connect(JSON).await;
        let mut modest = server.connect(JSON).await;
        modest.ask(json!({"op": "subscribe", "id": 1, "topic": "modest"})).await;
        let _stalled: Vec<_> = (0..4).map(|_| stalled(&server, "big")).collect();
        healthy.ask(json!({"op": "subscribe", "id": 1, "topic": "big"})).await;
        let filling = "x".repeat(60_000);
        for _ in 0..100 {
            server.hub.publish("modest", &filling).await.unwrap();
        }
        let mut offset = 0;
        while server.hub.sessions() > 2 {
            offset += 1;
            server.hub.publish("big", &filling).await.unwrap();
            assert_eq!(healthy.next().await["offset"], offset);
            assert!(offset < 5_000, "{door:?}: 300 MB and nobody is cut off");
        }
        // It was behind too, but not as far.
        for offset in 1..=100 {
            assert_eq!(modest.next().await["offset"], offset, "{door:?}");
        }
    }
}
