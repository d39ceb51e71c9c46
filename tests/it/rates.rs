//! Who sends too much is told so, and then not heard any more; everybody else notices nothing.

use serde_json::{Value, json};
use topichub::Settings;

use crate::raw_http::{answer, send};
use crate::support::{Door, JSON, Server};
use crate::tokens::Names;

#[actix_web::test]
async fn commands_beyond_the_rate_are_refused_and_a_flood_ends_the_session() {
    let mut settings = Settings::default();
    settings.commands_per_second_max = 50;
    let server = Server::with(Door::A, settings);
    let mut healthy = server.connect(JSON).await;
    let mut flooding = server.connect(JSON).await;
    for id in 0..60 {
        flooding.send(json!({"op": "ping", "id": id})).await;
    }
    let (mut pongs, mut refused) = (0, 0);
    for id in 0..60 {
        let reply = flooding.next().await;
        assert_eq!(reply["id"], id, "each is answered, in order: {reply}");
        if reply["op"] == "pong" {
            pongs += 1;
        } else {
            refused += 1;
            assert_eq!((&reply["code"], &reply["retry"]), (&json!("rate_limited"), &Value::Bool(true)));
            assert!((1..=20).contains(&reply["after_ms"].as_u64().unwrap()), "{reply}");
        }
    }
    assert!(pongs >= 50, "{pongs} went through and {refused} did not");
    for _ in 0..2000 {
        flooding.send(json!({"op": "ping"})).await;
    }
    let (goodbye, frame) = flooding.read_to_close().await;
    assert_eq!((u16::from(frame.code), &goodbye.unwrap()["reconnect"]), (4102, &json!("later")));
    assert_eq!(healthy.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
}

#[actix_web::test]
async fn a_user_publishes_so_much_over_all_ways() {
    let mut settings = Settings::default();
    settings.publishes_per_second_per_user_max = 1;
    let server = Server::with_authority(Door::A, settings, Names::default());
    let (mut ada, mut bob) = (server.connect_as("ada:a").await, server.connect_as("bob:a").await);
    let post = || {
        let headers = "Authorization: Bearer ada:a\r\nContent-Length: 1\r\n";
        answer(send(&server, "POST", "/topics/a", headers, b"1"))
    };
    // Slow machines let some in between.
    let mut refused = None;
    for _ in 0..500 {
        ada.ask(json!({"op": "publish", "id": 1, "topic": "a", "data": 1})).await;
        refused = Some(post()).filter(|answer| answer.status == 429);
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("nothing of a thousand publishes was refused");
    assert_eq!((&refused.json()["code"], refused.header("retry-after")), (&json!("rate_limited"), "1"));
    let published = bob.ask(json!({"op": "publish", "id": 1, "topic": "a", "data": 1})).await;
    assert_eq!(published["op"], "published", "each user has a rate of its own");
}
