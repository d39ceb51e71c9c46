//! Topics, patterns and filters: the names messages are published to and subscribed by, and how they match.
//! Who may use a name, and which sessions a message reaches, is decided elsewhere.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// The longest topic or pattern, in bytes of UTF-8.
pub const TOPIC_BYTES_MAX: usize = 255;

/// The first token of the server's own topics.
pub const SYSTEM_TOKEN: &str = "$sys";

/// The name messages are published to: dot-separated, non-empty tokens such as `sports.nba.lakers`.
///
/// 1 to 255 bytes of UTF-8 without control characters, blanks, `*` and `>`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks `text` and takes it as a topic.
    ///
    /// # Errors
    /// [`TopicError`] names the first thing that is wrong and the byte where it stands.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check(text, Wildcards::Refused)?;
        Ok(Self(text.into()))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots; at least one, none of them empty.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether the topic is the server's own: its first token is `$sys`.
    pub fn is_system(&self) -> bool {
        self.tokens().next() == Some(SYSTEM_TOKEN)
    }
}

/// A subscription with at least one wildcard token: `*` is exactly one token, `>` one or more at the end.
///
/// Wildcards stand only as whole tokens, and `>` only as the last. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

/// One token of a [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token<'a> {
    /// Matches this token only.
    Literal(&'a str),
    /// `*`: matches any one token.
    One,
    /// `>`: matches one or more tokens, to the end of the topic.
    Rest,
}

impl Pattern {
    /// Checks `text` and takes it as a pattern.
    ///
    /// # Errors
    /// [`TopicError`]; among others [`TopicError::NoWildcard`] if `text` is a plain topic.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        match check(text, Wildcards::Allowed)? {
            Kind::Pattern => Ok(Self(text.into())),
            Kind::Topic => Err(TopicError::NoWildcard),
        }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots; at least one is a wildcard.
    pub fn tokens(&self) -> impl Iterator<Item = Token<'_>> {
        self.0.split('.').map(|token| match token {
            "*" => Token::One,
            ">" => Token::Rest,
            literal => Token::Literal(literal),
        })
    }

    /// Whether a message published to `topic` is meant by this pattern.
    ///
    /// A wildcard as the first token never matches the server's own topics, as in MQTT 5.0 §4.7.2: who asks
    /// for everything does not mean the inner life of the server. `$sys.>` does match them.
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut theirs = topic.tokens();
        for (index, ours) in self.tokens().enumerate() {
            let Some(token) = theirs.next() else { return false };
            match ours {
                Token::Literal(literal) if literal == token => {}
                Token::Literal(_) => return false,
                Token::One | Token::Rest if index == 0 && token == SYSTEM_TOKEN => return false,
                Token::One => {}
                Token::Rest => return true,
            }
        }
        theirs.next().is_none()
    }
}

/// What one subscribes to: a topic, or a pattern if the text has wildcards.
///
/// Equality, order and hash are those of the text, so that a map keyed by filters can be asked with a `&str`.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Exactly this topic.
    Topic(Topic),
    /// Every topic the pattern matches.
    Pattern(Pattern),
}

impl Filter {
    /// Checks `text` and takes it as a pattern if it has wildcards, as a topic if not.
    ///
    /// # Errors
    /// [`TopicError`] names the first thing that is wrong and the byte where it stands.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        Ok(match check(text, Wildcards::Allowed)? {
            Kind::Topic => Self::Topic(Topic(text.into())),
            Kind::Pattern => Self::Pattern(Pattern(text.into())),
        })
    }

    /// The topic or pattern as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(topic) => topic.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Whether a message published to `topic` is meant by this filter.
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::Topic(own) => own == topic,
            Self::Pattern(pattern) => pattern.matches(topic),
        }
    }

    /// Whether there can be a topic that both mean.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.as_str().split('.'), other.as_str().split('.'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(one), Some(another)) if one == another || one == "*" || another == "*" => {}
                (Some(_), Some(_)) => return false,
            }
        }
    }

    /// Whether this filter means every topic that the other one can mean. A wildcard as the first token does not mean
    /// the server's own topics.
    pub fn covers(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.as_str().split('.'), other.as_str().split('.'));
        let mut is_first = true;
        loop {
            match (ours.next(), theirs.next()) {
                (Some("*" | ">"), Some(SYSTEM_TOKEN)) if is_first => return false,
                (None, None) => return true,
                (Some(">"), Some(_)) => return true,
                (Some("*"), Some(token)) if token != ">" => {}
                (Some(one), Some(another)) if one == another => {}
                _ => return false,
            }
            is_first = false;
        }
    }

    /// Whether the filter reaches for the server's own topics: its first token is `$sys`.
    pub fn is_system(&self) -> bool {
        self.as_str().split('.').next() == Some(SYSTEM_TOKEN)
    }
}

