//! Keys for back ends: long random strings, of which the configuration holds a hash.

use std::sync::Arc;

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::role::Role;
use super::token::bearer_of;
use crate::hub::identity::Identity;

/// What an API key begins with, so that it is told from a token, and found where it should not be.
pub(super) const PREFIX: &str = "thk_";

/// What its hash begins with.
const HASH_PREFIX: &str = "sha256:";

/// The SHA-256 of a key.
pub(super) type Hash = [u8; 32];

/// A key that is accepted.
#[derive(Clone, Debug)]
pub(super) struct ApiKey {
    hash: Hash,
    name: Box<str>,
    identity: Arc<Identity>,
}

impl ApiKey {
    pub(super) fn new(name: &str, hash: Hash, roles: &[Arc<Role>]) -> Self {
        let mut identity = bearer_of(None, roles, format!("API key {name}").into());
        // So it can be revoked like a token.
        identity.token_id = Some(token_id(name));
        Self { hash, name: name.into(), identity: Arc::new(identity) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has_hash(&self, hash: &Hash) -> bool {
        self.hash.ct_eq(hash).into()
    }
}

/// What an API key is revoked by.
fn token_id(name: &str) -> Box<str> {
    format!("api_key:{name}").into()
}

/// Whose key this is. Every hash is compared with, each in constant time.
pub(super) fn find<'a>(keys: &'a [ApiKey], key: &str) -> Option<&'a Arc<Identity>> {
    let hash = hash_of(key.as_bytes());
    keys.iter().fold(None, |found, known| if known.has_hash(&hash) { Some(&known.identity) } else { found })
}

/// The SHA-256 of anything.
pub(super) fn hash_of(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// `sha256:` and hexadecimal digits.
pub(super) fn parse_hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix(HASH_PREFIX)?;
    if digits.len() != 2 * Hash::default().len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = Hash::default();
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}

/// The hash of a key as the configuration holds it.
pub(super) fn written_hash(key: &str) -> String {
    let digits: String = hash_of(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{HASH_PREFIX}{digits}")
}

/// A new key of 256 random bits; nothing if this machine has no randomness.
pub(super) fn generate() -> Option<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let keys: Vec<_> = (0..3).map(|_| generate().unwrap()).collect();
        assert!(keys.iter().all(|key| key.len() == 47 && key.starts_with(PREFIX)));
        let known: Vec<_> = ["a", "b"]
            .into_iter()
            .zip(&keys)
            .map(|(name, key)| ApiKey::new(name, parse_hash(&written_hash(key)).unwrap(), &[]))
            .collect();
        assert_eq!(&*find(&known, &keys[0]).unwrap().origin, "API key a");
        assert_eq!(find(&known, &keys[1]).unwrap().token_id.as_deref(), Some("api_key:b"));
        assert_eq!(find(&known, &keys[2]), None);
        assert_eq!(find(&known, ""), None);
    }

    #[test]
    fn a_hash_is_that_of_sha256sum() {
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(written_hash("abc"), abc);
        assert!(parse_hash(&abc.to_uppercase().replace("SHA", "sha")).is_some());
        for text in [
            "",
            "sha256:",
            &abc[7..],
            &abc[..70],
            "sha256:+a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ] {
            assert_eq!(parse_hash(text), None, "{text}");
        }
    }
}
