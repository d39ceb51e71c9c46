//! The hub as a library: publishing and subscribing within a program, beside sockets.

use serde::{Deserialize, Serialize};
use serde_json::json;
use topichub::{Hub, Payload, PublishError, SUBSCRIPTION_MESSAGES_MAX, Settings, SubscriptionEnded, Topic};

use crate::support::{Door, JSON, Server};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Score {
    home: u32,
    away: u32,
}

#[actix_web::test]
async fn typed_values_go_in_and_come_out() {
    let hub = Hub::start(Settings::default()).unwrap();
    let mut scores = hub.subscribe("sports.>").await.unwrap();
    let score = Score { home: 3, away: 1 };
    let position = hub.publish("sports.demo", &score).await.unwrap();
    let message = scores.next().await.unwrap().unwrap();
    assert_eq!(message.position, position);
    assert_eq!(message.payload.deserialize::<Score>().unwrap(), score);
}

#[actix_web::test]
async fn a_program_and_its_sockets_hear_each_other() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut inside = server.hub.subscribe("chat").await.unwrap();
        let mut outside = server.connect(JSON).await;
        outside.ask(json!({"op": "subscribe", "id": 1, "topic": "chat"})).await;
        server.hub.publish("chat", "from inside").await.unwrap();
        assert_eq!(outside.next().await["data"], "from inside");
        outside.send(json!({"op": "publish", "topic": "chat", "data": "from outside"})).await;
        let mut heard = Vec::new();
        for _ in 0..2 {
            heard.push(inside.next().await.unwrap().unwrap().payload.deserialize::<String>().unwrap());
        }
        assert_eq!(heard, ["from inside", "from outside"]);
    }
}

#[actix_web::test]
async fn what_cannot_be_published_is_refused_with_the_reason() {
    let hub = Hub::start(Settings::default()).unwrap();
    assert!(matches!(hub.publish("a..b", &1).await, Err(PublishError::Topic(_))));
    assert!(matches!(hub.publish("a.*", &1).await, Err(PublishError::Topic(_))));
    assert!(matches!(hub.publish("$sys.x", &1).await, Err(PublishError::SystemTopic)));
    let long = "x".repeat(70_000);
    let Err(PublishError::TooLarge { len, max }) = hub.publish("a", &long).await else { panic!("too long") };
    assert_eq!((len, max), (70_002, 65_536));
}

#[actix_web::test]
async fn a_stream_that_is_not_read_ends_and_says_why() {
    let hub = Hub::start(Settings::default()).unwrap();
    let mut stream = hub.subscribe("fast").await.unwrap();
    for number in 0..=SUBSCRIPTION_MESSAGES_MAX {
        hub.publish("fast", &number).await.unwrap();
    }
    // A second stream has the same messages behind it as soon as it is open.
    let _after = hub.subscribe("fast").await.unwrap();
    for number in 0..SUBSCRIPTION_MESSAGES_MAX {
        assert_eq!(stream.next().await.unwrap().unwrap().position.offset, number as u64 + 1);
    }
    let ended = stream.next().await.unwrap().unwrap_err();
    assert_eq!(ended, SubscriptionEnded::TooSlow { waiting: SUBSCRIPTION_MESSAGES_MAX });
    assert!(stream.next().await.is_none());
}

#[actix_web::test]
async fn a_handle_works_from_any_thread() {
    let hub = Hub::start(Settings::default()).unwrap();
    let mut stream = hub.subscribe("threads").await.unwrap();
    let elsewhere = hub.clone();
    std::thread::spawn(move || {
        let payload = Payload::from_binary(b"\x00\xff".as_slice().into());
        let topic = Topic::parse("threads").unwrap();
        futures_executor(elsewhere.publish_payload(topic, payload)).unwrap();
    });
    assert!(stream.next().await.unwrap().unwrap().payload.is_binary());
}

/// Another runtime than the hub's.
fn futures_executor<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn without_an_actix_system_there_is_a_clear_error() {
    let error = Hub::start(Settings::default()).unwrap_err();
    assert!(error.to_string().contains("#[actix_web::main]"), "{error}");
}