/// Why a text is not a topic or pattern. `at` counts bytes from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// Nothing at all.
    #[error("a topic is 1 to {TOPIC_BYTES_MAX} bytes long, got 0")]
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("a topic is 1 to {max} bytes long, got {len}")]
    TooLong {
        /// The length found, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// Two dots in a row, or a dot at an end.
    #[error("empty token at byte {at}")]
    EmptyToken {
        /// Where the token should begin.
        at: usize,
    },
    /// A control character or a blank.
    #[error("character U+{:04X} at byte {at} is a control character or a blank", u32::from(*character))]
    BadCharacter {
        /// Where it stands.
        at: usize,
        /// The character found.
        character: char,
    },
    /// A wildcard where only a topic will do.
    #[error("wildcard '{wildcard}' at byte {at}: patterns are for subscriptions only")]
    Wildcard {
        /// Where it stands.
        at: usize,
        /// `*` or `>`.
        wildcard: char,
    },
    /// A wildcard character beside others in one token.
    #[error("wildcard '{wildcard}' at byte {at} is not a token of its own")]
    PartialWildcard {
        /// Where it stands.
        at: usize,
        /// `*` or `>`.
        wildcard: char,
    },
    /// `>` before the last token.
    #[error("wildcard '>' at byte {at} is not the last token")]
    RestNotLast {
        /// Where it stands.
        at: usize,
    },
    /// A plain topic where a pattern was asked for.
    #[error("a pattern has at least one wildcard token, '*' or '>'")]
    NoWildcard,
}

#[derive(Clone, Copy, PartialEq)]
enum Wildcards {
    Allowed,
    Refused,
}

#[derive(Clone, Copy)]
enum Kind {
    Topic,
    Pattern,
}

/// The one place that knows the rules; says which of the two kinds a sound text is.
fn check(text: &str, wildcards: Wildcards) -> Result<Kind, TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong { len: text.len(), max: TOPIC_BYTES_MAX });
    }
    let mut kind = Kind::Topic;
    let mut rest_at = None;
    let mut at = 0;
    for token in text.split('.') {
        if token.is_empty() {
            return Err(TopicError::EmptyToken { at });
        }
        if let Some(at) = rest_at {
            return Err(TopicError::RestNotLast { at });
        }
        for (index, character) in token.char_indices() {
            let at = at + index;
            match character {
                wildcard @ ('*' | '>') if wildcards == Wildcards::Refused => {
                    return Err(TopicError::Wildcard { at, wildcard });
                }
                wildcard @ ('*' | '>') if token.len() > 1 => {
                    return Err(TopicError::PartialWildcard { at, wildcard });
                }
                '*' => kind = Kind::Pattern,
                '>' => {
                    kind = Kind::Pattern;
                    rest_at = Some(at);
                }
                character if character.is_control() || character.is_whitespace() => {
                    return Err(TopicError::BadCharacter { at, character });
                }
                _ => {}
            }
        }
        at += token.len() + 1;
    }
    Ok(kind)
}

/// All three are their text; `Borrow<str>` is sound because equality, order and hash are those of the text.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl FromStr for $name {
            type Err = TopicError;

            fn from_str(text: &str) -> Result<Self, TopicError> {
                Self::parse(text)
            }
        }
    )*};
}

as_text!(Topic, Pattern, Filter);

impl From<Topic> for Filter {
    fn from(topic: Topic) -> Self {
        Self::Topic(topic)
    }
}

impl From<Pattern> for Filter {
    fn from(pattern: Pattern) -> Self {
        Self::Pattern(pattern)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Filter {}

impl Hash for Filter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Filter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Filter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}
