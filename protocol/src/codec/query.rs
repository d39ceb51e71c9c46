//! The parameters of HTTP queries, under the names and within the limits of the fields of commands.
//! What is percent-encoded in them is resolved before.

use std::borrow::Cow;
use std::time::Duration;

use super::decode_command::{HISTORY_LIMIT_RANGE, history_range};
use super::decode_publish::TTL_MS_RANGE;
use super::decode_subscribe::{interval_of, slow_policy};
use super::field_error::FieldError;
use super::fields::{self, Key};
use crate::code::ErrorCode;
use crate::command::{
    CommandError, EVENTS_WAIT, HISTORY_LIMIT, HISTORY_WAIT_MAX, HistoryRange, OneOrMany, PublishOptions,
    REPLAY_LAST_MAX, REPLAY_SECONDS_MAX, Replay, Subscribe, SubscribeOptions, TOPICS_PER_COMMAND_MAX,
};
use crate::event_id::{EventId, EventIdError};
use crate::position::Position;
use crate::topic::Filter;

/// The parameters of a query by name. Those nobody asks for are ignored.
///
/// ```
/// use topichub_protocol::codec::query::Query;
///
/// let query = Query::new(vec![("key".into(), "AAPL".into()), ("ttl_ms".into(), "0".into())]);
/// let error = query.publish_options().unwrap_err();
/// assert_eq!(error.message, r#"field "ttl_ms" must be from 1 to 9007199254740991, got 0"#);
/// ```
#[derive(Clone, Debug)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// What the query of `GET /topics/{topic}/messages` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// From where, and in which direction.
    pub range: HistoryRange,
    /// The most messages to show, 1 to 1,000.
    pub limit: u64,
    /// How long to wait if there are none, up to a minute; on the wire `wait`, whole seconds.
    pub wait: Duration,
}

