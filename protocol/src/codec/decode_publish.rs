//! `publish` out of its fields, for commands as for entries of a batch, and what its message takes along.
//! Whether it may be published is not looked at here.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::field_error::FieldError;
use super::fields::{Fields, Key};
use super::raw::{Raw, Value};
use super::session_id;
use crate::command::{EXCLUDE_MAX, Publish, PublishOptions};
use crate::message::{Meta, Payload};
use crate::position::OFFSET_LIMIT;

/// How long a message may be worth having, in milliseconds.
pub(crate) const TTL_MS_RANGE: RangeInclusive<u64> = 1..=OFFSET_LIMIT - 1;

pub(crate) fn publish(fields: &Fields<'_>) -> Result<Publish, FieldError> {
    if fields.get(Key::ReplyTo).is_some() {
        return Err(FieldError::ReplyToOnPublish);
    }
    Ok(Publish { topic: fields.topic()?, payload: payload(fields)?, options: options(fields)? })
}

fn options(fields: &Fields<'_>) -> Result<Option<Box<PublishOptions>>, FieldError> {
    let options = PublishOptions {
        key: fields.optional(Key::Name, Fields::name)?,
        meta: fields.optional(Key::Meta, meta)?,
        ttl: fields.millis(Key::TtlMs, TTL_MS_RANGE)?,
        dedup: fields.optional(Key::Dedup, Fields::name)?,
        if_offset: fields.optional(Key::IfOffset, Fields::count)?,
        exclude: fields.optional(Key::Exclude, sessions)?.unwrap_or_default(),
    };
    Ok((options != PublishOptions::default()).then(|| Box::new(options)))
}

/// `data`, or in JSON `data_base64`: of a publish as of a message.
pub(crate) fn payload(fields: &Fields<'_>) -> Result<Payload, FieldError> {
    payload_if_any(fields)?.ok_or(FieldError::Missing { key: Key::Data.as_str() })
}

pub(crate) fn payload_if_any(fields: &Fields<'_>) -> Result<Option<Payload>, FieldError> {
    match (fields.get(Key::Data), fields.get(Key::DataBase64)) {
        (Some(_), Some(_)) => Err(FieldError::Exclusive { key: "data", other: "data_base64" }),
        (Some(data), None) => Ok(Some(data.payload())),
        (None, Some(Raw::MsgPack(_))) => Err(FieldError::Base64InMsgPack),
        (None, Some(Raw::Json(_))) => {
            let text = fields.text(Key::DataBase64)?;
            let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| FieldError::NotBase64)?;
            Ok(Some(Payload::from_binary(bytes.into())))
        }
        (None, None) => Ok(None),
    }
}

/// A map of texts: of a publish as of a message.
pub(crate) fn meta(fields: &Fields<'_>, key: Key) -> Result<Meta, FieldError> {
    let text = |value: Value<'_>| match value {
        Value::Text(text) => Ok(Box::from(text)),
        other => Err(FieldError::WrongItem { key: key.as_str(), got: other.kind() }),
    };
    let entries = fields.entries(key)?.map(|(name, value)| Ok((text(name)?, text(value.value())?)));
    Meta::new(entries.collect::<Result<_, FieldError>>()?).map_err(FieldError::Meta)
}

fn sessions(fields: &Fields<'_>, key: Key) -> Result<Vec<u128>, FieldError> {
    let got = fields.array(key)?.count();
    if got > EXCLUDE_MAX {
        return Err(FieldError::TooMany { key: key.as_str(), max: EXCLUDE_MAX, got });
    }
    let session = |raw: Raw<'_>| match raw.value() {
        Value::Text(text) => {
            session_id::parse(&text).ok_or_else(|| FieldError::not_a_session(key.as_str(), &text))
        }
        other => Err(FieldError::WrongItem { key: key.as_str(), got: other.kind() }),
    };
    fields.array(key)?.map(session).collect()
}
