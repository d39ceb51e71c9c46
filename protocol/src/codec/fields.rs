//! The fields of one map: scanned once into slots, then read by name, with errors that name them.
//! Which fields an `op` has is said in `decode_command` and `decode_server`.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Codec;
use super::field_error::FieldError;
use super::json::{self, Lexer};
use super::msgpack::{self, Reader};
use super::raw::{Entries, Items, Raw, Value};
use super::syntax::SyntaxError;
use crate::command::{CommandId, ID_BYTES_MAX, ID_INTEGER_LIMIT, NAME_BYTES_MAX, OneOrMany};
use crate::message::DEPTH_MAX;
use crate::position::{Epoch, OFFSET_LIMIT, Position};
use crate::topic::{Filter, Topic};

macro_rules! keys {
    ($($key:ident = $name:literal,)*) => {
        /// Every key that SPEC.md names, those it reserves included.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Key {
            $($key,)*
        }

        impl Key {
            const COUNT: usize = [$($name),*].len();

            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$key => $name,)*
                }
            }

            fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$key),)*
                    _ => None,
                }
            }
        }
    };
}

keys! {
    Op = "op", Id = "id", Topic = "topic", Topics = "topics", Echo = "echo", Data = "data", DataBase64 = "data_base64",
    Epoch = "epoch", Offset = "offset", Code = "code", Message = "message", Retry = "retry", Error = "error",
    Session = "session", Server = "server", Protocol = "protocol", PingMs = "ping_ms", Limits = "limits",
    MessageBytes = "message_bytes", TopicsPerSession = "topics_per_session", TopicBytes = "topic_bytes",
    Depth = "depth", Reason = "reason", Reconnect = "reconnect", AfterMs = "after_ms",
    Replay = "replay", Slow = "slow", Name = "key", MaxRate = "max_rate", Presence = "presence", Group = "group",
    TtlMs = "ttl_ms", Dedup = "dedup", Meta = "meta", IfOffset = "if_offset", Exclude = "exclude", ReplyTo = "reply_to",
    Last = "last", Seconds = "seconds", After = "after", Before = "before", Limit = "limit", Join = "join",
    Watch = "watch", User = "user", Token = "token", TimeoutMs = "timeout_ms", Replayed = "replayed",
    Recovered = "recovered", Positions = "positions", Subscribers = "subscribers", Duplicate = "duplicate", More = "more",
    Messages = "messages", Count = "count", Sessions = "sessions", Members = "members", From = "from", To = "to",
    Why = "why", Change = "change", Joined = "joined", Left = "left",
    ExpiresMs = "expires_ms", InMs = "in_ms",
}

/// The most levels around a payload: those of a message in a page of history, or of a member in a list of them.
pub(crate) const AROUND_MAX: usize = 3;

/// The values of the known keys of one map.
pub(crate) struct Fields<'a> {
    slots: [Option<Raw<'a>>; Key::COUNT],
}

impl<'a> Fields<'a> {
    /// Reads over one map, in which so many levels may stand around a payload, this map included. The fields are those
    /// read before the first error in the syntax, so that a broken command can still be answered by its id; errors of
    /// another kind do not stop the reading.
    pub(crate) fn scan(codec: Codec, bytes: &'a [u8], around: usize) -> (Self, Result<(), FieldError>) {
        let mut fields = Self { slots: [None; Key::COUNT] };
        let outcome = match codec {
            Codec::Json => match json::utf8(bytes) {
                Ok(text) => fields.scan_json(text, around),
                Err(error) => {
                    if let SyntaxError::NotUtf8 { at } = error {
                        let _ = fields.scan_json(json::utf8(&bytes[..at]).unwrap_or_default(), around);
                    }
                    Err(error.into())
                }
            },
            Codec::MsgPack => fields.scan_msgpack(bytes, DEPTH_MAX + around - 1),
        };
        (fields, outcome)
    }

    /// Reads over a map inside of another.
    pub(crate) fn of(raw: Raw<'a>) -> Result<Self, FieldError> {
        let (codec, bytes) = match raw {
            Raw::Json(text) => (Codec::Json, text.as_bytes()),
            Raw::MsgPack(bytes) => (Codec::MsgPack, bytes),
        };
        let (fields, outcome) = Self::scan(codec, bytes, AROUND_MAX);
        outcome.map(|()| fields)
    }

