//! Tokens good and bad, against an authority as the server has it.

mod cost;
mod jwks;

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::{rsa, signature};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use topichub_protocol::code::ErrorCode;
use topichub_protocol::topic::{Filter, Topic};

use super::*;

const SECRET: &str = "a secret of more than thirty-two bytes, for tests";

/// A pair of keys as PEM.
struct Pair {
    private: String,
    public: String,
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

fn rsa_pair(size: rsa::KeySize) -> Pair {
    let pair = rsa::KeyPair::generate(size).unwrap();
    let private = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair { private: pem("PRIVATE KEY", private.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) }
}

fn ec_pair(algorithm: &'static signature::EcdsaSigningAlgorithm) -> Pair {
    let pair = signature::EcdsaKeyPair::generate(algorithm).unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair { private: pem("PRIVATE KEY", private.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) }
}

fn ed_pair() -> Pair {
    let pair = signature::Ed25519KeyPair::generate().unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair { private: pem("PRIVATE KEY", private.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) }
}

static RSA: LazyLock<Pair> = LazyLock::new(|| rsa_pair(rsa::KeySize::Rsa2048));
static EC: LazyLock<Pair> = LazyLock::new(|| ec_pair(&signature::ECDSA_P256_SHA256_FIXED_SIGNING));

/// Settings as a file says them; `json!` is near enough to TOML.
fn settings(tables: Value) -> AuthSettings {
    serde_json::from_value(tables).unwrap()
}

fn hs256() -> Value {
    json!({ "algorithm": "HS256", "secret": SECRET })
}

fn with_keys(keys: Value) -> Auth {
    Auth::new(&settings(json!({ "keys": keys }))).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn identify(auth: &Auth, credential: &str) -> Identified {
    block_on(auth.identify(credential))
}

/// What is said to who shows it, which is `unauthorized`.
#[track_caller]
fn refused(auth: &Auth, credential: &str) -> String {
    let error = identify(auth, credential).unwrap_err();
    assert_eq!((error.code, error.id), (ErrorCode::Unauthorized, None), "{}", error.message);
    error.message
}

fn now() -> i64 {
    clock::since_1970().as_secs() as i64
}

fn in_an_hour() -> i64 {
    now() + 3600
}

fn issue(algorithm: &str, key: &str, id: Option<&str>, claims: Value) -> String {
    let Value::Object(claims) = claims else { panic!("claims are a map") };
    Issuer::new(algorithm, key.as_bytes(), id).unwrap().issue(&TokenPlan { claims, expires: None }).unwrap()
}

fn hs(claims: Value) -> String {
    issue("HS256", SECRET, None, claims)
}

/// A token with header and claims as they are written here, signed by HS256.
fn signed(secret: &[u8], header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let signature = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn may(identity: &Identity, action: Action, topic: &str) -> bool {
    identity.grants.may_on(action, &Topic::parse(topic).unwrap())
}

#[test]
fn every_algorithm_signs_and_verifies() {
    let ec384 = ec_pair(&signature::ECDSA_P384_SHA384_FIXED_SIGNING);
    let ed = ed_pair();
    let long = SECRET.repeat(2);
    let secret = Pair { private: long.clone(), public: String::new() };
    let pairs = [
        ("HS256", &secret),
        ("HS384", &secret),
        ("HS512", &secret),
        ("RS256", &*RSA),
        ("RS384", &RSA),
        ("RS512", &RSA),
        ("PS256", &RSA),
        ("PS384", &RSA),
        ("PS512", &RSA),
        ("ES256", &EC),
        ("ES384", &ec384),
        ("EdDSA", &ed),
    ];
    for (algorithm, pair) in pairs {
        let key = match algorithm.starts_with("HS") {
            true => json!({ "algorithm": algorithm, "secret": long }),
            false => json!({ "algorithm": algorithm, "public_key": pair.public }),
        };
        let auth = with_keys(json!([key]));
        let token = issue(algorithm, &pair.private, None, json!({ "sub": "ada", "exp": in_an_hour() }));
        assert_eq!(identify(&auth, &token).unwrap().user.as_deref(), Some("ada"), "{algorithm}");
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let altered = format!("{rest}.{first}{}", &signature[1..]);
        assert_eq!(refused(&auth, &altered), "the token's signature does not match", "{algorithm}");
    }
}

#[test]
fn a_token_says_who_it_is_and_what_they_may_do() {
    let roles = json!([
        { "name": "editor", "subscribe": ["news.>"], "publish": ["news.{user}"], "history": [] },
        { "name": "admin", "subscribe": ["$sys.>"], "admin": true },
    ]);
    let auth = Auth::new(&settings(json!({ "keys": [hs256()], "roles": roles, "token_roles": ["editor"] })))
        .unwrap();
    let expires = in_an_hour();
    let identity = identify(
        &auth,
        &hs(json!({
            "sub": "ada", "jti": "t-1", "exp": expires, "roles": ["admin", "unheard-of"], "data": { "name": "Ada" },
            "topics": { "subscribe": ["chat.{user}.>"], "publish": ["chat.42"], "presence": ["lobby"] },
        })),
    )
    .unwrap();
    assert_eq!(identity.user.as_deref(), Some("ada"));
    assert_eq!(identity.token_id.as_deref(), Some("t-1"));
    assert_eq!(identity.expires, Some(Duration::from_secs(expires as u64)));
    assert_eq!(identity.data.as_ref().unwrap().as_bytes(), "{\"name\":\"Ada\"}");
    assert_eq!(identity.roles, ["editor".into(), "admin".into()]);
    assert!(identity.grants.admin);
    for (action, topic, expected) in [
        (Action::Subscribe, "news.today", true),
        (Action::Presence, "news.today", true),
        (Action::History, "news.today", false),
        (Action::Publish, "news.ada", true),
        (Action::Publish, "news.eve", false),
        (Action::Subscribe, "chat.ada.1", true),
        (Action::History, "chat.ada.1", true),
        (Action::Presence, "chat.ada.1", false),
        (Action::Presence, "lobby", true),
        (Action::Publish, "chat.42", true),
        (Action::Subscribe, "chat.42", false),
        (Action::Subscribe, "$sys.stats", true),
    ] {
        assert_eq!(may(&identity, action, topic), expected, "{action} {topic}");
    }
}

#[test]
fn a_token_without_topics_and_roles_may_do_nothing() {
    let auth = with_keys(json!([hs256()]));
    let identity = identify(&auth, &hs(json!({ "exp": in_an_hour() }))).unwrap();
    assert_eq!((identity.user.clone(), &identity.grants), (None, &Default::default()));
    assert_eq!(auth.anonymous(), None);
}

#[test]
fn roles_may_be_a_text_and_claims_have_other_names() {
    let auth = Auth::new(&settings(json!({
        "keys": [hs256()], "user_claim": "email", "roles_claim": "scope", "topics_claim": "https://x.example/topics",
        "roles": [{ "name": "a", "subscribe": ["a"] }, { "name": "b", "subscribe": ["inbox.{user}.>", "b"] }],
    })))
    .unwrap();
    let claims = json!({
        "exp": in_an_hour(), "email": "ada@example.com", "sub": 7, "scope": "openid a  b",
        "https://x.example/topics": { "publish": ["out"] },
    });
    let identity = identify(&auth, &hs(claims)).unwrap();
    assert_eq!(identity.user.as_deref(), Some("ada@example.com"));
    assert!(may(&identity, Action::Subscribe, "a") && may(&identity, Action::Subscribe, "b"));
    assert!(may(&identity, Action::Publish, "out"));
    // A dot in the name is none of a token's.
    assert_eq!(identity.grants.of(Action::Subscribe).len(), 2);
}

#[test]
fn the_header_does_not_choose_the_algorithm() {
    let auth = with_keys(json!([{ "algorithm": "RS256", "public_key": RSA.public }]));
    let claims = json!({ "sub": "eve", "exp": in_an_hour() }).to_string();
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":""}"#, r#"{"alg":"HS999"}"#] {
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
        assert!(refused(&auth, &unsigned).ends_with("is not accepted"), "{header}");
    }
    // Everybody knows the public key; as the secret of HS256 it must not be taken for one.
    for secret in [RSA.public.as_bytes(), RSA.public.trim_end().as_bytes()] {
        let confused = signed(secret, r#"{"alg":"HS256"}"#, &claims);
        assert_eq!(refused(&auth, &confused), "no key for tokens of HS256");
    }
    let other = issue("RS512", &RSA.private, None, json!({ "exp": in_an_hour() }));
    assert_eq!(refused(&auth, &other), "no key for tokens of RS512");
    let auth = with_keys(json!([hs256(), { "algorithm": "RS256", "public_key": RSA.public }]));
    let confused = signed(RSA.public.as_bytes(), r#"{"alg":"HS256"}"#, &claims);
    assert_eq!(refused(&auth, &confused), "the token's signature does not match");
}

#[test]
fn a_key_id_chooses_among_keys_and_nothing_else() {
    let other = "another secret of more than thirty-two bytes";
    let auth = with_keys(json!([
        { "algorithm": "HS256", "secret": SECRET, "id": "a" },
        { "algorithm": "HS256", "secret": other, "id": "b" },
        { "algorithm": "ES256", "public_key": EC.public, "id": "e" },
    ]));
    let claims = json!({ "exp": in_an_hour() });
    let token = |secret, id| issue("HS256", secret, id, claims.clone());
    assert!(identify(&auth, &token(SECRET, Some("a"))).is_ok());
    assert!(identify(&auth, &token(other, None)).is_ok());
    assert_eq!(refused(&auth, &token(SECRET, Some("b"))), "the token's signature does not match");
    assert_eq!(refused(&auth, &token(SECRET, Some("e"))), "no key for tokens of HS256 with the id \"e\"");
    for id in ["../../etc/passwd", "a' OR '1'='1", "", "a\0", "http://evil.example/jwks"] {
        assert!(
            refused(&auth, &token(SECRET, Some(id))).starts_with("no key for tokens of HS256 with the id")
        );
    }
    let long = "x\n".repeat(500);
    let told = refused(&auth, &token(SECRET, Some(&long)));
    assert!(told.len() < 200 && !told.contains('\n'), "{told}");
    // A key without an id is for all of them.
    assert!(identify(&with_keys(json!([hs256()])), &token(SECRET, Some("whatever"))).is_ok());
}

#[test]
fn what_a_header_says_about_keys_is_not_looked_at() {
    let auth = with_keys(json!([hs256()]));
    let claims = json!({ "sub": "eve", "exp": in_an_hour() }).to_string();
    let own = r#""jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/","jwk":{"kty":"oct","k":"eA"},"x5c":["eA"]"#;
    let header = format!(r#"{{"alg":"HS256",{own}}}"#);
    assert_eq!(refused(&auth, &signed(b"x", &header, &claims)), "the token's signature does not match");
    assert!(identify(&auth, &signed(SECRET.as_bytes(), &header, &claims)).is_ok());
    let critical = r#"{"alg":"HS256","crit":["b64"],"b64":false}"#;
    assert!(refused(&auth, &signed(SECRET.as_bytes(), critical, &claims)).contains("critical extensions"));
}

#[test]
fn times_are_kept_with_leeway() {
    let auth = with_keys(json!([hs256()]));
    let at = |exp: i64| identify(&auth, &hs(json!({ "exp": exp }))).map(|identity| identity.expires);
    let seconds = |time: i64| Some(Duration::from_secs(time as u64));
    let now = now();
    assert_eq!(at(now + 100), Ok(seconds(now + 100)));
    // Over by our clock, and not for certain.
    assert_eq!(at(now - 10), Ok(seconds(now + 20)));
    assert!(refused(&auth, &hs(json!({ "exp": now - 3700 }))).starts_with("the token has expired 1h 1m 4"));
    let not_yet = |nbf: i64| hs(json!({ "exp": now + 9000, "nbf": nbf }));
    assert!(identify(&auth, &not_yet(now + 10)).is_ok());
    assert!(refused(&auth, &not_yet(now + 3700)).starts_with("the token does not hold before 1h 1m"));
    assert_eq!(refused(&auth, &hs(json!({ "sub": "ada" }))), "the token does not say when it expires (exp)");
    let lax = Auth::new(&settings(json!({ "keys": [hs256()], "require_expiry": false }))).unwrap();
    assert_eq!(identify(&lax, &hs(json!({ "sub": "ada" }))).unwrap().expires, None);
}

#[test]
fn times_that_are_none_are_refused() {
    let auth = with_keys(json!([hs256()]));
    let with = |exp: &str| signed(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, &format!(r#"{{"exp":{exp}}}"#));
    for exp in [
        "\"4102444800\"",
        "null",
        "[4102444800]",
        "{}",
        "true",
        "1e300",
        "1e999",
        "253402300800",
        "9007199254740993",
    ] {
        let told = refused(&auth, &with(exp));
        assert!(told.starts_with("the token's claims cannot be read: "), "{exp}: {told}");
    }
    for exp in ["-1", "0", "-1e300", "0.5", "-9223372036854775808"] {
        assert!(refused(&auth, &with(exp)).starts_with("the token has expired "), "{exp}");
    }
    assert!(identify(&auth, &with("4102444800.75")).is_ok());
    assert!(identify(&auth, &with("4102444800")).is_ok());
}

#[test]
fn a_token_is_for_its_audience_and_of_its_issuer() {
    let auth = Auth::new(&settings(json!({
        "issuer": "https://login.example", "audience": "topichub",
        "keys": [hs256(), { "algorithm": "ES256", "public_key": EC.public, "issuer": "other", "audience": "x" }],
    })))
    .unwrap();
    let hs = |iss: Value, aud: Value| hs(json!({ "exp": in_an_hour(), "iss": iss, "aud": aud }));
    let issuer = json!("https://login.example");
    assert!(identify(&auth, &hs(issuer.clone(), json!("topichub"))).is_ok());
    assert!(identify(&auth, &hs(issuer.clone(), json!(["a", "topichub"]))).is_ok());
    for aud in [json!("topichub2"), json!(["a", "b"]), json!([]), json!(null)] {
        assert!(refused(&auth, &hs(issuer.clone(), aud)).contains("audience (aud)"));
    }
    for iss in [json!("https://login.example/"), json!("other"), json!(null)] {
        assert!(refused(&auth, &hs(iss, json!("topichub"))).contains("issuer (iss)"));
    }
    let es =
        |iss, aud| issue("ES256", &EC.private, None, json!({ "exp": in_an_hour(), "iss": iss, "aud": aud }));
    assert!(identify(&auth, &es("other", "x")).is_ok());
    assert!(refused(&auth, &es("https://login.example", "topichub")).contains("issuer (iss)"));
    // With none set, whoever names an audience means somebody else.
    let bare = with_keys(json!([hs256()]));
    assert!(refused(&bare, &hs(issuer, json!("another server"))).contains("audience (aud)"));
}

#[test]
fn what_is_no_token_is_told_so() {
    let auth = with_keys(json!([hs256()]));
    let sound = hs(json!({ "sub": "ada", "exp": in_an_hour() }));
    let parts: Vec<_> = sound.split('.').collect();
    for (token, said) in [
        (String::new(), "3 parts"),
        ("....".to_owned(), "this one has 5"),
        (format!("{sound}.."), "this one has 5"),
        ("a.b".to_owned(), "this one has 2"),
        ("..".to_owned(), "header cannot be read"),
        (format!("{}.{}=.{}", parts[0], parts[1], parts[2]), "signature does not match"),
        (format!("*{sound}"), "header is not base64url"),
        (format!("{}.{}.{}!", parts[0], parts[1], parts[2]), "signature does not match"),
        (format!("{}.{}.", parts[0], parts[1]), "signature does not match"),
        (format!("{}.{}.{}", parts[0], parts[2], parts[2]), "signature does not match"),
        (format!("{sound} "), "signature does not match"),
        ("thk_guessed".to_owned(), "no such API key"),
        ("\u{1F600}.\u{1F600}.\u{1F600}".to_owned(), "header is not base64url"),
    ] {
        let told = refused(&auth, &token);
        assert!(told.contains(said), "{token}: {told}");
    }
    let claims = |json: &str| signed(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, json);
    let deep = format!("{{\"x\":{}", "[".repeat(2000));
    for json in ["", "[]", "1", "null", "{", "{}{}", "{\"exp\":4102444800}x", "\u{feff}{}", deep.as_str()] {
        assert!(refused(&auth, &claims(json)).starts_with("the token's claims cannot be read"), "{json}");
    }
    for header in [
        "",
        "[]",
        "{}",
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":7}"#,
    ] {
        assert!(
            refused(&auth, &signed(SECRET.as_bytes(), header, "{}")).starts_with("the token's header"),
            "{header}"
        );
    }
}

#[test]
fn no_claim_comes_twice_and_none_is_of_another_kind() {
    let auth = with_keys(json!([hs256()]));
    let claims = |json: &str| {
        signed(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, &format!("{{\"exp\":4102444800,{json}}}"))
    };
    for json in [
        r#""sub":"ada","sub":"eve""#,
        r#""exp":4102444800"#,
        r#""roles":[],"roles":["admin"]"#,
        r#""topics":{"subscribe":[],"subscribe":[">"]}"#,
        r#""topics":{"subscibe":[">"]}"#,
        r#""topics":[">"]"#,
        r#""topics":{"subscribe":">"}"#,
        r#""sub":7"#,
        r#""sub":["ada"]"#,
        r#""roles":{"admin":true}"#,
        r#""roles":[7]"#,
        r#""aud":7"#,
        r#""jti":7"#,
    ] {
        let told = refused(&auth, &claims(json));
        assert!(told.starts_with("the token's claims cannot be read: "), "{json}: {told}");
    }
    assert!(refused(&auth, &claims(r#""topics":{"subscibe":[">"]}"#)).contains("unknown field `subscibe`"));
    let bad = refused(&auth, &claims(r#""topics":{"subscribe":["a","a..b"]}"#));
    assert_eq!(bad, "the token's topics: subscribe \"a..b\": empty token at byte 2");
    // Others may come as they like.
    assert!(
        identify(&auth, &claims(r#""x":1,"x":[2],"nonce":null,"sub":null,"roles":null,"data":null"#)).is_ok()
    );
}

#[test]
fn enormous_tokens_are_refused_before_they_are_read() {
    let auth = with_keys(json!([hs256()]));
    let many: Value = (0..100_000)
        .map(|index| (format!("claim{index}"), json!(index)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let told = refused(&auth, &hs(many));
    assert!(told.starts_with("the token has ") && told.ends_with("bytes, the limit is 8192"), "{told}");
    let fits = hs(json!({ "exp": in_an_hour(), "x": "x".repeat(5900) }));
    assert!(fits.len() <= 8192 && identify(&auth, &fits).is_ok());
}

#[test]
fn a_name_may_be_of_any_language_but_not_of_any_length() {
    let auth = Auth::new(&settings(json!({
        "keys": [hs256()], "token_roles": ["user"],
        "roles": [{ "name": "user", "subscribe": ["inbox.{user}.>", "lobby"] }],
    })))
    .unwrap();
    let named = |name: &str| hs(json!({ "sub": name, "exp": in_an_hour() }));
    for name in ["ада", "名前", "a\u{301}", "\u{1F600}"] {
        let identity = identify(&auth, &named(name)).unwrap();
        assert!(may(&identity, Action::Subscribe, &format!("inbox.{name}.1")), "{name}");
    }
    for name in ["", "a\nb", "\u{0}", &"x".repeat(129)] {
        assert!(refused(&auth, &named(name)).contains("1 to 128 bytes"), "{name:?}");
    }
    for name in ["*", ">", "a.b", "a b", "ada.*"] {
        let identity = identify(&auth, &named(name)).unwrap();
        assert_eq!(identity.user.as_deref(), Some(name));
        assert_eq!(identity.grants.of(Action::Subscribe), [Filter::parse("lobby").unwrap()], "{name}");
    }
    let long = hs(json!({ "exp": in_an_hour(), "data": "x".repeat(1023) }));
    assert_eq!(refused(&auth, &long), "the token's data has 1025 bytes, the limit is 1024");
}

#[test]
fn a_revoked_token_proves_nothing() {
    let pair = new_api_key().unwrap();
    let roles = json!([{ "name": "shop", "publish": ["orders.>"] }]);
    let api_keys = json!([{ "name": "shop", "hash": pair.hash, "roles": ["shop"] }]);
    let tables = settings(json!({ "keys": [hs256()], "roles": roles, "api_keys": api_keys }));
    let auth = Auth::new(&tables).unwrap();
    let token = |id| hs(json!({ "jti": id, "exp": in_an_hour() }));
    let identity = identify(&auth, &pair.key).unwrap();
    assert_eq!((&*identity.origin, identity.user.as_deref()), ("API key shop", None));
    assert!(may(&identity, Action::Publish, "orders.1") && !may(&identity, Action::Subscribe, "orders.1"));
    auth.revoke("t-1");
    assert_eq!(refused(&auth, &token("t-1")), "the token has been revoked");
    assert!(identify(&auth, &token("t-2")).is_ok());
    auth.revoke("api_key:shop");
    assert_eq!(refused(&auth, &pair.key), "the token has been revoked");
    auth.reload(&tables).unwrap();
    assert_eq!(refused(&auth, &token("t-1")), "the token has been revoked");
}

#[test]
fn after_a_reload_other_keys_and_roles_count() {
    let tables = |secret: &str, topic: &str| {
        settings(json!({
            "keys": [{ "algorithm": "HS256", "secret": secret }], "token_roles": ["user"], "cookie": topic,
            "roles": [{ "name": "user", "subscribe": [topic] }, { "name": "anonymous", "history": [topic] }],
        }))
    };
    let auth = Auth::new(&tables(SECRET, "a")).unwrap();
    let token = hs(json!({ "exp": in_an_hour() }));
    let before = identify(&auth, &token).unwrap();
    auth.reload(&tables(SECRET, "b")).unwrap();
    let after = identify(&auth, &token).unwrap();
    assert!(may(&before, Action::Subscribe, "a") && !may(&after, Action::Subscribe, "a"));
    assert!(may(&after, Action::Subscribe, "b") && may(&auth.anonymous().unwrap(), Action::History, "b"));
    assert_eq!(auth.cookie().as_deref(), Some("b"));
    let wrong = auth.reload(&tables("too short", "c")).unwrap_err();
    assert!(wrong.to_string().starts_with("auth.keys[0].secret: "), "{wrong}");
    assert!(identify(&auth, &token).is_ok());
    auth.reload(&tables(&SECRET.to_uppercase(), "b")).unwrap();
    assert_eq!(refused(&auth, &token), "the token's signature does not match");
}

#[test]
fn settings_that_no_server_can_run_with_are_named() {
    let keys = |key: Value| json!({ "keys": [hs256(), key] });
    let role = |role: Value| json!({ "keys": [hs256()], "roles": [{ "name": "first" }, role] });
    let hash = format!("sha256:{}", "0".repeat(64));
    let api_keys = |keys: Value| json!({ "api_keys": keys });
    let mistakes = [
        (json!({}), "auth: nobody could ever come in; set [[auth.keys]]"),
        (keys(json!({})), "auth.keys[1]: a key without anything to verify with; exactly one of `secret`"),
        (keys(json!({ "secret": SECRET })), "auth.keys[1]: missing key `algorithm`; name the only"),
        (
            keys(json!({ "algorithm": "none", "secret": SECRET })),
            "auth.keys[1].algorithm: no such algorithm; known are HS256",
        ),
        (
            keys(json!({ "algorithm": "HS256", "secret": "short" })),
            "auth.keys[1].secret: not a key for this; a secret of HS256 has at least 32 bytes, got 5",
        ),
        (
            keys(json!({ "algorithm": "HS512", "secret": SECRET })),
            "a secret of HS512 has at least 64 bytes, got",
        ),
        (
            keys(json!({ "algorithm": "HS256", "secret": RSA.public })),
            "a public key is none: everybody knows it",
        ),
        (
            keys(json!({ "algorithm": "HS256", "public_key": RSA.public })),
            "auth.keys[1].public_key: not a key for this; HS256 needs a secret",
        ),
        (
            keys(json!({ "algorithm": "RS256", "secret": SECRET })),
            "auth.keys[1].secret: not a key for this; RS256 needs a public key",
        ),
        (
            keys(json!({ "algorithm": "RS256", "public_key": RSA_1024 })),
            "a key of RSA has 2048 to 8192 bits, got 1024",
        ),
        (keys(json!({ "algorithm": "RS256", "public_key": RSA.private })), "this is a private key"),
        (
            keys(json!({ "algorithm": "RS256", "public_key": EC.public })),
            "auth.keys[1].public_key: not a key for this; no public key of RS256 in PEM",
        ),
        (keys(json!({ "algorithm": "ES384", "public_key": EC.public })), "not a public key of ES384"),
        (keys(json!({ "algorithm": "EdDSA", "public_key": EC.public })), "no public key of EdDSA in PEM"),
        (keys(json!({ "algorithm": "RS256", "public_key": "nonsense" })), "no public key of RS256 in PEM"),
        (
            keys(json!({ "algorithm": "RS256", "public_key_file": "/not/there" })),
            "auth.keys[1].public_key_file: this file cannot be read; /not/there",
        ),
        (
            keys(json!({ "algorithm": "HS256", "secret": SECRET, "secret_file": "x" })),
            "auth.keys[1].secret_file: one source too many",
        ),
        (
            keys(json!({ "algorithm": "HS256", "jwks_url": "https://x" })),
            "auth.keys[1].algorithm: not for fetched keys",
        ),
        (keys(json!({ "jwks_url": "ftp://x/" })), "auth.keys[1].jwks_url: not an address to fetch keys from"),
        (
            keys(json!({ "jwks_url": "https://a:b@x/" })),
            "auth.keys[1].jwks_url: not an address to fetch keys from",
        ),
        (keys(json!({ "jwks_url": "https://x", "id": "a" })), "auth.keys[1].id: not for fetched keys"),
        (
            json!({ "keys": [{ "algorithm": "HS256", "secret": SECRET, "id": "a" }, { "algorithm": "HS256", "secret": SECRET, "id": "a" }] }),
            "auth.keys[1].id: named twice",
        ),
        (json!({ "keys": [hs256()], "leeway": "1h" }), "auth.leeway: out of range; `leeway` is 0s to 5m"),
        (json!({ "keys": [hs256()], "cookie": "a b" }), "auth.cookie: not the name of a cookie"),
        (json!({ "keys": [hs256()], "user_claim": "exp" }), "auth.user_claim: not a claim for this"),
        (json!({ "keys": [hs256()], "user_claim": "roles" }), "auth.roles_claim: not a claim for this"),
        (
            json!({ "keys": [hs256()], "token_roles": ["x"] }),
            "auth.token_roles[0]: no such role; there are no [[auth.roles]]",
        ),
        (role(json!({ "name": "first" })), "auth.roles[1].name: named twice"),
        (role(json!({ "name": "" })), "auth.roles[1].name: not a name for a role"),
        (
            role(json!({ "name": "x", "subscribe": ["a", "a..b"] })),
            "auth.roles[1].subscribe[1]: not a topic or pattern; \"a..b\": empty token at byte 2",
        ),
        (
            role(json!({ "name": "x", "history": ["{usr}"] })),
            "auth.roles[1].history[0]: no such place; {usr} is not known; {user} is",
        ),
        (
            role(json!({ "name": "x", "publish": ["$sys.x"] })),
            "auth.roles[1].publish[0]: nobody may publish there",
        ),
        (
            role(json!({ "name": "anonymous", "subscribe": ["{user}"] })),
            "auth.roles[1].subscribe[0]: not for anonymous",
        ),
        (role(json!({ "name": "anonymous", "admin": true })), "auth.roles[1].admin: not for anonymous"),
        (api_keys(json!([{ "name": "a", "hash": "md5:x" }])), "auth.api_keys[0].hash: not a hash"),
        (
            api_keys(json!([{ "name": "a", "hash": hash, "roles": ["x"] }])),
            "auth.api_keys[0].roles[0]: no such role",
        ),
        (
            api_keys(json!([{ "name": "a", "hash": hash }, { "name": "b", "hash": hash }])),
            "auth.api_keys[1].hash: named twice",
        ),
    ];
    for (tables, said) in mistakes {
        let mistake = settings(tables.clone()).check().expect_err(said).to_string();
        assert!(mistake.contains(said), "{said}\n{mistake}");
    }
}

/// A public key that is too short.
const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCwuip1MeDS1k+ZudyN8Eo9RDd0
LHCDjV6DNNYev0ZMzsJr1y7gQ4fPpExe0aUDtyoRfUaFtJbetiRxT2htBh18lV43
fNyI9w3ySRciVY4v2XlcZ/tSgsAm34UaxME1JQZEsM2UpOQWA3xGKO1hts7mAvWG
URu8NfuJ1555kasdhQIDAQAB
-----END PUBLIC KEY-----
";

#[test]
fn secrets_are_not_shown() {
    let settings = settings(json!({ "keys": [hs256()] }));
    assert!(!format!("{settings:?}").contains(SECRET));
    let auth = Auth::new(&settings).unwrap();
    assert!(!format!("{auth:?}").contains(SECRET));
}

#[test]
fn it_is_explained_which_role_or_pattern_counts() {
    let auth = Auth::new(&settings(json!({
        "keys": [hs256()],
        "roles": [{ "name": "user", "subscribe": ["inbox.{user}.>"] }, { "name": "staff", "publish": ["news.*"] }],
    })))
    .unwrap();
    let filter = |text: &str| Filter::parse(text).unwrap();
    let explain = |identity: &Identity, action, topic: &str| auth.explain(identity, action, &filter(topic));
    let ada = auth.presumed(Some("ada"), &["user", "staff", "unheard-of"]);
    let granted = explain(&ada, Action::Subscribe, "inbox.ada.1");
    assert!(granted.allowed);
    assert_eq!(granted.why, "role user allows inbox.{user}.>");
    let missed = explain(&ada, Action::Publish, "news.a.b");
    assert!(!missed.allowed);
    assert_eq!(missed.why, "nothing covers it; nearest is news.* of role staff: does not cover it");
    let dotted = auth.presumed(Some("ada.l"), &["user"]);
    let unfit = explain(&dotted, Action::Subscribe, "inbox.ada.1");
    assert!(!unfit.allowed && unfit.why.contains("is not one token of a topic"), "{}", unfit.why);
    let token = hs(
        json!({ "sub": "ada", "exp": in_an_hour(), "topics": { "subscribe": ["own"] }, "roles": ["user"] }),
    );
    let own = explain(&identify(&auth, &token).unwrap(), Action::Subscribe, "own");
    assert_eq!(own.why, "token allows own");
    let nobody = explain(&auth.presumed(None, &[]), Action::Subscribe, "own");
    assert_eq!(nobody.why, "nothing that they have allows to subscribe anything");
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_shown_does_harm(
        text in proptest::prelude::any::<String>(),
        header in "\\{\"alg\":\"(HS256|ES256|none)\"(,\"kid\":\"[ab]\")?(,\"[a-z]{1,4}\":(1|null|\\[\\]))?\\}",
        claims in "\\{(\"(exp|nbf|sub|aud|roles|topics|data)\":(4102444800|-1|1e9|\"a\"|null|\\[\"a\"\\]|\\{\"subscribe\":\\[\"a\"\\]\\})){1}\\}",
    ) {
        static AUTH: LazyLock<Auth> = LazyLock::new(|| {
            Auth::new(&settings(json!({ "keys": [hs256()], "require_expiry": false }))).unwrap()
        });
        let error = identify(&AUTH, &text).unwrap_err();
        proptest::prop_assert_eq!(error.code, ErrorCode::Unauthorized);
        match identify(&AUTH, &signed(SECRET.as_bytes(), &header, &claims)) {
            Ok(_) => proptest::prop_assert!(header.contains("HS256")),
            Err(error) => proptest::prop_assert_eq!(error.code, ErrorCode::Unauthorized),
        }
    }
}
