//! Keys that tokens are verified with. Each is pinned to one algorithm when it is read; a token's header cannot choose.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use jsonwebtoken::crypto::{self, CryptoProvider, aws_lc};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};

/// The algorithms there are, as they are called in tokens.
pub(super) const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "EdDSA",
];

/// The shortest modulus of an RSA key, in bits (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2048;

/// The longest, which takes a millisecond to verify.
const RSA_BITS_MAX: usize = 8192;

/// Sees to it that jsonwebtoken uses aws-lc, whatever other providers a program has compiled.
pub(super) fn install_provider() {
    // That somebody has chosen one already is as good.
    let _ = CryptoProvider::install_default(&aws_lc::DEFAULT_PROVIDER);
}

/// An algorithm by its name. `Ed25519` is what RFC 9864 calls the only curve of EdDSA that there is here.
pub(super) fn parse_algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { name.parse().ok() }
}

/// The names of all algorithms, for people.
pub(super) fn algorithms() -> String {
    ALGORITHMS.join(", ")
}

/// A key with all that it is for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    pub(super) issuer: Option<Box<str>>,
    pub(super) audience: Option<Box<str>>,
    material: DecodingKey,
}

/// Why a key is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("{algorithm:?} needs a public key, and a secret is none: set public_key or public_key_file")]
    SecretForPublic { algorithm: Algorithm },
    #[error(
        "{algorithm:?} needs a secret, and a public key is none: everybody knows it, so everybody could sign"
    )]
    PublicForSecret { algorithm: Algorithm },
    #[error("a secret of {algorithm:?} has at least {min} bytes, got {len}")]
    ShortSecret { algorithm: Algorithm, len: usize, min: usize },
    #[error("a key of RSA has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, got {bits}")]
    RsaBits { bits: usize },
    #[error(
        "this is a private key, which has no business here: openssl pkey -in FILE -pubout makes the public one"
    )]
    Private,
    #[error("this is a certificate: openssl x509 -in FILE -pubkey -noout makes the public key")]
    Certificate,
    #[error("no public key of {algorithm:?} in PEM (BEGIN PUBLIC KEY)")]
    NotPem { algorithm: Algorithm },
    #[error("not a public key of {algorithm:?}")]
    WrongKind { algorithm: Algorithm },
}

impl Key {
    /// A shared secret.
    pub(super) fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        let min = match algorithm {
            Algorithm::HS256 => 32,
            Algorithm::HS384 => 48,
            Algorithm::HS512 => 64,
            _ => return Err(KeyError::SecretForPublic { algorithm }),
        };
        let text = String::from_utf8_lossy(secret);
        if text.contains("-----BEGIN ") && text.contains("PUBLIC KEY-----")
            || text.contains("CERTIFICATE-----")
        {
            return Err(KeyError::PublicForSecret { algorithm });
        }
        if secret.len() < min {
            return Err(KeyError::ShortSecret { algorithm, len: secret.len(), min });
        }
        Ok(Self::of(algorithm, DecodingKey::from_secret(secret)))
    }

    /// A public key as PEM.
    pub(super) fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if pem.contains("BEGIN CERTIFICATE-----") {
            return Err(KeyError::Certificate);
        }
        let read = match algorithm.family() {
            AlgorithmFamily::Hmac => return Err(KeyError::PublicForSecret { algorithm }),
            AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem,
            AlgorithmFamily::Ec => DecodingKey::from_ec_pem,
            AlgorithmFamily::Ed => DecodingKey::from_ed_pem,
        };
        let material = read(pem.as_bytes()).map_err(|_| KeyError::NotPem { algorithm })?;
        Self::public(algorithm, material)
    }

    /// A public key in whatever form, checked.
    pub(super) fn public(algorithm: Algorithm, material: DecodingKey) -> Result<Self, KeyError> {
        let wrong = || KeyError::WrongKind { algorithm };
        let is_sound = |verification: &'static dyn VerificationAlgorithm| {
            let bytes = material.try_get_as_bytes().ok()?;
            ParsedPublicKey::new(verification, bytes).ok()
        };
        match algorithm {
            Algorithm::ES256 => is_sound(&ECDSA_P256_SHA256_FIXED).map(drop).ok_or_else(wrong)?,
            Algorithm::ES384 => is_sound(&ECDSA_P384_SHA384_FIXED).map(drop).ok_or_else(wrong)?,
            Algorithm::EdDSA => is_sound(&ED25519).map(drop).ok_or_else(wrong)?,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                return Err(KeyError::PublicForSecret { algorithm });
            }
            _ => {
                let bits = rsa_bits(&material).ok_or_else(wrong)?;
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return Err(KeyError::RsaBits { bits });
                }
                if matches!(material.kind(), DecodingKeyKind::SecretOrDer(_)) {
                    is_sound(&RSA_PKCS1_2048_8192_SHA256).map(drop).ok_or_else(wrong)?;
                }
            }
        }
        Ok(Self::of(algorithm, material))
    }

    /// The same key, for tokens of this id, issuer and audience only, as far as they are said.
    pub(super) fn bound(
        self,
        id: Option<&str>,
        issuer: Option<Box<str>>,
        audience: Option<Box<str>>,
    ) -> Self {
        Self { id: id.map(Into::into), issuer, audience, ..self }
    }

    fn of(algorithm: Algorithm, material: DecodingKey) -> Self {
        Self { id: None, algorithm, issuer: None, audience: None, material }
    }

    /// Whether a token of this algorithm and key id can be meant for this key.
    pub(super) fn fits(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        self.algorithm == algorithm && (self.id.is_none() || id.is_none() || self.id.as_deref() == id)
    }

    /// Whether this key has signed `signed`.
    pub(super) fn has_signed(&self, signed: &str, signature: &str) -> bool {
        crypto::verify(signature, signed.as_bytes(), &self.material, self.algorithm).unwrap_or(false)
    }
}

fn rsa_bits(material: &DecodingKey) -> Option<usize> {
    let from_der = aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
    let modulus = match material.kind() {
        DecodingKeyKind::SecretOrDer(der) => from_der(der).ok()?.0,
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.clone(),
    };
    let significant = modulus.iter().skip_while(|byte| **byte == 0);
    let first = significant.clone().next()?;
    Some(significant.count() * 8 - first.leading_zeros() as usize)
}
