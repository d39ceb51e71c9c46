//! Rules for topics: what is remembered of them, and how slow readers may be treated. The first rule whose pattern
//! matches counts; where they are written down (a file, a program) is not known here.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use topichub_protocol::command::SlowPolicy;
use topichub_protocol::topic::{Filter, Pattern, SYSTEM_TOKEN, Token, Topic, TopicError};

use crate::settings::HumanTime;

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
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicRule {
    /// Which topics: a name, or a pattern with `*` for one token and `>` for one or more at the end.
    #[serde(deserialize_with = "filter")]
    #[cfg_attr(feature = "cli", schemars(with = "String", example = "chat.>"))]
    pub pattern: Filter,
    /// What is remembered of them: whichever limit is reached first.
    #[serde(default)]
    pub history: HistoryRule,
    /// What happens to a subscription that does not say it, when its reader cannot keep up: it is disconnected
    /// ("disconnect"), or misses messages ("drop"), or gets the newest only, of the topic ("latest") or of each key
    /// ("latest-per-key").
    #[serde(default = "slow_default", deserialize_with = "slow")]
    #[cfg_attr(feature = "cli", schemars(with = "String", extend("default" = slow_default().as_str())))]
    pub slow: SlowPolicy,
    /// What a subscription may say instead. `slow` itself must be among it.
    #[serde(default = "slow_allowed_default", deserialize_with = "slow_allowed")]
    #[cfg_attr(
        feature = "cli",
        schemars(with = "Vec<String>", extend("default" = SlowPolicy::ALL.map(SlowPolicy::as_str)))
    )]
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
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HistoryRule {
    /// The most messages; 0 remembers none.
    pub messages: usize,
    /// The most bytes of payloads.
    pub bytes: usize,
    /// The greatest age.
    #[serde(with = "HumanTime")]
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

/// What is remembered of the server's own topics, whatever is set for others. Of the stats a slow reader gets the latest,
/// and older ones are no news.
fn own() -> impl Iterator<Item = TopicRule> {
    const STATS_AGE: Duration = Duration::from_secs(5);
    let stats = TopicRule::new("$sys.stats").map(|rule| {
        let rule = rule.with_history(HistoryRule::last(1).for_age(STATS_AGE));
        rule.with_slow(SlowPolicy::Latest, &SlowPolicy::ALL)
    });
    let sessions = TopicRule::new("$sys.sessions");
    let sessions = sessions.map(|rule| rule.with_history(HistoryRule::last(100)));
    [stats, sessions].into_iter().flatten()
}

impl Rules {
    /// These, behind the server's own.
    pub(crate) fn new(rules: Vec<TopicRule>) -> Self {
        Self(own().chain(rules).collect())
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
    let text = String::deserialize(deserializer)?;
    let no_filter = |error| D::Error::custom(format!("{text:?} is no topic or pattern: {error}"));
    Filter::parse(&text).map_err(no_filter)
}

/// A policy by its word on the wire.
struct Word(SlowPolicy);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let no_policy = || {
            let known = SlowPolicy::ALL.map(|policy| format!("{:?}", policy.as_str())).join(", ");
            D::Error::custom(format!("{word:?} is no policy, expected one of {known}"))
        };
        SlowPolicy::parse(&word).map(Self).ok_or_else(no_policy)
    }
}

fn slow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SlowPolicy, D::Error> {
    Word::deserialize(deserializer).map(|Word(policy)| policy)
}

