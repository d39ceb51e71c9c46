//! Who may do what: an authority of the test's own, over sockets and HTTP, behind both doors.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use topichub::Settings;

use crate::raw_http::{answer, get_with, send};
use crate::support::{Door, JSON, MSGPACK, Server, refused};
use crate::tokens::Names;

fn strict(door: Door) -> Server {
    Server::with_authority(door, Settings::default(), Names::default())
}

#[actix_web::test]
async fn who_must_say_who_they_are_can_do_nothing_before() {
    for (door, codec) in [(Door::A, JSON), (Door::B, MSGPACK)] {
        let server = strict(door);
        let mut client = server.connect(codec).await;
        for command in [
            json!({"op": "subscribe", "id": 1, "topic": "a"}),
            json!({"op": "publish", "id": 1, "topic": "a", "data": 1}),
            json!({"op": "request", "id": 1, "topic": "a", "data": 1}),
            json!({"op": "history", "id": 1, "topic": "a"}),
            json!({"op": "presence", "id": 1, "topic": "a"}),
            json!({"op": "reply", "id": 1, "reply_to": "1", "data": 1}),
            json!({"op": "authenticate", "id": 1, "user": "ada"}),
            json!({"op": "authenticate", "id": 1, "token": "nonsense"}),
        ] {
            let error = client.ask(command.clone()).await;
            assert_eq!(error["code"], "unauthorized", "{command} {error}");
        }
        assert_eq!(client.ask(json!({"op": "ping", "id": 2})).await["op"], "pong");
        let known = client.ask(json!({"op": "authenticate", "id": 3, "token": "ada:a"})).await;
        assert_eq!(known, json!({"op": "authenticated", "id": 3, "user": "ada"}));
        let subscribed = client.ask(json!({"op": "subscribe", "id": 4, "topic": "a"})).await;
        assert_eq!(subscribed["op"], "subscribed");
    }
}

#[actix_web::test]
async fn who_does_not_say_so_in_time_is_hung_up_on() {
    let mut settings = Settings::default();
    settings.handshake_timeout = Duration::from_millis(300);
    let server = Server::with_authority(Door::A, settings, Names::default());
    let mut known = server.connect_as("ada:a").await;
    let mut silent = server.connect(JSON).await;
    let (goodbye, frame) = silent.read_to_close().await;
    assert_eq!((u16::from(frame.code), &goodbye.unwrap()["reconnect"]), (4009, &json!("never")));
    assert_eq!(known.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
}

#[actix_web::test]
async fn only_what_is_granted_can_be_done() {
    for door in Door::BOTH {
        let server = strict(door);
        let mut client = server.connect_as("ada:sports.>,chat.*").await;
        for (topic, may) in
            [("sports.nba", true), ("chat.a", true), ("chat.a.b", false), ("$sys.stats", false)]
        {
            for command in [
                json!({"op": "publish", "id": 1, "topic": topic, "data": 1}),
                json!({"op": "history", "id": 1, "topic": topic}),
                json!({"op": "presence", "id": 1, "topic": topic}),
                json!({"op": "subscribe", "id": 1, "topic": topic, "echo": false}),
                json!({"op": "subscribe", "id": 1, "topics": [topic, "sports.x"], "echo": false}),
            ] {
                let reply = client.ask(command.clone()).await;
                assert_eq!(reply["code"] != "forbidden", may, "{command}: {reply}");
            }
        }
        let too_wide = client.ask(json!({"op": "subscribe", "id": 2, "topic": "*.nba"})).await;
        assert_eq!(
            (&too_wide["code"], &too_wide["message"]),
            (&json!("forbidden"), &json!("may not subscribe to *.nba"))
        );
    }
}

#[actix_web::test]
async fn the_same_holds_over_http() {
    for door in Door::BOTH {
        let server = strict(door);
        let with = |token: &str| format!("Authorization: Bearer {token}\r\n");
        for (path, body) in [("/topics/sports.nba", "1"), ("/publish", "[]")] {
            let length = format!("Content-Length: {}\r\n", body.len());
            let post =
                |token: &str| answer(send(&server, "POST", path, &(with(token) + &length), body.as_bytes()));
            assert_eq!(post("ada:sports.>").status, 200, "{path}");
            assert_eq!(post("nonsense").status, 401, "{path}");
            let nobody = answer(send(&server, "POST", path, &length, body.as_bytes()));
            assert_eq!((nobody.status, nobody.header("www-authenticate")), (401, "bearer"), "{path}");
        }
        for path in ["/topics/sports.nba/messages", "/topics/sports.nba/presence"] {
            assert_eq!(get_with(&server, path, &with("ada:sports.>")).status, 200, "{path}");
            assert_eq!(get_with(&server, path, &with("ada:chat.>")).status, 403, "{path}");
            assert_eq!(get_with(&server, path, "").status, 401, "{path}");
        }
        let batch = br#"[{"topic":"sports.a","data":1},{"topic":"chat.a","data":1}]"#;
        let headers = with("ada:sports.>") + &format!("Content-Length: {}\r\n", batch.len());
        let answers = answer(send(&server, "POST", "/publish", &headers, batch)).json();
        assert_eq!(answers[0]["offset"], 1, "{answers}");
        assert_eq!(answers[1]["error"]["code"], "forbidden", "{answers}");
    }
}

#[actix_web::test]
async fn a_handshake_with_a_bad_token_is_refused_and_anybody_may_do_what_anybody_may() {
    for door in Door::BOTH {
        let names = Names { anonymous: Some("guest:news.>"), ..Names::default() };
        let server = Server::with_authority(door, Settings::default(), names);
        let mut request = format!("ws://{}/ws", server.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", "Bearer nonsense".parse().unwrap());
        let response = refused(request).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["www-authenticate"]),
            (401, &"Bearer".parse().unwrap())
        );
        let mut guest = server.connect(JSON).await;
        assert_eq!(
            guest.ask(json!({"op": "subscribe", "id": 1, "topic": "news.a"})).await["op"],
            "subscribed"
        );
        assert_eq!(
            guest.ask(json!({"op": "subscribe", "id": 2, "topic": "chat.a"})).await["code"],
            "forbidden"
        );
    }
}

