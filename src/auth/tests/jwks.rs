//! Keys that are fetched, from servers that are slow, down, or lie.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use aws_lc_rs::signature::KeyPair as _;

use super::*;
use crate::clock::Clock;

/// A key of a set, and what signs for it.
struct Signer {
    pem: String,
    jwk: Value,
}

impl Signer {
    /// A key of ES256.
    fn new(id: &str) -> Self {
        let pair = signature::EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        let pem = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        Self { pem, jwk: json!({ "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": x, "y": y }) }
    }

    fn token(&self, id: Option<&str>) -> String {
        issue("ES256", &self.pem, id, json!({ "sub": "ada", "exp": in_an_hour() }))
    }

    /// The same key with this and that said about it.
    fn with(&self, more: Value) -> Value {
        let mut jwk = self.jwk.clone();
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    }
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// An HTTP server that answers the first request with the first of these, and so on; the last stays.
struct Host {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    answers: mpsc::Sender<String>,
}

impl Host {
    fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let (sender, receiver) = mpsc::channel();
        answers.iter().for_each(|answer| sender.send((*answer).to_owned()).unwrap());
        let counter = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut answer = String::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                counter.fetch_add(1, Ordering::SeqCst);
                read_request(&stream);
                answer = receiver.try_recv().unwrap_or(answer);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, requests, answers: sender }
    }

    fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn read_request(stream: &TcpStream) {
    let lines = BufReader::new(stream).lines();
    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
}

fn from(url: &str, more: Value) -> Auth {
    let mut tables = json!({ "keys": [{ "jwks_url": url }] });
    tables.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Auth::new(&settings(tables)).unwrap()
}

/// What is said while there are no keys to decide by.
#[track_caller]
fn unavailable(auth: &Auth, token: &str) -> Duration {
    let error = identify(auth, token).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "{}", error.message);
    error.after.unwrap()
}

/// Looks again and again, until it is so or far too long has passed.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Clock::start();
    while !is_so() {
        assert!(start.now() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn fetched_keys_verify_tokens_and_many_wait_for_one_fetch() {
    let key = Signer::new("a");
    let host = Host::start(&[&ok(&set(std::slice::from_ref(&key.jwk)))]);
    let auth = from(&host.url(), json!({}));
    let tokens: Vec<_> = (0..50).map(|_| key.token(Some("a"))).collect();
    let all = block_on(futures_util::future::join_all(tokens.iter().map(|token| auth.identify(token))));
    assert!(all.into_iter().all(|identified| identified.unwrap().user.as_deref() == Some("ada")));
    assert!(identify(&auth, &key.token(None)).is_ok());
    assert_eq!(host.requests(), 1);
}

#[test]
fn an_unknown_key_id_fetches_once_for_each_interval() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let host = Host::start(&[&ok(&set(std::slice::from_ref(&old.jwk)))]);
    let auth = from(&host.url(), json!({ "jwks_interval": "1s" }));
    assert!(identify(&auth, &old.token(Some("old"))).is_ok());
    host.answers.send(ok(&set(&[old.jwk.clone(), new.jwk.clone()]))).unwrap();
    // Within the interval nothing is fetched, whatever comes.
    let start = Clock::start();
    for _ in 0..20 {
        assert!(refused(&auth, &old.token(Some("nobody's"))).starts_with("no key for tokens of ES256"));
    }
    if start.now() < Duration::from_millis(500) {
        assert_eq!(host.requests(), 1);
    }
    let rotated = new.token(Some("new"));
    until("the new key comes", || identify(&auth, &rotated).is_ok());
    assert!(identify(&auth, &old.token(Some("old"))).is_ok());
    assert!(host.requests() <= 2 + start.now().as_secs() as usize);
}

#[test]
fn without_keys_it_is_said_that_there_is_nothing_to_decide_by() {
    let key = Signer::new("a");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let auth = from(&format!("http://{nobody}/"), json!({}));
    let after = unavailable(&auth, &key.token(Some("a")));
    assert!((Duration::from_secs(1)..=Duration::from_secs(30)).contains(&after), "{after:?}");
    // What no fetched key could change is decided all the same.
    assert_eq!(refused(&auth, &hs(json!({ "exp": in_an_hour() }))), "no key for tokens of HS256");
    let both =
        Auth::new(&settings(json!({ "keys": [hs256(), { "jwks_url": format!("http://{nobody}/") }] })))
            .unwrap();
    assert!(identify(&both, &hs(json!({ "exp": in_an_hour() }))).is_ok());
}

#[test]
fn a_server_that_lies_is_not_believed() {
    let key = Signer::new("a");
    let page = ok("<!doctype html><title>Sign in</title>");
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{}", "x".repeat(1 << 20));
    let chunks = format!("1000\r\n{}\r\n", "x".repeat(4096)).repeat(100);
    let endless = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let head = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(50_000));
    let many = ok(&set(&vec![key.jwk.clone(); 101]));
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
    let away =
        "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    let lists = [
        "[]",
        "{}",
        "null",
        "{\"keys\":7}",
        "{\"keys\":[]}",
        "{\"keys\":[7,null,{}]}",
        "{\"keys\":[{\"kty\":[]}]}",
    ]
    .map(ok);
    let nothing = ["", "\0\0\0", "220 smtp.example\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"]
        .map(str::to_owned);
    let lies = [page, huge, endless, head, many, missing, away];
    for lie in lies.into_iter().chain(lists).chain(nothing) {
        let host = Host::start(&[&lie]);
        let auth = from(&host.url(), json!({}));
        unavailable(&auth, &key.token(Some("a")));
        assert!((1..=4).contains(&host.requests()), "{} requests for {:?}", host.requests(), lie.get(..60));
    }
}

