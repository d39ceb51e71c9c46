//! A token taken apart: header and claims, as they are said. Nothing here is believed; `token` decides that.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use topichub_protocol::command::TOKEN_BYTES_MAX;

use super::key::parse_algorithm;
use super::token::TokenError;

/// The end of the year 9999: what lies beyond is no time that anybody has meant.
const TIME_MAX: u64 = 253_402_300_799;

/// A token whose parts have been found. Its claims have not been looked at.
#[derive(Clone, Debug)]
pub(super) struct Parts<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<Box<str>>,
    /// What the signature is made of.
    pub(super) signed: &'a str,
    pub(super) signature: &'a str,
    claims: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

impl<'a> Parts<'a> {
    /// Takes a token apart. Where its header says that keys can be found (`jku`, `jwk`, `x5u`, `x5c`) is not looked at.
    pub(super) fn of(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { len: token.len(), max: TOKEN_BYTES_MAX });
        }
        let parts = token.split('.').count();
        let (Some((signed, signature)), 3) = (token.rsplit_once('.'), parts) else {
            return Err(TokenError::Parts { parts });
        };
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Parts { parts })?;
        let header: Header = serde_json::from_slice(&decoded("header", header)?)
            .map_err(|error| TokenError::json("header", &error))?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let algorithm =
            parse_algorithm(&header.alg).ok_or(TokenError::Algorithm { name: quoted(&header.alg) })?;
        Ok(Self { algorithm, key_id: header.kid.map(Into::into), signed, signature, claims })
    }

    /// What the token claims. Call it for a token whose signature is good.
    pub(super) fn claims(&self, names: &ClaimNames) -> Result<Claims, TokenError> {
        let json = decoded("claims", self.claims)?;
        let mut deserializer = serde_json::Deserializer::from_slice(&json);
        names
            .deserialize(&mut deserializer)
            .and_then(|claims| deserializer.end().map(|()| claims))
            .map_err(|error| TokenError::json("claims", &error))
    }

    /// Header and claims as JSON, for people.
    pub(super) fn shown(token: &'a str) -> Option<(serde_json::Value, serde_json::Value)> {
        let mut parts = token.split('.').map(|part| serde_json::from_slice(&decoded("", part).ok()?).ok());
        Some((parts.next()??, parts.next()??))
    }
}

fn decoded(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Base64 { part })
}

/// Somebody else's text in an error: short, and without control characters.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// What claims are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClaimNames {
    pub(super) user: Box<str>,
    pub(super) roles: Box<str>,
    pub(super) topics: Box<str>,
    pub(super) data: Box<str>,
}

impl ClaimNames {
    /// The claims that RFC 7519 has named.
    pub(super) const REGISTERED: [&str; 5] = ["iss", "aud", "exp", "nbf", "jti"];
}

/// What a token says.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) user: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) topics: Topics,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<Vec<String>>,
    /// Both since the beginning of 1970.
    pub(super) expires: Option<Duration>,
    pub(super) begins: Option<Duration>,
    pub(super) id: Option<String>,
}

/// A token's own patterns.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map of subscribe, publish, presence and history")]
pub(super) struct Topics {
    #[serde(default)]
    pub(super) subscribe: Vec<String>,
    #[serde(default)]
    pub(super) publish: Vec<String>,
    #[serde(default)]
    pub(super) presence: Option<Vec<String>>,
    #[serde(default)]
    pub(super) history: Option<Vec<String>>,
}

/// Reads the claims of these names in one pass, keeps nothing of the others, and takes none twice.
impl<'de> DeserializeSeed<'de> for &ClaimNames {
    type Value = Claims;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Claims, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &ClaimNames {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut claims = Claims::default();
        let mut seen = 0_u16;
        while let Some(name) = map.next_key::<String>()? {
            let names = [&*self.user, &self.roles, &self.topics, &self.data];
            let Some(index) = names.into_iter().chain(ClaimNames::REGISTERED).position(|known| known == name)
            else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen & 1 << index != 0 {
                return Err(A::Error::custom(format!("claim {name} comes twice")));
            }
            seen |= 1 << index;
            let named = |error: A::Error| A::Error::custom(format!("claim {name}: {error}"));
            match index {
                0 => claims.user = map.next_value().map_err(named)?,
                1 => {
                    claims.roles =
                        map.next_value::<Option<Words>>().map_err(named)?.map_or(vec![], |words| words.0)
                }
                2 => claims.topics = map.next_value::<Option<Topics>>().map_err(named)?.unwrap_or_default(),
                3 => claims.data = map.next_value().map_err(named)?,
                4 => claims.issuer = map.next_value().map_err(named)?,
                5 => claims.audience = map.next_value::<Option<Audience>>().map_err(named)?.map(|aud| aud.0),
                6 => claims.expires = Some(map.next_value::<Time>().map_err(named)?.0),
                7 => claims.begins = Some(map.next_value::<Time>().map_err(named)?.0),
                _ => claims.id = map.next_value().map_err(named)?,
            }
        }
        Ok(claims)
    }
}

/// A list of texts, or one text.
struct Texts {
    split: bool,
}

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        if !self.split {
            return Ok(vec![text.to_owned()]);
        }
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

/// Names in a list, or with blanks between them.
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Texts { split: true }).map(Self)
    }
}

/// `aud`: one, or a list (RFC 7519 §4.1.3).
struct Audience(Vec<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Texts { split: false }).map(Self)
    }
}

/// Seconds since the beginning of 1970, whole or not (RFC 7519 §2, NumericDate); what lies before it is its beginning.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;

        impl Visitor<'_> for Seconds {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds since 1970")
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Time, E> {
                if seconds > TIME_MAX {
                    return Err(E::custom("beyond the year 9999"));
                }
                Ok(Time(Duration::from_secs(seconds)))
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Time, E> {
                self.visit_u64(u64::try_from(seconds).unwrap_or(0))
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Time, E> {
                if seconds > TIME_MAX as f64 {
                    return Err(E::custom("beyond the year 9999"));
                }
                Duration::try_from_secs_f64(seconds.max(0.0)).map(Time).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Seconds)
    }
}