#[actix_web::test]
async fn a_new_token_ends_the_subscriptions_that_it_does_not_grant() {
    let server = strict(Door::A);
    let mut publisher = server.connect_as("shop:>").await;
    let mut reader = server.connect_as("ada:sports.>,chat.>").await;
    for (id, topic) in [(1, "sports.nba"), (2, "chat.a"), (3, "chat.>")] {
        reader.ask(json!({"op": "subscribe", "id": id, "topic": topic})).await;
    }
    // The one on its way is looked at as well.
    reader.send(json!({"op": "subscribe", "topic": "chat.b"})).await;
    let known = reader.ask(json!({"op": "authenticate", "id": 4, "token": "ada:sports.nba"})).await;
    assert_eq!(known["op"], "authenticated");
    let mut ended = Vec::new();
    while ended.len() < 3 {
        let push = reader.next().await;
        assert_eq!((&push["op"], &push["code"]), (&json!("unsubscribed"), &json!("forbidden")), "{push}");
        ended.push(push["topic"].as_str().unwrap().to_owned());
    }
    ended.sort();
    assert_eq!(ended, ["chat.>", "chat.a", "chat.b"]);
    for topic in ["chat.a", "chat.b", "chat.c", "sports.nba"] {
        publisher.ask(json!({"op": "publish", "id": 1, "topic": topic, "data": 1})).await;
    }
    assert_eq!(reader.next().await["topic"], "sports.nba", "nothing of the others comes before");
}

#[actix_web::test]
async fn a_session_ends_with_its_token_unless_there_is_a_new_one() {
    let server = strict(Door::A);
    let mut renewed = server.connect_as("ada!2:a").await;
    let mut left = server.connect_as("bob!2:a").await;
    for client in [&mut renewed, &mut left] {
        let expiring = client.next().await;
        assert_eq!(expiring["op"], "expiring", "{expiring}");
        assert!((1..=1000).contains(&expiring["in_ms"].as_u64().unwrap()), "{expiring}");
    }
    let known = renewed.ask(json!({"op": "authenticate", "id": 1, "token": "ada!3600:a"})).await;
    assert!((3_000_000..=3_600_000).contains(&known["expires_ms"].as_u64().unwrap()), "{known}");
    let (goodbye, frame) = left.read_to_close().await;
    assert_eq!((u16::from(frame.code), &goodbye.unwrap()["reconnect"]), (4203, &json!("now")));
    assert_eq!(renewed.ask(json!({"op": "ping", "id": 2})).await["op"], "pong");
}

#[actix_web::test]
async fn commands_wait_until_it_is_known_who_gives_them() {
    let held = Arc::new(Notify::new());
    let names = Names { held: Some(Arc::clone(&held)), ..Names::default() };
    let server = Server::with_authority(Door::A, Settings::default(), names);
    let mut client = server.connect(JSON).await;
    client.send(json!({"op": "authenticate", "id": 1, "token": "ada:a"})).await;
    client.send(json!({"op": "subscribe", "id": 2, "topic": "a"})).await;
    client.send(json!({"op": "authenticate", "id": 3, "token": "ada:b"})).await;
    client.send(json!({"op": "ping", "id": 4})).await;
    held.notify_one();
    assert_eq!(client.next().await["id"], 1);
    held.notify_one();
    let mut rest = Vec::new();
    for _ in 0..4 {
        let next = client.next().await;
        rest.push(format!("{} {}", next["op"].as_str().unwrap(), next["id"]));
    }
    // The registry's answers come when they come, in their order.
    rest.sort();
    assert_eq!(rest, ["authenticated 3", "pong 4", "subscribed 2", "unsubscribed null"]);
}
