//! Whether a token is to be believed, and what it says then. Pure: keys and the time are handed in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{CommandError, NAME_BYTES_MAX, PRESENCE_DATA_BYTES_MAX};
use topichub_protocol::message::{Payload, PayloadError};

use super::claims::{Claims, Parts, quoted};
use super::key::Key;
use super::policy::Terms;
use super::role::{Role, Written};
use crate::hub::grants::{Action, Grants};
use crate::hub::identity::Identity;

/// Why a token proves nothing. All of this may be told to who has shown it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the token has {len} bytes, the limit is {max}")]
    TooLong { len: usize, max: usize },
    #[error("a signed token has 3 parts with dots between them, this one has {parts}")]
    Parts { parts: usize },
    #[error("the token's {part} is not base64url without padding")]
    Base64 { part: &'static str },
    #[error("the token's {part} cannot be read: {why}")]
    Json { part: &'static str, why: String },
    #[error("the token says that its header has critical extensions, and none is known here")]
    Critical,
    #[error("the token's algorithm {name} is not accepted")]
    Algorithm { name: String },
    #[error("no key for tokens of {0:?} with the id {1}")]
    UnknownKey(jsonwebtoken::Algorithm, String),
    #[error("no key for tokens of {0:?}")]
    NoKey(jsonwebtoken::Algorithm),
    #[error("the token's signature does not match")]
    Signature,
    #[error("the token's issuer (iss) is {0}, which is not accepted")]
    Issuer(String),
    #[error("the token is not for this server: its audience (aud) is {0}")]
    Audience(String),
    #[error("the token does not say when it expires (exp)")]
    NoExpiry,
    #[error("the token has expired {} ago", whole(*.0))]
    Expired(Duration),
    #[error("the token does not hold before {} from now (nbf)", whole(*.0))]
    NotYet(Duration),
    #[error("the token's user is 1 to {NAME_BYTES_MAX} bytes without control characters")]
    User,
    #[error("the token's data has {len} bytes, the limit is {PRESENCE_DATA_BYTES_MAX}")]
    DataTooLong { len: usize },
    #[error("the token's data: {0}")]
    Data(PayloadError),
    #[error("the token's topics: {action} {pattern}: {why}")]
    Pattern { action: Action, pattern: String, why: String },
    #[error("the token has been revoked")]
    Revoked,
}

fn whole(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

impl TokenError {
    pub(super) fn json(part: &'static str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
        let why: String = why.chars().filter(|character| !character.is_control()).take(160).collect();
        Self::Json { part, why }
    }

    /// Whether a key that is not known yet could make a difference.
    pub(super) fn is_for_want_of_a_key(&self, parts: &Parts<'_>, keys: &[&[Key]]) -> bool {
        match self {
            Self::UnknownKey(..) | Self::NoKey(_) => true,
            // Keys without ids that do not fit say nothing about one that is yet to come.
            Self::Signature => {
                let is_meant = |key: &Key| key.id.is_some() && key.id == parts.key_id;
                !keys.iter().flat_map(|keys| keys.iter()).any(is_meant)
            }
            _ => false,
        }
    }
}

impl From<TokenError> for CommandError {
    fn from(error: TokenError) -> Self {
        Self::new(ErrorCode::Unauthorized, error.to_string())
    }
}

/// Verifies a token, signature first, and makes of it who its bearer is.
pub(super) fn identify(
    parts: &Parts<'_>,
    keys: &[&[Key]],
    terms: &Terms,
    now: Duration,
) -> Result<Identity, TokenError> {
    let key = signer(parts, keys)?;
    let claims = parts.claims(&terms.claims)?;
    let expires = check(&claims, key, terms, now)?;
    identity(claims, expires, terms)
}

fn signer<'a>(parts: &Parts<'_>, keys: &[&'a [Key]]) -> Result<&'a Key, TokenError> {
    let (algorithm, id) = (parts.algorithm, parts.key_id.as_deref());
    let mut fitting =
        keys.iter().flat_map(|keys| keys.iter()).filter(|key| key.fits(algorithm, id)).peekable();
    if fitting.peek().is_none() {
        return Err(match id {
            Some(id) => TokenError::UnknownKey(algorithm, quoted(id)),
            None => TokenError::NoKey(algorithm),
        });
    }
    fitting.find(|key| key.has_signed(parts.signed, parts.signature)).ok_or(TokenError::Signature)
}

/// Whether these claims hold here and now, and until when.
fn check(claims: &Claims, key: &Key, terms: &Terms, now: Duration) -> Result<Option<Duration>, TokenError> {
    let issuer = key.issuer.as_deref().or(terms.issuer.as_deref());
    if issuer.is_some() && claims.issuer.as_deref() != issuer {
        let theirs = claims.issuer.as_deref().map_or("not said".to_owned(), quoted);
        return Err(TokenError::Issuer(theirs));
    }
    let audience = key.audience.as_deref().or(terms.audience.as_deref());
    let is_ours = match (&claims.audience, audience) {
        (None, None) => true,
        (Some(theirs), Some(ours)) => theirs.iter().any(|one| one == ours),
        // RFC 7519 §4.1.3: who is not among those that are named must refuse.
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !is_ours {
        let theirs =
            claims.audience.as_ref().map_or("not said".to_owned(), |theirs| quoted(&theirs.join(" ")));
        return Err(TokenError::Audience(theirs));
    }
    if let Some(begins) = claims.begins.filter(|begins| *begins > now + terms.leeway) {
        return Err(TokenError::NotYet(begins - now));
    }
    let Some(expires) = claims.expires else {
        return if terms.require_expiry { Err(TokenError::NoExpiry) } else { Ok(None) };
    };
    // With a clock that is ahead of the issuer's, a token that has just been made may be over already.
    match expires {
        expires if expires > now => Ok(Some(expires)),
        expires if expires + terms.leeway > now => Ok(Some(expires + terms.leeway)),
        expires => Err(TokenError::Expired(now - expires)),
    }
}

fn identity(claims: Claims, expires: Option<Duration>, terms: &Terms) -> Result<Identity, TokenError> {
    let user = claims.user.map(Box::<str>::from);
    if user.as_ref().is_some_and(|user| !is_name(user)) {
        return Err(TokenError::User);
    }
    let data = claims.data.map(|data| payload(data.get())).transpose()?;
    let mut grants = Grants::default();
    let mut roles: Vec<Box<str>> = Vec::new();
    for name in terms.token_roles.iter().map(|name| &**name).chain(claims.roles.iter().map(String::as_str)) {
        if let Some(role) = terms.role(name).filter(|_| !roles.iter().any(|known| **known == *name)) {
            role.grant(user.as_deref(), &mut grants);
            roles.push(name.into());
        }
    }
    let topics = claims.topics;
    let presence = topics.presence.as_ref().unwrap_or(&topics.subscribe);
    let history = topics.history.as_ref().unwrap_or(&topics.subscribe);
    let own = [&topics.subscribe, &topics.publish, presence, history];
    for (action, patterns) in Action::ALL.into_iter().zip(own) {
        for pattern in patterns {
            let written = Written::parse(pattern).map_err(|error| TokenError::Pattern {
                action,
                pattern: quoted(pattern),
                why: error.to_string(),
            })?;
            if let Ok(filter) = written.of(user.as_deref()) {
                grants.allow(action, filter);
            }
        }
    }
    let token_id = claims.id.map(Into::into);
    Ok(Identity { user, data, grants, expires, token_id, origin: "token".into(), roles })
}

/// What the protocol calls a name.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn payload(json: &str) -> Result<Payload, TokenError> {
    if json.len() > PRESENCE_DATA_BYTES_MAX {
        return Err(TokenError::DataTooLong { len: json.len() });
    }
    Payload::from_json(Bytes::copy_from_slice(json.as_bytes())).map_err(TokenError::Data)
}

/// Who has these roles, under this name or none.
pub(super) fn bearer_of(user: Option<&str>, roles: &[Arc<Role>], origin: Box<str>) -> Identity {
    let mut grants = Grants::default();
    roles.iter().for_each(|role| role.grant(user, &mut grants));
    let roles = roles.iter().map(|role| role.name.clone()).collect();
    Identity { user: user.map(Into::into), grants, origin, roles, ..Identity::default() }
}
