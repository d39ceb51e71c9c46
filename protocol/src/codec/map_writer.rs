//! Maps and arrays into their bytes: the keys and values of commands, replies and pushes, for both codecs.
//! Everything is appended to one growing output, nothing is built in between; which keys an `op` has is said elsewhere.

use std::time::Duration;

use super::fields::Key;
use super::session_id::SessionText;
use super::{Codec, json, msgpack};
use crate::command::{CommandId, OneOrMany, ReplyTo};
use crate::message::{Meta, Payload};
use crate::position::{Epoch, EpochText, OFFSET_LIMIT, Position};
use crate::topic::{Filter, Topic};

/// Appends an array.
pub(super) fn list<T>(codec: Codec, items: &[T], out: &mut Vec<u8>, item: impl Fn(&mut Vec<u8>, &T)) {
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

/// Appends a map whose names are data.
fn entries<'t, T>(
    codec: Codec,
    entries: impl ExactSizeIterator<Item = (&'t str, T)>,
    out: &mut Vec<u8>,
    value: impl Fn(&mut Vec<u8>, T),
) {
    match codec {
        Codec::Json => out.push(b'{'),
        Codec::MsgPack => msgpack::write_map_header(entries.len(), out),
    }
    for (index, (name, each)) in entries.enumerate() {
        if codec == Codec::Json && index > 0 {
            out.push(b',');
        }
        text(codec, name, out);
        if codec == Codec::Json {
            out.push(b':');
        }
        value(out, each);
    }
    if codec == Codec::Json {
        out.push(b'}');
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
///
/// What every `message` needs is marked for inlining: 178 ns each in MessagePack instead of 186.
pub(super) struct MapWriter<'a> {
    codec: Codec,
    out: &'a mut Vec<u8>,
    start: usize,
    len: u8,
}

impl<'a> MapWriter<'a> {
    pub(super) fn begin(codec: Codec, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.push(if codec == Codec::Json { b'{' } else { 0x80 });
        Self { codec, out, start, len: 0 }
    }

    #[inline]
    pub(super) fn of_op(codec: Codec, op: &str, id: Option<&CommandId>, out: &'a mut Vec<u8>) -> Self {
        let mut map = Self::begin(codec, out);
        map.text(Key::Op, op);
        match id {
            Some(CommandId::Integer(number)) => map.integer(Key::Id, (*number).into()),
            Some(CommandId::Text(text)) => map.text(Key::Id, text),
            None => {}
        }
        map
    }

    pub(super) fn finish(self) {
        debug_assert!(self.len < 16, "the keys of every map are counted where they are written");
        match self.codec {
            Codec::Json => self.out.push(b'}'),
            Codec::MsgPack => self.out[self.start] |= self.len,
        }
    }

    #[inline]
    fn key(&mut self, key: Key) {
        self.name(key.as_str());
    }

    #[inline]
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

    #[inline]
    pub(super) fn text(&mut self, key: Key, value: &str) {
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

    pub(super) fn count(&mut self, key: Key, count: u64) {
        self.integer(key, count.into());
    }

    pub(super) fn boolean(&mut self, key: Key, value: bool) {
        self.key(key);
        match (self.codec, value) {
            (Codec::Json, true) => self.out.extend_from_slice(b"true"),
            (Codec::Json, false) => self.out.extend_from_slice(b"false"),
            (Codec::MsgPack, true) => self.out.push(rmp::Marker::True.to_u8()),
            (Codec::MsgPack, false) => self.out.push(rmp::Marker::False.to_u8()),
        }
    }

    pub(super) fn list<T>(&mut self, key: Key, items: &[T], item: impl Fn(&mut Vec<u8>, &T)) {
        self.key(key);
        list(self.codec, items, self.out, item);
    }

    #[inline]
    pub(super) fn payload(&mut self, payload: &Payload) {
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

    pub(super) fn filters(&mut self, filters: &OneOrMany<Filter>) {
        let codec = self.codec;
        match filters {
            OneOrMany::One(filter) => self.text(Key::Topic, filter.as_str()),
            OneOrMany::Many(many) => {
                self.list(Key::Topics, many, |out, filter| text(codec, filter.as_str(), out))
            }
        }
    }

    pub(super) fn position(&mut self, position: Position) {
        self.text(Key::Epoch, EpochText::of(position.epoch).as_str());
        self.count(Key::Offset, position.offset);
    }

    pub(super) fn placed(&mut self, topic: &Topic, position: Position) {
        self.text(Key::Topic, topic.as_str());
        self.position(position);
    }

    /// In the text form of an epoch.
    pub(super) fn reply_to(&mut self, reply_to: ReplyTo) {
        self.text(Key::ReplyTo, EpochText::of(Epoch(reply_to.0)).as_str());
    }

    pub(super) fn session(&mut self, session: u128) {
        self.text(Key::Session, SessionText::of(session).as_str());
    }

    pub(super) fn sessions(&mut self, key: Key, sessions: &[u128]) {
        let codec = self.codec;
        self.list(key, sessions, |out, session| text(codec, SessionText::of(*session).as_str(), out));
    }

    pub(super) fn meta(&mut self, meta: &Meta) {
        let codec = self.codec;
        self.key(Key::Meta);
        entries(codec, meta.iter(), self.out, |out, value| text(codec, value, out));
    }

    /// A position in a map of its own.
    pub(super) fn position_map(&mut self, key: Key, position: Position) {
        self.map(key, |map| map.position(position));
    }

    pub(super) fn positions<'t>(
        &mut self,
        key: Key,
        positions: impl ExactSizeIterator<Item = (&'t Topic, Position)>,
    ) {
        let codec = self.codec;
        self.key(key);
        entries(
            codec,
            positions.map(|(topic, position)| (topic.as_str(), position)),
            self.out,
            |out, position| {
                let mut map = MapWriter::begin(codec, out);
                map.position(position);
                map.finish();
            },
        );
    }

    /// A map under a key.
    pub(super) fn map(&mut self, key: Key, write: impl FnOnce(&mut MapWriter<'_>)) {
        self.key(key);
        let mut map = MapWriter::begin(self.codec, self.out);
        write(&mut map);
        map.finish();
    }

    /// An array of maps under a key.
    pub(super) fn maps<T>(&mut self, key: Key, items: &[T], write: impl Fn(&mut MapWriter<'_>, &T)) {
        let codec = self.codec;
        self.list(key, items, |out, item| {
            let mut map = MapWriter::begin(codec, out);
            write(&mut map, item);
            map.finish();
        });
    }

    /// Whole milliseconds, rounded up: who waits so long has waited long enough.
    pub(super) fn millis(&mut self, key: Key, duration: Duration) {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        self.count(key, u64::try_from(millis).unwrap_or(u64::MAX).min(OFFSET_LIMIT - 1));
    }

    /// An integer if it is a whole number, else a float.
    pub(super) fn number(&mut self, key: Key, number: f64) {
        if number.fract() == 0.0 {
            return self.integer(key, number as i128);
        }
        self.key(key);
        match self.codec {
            Codec::Json => json::write_f64(number, self.out),
            Codec::MsgPack => msgpack::write_f64(number, self.out),
        }
    }
}
