//! Replies and pushes out of their bytes: what a client of this crate does, and the tests.
//! `reconnect`, and `retry` of a code that this version knows, follow from the codes and are not read.

use std::time::Duration;

use super::decode_command::{filters, payload};
use super::field_error::FieldError;
use super::fields::{Fields, Key};
use super::raw::Raw;
use super::{Codec, ServerMessage};
use crate::code::{CloseCode, ErrorCode};
use crate::command::{CommandError, CommandId};
use crate::message::{Epoch, Position};
use crate::push::{Goodbye, Limits, Push, Welcome};
use crate::reply::{Reply, Subscribed};
use crate::topic::Filter;

pub(crate) fn server_message(codec: Codec, bytes: &[u8]) -> Result<ServerMessage, FieldError> {
    let (fields, scanned) = Fields::scan(codec, bytes);
    scanned?;
    let fields = &fields;
    let op = fields.text(Key::Op)?;
    Ok(match &*op {
        "subscribed" => ServerMessage::Reply(Reply::Subscribed {
            id: id(fields)?,
            topics: fields.topic_or_topics(subscribed, |raw| raw.items().map(subscribed_item).collect())?,
        }),
        "unsubscribed" if fields.get(Key::Id).is_some() => ServerMessage::Reply(Reply::Unsubscribed {
            id: id(fields)?,
            topics: fields.topic_or_topics(Fields::filter, filters)?,
        }),
        "unsubscribed" => {
            ServerMessage::Push(Push::Unsubscribed { filter: fields.filter()?, code: error_code(fields)? })
        }
        "published" => ServerMessage::Reply(Reply::Published {
            id: id(fields)?,
            topic: fields.topic()?,
            position: position(fields)?,
        }),
        "pong" => ServerMessage::Reply(Reply::Pong { id: fields.id()? }),
        "error" => ServerMessage::Reply(Reply::Error(error(fields)?)),
        "message" => ServerMessage::Push(Push::Message {
            topic: fields.topic()?,
            offset: fields.count(Key::Offset)?,
            payload: payload(fields)?,
        }),
        "welcome" => ServerMessage::Push(Push::Welcome(welcome(fields)?)),
        "goodbye" => ServerMessage::Push(Push::Goodbye(goodbye(fields)?)),
        other => return Err(FieldError::unknown_op(other)),
    })
}

fn id(fields: &Fields<'_>) -> Result<CommandId, FieldError> {
    fields.id()?.ok_or(FieldError::Missing { key: Key::Id.as_str() })
}

fn error_code(fields: &Fields<'_>) -> Result<ErrorCode, FieldError> {
    let word = fields.text(Key::Code)?;
    ErrorCode::parse(&word).ok_or_else(|| FieldError::unknown_word(Key::Code.as_str(), &word))
}

/// An error whose code is of a later version still answers its command: `retry` says what it amounts to.
fn error(fields: &Fields<'_>) -> Result<CommandError, FieldError> {
    let word = fields.text(Key::Code)?;
    let message = fields.text(Key::Message)?;
    let error = match ErrorCode::parse(&word) {
        Some(code) => CommandError::new(code, message),
        None if fields.boolean_or(Key::Retry, false)? => {
            CommandError::new(ErrorCode::Unavailable, format!("{word}: {message}"))
        }
        None => CommandError::new(ErrorCode::BadRequest, format!("{word}: {message}")),
    };
    Ok(error.with_id(fields.id()?))
}

fn position(fields: &Fields<'_>) -> Result<Position, FieldError> {
    let text = fields.text(Key::Epoch)?;
    let epoch: Epoch = text.parse().map_err(|_| FieldError::not_an_epoch(&text))?;
    Ok(Position { epoch, offset: fields.count(Key::Offset)? })
}

fn subscribed(fields: &Fields<'_>) -> Result<Subscribed, FieldError> {
    let filter = fields.filter()?;
    let position = match filter {
        Filter::Topic(_) => Some(position(fields)?),
        Filter::Pattern(_) => None,
    };
    Ok(Subscribed { filter, position })
}

fn subscribed_item(raw: Raw<'_>) -> Result<Subscribed, FieldError> {
    subscribed(&Fields::of(raw)?)
}

fn welcome(fields: &Fields<'_>) -> Result<Welcome, FieldError> {
    let limits = fields.map(Key::Limits)?;
    Ok(Welcome {
        session: fields.text(Key::Session)?.into_owned(),
        server: fields.text(Key::Server)?.into_owned(),
        protocol: fields.count(Key::Protocol)?,
        ping: Duration::from_millis(fields.count(Key::PingMs)?),
        limits: Limits {
            message_bytes: limits.count(Key::MessageBytes)?,
            topics_per_session: limits.count(Key::TopicsPerSession)?,
            topic_bytes: limits.count(Key::TopicBytes)?,
            depth: limits.count(Key::Depth)?,
        },
    })
}

fn goodbye(fields: &Fields<'_>) -> Result<Goodbye, FieldError> {
    let number = fields.count(Key::Code)?;
    let code = u16::try_from(number).ok().and_then(CloseCode::from_u16);
    let after = fields.get(Key::AfterMs).map(|_| fields.count(Key::AfterMs)).transpose()?;
    Ok(Goodbye {
        code: code.ok_or(FieldError::UnknownNumber { key: Key::Code.as_str(), got: number })?,
        reason: fields.text(Key::Reason)?.into_owned(),
        after: after.map(Duration::from_millis),
    })
}
