//! A JSON Web Key Set (RFC 7517) from elsewhere: which of its keys can be used, and why not the others. Pure.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::claims::quoted;
use super::key::{self, Key, KeyError};
use super::policy::SourceSpec;

/// The most keys of one set. Each that fits may have to be tried.
const KEYS_MAX: usize = 100;

/// The keys of a set that can be used, and what is to be said about the others.
#[derive(Debug)]
pub(super) struct KeySet {
    pub(super) keys: Vec<Key>,
    pub(super) left_out: Vec<String>,
}

/// Why there are no keys in what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SetError {
    #[error("not a JSON Web Key Set: {0}")]
    NotASet(String),
    #[error("the set has {len} keys, the limit is {KEYS_MAX}")]
    TooMany { len: usize },
    #[error("no key of the set can be used{}{}", if .0.is_empty() { "" } else { ": " }, .0.join("; "))]
    NoneUsable(Vec<String>),
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// One key as it is written (RFC 7517 §4, RFC 7518 §6).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part of any asymmetric key.
    d: Option<IgnoredAny>,
}

/// Why a key of a set is left out.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it is symmetric, and whoever can fetch it could sign with it")]
    Symmetric,
    #[error("it is PRIVATE: whoever can fetch it can sign with it, so it is not accepted; replace it")]
    Private,
    #[error("it is not for signatures")]
    Purpose,
    #[error("its algorithm {0} is not known here")]
    Algorithm(String),
    #[error("its algorithm is {0:?}, and only {1:?} is accepted from here")]
    Pinned(Algorithm, Algorithm),
    #[error("its kind {0} is not known here")]
    Kind(String),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl KeySet {
    /// Reads what has been fetched. A key that cannot be used does not spoil the others.
    pub(super) fn parse(bytes: &[u8], spec: &SourceSpec) -> Result<Self, SetError> {
        let set: Set<'_> =
            serde_json::from_slice(bytes).map_err(|error| SetError::NotASet(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(SetError::TooMany { len: set.keys.len() });
        }
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for (index, json) in set.keys.iter().enumerate() {
            match serde_json::from_str::<Jwk>(json.get()) {
                Ok(jwk) => match jwk.key(spec) {
                    Ok(key) => keys.push(key),
                    Err(error) => {
                        let name = jwk.kid.as_deref().map_or_else(|| format!("number {}", index + 1), quoted);
                        left_out.push(format!("key {name} is left out: {error}"));
                    }
                },
                Err(error) => {
                    let error = Unusable::Unreadable(error.to_string());
                    left_out.push(format!("key number {} is left out: {error}", index + 1));
                }
            }
        }
        if keys.is_empty() { Err(SetError::NoneUsable(left_out)) } else { Ok(Self { keys, left_out }) }
    }
}

impl Jwk {
    fn key(&self, spec: &SourceSpec) -> Result<Key, Unusable> {
        if self.kty == "oct" {
            return Err(Unusable::Symmetric);
        }
        if self.d.is_some() {
            return Err(Unusable::Private);
        }
        let is_for_signatures = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|one| one == "verify"));
        if !is_for_signatures {
            return Err(Unusable::Purpose);
        }
        let algorithm = self.algorithm(spec)?;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let wrong = |_| KeyError::WrongKind { algorithm };
        let material = match self.kty.as_str() {
            "RSA" => DecodingKey::from_rsa_components(&text(&self.n), &text(&self.e)).map_err(wrong)?,
            "EC" => DecodingKey::from_ec_components(&text(&self.x), &text(&self.y)).map_err(wrong)?,
            _ => DecodingKey::from_ed_components(&text(&self.x)).map_err(wrong)?,
        };
        if material.family() != algorithm.family() {
            return Err(KeyError::WrongKind { algorithm }.into());
        }
        let key = Key::public(algorithm, material)?;
        Ok(key.bound(self.kid.as_deref(), spec.issuer.clone(), spec.audience.clone()))
    }

    /// The key's own, or the one that is pinned, or what keys of this kind are mostly for.
    fn algorithm(&self, spec: &SourceSpec) -> Result<Algorithm, Unusable> {
        let usual = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Algorithm::RS256,
            ("EC", Some("P-256")) => Algorithm::ES256,
            ("EC", Some("P-384")) => Algorithm::ES384,
            ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
            (kind, curve) => return Err(Unusable::Kind(quoted(&[kind, curve.unwrap_or("")].join(" ")))),
        };
        let own = match &self.alg {
            Some(name) => Some(key::parse_algorithm(name).ok_or_else(|| Unusable::Algorithm(quoted(name)))?),
            None => None,
        };
        match (own, spec.algorithm) {
            (Some(own), Some(pinned)) if own != pinned => Err(Unusable::Pinned(own, pinned)),
            (own, pinned) => Ok(own.or(pinned).unwrap_or(usual)),
        }
    }
}