#[test]
fn a_server_that_is_slow_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let start = Clock::start();
    unavailable(&from(&url, json!({ "jwks_timeout": "300ms" })), &Signer::new("a").token(None));
    assert!(start.now() < Duration::from_secs(10), "{:?}", start.now());
}

#[test]
fn only_public_keys_for_signatures_are_taken_from_a_set() {
    let key = Signer::new("a");
    let rsa = json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 128]), "e": "AQAB" });
    let refused = [
        json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256", "kid": "a" }),
        key.with(json!({ "d": "AAAA" })),
        key.with(json!({ "use": "enc" })),
        key.with(json!({ "key_ops": ["sign"] })),
        key.with(json!({ "alg": "HS256" })),
        key.with(json!({ "alg": "RS256" })),
        key.with(json!({ "alg": "ES384" })),
        key.with(json!({ "alg": "none" })),
        key.with(json!({ "crv": "P-384" })),
        key.with(json!({ "crv": "secp256k1" })),
        key.with(json!({ "kty": "OKP", "crv": "Ed448" })),
        key.with(json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" })),
        key.with(json!({ "x": "AAAA" })),
        key.with(json!({ "x": key.jwk["y"] })),
        key.with(json!({ "y": "!" })),
        key.with(json!({ "kid": 7 })),
        rsa,
    ];
    let parse = |keys: &[Value], algorithm| {
        let spec = policy::SourceSpec {
            url: "http://x".into(),
            algorithm,
            issuer: None,
            audience: None,
            age_max: Duration::ZERO,
            interval: Duration::ZERO,
            stale_max: Duration::ZERO,
            timeout: Duration::ZERO,
        };
        jwk::KeySet::parse(set(keys).as_bytes(), &spec)
    };
    for bad in &refused {
        assert!(parse(std::slice::from_ref(bad), None).is_err(), "{bad}");
        let both = parse(&[bad.clone(), key.jwk.clone()], None).unwrap();
        assert_eq!((both.keys.len(), both.left_out.len()), (1, 1), "{bad}");
    }
    let private = parse(&refused[1..2], None).unwrap_err().to_string();
    assert!(private.contains("key \"a\" is left out: it is PRIVATE"), "{private}");
    let one = [key.with(json!({ "key_ops": ["verify"], "alg": "ES256" }))];
    assert_eq!(parse(&one, Some(jsonwebtoken::Algorithm::ES256)).unwrap().keys.len(), 1);
    assert!(parse(&one, Some(jsonwebtoken::Algorithm::EdDSA)).is_err());
}

#[test]
fn old_keys_go_on_while_their_server_is_down_but_not_for_ever() {
    let key = Signer::new("a");
    let body = set(std::slice::from_ref(&key.jwk));
    let first = ok(&body).replacen("\r\n", "\r\nCache-Control: max-age=1\r\n", 1);
    let host = Host::start(&[&first, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]);
    let auth =
        from(&host.url(), json!({ "jwks_interval": "1s", "jwks_age_max": "1s", "jwks_stale_max": "3s" }));
    let token = key.token(Some("a"));
    assert!(identify(&auth, &token).is_ok());
    let mut worked_while_down = false;
    until("they end", || {
        let requests = host.requests();
        let works = identify(&auth, &token).is_ok();
        worked_while_down |= works && requests >= 3;
        !works
    });
    assert!(worked_while_down, "{} requests", host.requests());
    unavailable(&auth, &token);
    host.answers.send(ok(&body)).unwrap();
    until("they come back", || identify(&auth, &token).is_ok());
}

#[test]
fn what_was_fetched_stays_over_a_reload() {
    let key = Signer::new("a");
    let host = Host::start(&[&ok(&set(std::slice::from_ref(&key.jwk)))]);
    let auth = from(&host.url(), json!({}));
    assert!(identify(&auth, &key.token(None)).is_ok());
    auth.reload(&settings(json!({ "keys": [hs256(), { "jwks_url": host.url() }] }))).unwrap();
    assert!(identify(&auth, &key.token(None)).is_ok());
    assert_eq!(host.requests(), 1);
    auth.reload(&settings(json!({ "keys": [hs256()] }))).unwrap();
    assert_eq!(refused(&auth, &key.token(None)), "no key for tokens of ES256");
}
