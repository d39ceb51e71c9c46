//! The `[auth]` tables: what they say, with the defaults. What no server can run with is found by `policy`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::settings::HumanTime;

/// Who may come in, and what they may do. With this table, nobody may do anything that it does not grant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AuthSettings {
    /// Who must have issued a token (`iss`); without it anybody who has one of the keys may.
    #[cfg_attr(feature = "cli", schemars(example = &"https://login.example.com"))]
    pub issuer: Option<String>,
    /// For whom a token must be (`aud`). Without it, tokens that name an audience are refused (RFC 7519 §4.1.3).
    #[cfg_attr(feature = "cli", schemars(example = &"topichub"))]
    pub audience: Option<String>,
    /// How far the clock of the issuer may be off, at most 5 minutes.
    #[serde(with = "HumanTime")]
    pub leeway: Duration,
    /// Whether a token must say when it expires (`exp`).
    pub require_expiry: bool,
    /// The claim that holds the user's name.
    pub user_claim: String,
    /// The claim that holds the names of roles: a list, or one text with blanks between them, such as `scope`. Names that
    /// are no role here grant nothing.
    pub roles_claim: String,
    /// The claim that holds patterns of its own: a map of `subscribe`, `publish`, `presence`, `history`.
    pub topics_claim: String,
    /// The claim that others see beside the user's name; at most 1,024 bytes.
    pub data_claim: String,
    /// The roles that every sound token has beside those it names.
    pub token_roles: Vec<String>,
    /// The name of a cookie in which browsers may bring a token. Without it none is looked at. With it, only pages of the
    /// allowed origins can use it.
    #[cfg_attr(feature = "cli", schemars(example = &"topichub_token"))]
    pub cookie: Option<String>,
    /// Whether a token may stand in the address, `?token=…`. Addresses are kept in logs and histories: allow it only for
    /// clients that can do nothing else.
    pub query_token: bool,
    /// How long fetched keys are good at most. `Cache-Control: max-age` can make it shorter; keys are fetched again before.
    #[serde(with = "HumanTime")]
    pub jwks_age_max: Duration,
    /// The shortest time from one fetch of keys to the next, whatever unknown key ids come.
    #[serde(with = "HumanTime")]
    pub jwks_interval: Duration,
    /// How long fetched keys go on if their server is down, from when they were fetched.
    #[serde(with = "HumanTime")]
    pub jwks_stale_max: Duration,
    /// How long one fetch may take, redirects included.
    #[serde(with = "HumanTime")]
    pub jwks_timeout: Duration,
    /// What tokens are verified with.
    pub keys: Vec<KeySettings>,
    /// What is allowed to whom, by name.
    pub roles: Vec<RoleSettings>,
    /// Keys for back ends, which need no tokens.
    pub api_keys: Vec<ApiKeySettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
            require_expiry: true,
            user_claim: "sub".to_owned(),
            roles_claim: "roles".to_owned(),
            topics_claim: "topics".to_owned(),
            data_claim: "data".to_owned(),
            token_roles: Vec::new(),
            cookie: None,
            query_token: false,
            jwks_age_max: Duration::from_secs(3600),
            jwks_interval: Duration::from_secs(30),
            jwks_stale_max: Duration::from_secs(24 * 3600),
            jwks_timeout: Duration::from_secs(5),
            keys: Vec::new(),
            roles: Vec::new(),
            api_keys: Vec::new(),
        }
    }
}

