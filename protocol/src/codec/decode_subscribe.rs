//! `subscribe` out of its fields: what is subscribed to, and how it is to be served.
//! Which of the options a topic or a session permits is not looked at here.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::decode_publish::payload_if_any;
use super::field_error::FieldError;
use super::fields::{Fields, Key, wrong};
use super::raw::{Raw, Value};
use crate::command::{
    MAX_RATE_RANGE, OneOrMany, PRESENCE_DATA_BYTES_MAX, PresenceOptions, REPLAY_LAST_MAX, REPLAY_SECONDS_MAX,
    REPLAY_TOPICS_MAX, Replay, SlowPolicy, Subscribe, SubscribeOptions, TOPICS_PER_COMMAND_MAX,
};
use crate::message::Payload;
use crate::position::Position;
use crate::topic::{Filter, Topic};

/// What the members of a group may not ask for: it concerns who gets all messages.
const NOT_IN_A_GROUP: [Key; 4] = [Key::Replay, Key::Slow, Key::MaxRate, Key::Presence];

pub(crate) fn subscribe(fields: &Fields<'_>) -> Result<Subscribe, FieldError> {
    if fields.get(Key::Name).is_some() {
        return Err(FieldError::Later { key: Key::Name.as_str() });
    }
    let filters = fields.topic_or_topics(Fields::filter, filters)?;
    let options = SubscribeOptions {
        echo: fields.boolean_or(Key::Echo, true)?,
        replay: fields.optional(Key::Replay, |fields, key| replay(fields, key, &filters))?,
        slow: fields.optional(Key::Slow, slow)?,
        interval: fields.optional(Key::MaxRate, interval)?,
        presence: presence(fields, &filters)?,
        group: fields.optional(Key::Group, Fields::name)?,
    };
    if options.group.is_some() {
        let said = |key: &Key| match key {
            Key::Presence => options.presence.is_some(),
            key => fields.get(*key).is_some(),
        };
        if let Some(key) = NOT_IN_A_GROUP.into_iter().find(said) {
            return Err(FieldError::Exclusive { key: Key::Group.as_str(), other: key.as_str() });
        }
    }
    Ok(Subscribe { filters, options })
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

/// What others are to see of a member, if anything.
pub(crate) fn shown(fields: &Fields<'_>) -> Result<Option<Payload>, FieldError> {
    match payload_if_any(fields)? {
        Some(data) if data.as_bytes().len() > PRESENCE_DATA_BYTES_MAX => {
            Err(FieldError::DataTooLarge { len: data.as_bytes().len() })
        }
        data => Ok(data),
    }
}

/// The topics of a map and the position of each.
pub(crate) fn topic_positions(fields: &Fields<'_>, key: Key) -> Result<Vec<(Topic, Position)>, FieldError> {
    let entry = |(name, raw): (Value<'_>, Raw<'_>)| {
        let text = match name {
            Value::Text(text) => text,
            other => return Err(FieldError::NameNotText { got: other.kind() }),
        };
        let topic = Topic::parse(&text).map_err(|reason| FieldError::topic(&text, reason))?;
        Ok((topic, Fields::of(raw)?.position()?))
    };
    fields.entries(key)?.map(entry).collect()
}

fn replay(fields: &Fields<'_>, key: Key, filters: &OneOrMany<Filter>) -> Result<Replay, FieldError> {
    let fields = &fields.map(key)?;
    let forms = [Key::Last, Key::Seconds, Key::After];
    let got = forms.iter().filter(|form| fields.get(**form).is_some()).count();
    if got != 1 {
        return Err(FieldError::ReplayForm { got });
    }
    let replay = || {
        if let Some(messages) = fields.count_within(Key::Last, 0..=REPLAY_LAST_MAX)? {
            return Ok(Replay::Last(messages));
        }
        if let Some(seconds) = fields.count_within(Key::Seconds, 1..=REPLAY_SECONDS_MAX)? {
            return Ok(Replay::Seconds(seconds));
        }
        after(fields, filters)
    };
    replay().map_err(FieldError::inside(key.as_str()))
}

fn after(fields: &Fields<'_>, filters: &OneOrMany<Filter>) -> Result<Replay, FieldError> {
    let inside = FieldError::inside(Key::After.as_str());
    if fields.entries(Key::After)?.all(|(_, raw)| matches!(raw.value(), Value::Map)) {
        let got = fields.entries(Key::After)?.count();
        if got > REPLAY_TOPICS_MAX {
            return Err(FieldError::TooMany { key: Key::After.as_str(), max: REPLAY_TOPICS_MAX, got });
        }
        return each(topic_positions(fields, Key::After).map_err(inside)?);
    }
    match filters.as_slice() {
        [Filter::Topic(_)] => fields.map(Key::After)?.position().map(Replay::After).map_err(inside),
        _ => Err(FieldError::OnePositionForMany),
    }
}

fn each(positions: Vec<(Topic, Position)>) -> Result<Replay, FieldError> {
    let mut after = BTreeMap::new();
    for (topic, position) in positions {
        if after.contains_key(&topic) {
            return Err(FieldError::topic_twice(topic.as_str()));
        }
        after.insert(topic, position);
    }
    Ok(Replay::AfterEach(after))
}

fn slow(fields: &Fields<'_>, key: Key) -> Result<SlowPolicy, FieldError> {
    slow_policy(&fields.text(key)?)
}

/// The policy behind a word, from wherever it was read.
pub(crate) fn slow_policy(word: &str) -> Result<SlowPolicy, FieldError> {
    let words = "\"disconnect\", \"drop\", \"latest\" or \"latest-per-key\"";
    SlowPolicy::parse(word).ok_or_else(|| FieldError::wrong_word(Key::Slow.as_str(), words, word))
}

fn interval(fields: &Fields<'_>, key: Key) -> Result<Duration, FieldError> {
    let (rate, got) = match fields.require(key)?.value() {
        Value::Integer(number) => (number as f64, number.to_string()),
        Value::Float(number) => (number, format!("{number:?}")),
        other => return Err(wrong(key, "a number", &other)),
    };
    interval_of(rate, got)
}

/// The time between two messages at a rate, from wherever it was read; `got` is how it was written.
pub(crate) fn interval_of(rate: f64, got: String) -> Result<Duration, FieldError> {
    match MAX_RATE_RANGE.contains(&rate) {
        true => Ok(Duration::from_secs_f64(1.0 / rate)),
        false => Err(FieldError::RateOutOfRange { got }),
    }
}

/// `false` and `null` are as if it were not said.
fn presence(fields: &Fields<'_>, filters: &OneOrMany<Filter>) -> Result<Option<PresenceOptions>, FieldError> {
    let key = Key::Presence;
    let options = match fields.get(key).map(Raw::value) {
        None | Some(Value::Nil | Value::Bool(false)) => return Ok(None),
        Some(Value::Bool(true)) => PresenceOptions { join: true, watch: true, data: None },
        Some(Value::Map) => presence_options(&fields.map(key)?).map_err(FieldError::inside(key.as_str()))?,
        Some(other) => return Err(wrong(key, "a boolean or a map", &other)),
    };
    match filters.iter().find(|filter| matches!(filter, Filter::Pattern(_))) {
        Some(pattern) => Err(FieldError::presence_of_pattern(pattern.as_str())),
        None => Ok(Some(options)),
    }
}

fn presence_options(fields: &Fields<'_>) -> Result<PresenceOptions, FieldError> {
    Ok(PresenceOptions {
        join: fields.boolean_or(Key::Join, true)?,
        watch: fields.boolean_or(Key::Watch, true)?,
        data: shown(fields)?,
    })
}