    fn scan_json(&mut self, text: &'a str, around: usize) -> Result<(), FieldError> {
        let mut lexer = Lexer::new(text, around);
        match lexer.next()? {
            Some(json::Token::BeginMap) => {}
            first => {
                return Err(FieldError::NotAMap {
                    got: first.map_or("nothing", |token| Value::from(token).kind()),
                });
            }
        }
        let mut outcome = Ok(());
        while let Some(json::Token::Key(name)) = lexer.next()? {
            let start = lexer.skip()?;
            let kept = self.keep(&name.unescape(), Raw::Json(lexer.slice(start)));
            outcome = outcome.and(kept);
        }
        lexer.finish()?;
        outcome
    }

    fn scan_msgpack(&mut self, bytes: &'a [u8], levels_max: usize) -> Result<(), FieldError> {
        let mut reader = Reader::new(bytes);
        let len = match reader.next()? {
            msgpack::Token::Map(len) => len,
            other => {
                return Err(FieldError::NotAMap { got: Value::from(other).kind() });
            }
        };
        let mut outcome = Ok(());
        for _ in 0..len {
            let key_start = reader.skip(levels_max)?;
            let key = Raw::MsgPack(reader.slice(key_start)).value();
            let start = reader.skip(levels_max)?;
            let kept = match key {
                Value::Text(name) => self.keep(&name, Raw::MsgPack(reader.slice(start))),
                other => Err(FieldError::KeyNotText { at: key_start, got: other.kind() }),
            };
            outcome = outcome.and(kept);
        }
        reader.finish()?;
        outcome
    }

    fn keep(&mut self, name: &str, raw: Raw<'a>) -> Result<(), FieldError> {
        let Some(key) = Key::parse(name) else {
            return Ok(());
        };
        let slot = &mut self.slots[key as usize];
        if slot.is_none() {
            *slot = Some(raw);
            return Ok(());
        }
        if key == Key::Id {
            // An answer to one of two ids might be taken for another command's.
            *slot = Some(Raw::Json("null"));
        }
        Err(FieldError::Twice { key: key.as_str() })
    }

