//! The ids of event streams (SPEC.md §21): where a reader stands in each of its topics, as one line of text that comes
//! back in `Last-Event-ID`. Which positions a stream keeps is decided elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::command::{OneOrMany, Replay};
use crate::position::{Position, PositionError};
use crate::quote::quote;
use crate::topic::{Filter, Topic, TopicError};

/// The most topics in an id that the server makes.
pub const EVENT_ID_TOPICS_MAX: usize = 100;

/// The longest id, in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 4096;

/// Where a reader stands.
///
/// ```
/// use topichub_protocol::event_id::EventId;
///
/// let id: EventId = "ticker.AAPL k3v9:44 caf%C3%A9 k3va:7".parse()?;
/// let EventId::Each(positions) = id else { unreachable!() };
/// assert_eq!(positions[1].0.as_str(), "café");
/// # Ok::<(), topichub_protocol::event_id::EventIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventId {
    /// In the only topic of a stream: `EPOCH:OFFSET`.
    One(Position),
    /// In each of several: `TOPIC EPOCH:OFFSET`, with one blank between all of them.
    Each(Vec<(Topic, Position)>),
}

/// A text is no id of an event stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventIdError {
    /// It is longer than any that a server makes.
    #[error("an event id is at most {EVENT_ID_BYTES_MAX} bytes long, got {len}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It is neither a position nor pairs.
    #[error(
        "an event id is EPOCH:OFFSET, or for each topic TOPIC EPOCH:OFFSET, with blanks between, got {quoted}"
    )]
    Form {
        /// Its text in quotes, shortened.
        quoted: String,
    },
    /// One of its positions is none.
    #[error("{PositionError}, got {quoted} in an event id")]
    Position {
        /// What stands there, in quotes, shortened.
        quoted: String,
    },
    /// One of its topics is not UTF-8 when it is percent-decoded.
    #[error("a topic in an event id is percent-encoded UTF-8, got {quoted}")]
    Encoding {
        /// What stands there, in quotes, shortened.
        quoted: String,
    },
    /// One of its topics is none.
    #[error("invalid topic {quoted} in an event id: {reason}")]
    Topic {
        /// What stands there, decoded and in quotes, shortened.
        quoted: String,
        /// Why it is none.
        reason: TopicError,
    },
    /// It does not say which topic it means.
    #[error("an event id without a topic is for a stream of one topic")]
    OneForMany,
}

impl EventId {
    /// What to ask for so as to go on behind this id. What it says of topics that are not asked for is left out.
    ///
    /// # Errors
    /// If it names no topic and there is more than one.
    pub fn replay(&self, filters: &OneOrMany<Filter>) -> Result<Replay, EventIdError> {
        match (self, filters.as_slice()) {
            (Self::One(position), [Filter::Topic(_)]) => Ok(Replay::After(*position)),
            (Self::One(_), _) => Err(EventIdError::OneForMany),
            (Self::Each(positions), filters) => {
                let asked = |topic: &Topic| filters.iter().any(|filter| filter.matches(topic));
                let known = positions.iter().filter(|(topic, _)| asked(topic));
                // Of a topic that is there twice, the last word counts.
                Ok(Replay::AfterEach(known.cloned().collect::<BTreeMap<_, _>>()))
            }
        }
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        if text.len() > EVENT_ID_BYTES_MAX {
            return Err(EventIdError::TooLong { len: text.len() });
        }
        let words: Vec<_> = text.split(' ').collect();
        match words.as_slice() {
            [place] => position(place).map(Self::One),
            words if words.len() % 2 == 0 => {
                let pairs = words.chunks_exact(2).map(|pair| Ok((topic(pair[0])?, position(pair[1])?)));
                pairs.collect::<Result<_, EventIdError>>().map(Self::Each)
            }
            _ => Err(EventIdError::Form { quoted: quote(text) }),
        }
    }
}

fn position(text: &str) -> Result<Position, EventIdError> {
    text.parse().map_err(|PositionError| EventIdError::Position { quoted: quote(text) })
}

