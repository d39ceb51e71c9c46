//! What the server tells of itself on `$sys.stats` and `$sys.sessions`, and to whom.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};
use topichub::protocol::code::ErrorCode;
use topichub::protocol::command::CommandError;
use topichub::{Authority, Grants, Identified, Identity, Settings};

use crate::support::{Client, Door, JSON, MSGPACK, Server};

/// Everybody is somebody, and `admin` may do everything.
struct Names;

impl Authority for Names {
    fn anonymous(&self) -> Option<Arc<Identity>> {
        Some(Arc::new(Identity::open()))
    }

    fn identify<'a>(&'a self, token: &'a str) -> Pin<Box<dyn Future<Output = Identified> + Send + 'a>> {
        let grants = if token == "admin" { Grants::everything() } else { Grants::open() };
        let identity = Identity { user: Some(token.into()), grants, ..Identity::default() };
        let unknown = || CommandError::new(ErrorCode::Unauthorized, "nobody has no name");
        let known = (!token.is_empty()).then(|| Arc::new(identity)).ok_or_else(unknown);
        Box::pin(std::future::ready(known))
    }
}

async fn administrator(server: &Server, topic: &str) -> Client {
    let mut admin = server.connect(JSON).await;
    admin.ask(json!({"op": "authenticate", "id": 1, "token": "admin"})).await;
    let reply = admin.ask(json!({"op": "subscribe", "id": 2, "topic": topic})).await;
    assert_eq!(reply["op"], "subscribed", "{reply}");
    admin
}

/// The data of the first message for which this is so.
async fn wait_for(client: &mut Client, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = tokio::time::Instant::now() + crate::support::DEADLINE;
    loop {
        let push = client.next().await;
        assert_eq!(push["op"], "message", "{push}");
        if is_so(&push["data"]) {
            return push["data"].clone();
        }
        assert!(tokio::time::Instant::now() < end, "the last was {push}");
    }
}

#[actix_web::test]
async fn stats_come_every_second_with_rates_and_the_busiest_topics() {
    let server = Server::with_authority(Door::A, Settings::default(), Names);
    let mut admin = administrator(&server, "$sys.stats").await;
    let mut reader = server.connect(MSGPACK).await;
    reader.ask(json!({"op": "subscribe", "id": 1, "topic": "busy"})).await;
    for number in 0..20 {
        server.hub.publish("busy", &number).await.unwrap();
    }
    server.hub.publish("calm", &0).await.unwrap();
    let busiest = |stats: &Value| stats["top_topics"][0]["topic"] == "busy";
    let stats = wait_for(&mut admin, busiest).await;
    assert!(stats["top_topics"][0]["per_s"].as_f64().unwrap() > 5.0, "{stats}");
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    let counted = |stats: &Value| stats["total"]["deliveries"].as_u64() >= Some(20);
    let stats = wait_for(&mut admin, |stats| counted(stats) && stats["sessions"] == 2).await;
    assert_eq!((&stats["connections"], &stats["draining"]), (&json!(2), &json!(false)), "{stats}");
    assert!(stats["subscriptions"].as_u64() >= Some(2) && stats["uptime_ms"].as_u64() > Some(0));
    let workers = stats["workers"].as_array().unwrap();
    assert!(workers.iter().all(|worker| worker["loop_delay_p99_ms"].is_number()), "{stats}");
    let quiet = wait_for(&mut admin, |stats| stats["per_s"]["publishes"] == 0).await;
    assert_eq!(quiet["total"]["publishes"], 21, "the server's own are not among them");
}

#[actix_web::test]
async fn sessions_are_told_as_they_come_say_who_they_are_and_go() {
    let server = Server::with_authority(Door::B, Settings::default(), Names);
    let mut admin = administrator(&server, "$sys.sessions").await;
    // Whoever comes before it is known that somebody watches is not told.
    let mut names = Vec::new();
    let (mut ada, seen) = loop {
        let mut visitor = server.connect_unread(MSGPACK).await;
        let session = visitor.next().await["session"].clone();
        names.push(session.clone());
        let ask = visitor.ask(json!({"op": "authenticate", "id": 1, "token": "ada"}));
        assert_eq!(ask.await["op"], "authenticated");
        let told = tokio::time::timeout(std::time::Duration::from_secs(3), admin.next()).await;
        if let Ok(told) = told {
            break (visitor, told["data"].clone());
        }
    };
    let connected = seen["connected"].as_array().unwrap().last().unwrap_or(&seen["identified"][0]).clone();
    assert!(names.contains(&connected["session"]), "{seen}");
    assert_eq!(
        (&connected["protocol"], &connected["address"]),
        (&json!("pubsub.msgpack"), &json!("127.0.0.1")),
    );
    assert!(connected["since_ms"].as_u64() > Some(1_600_000_000_000), "{connected}");
    let session = names.last().unwrap().clone();
    ada.socket.close(None).await.unwrap();
    let is_gone =
        |told: &Value| told["ended"].as_array().unwrap().iter().any(|ended| ended["session"] == session);
    let told = wait_for(&mut admin, is_gone).await;
    let ended = told["ended"].as_array().unwrap().iter().find(|ended| ended["session"] == session).unwrap();
    assert_eq!(
        (&ended["user"], &ended["code"], &ended["by"]),
        (&json!("ada"), &json!(1005), &json!("client"))
    );
}

#[actix_web::test]
async fn only_who_is_granted_them_is_told_and_nobody_else_publishes_there() {
    let server = Server::with_authority(Door::A, Settings::default(), Names);
    let mut user = server.connect(JSON).await;
    for token in ["", "eve"] {
        if !token.is_empty() {
            user.ask(json!({"op": "authenticate", "id": 1, "token": token})).await;
        }
        for topic in ["$sys.stats", "$sys.sessions", "$sys.>", "$sys.*"] {
            let reply = user.ask(json!({"op": "subscribe", "id": 2, "topic": topic})).await;
            assert_eq!(reply["code"], "forbidden", "{token:?} {topic}");
        }
        user.ask(json!({"op": "subscribe", "id": 3, "topic": ">"})).await;
    }
    let mut admin = administrator(&server, "$sys.stats").await;
    admin.send(json!({"op": "publish", "id": 9, "topic": "$sys.stats", "data": 0})).await;
    loop {
        let reply = admin.next().await;
        if reply["id"] == 9 {
            assert_eq!(reply["code"], "forbidden");
            break;
        }
    }
    for _ in 0..2 {
        wait_for(&mut admin, |stats| stats["sessions"] == 2).await;
    }
    assert_eq!(user.ask(json!({"op": "ping", "id": 4})).await["op"], "pong", "> brings nothing of it");
}
