//! Making what `mod` verifies: tokens and API keys, for `topichub token` and for tests.

use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header};
use serde::Serialize;
use serde_json::{Map, Value};
use topichub_protocol::topic::TopicError;

use super::api_key;
use super::claims::Parts;
use super::key::{self, Key};
use super::policy;
use super::role::Written;
use super::settings::{AuthMistake, AuthSettings};
use crate::clock;

/// What signs tokens.
#[derive(Debug)]
pub struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    id: Option<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// An algorithm by another name.
    #[error("no such algorithm: {name}; known are {known}")]
    Algorithm {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A secret that the server would not take, or anything else in its place.
    #[error("{0}")]
    Secret(String),
    /// A private key that is none.
    #[error(
        "not a private key of {algorithm} in PEM; keys of EC and Ed25519 must be PKCS#8 (BEGIN PRIVATE KEY): openssl pkcs8 -topk8 -nocrypt"
    )]
    Private {
        /// What it should sign with.
        algorithm: String,
    },
    /// Nothing in the settings can sign.
    #[error("[[auth.keys]] has no secret{}", .id.as_ref().map_or(String::new(), |id| format!(" with the id {id:?}")))]
    NoSecret {
        /// The key that was asked for.
        id: Option<String>,
    },
    /// The settings cannot be used.
    #[error(transparent)]
    Mistake(#[from] AuthMistake),
    /// This machine has no randomness.
    #[error("no random numbers to make a key of")]
    NoRandomness,
}

/// What a token shall say. What is left out is not said.
#[derive(Clone, Debug, Default)]
pub struct TokenPlan {
    /// Its claims but for the times.
    pub claims: Map<String, Value>,
    /// How long it holds from now on.
    pub expires: Option<Duration>,
}

/// A new API key, and what the configuration holds of it.
#[derive(Debug)]
pub struct ApiKeyPair {
    /// The key. It is nowhere else.
    pub key: String,
    /// Its hash.
    pub hash: String,
}

/// Makes an API key.
///
/// # Errors
/// If this machine has no random numbers.
pub fn new_api_key() -> Result<ApiKeyPair, IssueError> {
    let key = api_key::generate().ok_or(IssueError::NoRandomness)?;
    Ok(ApiKeyPair { hash: api_key::written_hash(&key), key })
}

impl Issuer {
    /// Signs by this algorithm with a secret, or with a private key as PEM.
    ///
    /// # Errors
    /// If it is not a key for this algorithm.
    pub fn new(algorithm: &str, key: &[u8], id: Option<&str>) -> Result<Self, IssueError> {
        key::install_provider();
        let algorithm = key::parse_algorithm(algorithm)
            .ok_or_else(|| IssueError::Algorithm { name: algorithm.to_owned(), known: key::algorithms() })?;
        let read = match algorithm.family() {
            AlgorithmFamily::Hmac => {
                Key::from_secret(algorithm, key).map_err(|error| IssueError::Secret(error.to_string()))?;
                Ok(EncodingKey::from_secret(key))
            }
            AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(key),
            AlgorithmFamily::Ec => EncodingKey::from_ec_pem(key),
            AlgorithmFamily::Ed => EncodingKey::from_ed_pem(key),
        };
        let private = || IssueError::Private { algorithm: format!("{algorithm:?}") };
        let issuer = Self { algorithm, key: read.map_err(|_| private())?, id: id.map(str::to_owned) };
        // A public key is found out at the first signature only.
        issuer.sign(&Map::new()).map(|_| issuer).ok_or_else(private)
    }

    /// Signs with the secret of this id in the settings, or with the first.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn of_settings(settings: &AuthSettings, id: Option<&str>) -> Result<Self, IssueError> {
        for (index, key) in settings.keys.iter().enumerate() {
            let is_meant = id.is_none() || key.id.as_deref() == id;
            let is_secret = key.secret.is_some() || key.secret_file.is_some();
            if let (true, true, Some(algorithm)) = (is_meant, is_secret, &key.algorithm) {
                let secret = policy::secret_of(key, index)?;
                return Self::new(algorithm, &secret, key.id.as_deref());
            }
        }
        Err(IssueError::NoSecret { id: id.map(str::to_owned) })
    }

    /// Makes a token. It says when it was made and, if planned, when it expires.
    ///
    /// # Errors
    /// If the key does not sign.
    pub fn issue(&self, plan: &TokenPlan) -> Result<String, IssueError> {
        let mut claims = plan.claims.clone();
        let now = clock::since_1970();
        claims.entry("iat").or_insert_with(|| now.as_secs().into());
        if let Some(expires) = plan.expires {
            claims.insert("exp".to_owned(), now.saturating_add(expires).as_secs().into());
        }
        self.sign(&claims).ok_or_else(|| IssueError::Private { algorithm: format!("{:?}", self.algorithm) })
    }

    fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let header = Header { kid: self.id.clone(), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).ok()
    }
}

/// Header and claims of a token, verified or not.
pub fn take_apart(token: &str) -> Option<(Value, Value)> {
    Parts::shown(token)
}

/// Whether a text looks like an API key.
pub fn is_api_key(credential: &str) -> bool {
    credential.starts_with(api_key::PREFIX)
}

/// Whether a text is a topic or pattern, with or without `{user}` in it.
///
/// # Errors
/// What is wrong with it.
pub fn check_pattern(text: &str) -> Result<(), TopicError> {
    Written::parse(text).map(drop)
}

/// The names of the algorithms that keys can be for.
pub fn algorithm_names() -> impl Iterator<Item = &'static str> {
    key::ALGORITHMS.into_iter()
}
