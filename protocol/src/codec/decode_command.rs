//! Commands out of their bytes: the fields of each `op`, written once for both codecs.
//! Permissions and limits of a session are not looked at here.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Codec;
use super::field_error::FieldError;
use super::fields::{Fields, Key};
use super::json::{self, Lexer};
use super::msgpack::Reader;
use super::raw::{Raw, Value};
use crate::command::{
    BATCH_MAX, Command, CommandError, Operation, Publish, Subscribe, TOPICS_PER_COMMAND_MAX, Unsubscribe,
};
use crate::message::{DEPTH_MAX, Payload};
use crate::topic::Filter;

/// Fields that a later version gives a meaning to. Whoever sends one counts on it, so it is refused and not ignored.
const SUBSCRIBE_LATER: [Key; 6] =
    [Key::Replay, Key::Slow, Key::Conflation, Key::MaxRate, Key::Presence, Key::Group];
const PUBLISH_LATER: [Key; 7] =
    [Key::Conflation, Key::TtlMs, Key::Dedup, Key::Meta, Key::IfOffset, Key::Exclude, Key::ReplyTo];
const OPS_LATER: [&str; 4] = ["authenticate", "history", "presence", "request"];

pub(crate) fn command(codec: Codec, bytes: &[u8]) -> Result<Command, CommandError> {
    let (fields, scanned) = Fields::scan(codec, bytes);
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
        other => match OPS_LATER.into_iter().find(|later| *later == other) {
            Some(op) => Err(FieldError::LaterOp { op }),
            None => Err(FieldError::unknown_op(other)),
        },
    }
}

fn subscribe(fields: &Fields<'_>) -> Result<Subscribe, FieldError> {
    refuse(fields, &SUBSCRIBE_LATER)?;
    Ok(Subscribe {
        filters: fields.topic_or_topics(Fields::filter, filters)?,
        echo: fields.boolean_or(Key::Echo, true)?,
    })
}

fn publish(fields: &Fields<'_>) -> Result<Publish, FieldError> {
    refuse(fields, &PUBLISH_LATER)?;
    Ok(Publish { topic: fields.topic()?, payload: payload(fields)? })
}

fn refuse(fields: &Fields<'_>, later: &[Key]) -> Result<(), FieldError> {
    match later.iter().find(|key| fields.get(**key).is_some()) {
        Some(key) => Err(FieldError::Later { key: key.as_str() }),
        None => Ok(()),
    }
}

/// `data`, or in JSON `data_base64`: of a publish as of a message.
pub(crate) fn payload(fields: &Fields<'_>) -> Result<Payload, FieldError> {
    match (fields.get(Key::Data), fields.get(Key::DataBase64)) {
        (Some(_), Some(_)) => Err(FieldError::Exclusive { key: "data", other: "data_base64" }),
        (Some(data), None) => Ok(data.payload()),
        (None, Some(Raw::MsgPack(_))) => Err(FieldError::Base64InMsgPack),
        (None, Some(Raw::Json(_))) => {
            let text = fields.text(Key::DataBase64)?;
            let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| FieldError::NotBase64)?;
            Ok(Payload::from_binary(bytes.into()))
        }
        (None, None) => Err(FieldError::Missing { key: "data" }),
    }
}

/// The entries of `topics`, each once, in the order they were first named.
pub(crate) fn filters(raw: Raw<'_>) -> Result<Vec<Filter>, FieldError> {
    let key = Key::Topics.as_str();
    let got = raw.items().count();
    if !(1..=TOPICS_PER_COMMAND_MAX).contains(&got) {
        return Err(FieldError::WrongLength { key, got });
    }
    let mut filters = Vec::with_capacity(got);
    let mut seen = HashSet::with_capacity(got);
    for item in raw.items() {
        let text = match item.value() {
            Value::Text(text) => text,
            other => {
                return Err(FieldError::WrongItem { key, got: other.kind() });
            }
        };
        let filter = Filter::parse(&text).map_err(|reason| FieldError::topic(&text, reason))?;
        if seen.insert(filter.clone()) {
            filters.push(filter);
        }
    }
    Ok(filters)
}