impl<'a> Query<'a> {
    /// Takes names and values in their order.
    pub fn new(parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Self {
        Self(parameters)
    }

    /// The options of `POST /topics/{topic}`: `key`, `ttl_ms`, `dedup` and `if_offset` of the command `publish`.
    ///
    /// # Errors
    /// The answer to send: which parameter, its limit and its value.
    pub fn publish_options(&self) -> Result<PublishOptions, CommandError> {
        Ok(PublishOptions {
            key: self.name(Key::Name.as_str())?,
            ttl: self
                .integer(Key::TtlMs.as_str(), |key, got| fields::within(key, got, TTL_MS_RANGE))?
                .map(Duration::from_millis),
            dedup: self.name(Key::Dedup.as_str())?,
            if_offset: self.integer(Key::IfOffset.as_str(), fields::count)?,
            ..PublishOptions::default()
        })
    }

    /// What `GET /topics/{topic}/messages` is to show: `after` or `before`, `limit`, and with `after` also `wait`.
    ///
    /// # Errors
    /// The answer to send: which parameter, its limit and its value.
    pub fn history(&self) -> Result<HistoryQuery, CommandError> {
        let range = history_range(self.position(Key::After.as_str())?, self.position(Key::Before.as_str())?)?;
        let limit =
            self.integer(Key::Limit.as_str(), |key, got| fields::within(key, got, HISTORY_LIMIT_RANGE))?;
        let wait = self.wait()?;
        if wait.is_some() && !matches!(range, HistoryRange::After(_)) {
            return Err(FieldError::Alone { key: "wait", other: Key::After.as_str() }.into());
        }
        Ok(HistoryQuery { range, limit: limit.unwrap_or(HISTORY_LIMIT), wait: wait.unwrap_or_default() })
    }

    /// What `GET /events` subscribes to: each `topic`, and for all of them `last` or `seconds`, `slow`, `max_rate`, `echo`
    /// and `group` of the command `subscribe`. Its `after` is an [id](Self::event_id).
    ///
    /// # Errors
    /// The answer to send: which parameter, its limit and its value.
    pub fn subscribe(&self) -> Result<Subscribe, CommandError> {
        Ok(self.subscribed()?)
    }

    fn subscribed(&self) -> Result<Subscribe, FieldError> {
        let topic = Key::Topic.as_str();
        let mut filters = Vec::new();
        for (_, text) in self.0.iter().filter(|(name, _)| name == topic) {
            let filter = Filter::parse(text).map_err(|reason| FieldError::topic(text, reason))?;
            if filters.len() >= TOPICS_PER_COMMAND_MAX {
                return Err(FieldError::TooMany {
                    key: topic,
                    max: TOPICS_PER_COMMAND_MAX,
                    got: filters.len() + 1,
                });
            }
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        let filters = match (filters.pop(), filters.is_empty()) {
            (None, _) => return Err(FieldError::Missing { key: topic }),
            (Some(one), true) => OneOrMany::One(one),
            (Some(last), false) => {
                filters.push(last);
                OneOrMany::Many(filters)
            }
        };
        let options = SubscribeOptions {
            echo: self.boolean(Key::Echo.as_str())?.unwrap_or(true),
            replay: self.replay()?,
            slow: self.get(Key::Slow.as_str())?.map(slow_policy).transpose()?,
            interval: self.interval()?,
            presence: None,
            group: self.name(Key::Group.as_str())?,
        };
        let said = |key: &Key| self.0.iter().any(|(name, _)| name == key.as_str());
        let not_in_a_group = [Key::Last, Key::Seconds, Key::After, Key::Slow, Key::MaxRate];
        match not_in_a_group.into_iter().find(said) {
            Some(key) if options.group.is_some() => {
                Err(FieldError::Exclusive { key: Key::Group.as_str(), other: key.as_str() })
            }
            _ => Ok(Subscribe { filters, options }),
        }
    }

    fn replay(&self) -> Result<Option<Replay>, FieldError> {
        let (last, seconds) = (Key::Last.as_str(), Key::Seconds.as_str());
        let messages = self.integer(last, |key, got| fields::within(key, got, 0..=REPLAY_LAST_MAX))?;
        let age = self.integer(seconds, |key, got| fields::within(key, got, 1..=REPLAY_SECONDS_MAX))?;
        let after = Key::After.as_str();
        match (messages, age) {
            (Some(_), _) if self.get(after)?.is_some() => {
                Err(FieldError::Exclusive { key: last, other: after })
            }
            (_, Some(_)) if self.get(after)?.is_some() => {
                Err(FieldError::Exclusive { key: seconds, other: after })
            }
            (Some(_), Some(_)) => Err(FieldError::Exclusive { key: last, other: seconds }),
            (Some(messages), None) => Ok(Some(Replay::Last(messages))),
            (None, age) => Ok(age.map(Replay::Seconds)),
        }
    }

    /// Behind what `GET` or `POST /events` is to go on: `after`, an id of such a stream.
    ///
    /// # Errors
    /// The answer to send.
    pub fn event_id(&self) -> Result<Option<EventId>, CommandError> {
        let after = self.get(Key::After.as_str())?;
        let id = after.map(str::parse).transpose();
        id.map_err(|error: EventIdError| {
            CommandError::new(ErrorCode::BadRequest, format!("field \"after\": {error}"))
        })
    }

    /// How a long poll is answered: how long it waits, 0 to 60 seconds, and with how many messages at most.
    ///
    /// # Errors
    /// The answer to send: which parameter, its limit and its value.
    pub fn long_poll(&self) -> Result<(Duration, u64), CommandError> {
        let wait = self.wait()?.unwrap_or(EVENTS_WAIT);
        let limit =
            self.integer(Key::Limit.as_str(), |key, got| fields::within(key, got, HISTORY_LIMIT_RANGE))?;
        Ok((wait, limit.unwrap_or(HISTORY_LIMIT)))
    }

    fn wait(&self) -> Result<Option<Duration>, FieldError> {
        let wait =
            self.integer("wait", |key, got| fields::within(key, got, 0..=HISTORY_WAIT_MAX.as_secs()))?;
        Ok(wait.map(Duration::from_secs))
    }

    fn interval(&self) -> Result<Option<Duration>, FieldError> {
        let key = Key::MaxRate;
        let Some(text) = self.get(key.as_str())? else { return Ok(None) };
        let rate = text.parse::<f64>().map_err(|_| FieldError::wrong_word(key.as_str(), "a number", text))?;
        interval_of(rate, text.to_owned()).map(Some)
    }

    fn boolean(&self, key: &'static str) -> Result<Option<bool>, FieldError> {
        match self.get(key)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(FieldError::wrong_word(key, "true or false", other)),
        }
    }

    fn name(&self, key: &'static str) -> Result<Option<Box<str>>, FieldError> {
        self.get(key)?.map(|text| fields::name(key, text)).transpose()
    }

    /// Digits, and what `check` makes of their number.
    fn integer(
        &self,
        key: &'static str,
        check: impl FnOnce(&'static str, i128) -> Result<u64, FieldError>,
    ) -> Result<Option<u64>, FieldError> {
        let Some(text) = self.get(key)? else { return Ok(None) };
        let number = text.parse::<i128>().ok().filter(|number| number.to_string() == text);
        check(key, number.ok_or_else(|| FieldError::not_an_integer(key, text))?).map(Some)
    }

    fn position(&self, key: &'static str) -> Result<Option<Position>, FieldError> {
        let position = |text: &str| text.parse().map_err(|_| FieldError::not_a_position(key, text));
        self.get(key)?.map(position).transpose()
    }

    fn get(&self, key: &'static str) -> Result<Option<&str>, FieldError> {
        let mut values = self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| &**value);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(FieldError::Twice { key }),
            (value, None) => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{HistoryQuery, Query};
    use crate::code::ErrorCode;
    use crate::command::{HistoryRange, PublishOptions};
    use crate::position::{Epoch, Position};

    fn query<'a>(parameters: &[(&'a str, &'a str)]) -> Query<'a> {
        Query::new(parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn parameters_say_what_the_fields_of_a_publish_say() {
        let said = [
            ("key", "AAPL"),
            ("colour", "green"),
            ("ttl_ms", "1500"),
            ("dedup", "order 7"),
            ("if_offset", "0"),
        ];
        let expected = PublishOptions {
            key: Some("AAPL".into()),
            ttl: Some(Duration::from_millis(1500)),
            dedup: Some("order 7".into()),
            if_offset: Some(0),
            ..PublishOptions::default()
        };
        assert_eq!(query(&said).publish_options(), Ok(expected));
        assert_eq!(query(&[]).publish_options(), Ok(PublishOptions::default()));
    }

    #[test]
    fn parameters_say_which_messages_are_asked_for() {
        let position = Position { epoch: Epoch(7), offset: 44 };
        for (said, range, limit, wait) in [
            (&[][..], HistoryRange::Newest, 100, 0),
            (&[("after", "7:44"), ("wait", "60")], HistoryRange::After(position), 100, 60),
            (&[("after", "7:44"), ("wait", "0"), ("limit", "1000")], HistoryRange::After(position), 1000, 0),
            (&[("before", "7:44"), ("limit", "1")], HistoryRange::Before(position), 1, 0),
        ] {
            let wait = Duration::from_secs(wait);
            assert_eq!(query(said).history(), Ok(HistoryQuery { range, limit, wait }), "{said:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_name_limit_and_value() {
        let long = "x".repeat(129);
        let publish = |parameters: &[(&str, &str)]| query(parameters).publish_options().err();
        let history = |parameters: &[(&str, &str)]| query(parameters).history().err();
        for (error, words) in [
            (publish(&[("key", &long)]), r#"field "key" must be 1 to 128 bytes long, got 129"#),
            (publish(&[("dedup", "")]), r#"field "dedup" must be 1 to 128 bytes long, got 0"#),
            (
                publish(&[("key", "a\nb")]),
                r#"field "key" must hold no control character, got U+000A at byte 1"#,
            ),
            (publish(&[("key", "a"), ("key", "b")]), r#"field "key" is there twice"#),
            (publish(&[("ttl_ms", "0")]), r#"field "ttl_ms" must be from 1 to 9007199254740991, got 0"#),
            (publish(&[("ttl_ms", "soon")]), r#"field "ttl_ms" must be an integer, got "soon""#),
            (publish(&[("ttl_ms", "007")]), r#"field "ttl_ms" must be an integer, got "007""#),
            (publish(&[("if_offset", "-1")]), r#"field "if_offset" must be from 0 to 2^53 - 1, got -1"#),
            (
                publish(&[("if_offset", "9007199254740992")]),
                r#"field "if_offset" must be from 0 to 2^53 - 1, got 9007199254740992"#,
            ),
            (history(&[("limit", "0")]), r#"field "limit" must be from 1 to 1000, got 0"#),
            (history(&[("limit", "1001")]), r#"field "limit" must be from 1 to 1000, got 1001"#),
            (history(&[("after", "7:1"), ("wait", "61")]), r#"field "wait" must be from 0 to 60, got 61"#),
            (history(&[("wait", "1")]), r#"field "wait" goes with "after" only"#),
            (history(&[("before", "7:1"), ("wait", "1")]), r#"field "wait" goes with "after" only"#),
            (
                history(&[("after", "7:1"), ("before", "7:1")]),
                r#"fields "after" and "before" exclude each other"#,
            ),
            (
                history(&[("after", "44")]),
                "field \"after\": a position is EPOCH:OFFSET, such as k3v9:44, its offset from 0 to 2^53 - 1, got \"44\"",
            ),
        ] {
            let error = error.unwrap_or_else(|| panic!("this must fail: {words}"));
            assert_eq!((error.code, &*error.message), (ErrorCode::BadRequest, words));
        }
    }
}