fn slow_allowed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SlowPolicy>, D::Error> {
    let words = Vec::<Word>::deserialize(deserializer)?;
    Ok(words.into_iter().map(|Word(policy)| policy).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_that_is_set_is_about_the_servers_own_topics() {
        let everything = super::TopicRule::new("$sys.>").unwrap().with_history(super::HistoryRule::last(7));
        let rules = super::Rules::new(vec![everything]);
        for (name, messages) in [("$sys.stats", 1), ("$sys.sessions", 100), ("$sys.other", 7)] {
            assert_eq!(rules.history(&super::Topic::parse(name).unwrap()).messages, messages, "{name}");
        }
    }

    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    fn messages(rules: &Rules, topic: &str) -> usize {
        rules.history(&Topic::parse(topic).unwrap()).messages
    }

    #[test]
    fn the_first_rule_that_matches_a_topic_counts() {
        let rule =
            |pattern, messages| TopicRule::new(pattern).unwrap().with_history(HistoryRule::last(messages));
        let rules = Rules::new(vec![rule("chat.lobby", 9), rule("chat.*", 8), rule("chat.>", 7)]);
        for (topic, expected) in
            [("chat.lobby", 9), ("chat.x", 8), ("chat.x.y", 7), ("chat", 1), ("$sys.x", 1)]
        {
            assert_eq!(messages(&rules, topic), expected, "{topic}");
        }
    }

    #[test]
    fn for_a_pattern_the_first_rule_counts_that_speaks_for_all_of_it() {
        let rule = |pattern, slow| TopicRule::new(pattern).unwrap().with_slow(slow, &[slow]);
        let rules = Rules::new(vec![
            rule("ticker.AAPL", SlowPolicy::Drop),
            rule("ticker.>", SlowPolicy::Latest),
            rule("*.*", SlowPolicy::LatestPerKey),
        ]);
        let slow = |text| rules.slow(&filter(text)).0;
        assert_eq!(slow("ticker.AAPL"), SlowPolicy::Drop);
        assert_eq!(slow("ticker.*"), SlowPolicy::Latest);
        assert_eq!(slow("*.AAPL"), SlowPolicy::LatestPerKey);
        assert_eq!(rules.slow(&filter(">")), (SlowPolicy::Disconnect, &SlowPolicy::ALL[..]));
    }

    #[test]
    fn rules_are_written_with_what_differs_from_the_defaults() {
        let rule: TopicRule =
            rule_of(r#"{"pattern": "a.>", "history": {"age": "10m"}, "slow": "latest"}"#).unwrap();
        let history = HistoryRule::default().for_age(Duration::from_secs(600));
        let expected = TopicRule::new("a.>").unwrap().with_history(history);
        assert_eq!(rule, expected.with_slow(SlowPolicy::Latest, &SlowPolicy::ALL));
        assert_eq!(rule_of(r#"{"pattern": "a"}"#).unwrap(), TopicRule::new("a").unwrap());
    }

    #[test]
    fn a_rule_with_a_mistake_says_which() {
        let said = |text| rule_of(text).unwrap_err();
        assert!(said(r#"{"history": {}}"#).contains("missing field `pattern`"));
        assert!(said(r#"{"pattern": "a..b"}"#).contains("empty token at byte 2"));
        assert!(
            said(r#"{"pattern": "a", "slow": "lates"}"#)
                .contains("\"lates\" is no policy, expected one of \"disconnect\"")
        );
        assert!(said(r#"{"pattern": "a", "histori": {}}"#).contains("unknown field `histori`"));
    }

    /// Reads a rule; the notation does not matter.
    fn rule_of(text: &str) -> Result<TopicRule, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    proptest! {
        #[test]
        fn what_a_wide_pattern_covers_it_matches_every_topic_of(
            wide in name(true),
            narrow in name(true),
            topics in prop::collection::vec(name(false), 50),
        ) {
            let (wide, narrow) = (filter(&wide), filter(&narrow));
            let outside = |text: &String| {
                let topic = Topic::parse(text).unwrap();
                narrow.matches(&topic) && !wide.matches(&topic)
            };
            if covers(&wide, &narrow) {
                prop_assert_eq!(topics.iter().find(|topic| outside(topic)), None);
            } else {
                // Wildcards read as tokens that no rule names give a topic beyond the wide pattern.
                let beyond = [vec!["z"], vec!["z", "z"]].map(|rest| {
                    let tokens = narrow.as_str().split('.').flat_map(|token| match token {
                        "*" => vec!["z"],
                        ">" => rest.clone(),
                        literal => vec![literal],
                    });
                    tokens.collect::<Vec<_>>().join(".")
                });
                prop_assert!(beyond.iter().any(outside), "{wide} covers {narrow}");
            }
        }
    }

    /// One to four tokens of few kinds, so that many match.
    fn name(with_wildcards: bool) -> impl Strategy<Value = String> {
        let tokens: &[&str] =
            if with_wildcards { &["a", "b", "$sys", "*", "*"] } else { &["a", "b", "$sys"] };
        let rest = if with_wildcards { prop_oneof![Just(""), Just(">")].boxed() } else { Just("").boxed() };
        (prop::collection::vec(prop::sample::select(tokens), 1..4), rest).prop_map(|(tokens, rest)| {
            let all = tokens.into_iter().chain((!rest.is_empty()).then_some(rest));
            all.collect::<Vec<_>>().join(".")
        })
    }
}
