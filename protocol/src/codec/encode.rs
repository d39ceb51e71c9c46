//! Commands, replies and pushes into their bytes: the keys of each, written once for both codecs.
//! Everything is appended to one growing output; nothing is built in between.

use std::time::Duration;

use super::fields::Key;
use super::{Codec, json, msgpack};
use crate::command::{Command, CommandError, CommandId, OneOrMany, Operation};
use crate::message::{EpochText, OFFSET_LIMIT, Payload, Position};
use crate::push::{Goodbye, Push, Welcome};
use crate::reply::{Published, Reply, Subscribed};
use crate::topic::{Filter, Topic};

pub(crate) fn command(codec: Codec, command: &Command, out: &mut Vec<u8>) {
    let op = match &command.operation {
        Operation::Subscribe(_) => "subscribe",
        Operation::Unsubscribe(_) => "unsubscribe",
        Operation::Publish(_) => "publish",
        Operation::Ping => "ping",
    };
    let mut map = MapWriter::of_op(codec, op, command.id.as_ref(), out);
    match &command.operation {
        Operation::Subscribe(subscribe) => {
            map.filters(&subscribe.filters);
            if !subscribe.echo {
                map.boolean(Key::Echo, false);
            }
        }
        Operation::Unsubscribe(unsubscribe) => map.filters(&unsubscribe.filters),
        Operation::Publish(publish) => {
            map.text(Key::Topic, publish.topic.as_str());
            map.payload(&publish.payload);
        }
        Operation::Ping => {}
    }
    map.finish();
}

pub(crate) fn reply(codec: Codec, reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Subscribed { id, topics } => {
            let mut map = MapWriter::of_op(codec, "subscribed", Some(id), out);
            match topics {
                OneOrMany::One(one) => map.subscribed(one),
                OneOrMany::Many(many) => map.list(Key::Topics, many, |out, one| {
                    let mut map = MapWriter::begin(codec, out);
                    map.subscribed(one);
                    map.finish();
                }),
            }
            map.finish();
        }
        Reply::Unsubscribed { id, topics } => {
            let mut map = MapWriter::of_op(codec, "unsubscribed", Some(id), out);
            map.filters(topics);
            map.finish();
        }
        Reply::Published { id, topic, position } => {
            let mut map = MapWriter::of_op(codec, "published", Some(id), out);
            map.placed(topic, *position);
            map.finish();
        }
        Reply::Pong { id } => MapWriter::of_op(codec, "pong", id.as_ref(), out).finish(),
        Reply::Error(error) => {
            let mut map = MapWriter::of_op(codec, "error", error.id.as_ref(), out);
            map.error(error);
            map.finish();
        }
    }
}

pub(crate) fn push(codec: Codec, push: &Push, out: &mut Vec<u8>) {
    match push {
        Push::Welcome(welcome) => self::welcome(codec, welcome, out),
        Push::Message { topic, offset, payload } => message(codec, topic, *offset, payload, out),
        Push::Unsubscribed { filter, code } => {
            let mut map = MapWriter::of_op(codec, "unsubscribed", None, out);
            map.text(Key::Topic, filter.as_str());
            map.text(Key::Code, code.as_str());
            map.finish();
        }
        Push::Goodbye(goodbye) => self::goodbye(codec, goodbye, out),
    }
}

pub(crate) fn message(codec: Codec, topic: &Topic, offset: u64, payload: &Payload, out: &mut Vec<u8>) {
    let mut map = MapWriter::of_op(codec, "message", None, out);
    map.text(Key::Topic, topic.as_str());
    map.count(Key::Offset, offset);
    map.payload(payload);
    map.finish();
}

/// The answer of `POST /topics/{topic}`.
pub(crate) fn published(codec: Codec, published: &Published, out: &mut Vec<u8>) {
    let mut map = MapWriter::begin(codec, out);
    map.placed(&published.topic, published.position);
    map.finish();
}

/// The answer of `POST /publish`.
pub(crate) fn batch(codec: Codec, entries: &[Result<Published, CommandError>], out: &mut Vec<u8>) {
    list(codec, entries, out, |out, entry| match entry {
        Ok(entry) => published(codec, entry, out),
        Err(error) => {
            let mut outer = MapWriter::begin(codec, out);
            outer.key(Key::Error);
            let mut map = MapWriter::begin(codec, outer.out);
            map.error(error);
            map.finish();
            outer.finish();
        }
    });
}

fn welcome(codec: Codec, welcome: &Welcome, out: &mut Vec<u8>) {
    let mut map = MapWriter::of_op(codec, "welcome", None, out);
    map.text(Key::Session, &welcome.session);
    map.text(Key::Server, &welcome.server);
    map.count(Key::Protocol, welcome.protocol);
    map.count(Key::PingMs, millis(welcome.ping));
    map.key(Key::Limits);
    let mut limits = MapWriter::begin(codec, map.out);
    limits.count(Key::MessageBytes, welcome.limits.message_bytes);
    limits.count(Key::TopicsPerSession, welcome.limits.topics_per_session);
    limits.count(Key::TopicBytes, welcome.limits.topic_bytes);
    limits.count(Key::Depth, welcome.limits.depth);
    limits.finish();
    map.finish();
}

