//! What the hub counts, as those who run it see it at `/metrics`, and whether it says that it is ready.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::json;
use topichub::protocol::code::ErrorCode;
use topichub::protocol::command::CommandError;
use topichub::{Authority, Grants, Identified, Identity, Settings};

use crate::support::{Door, JSON, MSGPACK, Server, wait_until};

/// The samples by their names and labels.
pub(crate) fn metrics(server: &Server) -> HashMap<String, f64> {
    let (status, answer) = server.get("/metrics", "");
    assert_eq!(status, 200, "{answer}");
    let samples = answer.lines().filter(|line| line.starts_with("topichub_") || line.starts_with("process_"));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Waits until all of these are told: what was counted is posted once a second.
pub(crate) fn wait_for(server: &Server, expected: &[(&str, f64)]) {
    let mut told = HashMap::new();
    let mut wrong = Vec::new();
    let mut is_so = || {
        told = metrics(server);
        let differs = |(name, value): &&(&str, f64)| told.get(*name) != Some(value);
        wrong = expected.iter().filter(differs).map(|(name, value)| format!("{name} {value}")).collect();
        wrong.is_empty()
    };
    let end = std::time::Instant::now() + crate::support::DEADLINE / 2;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "{wrong:#?} in {told:#?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[actix_web::test]
async fn what_happens_is_counted() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let (mut json, mut msgpack) = (server.connect(JSON).await, server.connect(MSGPACK).await);
        json.ask(json!({"op": "subscribe", "id": 1, "topic": "a"})).await;
        msgpack.ask(json!({"op": "subscribe", "id": 1, "topics": ["a", "b.*"]})).await;
        for number in 0..3 {
            server.hub.publish("a", &number).await.unwrap();
            assert_eq!(json.next().await["data"], number);
            assert_eq!(msgpack.next().await["data"], number);
        }
        json.ask(json!({"op": "publish", "id": 2, "topic": "c", "data": 1})).await;
        let replayed = json!({"op": "subscribe", "id": 3, "topic": "c", "replay": {"last": 1}});
        json.ask(replayed).await;
        assert_eq!(json.next().await["topic"], "c");
        for refused in [json!({"op": "unsubscribe", "id": 4, "topic": "z"}), json!({"op": "fly", "id": 5})] {
            assert_eq!(json.ask(refused).await["op"], "error");
        }
        let plain = |metric: &str| format!("topichub_{metric}{{protocol=\"pubsub.json\",deflate=\"no\"}}");
        wait_for(
            &server,
            &[
                ("topichub_deliveries_total", 6.0),
                ("topichub_replayed_messages_total", 1.0),
                ("topichub_publishes_total", 4.0),
                ("topichub_replays_total", 1.0),
                ("topichub_subscriptions", 4.0),
                ("topichub_topics", 2.0),
                ("topichub_commands_total{op=\"subscribe\"}", 3.0),
                ("topichub_commands_total{op=\"publish\"}", 1.0),
                ("topichub_command_errors_total{code=\"not_subscribed\"}", 1.0),
                ("topichub_command_errors_total{code=\"unknown_op\"}", 1.0),
                ("topichub_websocket_messages_received_total", 6.0),
                // Two welcomes, six replies, six deliveries and the one that was before.
                ("topichub_websocket_messages_sent_total", 15.0),
                (&plain("sessions"), 1.0),
                (&plain("sessions_opened_total"), 1.0),
                ("topichub_draining", 0.0),
            ],
        );
        json.socket.close(None).await.unwrap();
        json.read_to_end().await;
        drop(msgpack);
        wait_for(
            &server,
            &[
                (&plain("sessions"), 0.0),
                (&plain("sessions_opened_total"), 1.0),
                ("topichub_subscriptions", 0.0),
                ("topichub_sessions_closed_total{code=\"1005\",by=\"client\"}", 1.0),
                ("topichub_sessions_closed_total{code=\"1006\",by=\"client\"}", 1.0),
            ],
        );
        let told = metrics(&server);
        assert!(told["topichub_websocket_sent_bytes_total"] > 6.0 * 20.0, "{door:?}: {told:?}");
        assert!(told["topichub_websocket_received_bytes_total"] > 6.0 * 20.0, "{door:?}: {told:?}");
        assert!(told["topichub_history_bytes"] > 0.0 && told["topichub_registry_lag_seconds_count"] > 0.0);
    }
}

