//! Tokens and API keys against the server as it is run: `topichub serve --config`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use topichub::auth::{Issuer, TokenPlan, new_api_key};

use crate::cli::{Run, Server, directory, snapshot, snapshots, topichub};
use crate::support::{Client, DEADLINE, JSON, MSGPACK};

const SECRET: &str = "a secret of more than thirty-two bytes, for tests";

const TABLES: &str = r#"
[auth]
leeway = "0s"

[[auth.keys]]
algorithm = "HS256"
secret = "a secret of more than thirty-two bytes, for tests"

[[auth.roles]]
name = "member"
subscribe = ["inbox.{user}.>", "news.>"]
publish = ["chat.{user}"]

[[auth.roles]]
name = "publisher"
publish = ["news.>"]
"#;

/// A file that is called after its test.
fn file(name: &str, text: &str) -> String {
    let path = directory(name).join("topichub.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn serve(name: &str, text: &str) -> Server {
    Server::start(&["--config", &file(name, text)])
}

fn token_for(expires: Duration, claims: Value) -> String {
    let Value::Object(claims) = claims else { panic!("claims are a map") };
    let issuer = Issuer::new("HS256", SECRET.as_bytes(), None).unwrap();
    issuer.issue(&TokenPlan { claims, expires: Some(expires) }).unwrap()
}

fn token(claims: Value) -> String {
    token_for(Duration::from_secs(3600), claims)
}

async fn connect(server: &Server, subprotocol: &str) -> Client {
    let mut client = Client::connect(&server.address, subprotocol).await;
    assert_eq!(client.next().await["op"], "welcome");
    client
}

async fn authenticate(client: &mut Client, token: &str) -> Value {
    client.ask(json!({ "op": "authenticate", "id": "who", "token": token })).await
}

async fn subscribe(client: &mut Client, topic: &str) -> Value {
    client.ask(json!({ "op": "subscribe", "id": topic, "topic": topic })).await
}

#[actix_web::test]
async fn a_session_may_do_what_its_token_says() {
    let server = serve("auth_in_band", TABLES);
    for subprotocol in [JSON, MSGPACK] {
        let mut client = connect(&server, subprotocol).await;
        let refused = subscribe(&mut client, "news.today").await;
        assert_eq!((&refused["op"], &refused["code"]), (&json!("error"), &json!("unauthorized")));
        let named = client.ask(json!({ "op": "authenticate", "id": 1, "user": "ada" })).await;
        assert_eq!(named["code"], "unauthorized", "{named}");

        let claims = json!({ "sub": "ada", "roles": ["member"], "topics": { "publish": ["lobby"] } });
        let told = authenticate(&mut client, &token(claims)).await;
        assert_eq!((&told["op"], &told["user"]), (&json!("authenticated"), &json!("ada")), "{told}");
        let expires = told["expires_ms"].as_u64().unwrap();
        assert!((3_590_000..=3_600_000).contains(&expires), "{expires}");
        for topic in ["news.today", "inbox.ada.1", "inbox.ada.*", "news.>"] {
            assert_eq!(subscribe(&mut client, topic).await["op"], "subscribed", "{topic}");
        }
        for topic in ["inbox.eve.1", "inbox.*.1", "inbox.>", ">", "lobby", "$sys.stats"] {
            assert_eq!(subscribe(&mut client, topic).await["code"], "forbidden", "{topic}");
        }
        for (topic, done) in [
            ("lobby", "published"),
            ("chat.ada", "published"),
            ("chat.eve", "error"),
            ("news.today", "error"),
        ] {
            let told = client.ask(json!({ "op": "publish", "id": 2, "topic": topic, "data": 1 })).await;
            assert_eq!(told["op"], done, "{topic}: {told}");
        }
    }
}

#[actix_web::test]
async fn who_shows_something_wrong_stays_who_they_were() {
    let server = serve("auth_wrong", TABLES);
    let mut client = connect(&server, JSON).await;
    assert_eq!(
        authenticate(&mut client, &token(json!({ "sub": "ada", "roles": ["member"] }))).await["user"],
        "ada"
    );
    let expired = {
        let past = json!({ "sub": "eve", "exp": 1_000_000_000 });
        let Value::Object(claims) = past else { unreachable!() };
        let issuer = Issuer::new("HS256", SECRET.as_bytes(), None).unwrap();
        issuer.issue(&TokenPlan { claims, expires: None }).unwrap()
    };
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUifQ.".to_owned();
    for (wrong, said) in [
        (expired, "the token has expired "),
        (unsigned, "the token's algorithm \"none\" is not accepted"),
        (String::from("thk_AAAA"), "no such API key"),
        (String::from("x"), "a signed token has 3 parts"),
    ] {
        let told = authenticate(&mut client, &wrong).await;
        assert_eq!((&told["code"], &told["retry"]), (&json!("unauthorized"), &json!(false)));
        assert!(told["message"].as_str().unwrap().starts_with(said), "{told}");
    }
    let enormous = authenticate(&mut client, &"x".repeat(9000)).await;
    assert_eq!(enormous["op"], "error", "{enormous}");
    assert_eq!(subscribe(&mut client, "inbox.ada.1").await["op"], "subscribed");
}

#[actix_web::test]
async fn a_session_is_told_that_its_token_ends_and_ends_with_it() {
    let server = serve("auth_expiry", TABLES);
    let mut client = connect(&server, JSON).await;
    let soon = token_for(Duration::from_secs(3), json!({ "sub": "ada", "roles": ["member"] }));
    assert_eq!(authenticate(&mut client, &soon).await["op"], "authenticated");
    let expiring = client.next().await;
    assert_eq!(expiring["op"], "expiring");
    assert!(expiring["in_ms"].as_u64().unwrap() <= 1500, "{expiring}");
    // One that renews in time goes on.
    let mut other = connect(&server, JSON).await;
    authenticate(&mut other, &soon).await;
    assert_eq!(authenticate(&mut other, &token(json!({ "sub": "ada" }))).await["op"], "authenticated");

    let (goodbye, close) = client.read_to_close().await;
    assert_eq!(u16::from(close.code), 4203);
    assert_eq!(goodbye.unwrap()["reconnect"], "now");
    assert_eq!(other.ask(json!({ "op": "ping", "id": 1 })).await["op"], "pong");
}

#[actix_web::test]
async fn a_renewal_that_allows_less_takes_subscriptions_away() {
    let server = serve("auth_renewal", TABLES);
    let mut client = connect(&server, JSON).await;
    authenticate(&mut client, &token(json!({ "sub": "ada", "topics": { "subscribe": ["a", "b"] } }))).await;
    for topic in ["a", "b"] {
        assert_eq!(subscribe(&mut client, topic).await["op"], "subscribed");
    }
    client.send(json!({ "op": "authenticate", "id": 9, "token": token(json!({ "sub": "ada", "topics": { "subscribe": ["b"], "publish": ["a", "b"] } })) })).await;
    let mut told = [client.next().await, client.next().await];
    told.sort_by_key(|message| message["op"].to_string());
    assert_eq!((&told[0]["op"], &told[0]["id"]), (&json!("authenticated"), &json!(9)));
    assert_eq!(told[1], json!({ "op": "unsubscribed", "topic": "a", "code": "forbidden" }));
    client.send(json!({ "op": "publish", "topic": "a", "data": 1 })).await;
    client.send(json!({ "op": "publish", "topic": "b", "data": 2 })).await;
    assert_eq!(client.next().await["data"], 2);
}

#[actix_web::test]
async fn an_api_key_is_for_back_ends_and_anonymous_for_everybody() {
    let pair = new_api_key().unwrap();
    let more = format!(
        "\n[[auth.roles]]\nname = \"anonymous\"\nsubscribe = [\"news.>\"]\nhistory = []\n\n\
         [[auth.api_keys]]\nname = \"desk\"\nhash = \"{}\"\nroles = [\"publisher\"]\n",
        pair.hash
    );
    let server = serve("auth_api_key", &format!("{TABLES}{more}"));
    let mut reader = connect(&server, JSON).await;
    assert_eq!(subscribe(&mut reader, "news.today").await["op"], "subscribed");
    let told = reader.ask(json!({ "op": "history", "id": 1, "topic": "news.today" })).await;
    assert_eq!(told["code"], "forbidden");
    let mut desk = connect(&server, MSGPACK).await;
    let told = authenticate(&mut desk, &pair.key).await;
    assert_eq!(
        (&told["op"], &told["user"], &told["expires_ms"]),
        (&json!("authenticated"), &Value::Null, &Value::Null)
    );
    assert_eq!(subscribe(&mut desk, "news.today").await["code"], "forbidden");
    desk.send(json!({ "op": "publish", "topic": "news.today", "data": "rain" })).await;
    assert_eq!(reader.next().await["data"], "rain");
}

#[actix_web::test]
async fn open_lets_everybody_do_everything_and_says_so() {
    let server = Server::start(&["--open", "--config", &file("auth_open", TABLES)]);
    let mut client = connect(&server, JSON).await;
    assert_eq!(subscribe(&mut client, "anything.>").await["op"], "subscribed");
    assert_eq!(subscribe(&mut client, "$sys.>").await["op"], "subscribed");
    assert!(server.before.iter().any(|line| line.contains("WARN") && line.contains("--open: ANYBODY")));
}

/// A key of ES256 for a set of keys.
struct Signer {
    issuer: Issuer,
    jwk: Value,
}

impl Signer {
    fn new(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let document = pair.to_pkcs8v1().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(document)
        );
        let issuer = Issuer::new("ES256", pem.as_bytes(), Some(id)).unwrap();
        let point = pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        Self {
            issuer,
            jwk: json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": id, "x": x, "y": y }),
        }
    }

    fn token(&self) -> String {
        let Value::Object(claims) = json!({ "sub": "ada", "roles": ["member"] }) else { unreachable!() };
        self.issuer.issue(&TokenPlan { claims, expires: Some(Duration::from_secs(600)) }).unwrap()
    }
}

