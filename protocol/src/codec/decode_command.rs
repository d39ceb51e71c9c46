//! Commands out of their bytes: the fields of each `op`, written once for both codecs.
//! Permissions and limits of a session are not looked at here.

use std::ops::RangeInclusive;

use super::Codec;
use super::decode_publish::{payload, publish};
use super::decode_subscribe::{filters, shown, subscribe};
use super::field_error::FieldError;
use super::fields::{Fields, Key};
use super::json::{self, Lexer};
use super::msgpack::Reader;
use super::raw::{Raw, Value};
use crate::command::{
    Answer, Authenticate, BATCH_MAX, Command, CommandError, Credential, EVENTS_COMMANDS_MAX, HISTORY_LIMIT,
    HISTORY_LIMIT_MAX, History, HistoryRange, Operation, Publish, REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX,
    ReplyTo, Request, TOKEN_BYTES_MAX, Unsubscribe,
};
use crate::message::{DEPTH_MAX, Position};

pub(crate) fn command(codec: Codec, bytes: &[u8]) -> Result<Command, CommandError> {
    let (fields, scanned) = Fields::scan(codec, bytes, 1);
    let id = fields.id();
    let known = id.clone().ok().flatten();
    scanned
        .and(id)
        .and_then(|id| Ok(Command { id, operation: operation(&fields)? }))
        .map_err(|error| CommandError::from(error).with_id(known))
}

/// A batch over HTTP: the whole must be an array; what is wrong with an entry is that entry's error.
pub(crate) fn batch(codec: Codec, bytes: &[u8]) -> Result<Vec<Result<Publish, CommandError>>, CommandError> {
    let whole = whole(codec, bytes)?;
    match whole.value() {
        Value::Array => {}
        other => return Err(FieldError::NotAnArray { got: other.kind() }.into()),
    }
    let got = whole.items().count();
    if got > BATCH_MAX {
        return Err(FieldError::BatchTooLong { got }.into());
    }
    let entry = |raw| Fields::of(raw).and_then(|fields| publish(&fields)).map_err(CommandError::from);
    Ok(whole.items().map(entry).collect())
}

/// The body of `POST /events`: what is wrong with one command is wrong with all.
pub(crate) fn subscribes(codec: Codec, bytes: &[u8]) -> Result<Vec<Command>, CommandError> {
    let whole = whole(codec, bytes)?;
    match whole.value() {
        Value::Array => {}
        other => return Err(FieldError::NotCommands { got: other.kind() }.into()),
    }
    let got = whole.items().count();
    if !(1..=EVENTS_COMMANDS_MAX).contains(&got) {
        return Err(FieldError::CommandCount { got }.into());
    }
    let command = |raw| {
        let fields = Fields::of(raw)?;
        if let Some(op) = fields.optional(Key::Op, Fields::text)?.filter(|op| op != "subscribe") {
            return Err(FieldError::not_subscribe(&op));
        }
        Ok(Command { id: fields.id()?, operation: subscribe(&fields).map(Operation::Subscribe)? })
    };
    let numbered = whole.items().enumerate().map(|(at, raw)| {
        let inside = |reason| FieldError::InCommand { number: at + 1, reason: Box::new(reason) };
        command(raw).map_err(inside).map_err(CommandError::from)
    });
    numbered.collect()
}

/// Checks bytes that are one value, the two levels of a batch around its payloads included.
fn whole(codec: Codec, bytes: &[u8]) -> Result<Raw<'_>, FieldError> {
    match codec {
        Codec::Json => {
            let mut lexer = Lexer::new(json::utf8(bytes)?, 2);
            let start = lexer.skip()?;
            let raw = Raw::Json(lexer.slice(start));
            lexer.finish()?;
            Ok(raw)
        }
        Codec::MsgPack => {
            let mut reader = Reader::new(bytes);
            reader.skip(DEPTH_MAX + 2)?;
            reader.finish()?;
            Ok(Raw::MsgPack(bytes))
        }
    }
}