#[actix_web::test]
async fn what_a_slow_reader_does_not_get_is_counted_by_reason() {
    let server = Server::start(Door::A);
    let mut slow = server.connect(JSON).await;
    slow.ask(json!({"op": "subscribe", "id": 1, "topic": "big", "slow": "latest"})).await;
    let filling = "x".repeat(30_000);
    for _ in 0..1_000 {
        server.hub.publish("big", &filling).await.unwrap();
    }
    // Some of the newest comes last, and before it what is missing is announced.
    let (mut gaps, mut missed) = (0, 0);
    loop {
        let push = slow.next().await;
        if push["op"] == "gap" {
            gaps += 1;
            missed += push["to"].as_u64().unwrap() - push["from"].as_u64().unwrap() + 1;
        } else if push["offset"] == 1_000 {
            break;
        }
    }
    assert!(missed > 0, "the reader took everything: there is nothing to see");
    wait_for(
        &server,
        &[
            ("topichub_gaps_total{reason=\"conflated\"}", f64::from(gaps)),
            ("topichub_dropped_messages_total{reason=\"conflated\"}", missed as f64),
            ("topichub_deliveries_total", (1_000 - missed) as f64),
            ("topichub_slow_consumers_total", 0.0),
        ],
    );
}

/// Knows one administrator and one user, and nobody else.
struct Strict;

impl Authority for Strict {
    fn anonymous(&self) -> Option<Arc<Identity>> {
        None
    }

    fn identify<'a>(&'a self, token: &'a str) -> Pin<Box<dyn Future<Output = Identified> + Send + 'a>> {
        let grants = match token {
            "admin" => Some(Grants::everything()),
            "user" => Some(Grants::open()),
            _ => None,
        };
        let unknown = || CommandError::new(ErrorCode::Unauthorized, "nobody knows this token");
        let identity = Identity { user: Some(token.into()), ..Identity::default() };
        let identity = grants.map(|grants| Arc::new(Identity { grants, ..identity }));
        Box::pin(std::future::ready(identity.ok_or_else(unknown)))
    }
}

#[actix_web::test]
async fn where_people_are_asked_who_they_are_metrics_are_for_administrators() {
    let server = Server::with_authority(Door::A, Settings::default(), Strict);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for (headers, expected) in [
        (String::new(), 401),
        (bearer("nobody"), 401),
        (bearer("user"), 403),
        ("Authorization: Basic admin\r\n".to_owned(), 401),
        (bearer("admin"), 200),
    ] {
        let (status, answer) = server.get("/metrics", &headers);
        assert_eq!(status, expected, "{headers:?}: {answer}");
        assert_eq!(answer.contains("topichub_sessions"), status == 200, "{answer}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path, "").0, 200, "balancers show nothing");
    }
}

#[actix_web::test]
async fn no_metric_names_a_topic_a_user_or_an_address() {
    let server = Server::start(Door::A);
    let mut client = server.connect(JSON).await;
    client.ask(json!({"op": "authenticate", "id": 1, "user": "adelaide"})).await;
    client.ask(json!({"op": "subscribe", "id": 2, "topic": "very.special", "group": "gang"})).await;
    server.hub.publish("very.special", &1).await.unwrap();
    wait_until("it is counted", || metrics(&server).get("topichub_queue_group_members") == Some(&1.0));
    let (_, text) = server.get("/metrics", "");
    for name in ["adelaide", "special", "gang", "127.0.0.1"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
}
