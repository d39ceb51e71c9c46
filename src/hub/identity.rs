//! Who somebody is, and what they may do on that account. How that was found out is not known here.

use std::time::Duration;

use topichub_protocol::message::Payload;

use super::grants::Grants;

/// Who is behind a session or a request. It never changes: who authenticates again gets another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The user's name; `None` for one without, such as a back end with an API key, or anybody.
    pub user: Option<Box<str>>,
    /// What others see of the user beside the name.
    pub data: Option<Payload>,
    /// What they may do.
    pub grants: Grants,
    /// Until when this holds, since the beginning of 1970 in UTC.
    pub expires: Option<Duration>,
    /// What a single token can be revoked by (`jti`, RFC 7519 §4.1.7).
    pub token_id: Option<Box<str>>,
    /// Where it comes from, for people: `token`, `API key shop`, `anonymous`.
    pub origin: Box<str>,
    /// The roles that it got its grants from.
    pub roles: Vec<Box<str>>,
}

impl Identity {
    /// Anybody, where no authentication is configured: everything on all topics but the server's own.
    pub fn open() -> Self {
        Self { grants: Grants::open(), origin: "anonymous".into(), ..Self::default() }
    }
}