fn operation(fields: &Fields<'_>) -> Result<Operation, FieldError> {
    let op = fields.text(Key::Op)?;
    match &*op {
        "subscribe" => subscribe(fields).map(Operation::Subscribe),
        "unsubscribe" => Ok(Operation::Unsubscribe(Unsubscribe {
            filters: fields.topic_or_topics(Fields::filter, filters)?,
        })),
        "publish" => publish(fields).map(Operation::Publish),
        "ping" => Ok(Operation::Ping),
        "history" => history(fields).map(Operation::History),
        "presence" => fields.topic().map(Operation::Presence),
        "authenticate" => authenticate(fields).map(Operation::Authenticate),
        "request" => request(fields).map(Operation::Request),
        "reply" => answer(fields).map(Operation::Answer),
        other => Err(FieldError::unknown_op(other)),
    }
}

fn history(fields: &Fields<'_>) -> Result<History, FieldError> {
    let position =
        |fields: &Fields<'_>, key: Key| fields.map(key)?.position().map_err(FieldError::inside(key.as_str()));
    let after = fields.optional(Key::After, position)?;
    let before = fields.optional(Key::Before, position)?;
    Ok(History {
        topic: fields.topic()?,
        range: history_range(after, before)?,
        limit: fields.count_within(Key::Limit, HISTORY_LIMIT_RANGE)?.unwrap_or(HISTORY_LIMIT),
    })
}

/// How many messages may be asked for at once.
pub(crate) const HISTORY_LIMIT_RANGE: RangeInclusive<u64> = 1..=HISTORY_LIMIT_MAX;

pub(crate) fn history_range(
    after: Option<Position>,
    before: Option<Position>,
) -> Result<HistoryRange, FieldError> {
    match (after, before) {
        (Some(_), Some(_)) => {
            Err(FieldError::Exclusive { key: Key::After.as_str(), other: Key::Before.as_str() })
        }
        (Some(after), None) => Ok(HistoryRange::After(after)),
        (None, Some(before)) => Ok(HistoryRange::Before(before)),
        (None, None) => Ok(HistoryRange::Newest),
    }
}

fn authenticate(fields: &Fields<'_>) -> Result<Authenticate, FieldError> {
    let (token, user) = (Key::Token, Key::User);
    let credential = match (fields.get(token).is_some(), fields.get(user).is_some()) {
        (true, true) => {
            return Err(FieldError::Exclusive { key: token.as_str(), other: user.as_str() });
        }
        (true, false) => {
            let text = fields.text(token)?;
            if !(1..=TOKEN_BYTES_MAX).contains(&text.len()) {
                return Err(FieldError::TokenLength { len: text.len() });
            }
            Credential::Token(text.into())
        }
        (false, true) => Credential::User(fields.name(user)?),
        (false, false) => {
            return Err(FieldError::MissingEither { key: token.as_str(), other: user.as_str() });
        }
    };
    Ok(Authenticate { credential, data: shown(fields)? })
}

/// Without an `id` nobody could be given the answer.
fn request(fields: &Fields<'_>) -> Result<Request, FieldError> {
    fields.require(Key::Id)?;
    let timeout_max = REQUEST_TIMEOUT_MAX.as_millis() as u64;
    Ok(Request {
        topic: fields.topic()?,
        payload: payload(fields)?,
        timeout: fields.millis(Key::TimeoutMs, 1..=timeout_max)?.unwrap_or(REQUEST_TIMEOUT),
    })
}

fn answer(fields: &Fields<'_>) -> Result<Answer, FieldError> {
    Ok(Answer { reply_to: reply_to(fields, Key::ReplyTo)?, payload: payload(fields)? })
}

/// Of an answer as of a message.
pub(crate) fn reply_to(fields: &Fields<'_>, key: Key) -> Result<ReplyTo, FieldError> {
    let text = fields.text(key)?;
    text.parse().map_err(|_| FieldError::not_a_reply_to(&text))
}