/// Serves whatever keys there are; `None` is: the server is broken.
fn key_server(keys: Arc<Mutex<Option<Vec<Value>>>>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let fetches = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&fetches);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            counter.fetch_add(1, Ordering::SeqCst);
            BufReader::new(&stream)
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .for_each(drop);
            let (status, body) = match &*keys.lock().unwrap() {
                Some(keys) => ("200 OK", json!({ "keys": keys }).to_string()),
                None => ("500 Oops", String::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (url, fetches)
}

/// The tables with fetched keys in place of the secret.
fn with_keys_at(url: &str, more: &str) -> String {
    TABLES
        .replace("leeway = \"0s\"", more)
        .replace("algorithm = \"HS256\"\n", "")
        .replace(&format!("secret = {SECRET:?}"), &format!("jwks_url = {url:?}"))
}

#[actix_web::test]
#[allow(clippy::await_holding_lock, reason = "the lock is what the server's answer waits for")]
async fn commands_wait_until_it_is_known_whose_token_it_is() {
    let key = Signer::new("a");
    let keys = Arc::new(Mutex::new(Some(vec![key.jwk.clone()])));
    let (url, fetches) = key_server(Arc::clone(&keys));
    let held = keys.lock().unwrap();
    let server = serve("auth_wait", &with_keys_at(&url, "jwks_timeout = \"20s\""));
    let mut client = connect(&server, JSON).await;
    client.send(json!({ "op": "authenticate", "id": 1, "token": key.token() })).await;
    client.send(json!({ "op": "subscribe", "id": 2, "topic": "inbox.ada.1" })).await;
    client.send(json!({ "op": "ping", "id": 3 })).await;
    // Nobody else waits.
    let mut other = connect(&server, JSON).await;
    assert_eq!(other.ask(json!({ "op": "ping", "id": 1 })).await["op"], "pong");
    drop(held);
    let mut told = [client.next().await, client.next().await, client.next().await];
    assert_eq!(told[0]["op"], "authenticated", "{told:?}");
    told.sort_by_key(|reply| reply["id"].as_u64());
    assert_eq!(told.map(|reply| reply["op"].clone()), ["authenticated", "subscribed", "pong"]);
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

#[actix_web::test]
async fn keys_are_rotated_without_a_restart() {
    let (old, new) = (Signer::new("2026-10"), Signer::new("2026-11"));
    let keys = Arc::new(Mutex::new(None));
    let (url, fetches) = key_server(Arc::clone(&keys));
    let server = serve("auth_jwks", &with_keys_at(&url, "jwks_interval = \"1s\""));
    // As long as there are no keys nothing can be said, and that is no refusal.
    let mut client = connect(&server, JSON).await;
    let told = authenticate(&mut client, &old.token()).await;
    assert_eq!((&told["code"], &told["retry"]), (&json!("unavailable"), &json!(true)));
    assert!(told["after_ms"].as_u64().unwrap() >= 1000, "{told}");

    *keys.lock().unwrap() = Some(vec![old.jwk.clone()]);
    let mut told = told;
    let end = std::time::Instant::now() + DEADLINE;
    while told["op"] != "authenticated" {
        assert!(std::time::Instant::now() < end, "the keys are never fetched: {told}");
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
        told = authenticate(&mut client, &old.token()).await;
    }
    // The login system signs with another key from now on; the first token by it has it fetched.
    *keys.lock().unwrap() = Some(vec![new.jwk.clone()]);
    let mut told = authenticate(&mut client, &new.token()).await;
    while told["op"] != "authenticated" {
        assert_eq!(told["code"], "unauthorized", "{told}");
        assert!(std::time::Instant::now() < end, "the new key is never fetched");
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
        told = authenticate(&mut client, &new.token()).await;
    }
    let told = authenticate(&mut client, &old.token()).await;
    assert_eq!(told["message"], "no key for tokens of ES256 with the id \"2026-10\"");
    // A broken server takes nothing away.
    *keys.lock().unwrap() = None;
    let before = fetches.load(Ordering::SeqCst);
    let stranger = Signer::new("nobody's").token();
    while fetches.load(Ordering::SeqCst) == before {
        assert!(std::time::Instant::now() < end, "an unknown key id never has the keys fetched");
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(authenticate(&mut client, &stranger).await["code"], "unauthorized");
    }
    assert_eq!(authenticate(&mut client, &new.token()).await["op"], "authenticated");
}

#[test]
fn a_mistake_in_who_may_come_in_is_shown_where_it_stands() {
    let files = [
        ("sound", TABLES.to_owned()),
        ("a short secret", TABLES.replace("a secret of more than thirty-two bytes, for tests", "too short")),
        ("no algorithm", TABLES.replace("algorithm = \"HS256\"\n", "")),
        ("an algorithm that is none", TABLES.replace("HS256", "none")),
        (
            "two sources",
            TABLES.replace("secret = ", "jwks_url = \"https://login.example/jwks.json\"\nsecret = "),
        ),
        ("a file that is not there", TABLES.replace("secret = ", "secret_file = \"not-there\" # secret = ")),
        ("an unknown key", TABLES.replace("leeway", "leway")),
        (
            "a role with a bad pattern",
            TABLES.replace("news.>\"]\npublish = [\"chat", "news.>.x\"]\npublish = [\"chat"),
        ),
        ("a role with an unknown place", TABLES.replace("chat.{user}", "chat.{name}")),
        ("a role twice", TABLES.replace("\"publisher\"", "\"member\"")),
        (
            "an API key with a role that is none",
            format!(
                "{TABLES}\n[[auth.api_keys]]\nname = \"desk\"\nhash = \"sha256:{}\"\nroles = [\"editor\"]\n",
                "0".repeat(64)
            ),
        ),
        ("nobody at all", "[auth]\nissuer = \"https://login.example\"\n".to_owned()),
        ("one key alone", "[auth.keys]\nalgorithm = \"HS256\"\n".to_owned()),
    ];
    let directory = directory("auth_mistakes");
    let mut told = String::new();
    for (title, text) in files {
        std::fs::write(directory.join("topichub.toml"), text).unwrap();
        let mut command = topichub(&["check", "--config", "topichub.toml"]);
        command.current_dir(&directory);
        told.push_str(&format!("=== {title}\n{}\n\n", Run::of(command).end().told()));
    }
    assert!(!told.contains(SECRET) && !told.contains("too short\""), "a secret is shown:\n{told}");
    snapshot("auth_mistakes", &told);
}

#[test]
fn tokens_are_made_and_looked_into() {
    let config = file("auth_token", TABLES);
    let make = |arguments: &[&str]| {
        let ended = Run::start(&[&["token", "--config", &config], arguments].concat()).end();
        assert_eq!((ended.code, ended.output.len()), (0, 1), "{:?}", ended.errors);
        ended.output[0].clone()
    };
    let inspect = |token: &str| Run::start(&["token", "inspect", "--config", &config, token]);
    let sound = make(&["--user", "ada", "--role", "member", "--subscribe", "a.{user}", "--expires", "1h"]);
    let ended = inspect(&sound).end();
    assert_eq!(ended.code, 0);
    let judged: Vec<_> =
        ended.output.iter().filter(|line| !line.starts_with("claims") && !line.starts_with("ends")).collect();
    let key = Run::start(&["token", "--api-key", "desk", "--role", "publisher"]).end();
    let with_key = file("auth_token_key", &format!("{TABLES}\n{}", key.errors[2..].join("\n")));
    let of_key = Run::start(&["token", "inspect", "--config", &with_key, &key.output[0]]).end();
    assert_eq!((of_key.code, &*of_key.output[0]), (0, "valid   yes"), "{:?}", of_key.errors);
    let mut from_input = Run::start(&["token", "inspect", "-"]);
    from_input.write(&format!("{sound}\n"));
    let from_input = from_input.end();
    assert_eq!((from_input.code, &*from_input.output[2]), (0, "valid   not verified: say --config FILE"));

    insta::assert_snapshot!(
        "token_judged",
        judged.into_iter().map(|line| format!("{line}\n")).collect::<String>()
    );
    snapshots(
        "token_refused",
        vec![
            ("expired", inspect("eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.AAAA")),
            ("not signed", inspect("eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUifQ.")),
            ("no token", inspect("nonsense")),
            ("an unknown API key", inspect("thk_AAAA")),
            ("nothing to sign with", Run::start(&["token", "--user", "ada"])),
            ("no algorithm", Run::start(&["token", "--key-file", "x", "--algorithm", "none"])),
            ("no pattern", Run::start(&["token", "--config", &config, "--subscribe", "a..b"])),
            ("no file", Run::start(&["token", "--key-file", "not-there.pem", "--algorithm", "ES256"])),
        ],
    );
}

#[test]
fn help_about_tokens_teaches_by_example() {
    for (name, arguments) in
        [("help_token", &["token", "--help"][..]), ("help_token_inspect", &["token", "inspect", "--help"])]
    {
        let ended = Run::start(arguments).end();
        assert_eq!((ended.code, ended.errors.len()), (0, 0));
        insta::assert_snapshot!(name, ended.output.join("\n"));
    }
}
