//! What administrators may see and do, over HTTP and in a program.

use std::collections::HashSet;

use serde_json::{Value, json};
use topichub::Settings;

use crate::raw_http::{Answer, answer, get, send};
use crate::support::{Client, Door, Server, wait_until};
use crate::tokens::Names;

const ROOT: &str = "root:>";

fn served(door: Door) -> Server {
    Server::with_authority(door, Settings::default(), Names::default())
}

fn ask(server: &Server, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let headers = format!("Authorization: Bearer {token}\r\nContent-Length: {}\r\n", body.len());
    answer(send(server, method, path, &headers, body.as_bytes()))
}

fn root(server: &Server, method: &str, path: &str) -> Value {
    let answer = ask(server, ROOT, method, path, "");
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.json());
    answer.json()
}

async fn closed(client: &mut Client) -> (u16, String) {
    let (goodbye, frame) = client.read_to_close().await;
    (frame.code.into(), goodbye.unwrap()["reconnect"].as_str().unwrap().to_owned())
}

#[actix_web::test]
async fn only_administrators_look_into_the_server() {
    let all = [
        ("GET", "/topics"),
        ("DELETE", "/topics/a/messages"),
        ("GET", "/sessions"),
        ("POST", "/sessions/67e55044-10b1-426f-9247-bb680e5fe0c8/disconnect"),
        ("POST", "/users/ada/disconnect"),
        ("POST", "/users/ada/unsubscribe"),
        ("POST", "/tokens/t/revoke"),
        ("POST", "/drain"),
        ("GET", "/explain?topic=a"),
    ];
    for door in Door::BOTH {
        let (asks, open) = (served(door), Server::start(door));
        for (method, path) in all {
            assert_eq!(ask(&asks, "ada:>", method, path, "").status, 403, "{method} {path}");
            assert_eq!(answer(send(&asks, method, path, "", b"")).status, 401, "{method} {path}");
            // Where nobody is asked who they are, nobody is an administrator.
            assert_eq!(answer(send(&open, method, path, "", b"")).status, 403, "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn topics_are_listed_page_by_page_and_can_be_purged() {
    let server = served(Door::A);
    let mut client = server.connect_as(ROOT).await;
    client.ask(json!({"op": "subscribe", "id": 1, "topics": ["shop.*", "shop.b"], "echo": false})).await;
    for topic in ["shop.c", "shop.a", "shop.b", "shop.b", "other"] {
        client.ask(json!({"op": "publish", "id": 2, "topic": topic, "data": 1})).await;
    }
    let first = root(&server, "GET", "/topics?limit=3");
    let names = |page: &Value| {
        let topics = page["topics"].as_array().unwrap().iter();
        topics.map(|topic| topic["topic"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&first), &first["next"]),
        (vec!["other".into(), "shop.a".into(), "shop.b".into()], &json!("shop.b"))
    );
    let second = root(&server, "GET", "/topics?limit=3&after=shop.b");
    assert_eq!((names(&second), &second["next"]), (vec!["shop.c".into()], &Value::Null));
    assert_eq!(names(&root(&server, "GET", "/topics?pattern=shop.*")).len(), 3);
    assert_eq!(names(&root(&server, "GET", "/topics?pattern=nothing")).len(), 0);
    let one = &root(&server, "GET", "/topics?pattern=shop.b")["topics"][0];
    let numbers = ["offset", "messages", "subscriptions"].map(|key| one[key].as_u64().unwrap());
    assert_eq!(numbers, [2, 1, 2], "{one}");

    assert_eq!(root(&server, "DELETE", "/topics/shop.b/messages")["ended"], 1);
    let history = client.ask(json!({"op": "history", "id": 3, "topic": "shop.b"})).await;
    assert_eq!((&history["messages"], &history["offset"]), (&json!([]), &json!(2)));
    let published = client.ask(json!({"op": "publish", "id": 4, "topic": "shop.b", "data": 1})).await;
    assert_eq!(published["offset"], 3);
    for (query, word) in
        [("limit=0", "limit"), ("limit=1001", "1000"), ("pattern=a..b", "empty token"), ("x=1", "x")]
    {
        let answer = ask(&server, ROOT, "GET", &format!("/topics?{query}"), "");
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{}", answer.json());
    }
}

#[actix_web::test]
async fn sessions_are_listed_page_by_page_over_all_threads() {
    let server = served(Door::A);
    let mut clients = Vec::new();
    for number in 0..7 {
        let user = if number % 2 == 0 { "ada" } else { "bob" };
        let mut client = server.connect_as(&format!("{user}:>")).await;
        client.ask(json!({"op": "subscribe", "id": 1, "topic": "a"})).await;
        clients.push(client);
    }
    let (mut seen, mut pages, mut next) = (HashSet::new(), 0, String::new());
    loop {
        let page = root(&server, "GET", &format!("/sessions?limit=3{next}"));
        for session in page["sessions"].as_array().unwrap() {
            assert_eq!(
                (&session["protocol"], &session["subscriptions"], &session["address"]),
                (&json!("pubsub.json"), &json!(1), &json!("127.0.0.1"))
            );
            assert!(seen.insert(session["session"].as_str().unwrap().to_owned()), "twice: {session}");
        }
        pages += 1;
        match page["next"].as_str() {
            Some(after) => next = format!("&after={after}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (7, 3));
    let adas = root(&server, "GET", "/sessions?user=ada");
    assert_eq!(adas["sessions"].as_array().unwrap().len(), 4);

    let id = adas["sessions"][0]["session"].as_str().unwrap();
    assert_eq!(root(&server, "POST", &format!("/sessions/{id}/disconnect"))["ended"], 1);
    wait_until("it is gone", || server.hub.sessions() == 6);
    assert_eq!(ask(&server, ROOT, "POST", &format!("/sessions/{id}/disconnect"), "").status, 404);
    let unknown = ask(&server, ROOT, "POST", "/sessions/ada/disconnect", "");
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.json()["detail"], "a session's id is a UUID, got \"ada\"");
    assert_eq!(root(&server, "POST", "/users/bob/disconnect")["ended"], 3);
    for client in clients.iter_mut().skip(1).step_by(2) {
        assert_eq!(closed(client).await, (4005, "never".into()));
    }
    assert_eq!(root(&server, "POST", "/users/nobody/disconnect")["ended"], 0);
}

#[actix_web::test]
async fn a_users_subscriptions_can_be_ended() {
    let server = served(Door::B);
    let mut ada = server.connect_as("ada:>").await;
    ada.ask(json!({"op": "subscribe", "id": 1, "topics": ["a.b", "a.*"]})).await;
    let mut bob = server.connect_as("bob:>").await;
    bob.ask(json!({"op": "subscribe", "id": 1, "topic": "a.b"})).await;
    let unsubscribe = |body: &str| ask(&server, ROOT, "POST", "/users/ada/unsubscribe", body);
    assert_eq!(unsubscribe(r#"{"topic":"a.b"}"#).json()["ended"], 1);
    assert_eq!(ada.next().await, json!({"op": "unsubscribed", "topic": "a.b", "code": "forbidden"}));
    assert_eq!(unsubscribe(r#"{"topic":"a.b"}"#).json()["ended"], 0);
    for (body, word) in [("", "body"), (r#"{"topic":"a..b"}"#, "empty token"), (r#"{"topik":"a"}"#, "topik")]
    {
        let answer = unsubscribe(body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{}", answer.json());
    }
    bob.ask(json!({"op": "ping", "id": 9})).await;
}

#[actix_web::test]
async fn a_revoked_token_ends_its_sessions_and_proves_nothing() {
    let server = served(Door::A);
    let mut ada = server.connect_as("ada:a").await;
    let mut other = server.connect_as("ada:b").await;
    assert_eq!(root(&server, "POST", "/tokens/ada%3Aa/revoke")["ended"], 1);
    assert_eq!(closed(&mut ada).await, (4001, "never".into()));
    assert_eq!(ask(&server, "ada:a", "GET", "/topics/a/messages", "").status, 401);
    assert_eq!(other.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
}

#[actix_web::test]
async fn a_user_has_no_more_sessions_than_the_limit() {
    let mut settings = Settings::default();
    settings.sessions_per_user_max = 2;
    let server = Server::with_authority(Door::A, settings, Names::default());
    let mut first = server.connect_as("ada:a").await;
    let _second = server.connect_as("ada:a").await;
    let mut third = server.connect_as("ada:a").await;
    assert_eq!(closed(&mut third).await, (4004, "never".into()));
    let _other = server.connect_as("bob:a").await.ask(json!({"op": "ping", "id": 1})).await;
    first.socket.close(None).await.unwrap();
    first.read_to_end().await;
    wait_until("only the second is left", || server.hub.sessions() == 1);
    let mut again = server.connect_as("ada:a").await;
    assert_eq!(again.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
}

#[actix_web::test]
async fn it_is_explained_why_somebody_may_or_may_not() {
    let server = served(Door::A);
    let mut ada = server.connect_as("ada:sports.>").await;
    ada.ask(json!({"op": "ping", "id": 1})).await;
    let all = root(&server, "GET", "/explain?user=ada&topic=sports.nba");
    assert_eq!(all["connected"], true);
    let explanations = all["explanations"].as_array().unwrap();
    assert_eq!(explanations.len(), 4, "{all}");
    assert!(explanations.iter().all(|one| one["allowed"] == true && one["user"] == "ada"), "{all}");
    let one = root(&server, "GET", "/explain?user=ada&topic=chat.*&action=publish");
    assert_eq!(
        (&one["explanations"][0]["allowed"], &one["explanations"][0]["action"]),
        (&json!(false), &json!("publish"))
    );
    let stranger = root(&server, "GET", "/explain?user=eve&topic=sports.nba&action=history");
    assert_eq!(
        (&stranger["connected"], &stranger["explanations"][0]["allowed"]),
        (&json!(false), &json!(false))
    );
    for (query, word) in
        [("user=ada", "topic"), ("topic=a..b", "empty token"), ("topic=a&action=fly", "subscribe, publish")]
    {
        let answer = ask(&server, ROOT, "GET", &format!("/explain?{query}"), "");
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{}", answer.json());
    }
}

#[actix_web::test]
async fn an_administrator_can_drain_the_server() {
    let server = served(Door::A);
    let mut ada = server.connect_as("ada:a").await;
    let answer = ask(&server, ROOT, "POST", "/drain?over_ms=100", "");
    assert_eq!(answer.status, 202, "{}", answer.json());
    assert_eq!(answer.json(), json!({"sessions": 1, "over_ms": 100}));
    assert_eq!(closed(&mut ada).await, (4201, "now".into()));
    assert_eq!(get(&server, "/readyz").status, 503);
}

#[actix_web::test]
async fn a_body_that_is_too_long_for_an_administrator_is_a_problem_as_well() {
    let server = served(Door::A);
    let body = json!({"topic": "a".repeat(Settings::default().message_bytes_max)}).to_string();
    let refused = ask(&server, ROOT, "POST", "/users/ada/unsubscribe", &body);
    assert_eq!((refused.status, &refused.json()["code"]), (413, &json!("too_large")));
}

#[actix_web::test]
async fn the_api_describes_itself() {
    let server = Server::start(Door::A);
    let document = get(&server, "/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    for path in ["/topics/{topic}", "/publish", "/topics/{topic}/messages", "/sessions", "/topics"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}
