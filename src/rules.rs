//! Rules for topics: what is remembered of them, and how slow readers may be treated. The first rule whose pattern
//! matches counts; where they are written down (a file, a program) is not known here.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use topichub_protocol::command::SlowPolicy;
use topichub_protocol::topic::{Filter, Pattern, SYSTEM_TOKEN, Token, Topic, TopicError};

/// What is set for the topics of one name or pattern.
///
/// ```
/// use std::time::Duration;
/// use topichub::{HistoryRule, TopicRule};
///
/// let mut settings = topichub::Settings::default();
/// let history = HistoryRule::last(100).for_age(Duration::from_secs(600));
/// settings.topics.push(TopicRule::new("chat.>")?.with_history(history));
/// # Ok::<(), topichub::protocol::topic::TopicError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicRule {
    /// Which topics.
    #[serde(deserialize_with = "filter")]
    pub pattern: Filter,
    /// What is remembered of them.
    #[serde(default)]
    pub history: HistoryRule,
    /// What happens to a subscription that says nothing, when its reader cannot keep up.
    #[serde(default = "slow_default", deserialize_with = "slow")]
    pub slow: SlowPolicy,
    /// What a subscription may say; `slow` itself it always may.
    #[serde(default = "slow_allowed_default", deserialize_with = "slow_allowed")]
    pub slow_allowed: Vec<SlowPolicy>,
}

impl TopicRule {
    /// A rule with the defaults for a topic or pattern.
    ///
    /// # Errors
    /// If `pattern` is neither.
    pub fn new(pattern: &str) -> Result<Self, TopicError> {
        Ok(Self {
            pattern: Filter::parse(pattern)?,
            history: HistoryRule::default(),
            slow: slow_default(),
            slow_allowed: slow_allowed_default(),
        })
    }

    /// The same, remembering as much as `history` says.
    pub fn with_history(mut self, history: HistoryRule) -> Self {
        self.history = history;
        self
    }

    /// The same with `slow` for subscriptions that say nothing; others may say one of `allowed`.
    pub fn with_slow(mut self, slow: SlowPolicy, allowed: &[SlowPolicy]) -> Self {
        (self.slow, self.slow_allowed) = (slow, allowed.to_vec());
        self
    }
}

/// How much of a topic is remembered: whichever limit is reached first. The default is the last message, for an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HistoryRule {
    /// The most messages; 0 remembers none.
    pub messages: usize,
    /// The most bytes of payloads.
    pub bytes: usize,
    /// The greatest age.
    #[serde(with = "humantime_serde")]
    pub age: Duration,
}

impl HistoryRule {
    /// The last `messages`, as old and long as by default: an hour, 1 MiB.
    pub fn last(messages: usize) -> Self {
        Self { messages, ..Self::default() }
    }

    /// The same with messages up to this age.
    pub fn for_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// The same with at most so many bytes of payloads.
    pub fn up_to_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}

impl Default for HistoryRule {
    fn default() -> Self {
        Self { messages: 1, bytes: 1024 * 1024, age: Duration::from_secs(3600) }
    }
}

/// The rules of a hub, in their order. Behind all of them stand the defaults for every topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Box<[TopicRule]>);

impl Rules {
    pub(crate) fn new(rules: Vec<TopicRule>) -> Self {
        Self(rules.into())
    }

    /// What is remembered of a topic.
    pub(crate) fn history(&self, topic: &Topic) -> HistoryRule {
        self.0.iter().find(|rule| rule.pattern.matches(topic)).map(|rule| rule.history).unwrap_or_default()
    }

    /// What happens to a slow subscription that says nothing, and what it may say instead. For a pattern the first
    /// rule counts that speaks for every topic of it.
    pub(crate) fn slow(&self, filter: &Filter) -> (SlowPolicy, &[SlowPolicy]) {
        match self.0.iter().find(|rule| covers(&rule.pattern, filter)) {
            Some(rule) => (rule.slow, &rule.slow_allowed),
            None => (slow_default(), &SlowPolicy::ALL),
        }
    }
}

/// Whether every topic that `narrow` matches is matched by `wide`.
fn covers(wide: &Filter, narrow: &Filter) -> bool {
    let (Filter::Pattern(wide), Filter::Pattern(narrow)) = (wide, narrow) else {
        return match narrow {
            Filter::Topic(topic) => wide.matches(topic),
            Filter::Pattern(_) => false,
        };
    };
    let mut theirs = narrow.tokens();
    for (index, ours) in wide.tokens().enumerate() {
        let Some(token) = theirs.next() else { return false };
        match (ours, token) {
            // A wildcard in the first place does not reach the server's own topics.
            (Token::One | Token::Rest, Token::Literal(_)) if index == 0 && is_system(narrow) => {
                return false;
            }
            (Token::Rest, _) => return true,
            (Token::One, Token::One | Token::Literal(_)) => {}
            (Token::Literal(ours), Token::Literal(theirs)) if ours == theirs => {}
            _ => return false,
        }
    }
    theirs.next().is_none()
}

fn is_system(pattern: &Pattern) -> bool {
    pattern.tokens().next() == Some(Token::Literal(SYSTEM_TOKEN))
}

fn slow_default() -> SlowPolicy {
    SlowPolicy::Disconnect
}

fn slow_allowed_default() -> Vec<SlowPolicy> {
    SlowPolicy::ALL.to_vec()
}

fn filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Filter, D::Error> {
    Filter::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn policy<E: serde::de::Error>(word: &str) -> Result<SlowPolicy, E> {
    let known = SlowPolicy::ALL.map(|policy| format!("{:?}", policy.as_str())).join(", ");
    SlowPolicy::parse(word)
        .ok_or_else(|| E::custom(format!("{word:?} is no policy, expected one of {known}")))
}

fn slow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SlowPolicy, D::Error> {
    policy(&String::deserialize(deserializer)?)
}

fn slow_allowed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SlowPolicy>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|word| policy(word)).collect()
}