    pub(crate) fn get(&self, key: Key) -> Option<Raw<'a>> {
        self.slots[key as usize]
    }

    pub(crate) fn require(&self, key: Key) -> Result<Raw<'a>, FieldError> {
        self.get(key).ok_or(FieldError::Missing { key: key.as_str() })
    }

    /// The command's id, if it has one.
    pub(crate) fn id(&self) -> Result<Option<CommandId>, FieldError> {
        let Some(raw) = self.get(Key::Id) else {
            return Ok(None);
        };
        match raw.value() {
            Value::Integer(number) => match i64::try_from(number) {
                Ok(id) if id.unsigned_abs() < ID_INTEGER_LIMIT.unsigned_abs() => {
                    Ok(Some(CommandId::Integer(id)))
                }
                _ => Err(FieldError::IdTooLarge { got: number }),
            },
            Value::Text(text) if text.len() > ID_BYTES_MAX => Err(FieldError::IdTooLong { len: text.len() }),
            Value::Text(text) => Ok(Some(CommandId::Text(text.into()))),
            other => Err(wrong(Key::Id, "an integer or a string", &other)),
        }
    }

    pub(crate) fn text(&self, key: Key) -> Result<Cow<'a, str>, FieldError> {
        match self.require(key)?.value() {
            Value::Text(text) => Ok(text),
            other => Err(wrong(key, "a string", &other)),
        }
    }

    pub(crate) fn boolean(&self, key: Key) -> Result<bool, FieldError> {
        self.require(key)?;
        self.boolean_or(key, false)
    }

    pub(crate) fn boolean_or(&self, key: Key, default: bool) -> Result<bool, FieldError> {
        match self.get(key).map(Raw::value) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(wrong(key, "a boolean", &other)),
        }
    }

    /// A number that counts something: from 0, and smaller than 2^53 as every number on the wire.
    pub(crate) fn count(&self, key: Key) -> Result<u64, FieldError> {
        match self.require(key)?.value() {
            Value::Integer(number) => count(key.as_str(), number),
            other => Err(wrong(key, "an integer", &other)),
        }
    }

    /// A number within these limits, both included, if it is there.
    pub(crate) fn count_within(
        &self,
        key: Key,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, FieldError> {
        match self.get(key).map(Raw::value) {
            None => Ok(None),
            Some(Value::Integer(got)) => within(key.as_str(), got, range).map(Some),
            Some(other) => Err(wrong(key, "an integer", &other)),
        }
    }

    /// Milliseconds within these limits, if they are there.
    pub(crate) fn millis(
        &self,
        key: Key,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Duration>, FieldError> {
        Ok(self.count_within(key, range)?.map(Duration::from_millis))
    }

    /// A name as `key`, `dedup`, `group` and `user` are.
    pub(crate) fn name(&self, key: Key) -> Result<Box<str>, FieldError> {
        name(key.as_str(), &self.text(key)?)
    }

    /// What this reads of the key, if the key is there.
    pub(crate) fn optional<T>(
        &self,
        key: Key,
        read: impl FnOnce(&Self, Key) -> Result<T, FieldError>,
    ) -> Result<Option<T>, FieldError> {
        self.get(key).map(|_| read(self, key)).transpose()
    }

    pub(crate) fn array(&self, key: Key) -> Result<Items<'a>, FieldError> {
        let raw = self.require(key)?;
        match raw.value() {
            Value::Array => Ok(raw.items()),
            other => Err(wrong(key, "an array", &other)),
        }
    }

    pub(crate) fn entries(&self, key: Key) -> Result<Entries<'a>, FieldError> {
        let raw = self.require(key)?;
        match raw.value() {
            Value::Map => Ok(raw.entries()),
            other => Err(wrong(key, "a map", &other)),
        }
    }

    /// `epoch` and `offset`.
    pub(crate) fn position(&self) -> Result<Position, FieldError> {
        Ok(Position { epoch: self.epoch(Key::Epoch)?, offset: self.count(Key::Offset)? })
    }

    pub(crate) fn epoch(&self, key: Key) -> Result<Epoch, FieldError> {
        let text = self.text(key)?;
        text.parse().map_err(|_| FieldError::not_an_epoch(&text))
    }

    pub(crate) fn map(&self, key: Key) -> Result<Fields<'a>, FieldError> {
        let raw = self.require(key)?;
        match raw.value() {
            Value::Map => Fields::of(raw),
            other => Err(wrong(key, "a map", &other)),
        }
    }

    pub(crate) fn topic(&self) -> Result<Topic, FieldError> {
        let text = self.text(Key::Topic)?;
        Topic::parse(&text).map_err(|reason| FieldError::topic(&text, reason))
    }

    pub(crate) fn filter(&self) -> Result<Filter, FieldError> {
        let text = self.text(Key::Topic)?;
        Filter::parse(&text).map_err(|reason| FieldError::topic(&text, reason))
    }

    /// `topic` or `topics`, whichever is there; exactly one must be.
    pub(crate) fn topic_or_topics<T>(
        &self,
        one: impl FnOnce(&Self) -> Result<T, FieldError>,
        many: impl FnOnce(Raw<'a>) -> Result<Vec<T>, FieldError>,
    ) -> Result<OneOrMany<T>, FieldError> {
        match (self.get(Key::Topic), self.get(Key::Topics)) {
            (Some(_), Some(_)) => Err(FieldError::Exclusive { key: "topic", other: "topics" }),
            (None, None) => Err(FieldError::MissingEither { key: "topic", other: "topics" }),
            (Some(_), None) => one(self).map(OneOrMany::One),
            (None, Some(raw)) => match raw.value() {
                Value::Array => many(raw).map(OneOrMany::Many),
                other => Err(wrong(Key::Topics, "an array", &other)),
            },
        }
    }
}

/// A number that counts something, from wherever it was read.
pub(crate) fn count(key: &'static str, got: i128) -> Result<u64, FieldError> {
    match u64::try_from(got) {
        Ok(count) if count < OFFSET_LIMIT => Ok(count),
        _ => Err(FieldError::NotACount { key, got }),
    }
}

/// A number within these limits, from wherever it was read.
pub(crate) fn within(key: &'static str, got: i128, range: RangeInclusive<u64>) -> Result<u64, FieldError> {
    let (min, max) = range.into_inner();
    match u64::try_from(got) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(FieldError::OutOfRange { key, min, max, got }),
    }
}

/// The error of a field that holds the wrong type of value.
pub(crate) fn wrong(key: Key, expected: &'static str, got: &Value<'_>) -> FieldError {
    FieldError::WrongType { key: key.as_str(), expected, got: got.kind() }
}

/// A text as a name, from wherever it was read: 1 to 128 bytes without control characters.
pub(crate) fn name(key: &'static str, text: &str) -> Result<Box<str>, FieldError> {
    if !(1..=NAME_BYTES_MAX).contains(&text.len()) {
        return Err(FieldError::NameLength { key, len: text.len() });
    }
    match text.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, character)) => Err(FieldError::NameControl { key, character, at }),
        None => Ok(text.into()),
    }
}
