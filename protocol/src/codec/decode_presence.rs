//! Who is on a topic, out of the fields of a reply or push: states, changes and members.
//! Written by servers only, so this is read by clients only.

use super::decode_publish::payload_if_any;
use super::field_error::FieldError;
use super::fields::{Fields, Key};
use super::raw::{Raw, Value};
use super::session_id;
use crate::push::PresenceChange;
use crate::reply::{Member, MemberId, Presence};

pub(crate) fn presence(fields: &Fields<'_>) -> Result<Presence, FieldError> {
    Ok(Presence {
        topic: fields.topic()?,
        count: fields.count(Key::Count)?,
        sessions: fields.count(Key::Sessions)?,
        members: fields.optional(Key::Members, |fields, key| list(fields, key, member))?,
    })
}

pub(crate) fn presence_change(fields: &Fields<'_>) -> Result<PresenceChange, FieldError> {
    let joined = fields.optional(Key::Joined, |fields, key| list(fields, key, member))?;
    let left = fields.optional(Key::Left, |fields, key| list(fields, key, member_id))?;
    let named = joined.is_some() || left.is_some();
    Ok(PresenceChange {
        topic: fields.topic()?,
        count: fields.count(Key::Count)?,
        sessions: fields.count(Key::Sessions)?,
        members: named.then(|| (joined.unwrap_or_default(), left.unwrap_or_default())),
    })
}

fn list<T>(
    fields: &Fields<'_>,
    key: Key,
    read: impl Fn(&Fields<'_>) -> Result<T, FieldError>,
) -> Result<Vec<T>, FieldError> {
    let item = |raw: Raw<'_>| match raw.value() {
        Value::Map => read(&Fields::of(raw)?),
        other => Err(FieldError::NotAMap { got: other.kind() }),
    };
    fields.array(key)?.map(|raw| item(raw).map_err(FieldError::inside(key.as_str()))).collect()
}

fn member(fields: &Fields<'_>) -> Result<Member, FieldError> {
    Ok(Member { id: member_id(fields)?, data: payload_if_any(fields)? })
}

fn member_id(fields: &Fields<'_>) -> Result<MemberId, FieldError> {
    match (fields.get(Key::User), fields.get(Key::Session)) {
        (Some(_), Some(_)) => Err(FieldError::Exclusive { key: "user", other: "session" }),
        (None, None) => Err(FieldError::MissingEither { key: "user", other: "session" }),
        (Some(_), None) => fields.text(Key::User).map(|user| MemberId::User(user.into())),
        (None, Some(_)) => {
            let text = fields.text(Key::Session)?;
            let session = session_id::parse(&text);
            session.map(MemberId::Session).ok_or_else(|| FieldError::not_a_session("session", &text))
        }
    }
}