fn topic(text: &str) -> Result<Topic, EventIdError> {
    let name = unescaped(text).ok_or_else(|| EventIdError::Encoding { quoted: quote(text) })?;
    Topic::parse(&name).map_err(|reason| EventIdError::Topic { quoted: quote(&name), reason })
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(position) => write!(f, "{position}"),
            Self::Each(positions) => {
                for (number, (topic, position)) in positions.iter().enumerate() {
                    let blank = if number == 0 { "" } else { " " };
                    write!(f, "{blank}{} {position}", EscapedTopic(topic))?;
                }
                Ok(())
            }
        }
    }
}

/// A topic as it stands in an id: in visible ASCII, so that it comes back whole from every client; all else, and the
/// percent sign, is percent-encoded (RFC 3986 §2.1).
#[derive(Clone, Copy, Debug)]
pub struct EscapedTopic<'a>(pub &'a Topic);

impl fmt::Display for EscapedTopic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_str().as_bytes().chunk_by(|one, other| is_plain(*one) == is_plain(*other)) {
            match std::str::from_utf8(chunk) {
                Ok(text) if is_plain(chunk[0]) => f.write_str(text)?,
                _ => chunk.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))?,
            }
        }
        Ok(())
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'%'
}

/// The reverse. A percent sign without two hexadecimal digits stands for itself, and so does what is no ASCII.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::position::Epoch;

    fn topic(text: &str) -> Topic {
        Topic::parse(text).expect("a topic")
    }

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch(7), offset }
    }

    proptest! {
        #[test]
        fn an_id_is_its_text(names in proptest::collection::vec("[^\\s\\x00-\\x1f\\x7f-\\x9f.*>]{1,20}", 1..5), offset in 0..1_u64 << 53) {
            let positions: Vec<_> =
                names.iter().filter_map(|name| Topic::parse(name).ok()).map(|topic| (topic, at(offset))).collect();
            prop_assume!(!positions.is_empty());
            let id = EventId::Each(positions);
            let text = id.to_string();
            prop_assert!(text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{text}");
            prop_assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn what_a_client_writes_by_hand_is_understood() {
        let id = |text: &str| text.parse::<EventId>();
        assert_eq!(id("7:44"), Ok(EventId::One(at(44))));
        assert_eq!(id("café 7:1"), Ok(EventId::Each(vec![(topic("café"), at(1))])));
        assert_eq!(id("100% 7:1"), Ok(EventId::Each(vec![(topic("100%"), at(1))])));
        assert_eq!(id("a:b 7:1"), Ok(EventId::Each(vec![(topic("a:b"), at(1))])));
        let quoted = |text: &str| format!("\"{text}\"");
        assert_eq!(id(""), Err(EventIdError::Position { quoted: quoted("") }));
        assert_eq!(id("a 7:1 b"), Err(EventIdError::Form { quoted: quoted("a 7:1 b") }));
        assert_eq!(id("a  7:1"), Err(EventIdError::Form { quoted: quoted("a  7:1") }));
        assert_eq!(id("%FF 7:1"), Err(EventIdError::Encoding { quoted: quoted("%FF") }));
        assert_eq!(id("a 44"), Err(EventIdError::Position { quoted: quoted("44") }));
        assert!(
            matches!(id("a.%2e 7:1"), Err(EventIdError::Topic { quoted: name, .. }) if name == quoted("a.."))
        );
        assert_eq!(id(&"x".repeat(4097)), Err(EventIdError::TooLong { len: 4097 }));
    }

    #[test]
    fn an_id_becomes_the_replay_of_what_is_asked_for() {
        let filter = |text: &str| Filter::parse(text).expect("a filter");
        let (one, pattern) = (OneOrMany::One(filter("a.b")), OneOrMany::One(filter("a.*")));
        assert_eq!(EventId::One(at(3)).replay(&one), Ok(Replay::After(at(3))));
        assert_eq!(EventId::One(at(3)).replay(&pattern), Err(EventIdError::OneForMany));
        let each = EventId::Each(vec![(topic("a.b"), at(1)), (topic("c"), at(2)), (topic("a.b"), at(5))]);
        let expected = Replay::AfterEach(BTreeMap::from([(topic("a.b"), at(5))]));
        assert_eq!(each.replay(&pattern), Ok(expected));
    }
}
