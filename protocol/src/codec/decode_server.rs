//! Replies and pushes out of their bytes: what a client of this crate does, and the tests.
//! `reconnect`, and `retry` of a code that this version knows, follow from the codes and are not read.

use std::sync::Arc;
use std::time::Duration;

use super::decode_command::reply_to;
use super::decode_presence::{presence, presence_change};
use super::decode_publish::{meta, payload};
use super::decode_subscribe::{filters, topic_positions};
use super::field_error::FieldError;
use super::fields::{AROUND_MAX, Fields, Key};
use super::raw::Raw;
use super::{Codec, ServerMessage};
use crate::code::ErrorCode;
use crate::command::{CommandError, CommandId, ReplyTo};
use crate::message::{Extras, Message};
use crate::position::Position;
use crate::push::{Gap, GapReason, Goodbye, Limits, Push, Welcome};
use crate::reply::{HistoryPage, Replayed, Reply, Subscribed};
use crate::topic::{Filter, Topic};

pub(crate) fn server_message(codec: Codec, bytes: &[u8]) -> Result<ServerMessage, FieldError> {
    let (fields, scanned) = Fields::scan(codec, bytes, AROUND_MAX);
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
            position: fields.position()?,
            subscribers: fields.count(Key::Subscribers)?,
            duplicate: fields.boolean_or(Key::Duplicate, false)?,
        }),
        "history" => ServerMessage::Reply(Reply::History { id: id(fields)?, page: history(fields)? }),
        "presence" if fields.get(Key::Id).is_some() => {
            ServerMessage::Reply(Reply::Presence { id: id(fields)?, presence: presence(fields)? })
        }
        "presence" if fields.boolean_or(Key::Change, false)? => {
            ServerMessage::Push(Push::PresenceChange(presence_change(fields)?))
        }
        "presence" => ServerMessage::Push(Push::Presence(presence(fields)?)),
        "authenticated" => ServerMessage::Reply(Reply::Authenticated {
            id: id(fields)?,
            user: fields.optional(Key::User, Fields::text)?.map(Into::into),
            expires: millis(fields, Key::ExpiresMs)?,
        }),
        "reply" => ServerMessage::Reply(Reply::Answer { id: id(fields)?, payload: payload(fields)? }),
        "replied" => ServerMessage::Reply(Reply::Replied { id: id(fields)? }),
        "pong" => ServerMessage::Reply(Reply::Pong { id: fields.id()? }),
        "error" => ServerMessage::Reply(Reply::Error(error(fields)?)),
        "message" => ServerMessage::Push(Push::Message {
            topic: fields.topic()?,
            offset: fields.count(Key::Offset)?,
            payload: payload(fields)?,
            epoch: fields.optional(Key::Epoch, Fields::epoch)?,
            extras: extras(fields, fields.optional(Key::ReplyTo, reply_to)?)?,
        }),
        "gap" => ServerMessage::Push(Push::Gap(gap(fields)?)),
        "welcome" => ServerMessage::Push(Push::Welcome(welcome(fields)?)),
        "expiring" => {
            ServerMessage::Push(Push::Expiring { within: Duration::from_millis(fields.count(Key::InMs)?) })
        }
        "goodbye" => ServerMessage::Push(Push::Goodbye(goodbye(fields)?)),
        other => return Err(FieldError::unknown_op(other)),
    })
}

fn id(fields: &Fields<'_>) -> Result<CommandId, FieldError> {
    fields.id()?.ok_or(FieldError::Missing { key: Key::Id.as_str() })
}

/// Why a subscription was ended. For whatever reason of a later version, it has been.
fn error_code(fields: &Fields<'_>) -> Result<ErrorCode, FieldError> {
    Ok(ErrorCode::parse(&fields.text(Key::Code)?).unwrap_or(ErrorCode::Unavailable))
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
    let after = millis(fields, Key::AfterMs)?;
    Ok(CommandError { after, ..error.with_id(fields.id()?) })
}

/// A time, if it is said.
fn millis(fields: &Fields<'_>, key: Key) -> Result<Option<Duration>, FieldError> {
    Ok(fields.optional(key, Fields::count)?.map(Duration::from_millis))
}

fn subscribed(fields: &Fields<'_>) -> Result<Subscribed, FieldError> {
    let filter = fields.filter()?;
    let position = match filter {
        Filter::Topic(_) => Some(fields.position()?),
        Filter::Pattern(_) => None,
    };
    Ok(Subscribed { filter, position, replay: fields.optional(Key::Replayed, replayed)? })
}

fn replayed(fields: &Fields<'_>, key: Key) -> Result<Replayed, FieldError> {
    Ok(Replayed {
        messages: fields.count(key)?,
        recovered: fields.boolean(Key::Recovered)?,
        positions: fields.optional(Key::Positions, topic_positions)?,
    })
}

fn subscribed_item(raw: Raw<'_>) -> Result<Subscribed, FieldError> {
    subscribed(&Fields::of(raw)?)
}

/// `key`, `meta` and where an answer goes, if any of them is there.
fn extras(fields: &Fields<'_>, reply_to: Option<ReplyTo>) -> Result<Option<Arc<Extras>>, FieldError> {
    let key = fields.optional(Key::Name, Fields::text)?.map(Box::from);
    let extras = Extras { key, meta: fields.optional(Key::Meta, meta)?, reply_to };
    Ok((extras != Extras::default()).then(|| Arc::new(extras)))
}

fn history(fields: &Fields<'_>) -> Result<HistoryPage, FieldError> {
    let topic = fields.topic()?;
    let position = fields.position()?;
    let messages = fields.array(Key::Messages)?;
    Ok(HistoryPage {
        recovered: fields.boolean(Key::Recovered)?,
        more: fields.boolean(Key::More)?,
        messages: messages.map(|raw| history_message(&topic, position, raw)).collect::<Result<_, _>>()?,
        topic,
        position,
    })
}

fn history_message(topic: &Topic, page: Position, raw: Raw<'_>) -> Result<Message, FieldError> {
    let fields = &Fields::of(raw)?;
    Ok(Message {
        topic: topic.clone(),
        position: Position { epoch: page.epoch, offset: fields.count(Key::Offset)? },
        payload: payload(fields)?,
        extras: extras(fields, None)?,
    })
}

fn gap(fields: &Fields<'_>) -> Result<Gap, FieldError> {
    let why = fields.text(Key::Why)?;
    Ok(Gap {
        topic: fields.topic()?,
        epoch: fields.epoch(Key::Epoch)?,
        from: fields.count(Key::From)?,
        to: fields.count(Key::To)?,
        // For whatever reason of a later version, they do not come.
        why: GapReason::parse(&why).unwrap_or(GapReason::Dropped),
    })
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
    let code = u16::try_from(number);
    Ok(Goodbye {
        code: code.map_err(|_| FieldError::UnknownNumber { key: Key::Code.as_str(), got: number })?,
        reason: fields.text(Key::Reason)?.into_owned(),
        after: millis(fields, Key::AfterMs)?,
    })
}