fn goodbye(codec: Codec, goodbye: &Goodbye, out: &mut Vec<u8>) {
    let mut map = MapWriter::of_op(codec, "goodbye", None, out);
    map.count(Key::Code, goodbye.code.as_u16().into());
    map.text(Key::Reason, &goodbye.reason);
    map.text(Key::Reconnect, goodbye.code.verdict().as_str());
    if let Some(after) = goodbye.after {
        map.count(Key::AfterMs, millis(after));
    }
    map.finish();
}

/// Whole milliseconds, rounded up: who waits so long has waited long enough.
fn millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX).min(OFFSET_LIMIT - 1)
}

/// Appends an array.
fn list<T>(codec: Codec, items: &[T], out: &mut Vec<u8>, item: impl Fn(&mut Vec<u8>, &T)) {
    match codec {
        Codec::Json => out.push(b'['),
        Codec::MsgPack => msgpack::write_array_header(items.len(), out),
    }
    for (index, each) in items.iter().enumerate() {
        if codec == Codec::Json && index > 0 {
            out.push(b',');
        }
        item(out, each);
    }
    if codec == Codec::Json {
        out.push(b']');
    }
}

/// Appends one text value.
fn text(codec: Codec, value: &str, out: &mut Vec<u8>) {
    match codec {
        Codec::Json => json::write_text(value.as_bytes(), out),
        Codec::MsgPack => msgpack::write_text(value, out),
    }
}

/// Writes one map of at most 15 keys, the most whose number fits the single byte put first (MessagePack `fixmap`).
struct MapWriter<'a> {
    codec: Codec,
    out: &'a mut Vec<u8>,
    start: usize,
    len: u8,
}

impl<'a> MapWriter<'a> {
    fn begin(codec: Codec, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.push(if codec == Codec::Json { b'{' } else { 0x80 });
        Self { codec, out, start, len: 0 }
    }

    fn of_op(codec: Codec, op: &str, id: Option<&CommandId>, out: &'a mut Vec<u8>) -> Self {
        let mut map = Self::begin(codec, out);
        map.text(Key::Op, op);
        match id {
            Some(CommandId::Integer(number)) => map.integer(Key::Id, (*number).into()),
            Some(CommandId::Text(text)) => map.text(Key::Id, text),
            None => {}
        }
        map
    }

    fn finish(self) {
        debug_assert!(self.len < 16, "the keys of every map are counted in this file");
        match self.codec {
            Codec::Json => self.out.push(b'}'),
            Codec::MsgPack => self.out[self.start] |= self.len,
        }
    }

    fn key(&mut self, key: Key) {
        self.name(key.as_str());
    }

    fn name(&mut self, name: &str) {
        if self.codec == Codec::Json && self.len > 0 {
            self.out.push(b',');
        }
        self.len += 1;
        text(self.codec, name, self.out);
        if self.codec == Codec::Json {
            self.out.push(b':');
        }
    }

    fn text(&mut self, key: Key, value: &str) {
        self.key(key);
        text(self.codec, value, self.out);
    }

    fn integer(&mut self, key: Key, number: i128) {
        self.key(key);
        match self.codec {
            Codec::Json => json::write_integer(number, self.out),
            Codec::MsgPack => msgpack::write_integer(number, self.out),
        }
    }

    fn count(&mut self, key: Key, count: u64) {
        self.integer(key, count.into());
    }

    fn boolean(&mut self, key: Key, value: bool) {
        self.key(key);
        match (self.codec, value) {
            (Codec::Json, true) => self.out.extend_from_slice(b"true"),
            (Codec::Json, false) => self.out.extend_from_slice(b"false"),
            (Codec::MsgPack, true) => self.out.push(rmp::Marker::True.to_u8()),
            (Codec::MsgPack, false) => self.out.push(rmp::Marker::False.to_u8()),
        }
    }

    fn list<T>(&mut self, key: Key, items: &[T], item: impl Fn(&mut Vec<u8>, &T)) {
        self.key(key);
        list(self.codec, items, self.out, item);
    }

    fn payload(&mut self, payload: &Payload) {
        match self.codec {
            Codec::Json => {
                self.name(payload.json_key());
                payload.write_json(self.out);
            }
            Codec::MsgPack => {
                self.key(Key::Data);
                payload.write_msgpack(self.out);
            }
        }
    }

    fn filters(&mut self, filters: &OneOrMany<Filter>) {
        let codec = self.codec;
        match filters {
            OneOrMany::One(filter) => self.text(Key::Topic, filter.as_str()),
            OneOrMany::Many(many) => {
                self.list(Key::Topics, many, |out, filter| text(codec, filter.as_str(), out))
            }
        }
    }

    fn position(&mut self, position: Position) {
        self.text(Key::Epoch, EpochText::of(position.epoch).as_str());
        self.count(Key::Offset, position.offset);
    }

    fn placed(&mut self, topic: &Topic, position: Position) {
        self.text(Key::Topic, topic.as_str());
        self.position(position);
    }

    fn subscribed(&mut self, subscribed: &Subscribed) {
        self.text(Key::Topic, subscribed.filter.as_str());
        if let Some(position) = subscribed.position {
            self.position(position);
        }
    }

    fn error(&mut self, error: &CommandError) {
        self.text(Key::Code, error.code.as_str());
        self.text(Key::Message, &error.message);
        self.boolean(Key::Retry, error.code.retry());
    }
}