/// A key that tokens are verified with, or where to fetch such keys: exactly one of `secret`, `secret_file`,
/// `public_key`, `public_key_file` and `jwks_url`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KeySettings {
    /// HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA: the only one that this key is
    /// used with, whatever a token says. With `jwks_url` it may be left out: each fetched key names its own.
    #[cfg_attr(feature = "cli", schemars(example = &"HS256"))]
    pub algorithm: Option<String>,
    /// The id (`kid`) of the tokens that this key is for. Without it, it is tried for any.
    #[cfg_attr(feature = "cli", schemars(example = &"2026-11"))]
    pub id: Option<String>,
    /// The shared secret of HS256 (at least 32 bytes), HS384 (48) or HS512 (64), taken as it is written.
    #[cfg_attr(feature = "cli", schemars(example = &"at least 32 random bytes, better 64"))]
    pub secret: Option<Secret>,
    /// A file that holds the secret; a line break at its end is not part of it.
    #[cfg_attr(feature = "cli", schemars(example = &"/etc/topichub/secret"))]
    pub secret_file: Option<String>,
    /// A public key: the text of a PEM file, BEGIN PUBLIC KEY.
    #[cfg_attr(feature = "cli", schemars(example = &"-----BEGIN PUBLIC KEY-----…"))]
    pub public_key: Option<String>,
    /// A PEM file with a public key.
    #[cfg_attr(feature = "cli", schemars(example = &"/etc/topichub/public_key.pem"))]
    pub public_key_file: Option<String>,
    /// Where keys are fetched, as a JSON Web Key Set (RFC 7517 §5): https://, or http:// within a network that is trusted.
    #[cfg_attr(feature = "cli", schemars(example = &"https://login.example.com/.well-known/jwks.json"))]
    pub jwks_url: Option<String>,
    /// The issuer of this key's tokens, if not that of the table.
    #[cfg_attr(feature = "cli", schemars(example = &"https://login.example.com"))]
    pub issuer: Option<String>,
    /// The audience of this key's tokens, if not that of the table.
    #[cfg_attr(feature = "cli", schemars(example = &"topichub"))]
    pub audience: Option<String>,
}

/// What is allowed to those who have this role. `{user}` in a pattern stands for the user's name; a name that is not
/// exactly one token of a topic gets nothing from such a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RoleSettings {
    /// What tokens and API keys call it. `anonymous` is for those who show nothing; without it, everybody must.
    #[cfg_attr(feature = "cli", schemars(example = &"fan"))]
    pub name: String,
    /// Topics and patterns that may be subscribed to.
    #[serde(default)]
    pub subscribe: Vec<String>,
    /// Topics and patterns that may be published to.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Topics and patterns where it may be seen who is there; if left out, those of `subscribe`.
    #[serde(default)]
    #[cfg_attr(feature = "cli", schemars(example = &["chat.{user}.>"] as &[&str]))]
    pub presence: Option<Vec<String>>,
    /// Topics and patterns whose history may be seen; if left out, those of `subscribe`.
    #[serde(default)]
    #[cfg_attr(feature = "cli", schemars(example = &["chat.{user}.>"] as &[&str]))]
    pub history: Option<Vec<String>>,
    /// Whether the server itself may be looked into and acted upon.
    #[serde(default)]
    pub admin: bool,
}

/// A key for a back end, made by `topichub token --api-key NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ApiKeySettings {
    /// What it is called in logs and where it is revoked.
    #[cfg_attr(feature = "cli", schemars(example = &"shop"))]
    pub name: String,
    /// `sha256:` and the SHA-256 of the whole key in hexadecimal digits. Such keys are 256 random bits, which nobody can
    /// guess from a fast hash; a slow one is for passwords.
    #[cfg_attr(
        feature = "cli",
        schemars(example = &"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    )]
    pub hash: String,
    /// What it may do.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// A value that no server can run with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}; {help}", path(.way))]
pub struct AuthMistake {
    /// The way to it, from the whole configuration.
    pub way: Vec<Step>,
    /// What is wrong.
    pub what: &'static str,
    /// What is allowed.
    pub help: String,
}

/// One step of the way to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// In a table.
    Key(&'static str),
    /// In a list, from 0.
    Entry(usize),
}

impl AuthMistake {
    pub(super) fn new(way: &[Step], what: &'static str, help: impl Into<String>) -> Self {
        let way = [Step::Key("auth")].into_iter().chain(way.iter().copied()).collect();
        Self { way, what, help: help.into() }
    }
}

/// `auth.keys[1].secret`.
fn path(way: &[Step]) -> String {
    let mut path = String::new();
    for step in way {
        match step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.extend([".", key]),
            Step::Entry(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}
