//! What it costs to find out who somebody is. Measured on demand, never asserted.

use super::*;
use crate::clock::Clock;

#[test]
#[ignore = "a measurement: cargo test --release --lib auth::tests::cost -- --ignored --nocapture"]
fn what_a_token_costs() {
    let ec384 = ec_pair(&signature::ECDSA_P384_SHA384_FIXED_SIGNING);
    let ed = ed_pair();
    let secret = Pair { private: SECRET.to_owned(), public: String::new() };
    let claims = json!({
        "sub": "ada", "exp": in_an_hour(), "iss": "https://login.example", "jti": "0f8e6d7c", "roles": ["member"],
        "topics": { "subscribe": ["chat.>", "news.*"], "publish": ["chat.{user}"] },
    });
    let pairs = [
        ("HS256", &secret),
        ("RS256", &*RSA),
        ("PS256", &RSA),
        ("ES256", &EC),
        ("ES384", &ec384),
        ("EdDSA", &ed),
    ];
    for (algorithm, pair) in pairs {
        let key = match algorithm {
            "HS256" => hs256(),
            _ => json!({ "algorithm": algorithm, "public_key": pair.public }),
        };
        let roles =
            json!([{ "name": "member", "subscribe": ["inbox.{user}.>", "lobby"], "publish": ["lobby"] }]);
        let auth = Auth::new(&settings(json!({ "keys": [key], "roles": roles }))).unwrap();
        let token = issue(algorithm, &pair.private, None, claims.clone());
        measure(algorithm, &auth, &token);
    }
    let pair = new_api_key().unwrap();
    let api_keys: Vec<_> = (0..100)
        .map(|index| json!({ "name": format!("{index}"), "hash": new_api_key().unwrap().hash }))
        .chain([json!({ "name": "last", "hash": pair.hash })])
        .collect();
    measure("API key, 101 known", &Auth::new(&settings(json!({ "api_keys": api_keys }))).unwrap(), &pair.key);
}

fn measure(name: &str, auth: &Auth, credential: &str) {
    const ROUNDS: u32 = 2000;
    block_on(async {
        let clock = Clock::start();
        for _ in 0..ROUNDS {
            auth.identify(credential).await.unwrap();
        }
        println!("{name:<20}{:>8.1} µs", clock.now().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    });
}
