//! `topichub.toml`: its tables, and which values no server can run with. How a mistake is shown is in `config_error`.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use topichub::{HistoryRule, Settings, TlsSettings, TopicRule};

pub(super) use super::config_error::ConfigError;
use super::config_error::Step::{Entry, Key};
use super::config_error::{Mistake, Place, Step};
use super::{Exit, Failure, listen, logging};

/// The largest limit in bytes or in number.
const LIMIT_MAX: usize = 1 << 30;

/// The most memory for history: a tebibyte.
const HISTORY_BYTES_LIMIT: u64 = 1 << 40;

/// The most messages that a topic can remember.
const HISTORY_MESSAGES_LIMIT: usize = 1_000_000;

/// The shortest time that is one, where there must be one.
const MOMENT: Duration = Duration::from_millis(1);

/// The longest time that can be set.
const TIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The whole file. What is left out has its default.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) limits: Settings,
    pub(crate) log: Log,
    pub(crate) topics: Vec<TopicRule>,
    pub(crate) tls: Option<TlsSettings>,
}

/// `[server]`. `None` is: as if there were no file.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: Option<String>,
    pub(crate) workers: Option<usize>,
}

/// `[log]`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) level: Option<String>,
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self::parse(&path.display().to_string(), &text)?)
    }

    fn parse(name: &str, text: &str) -> Result<Self, Box<Mistake>> {
        let config: Self = toml::from_str(text).map_err(|error| Mistake::of_toml(name, text, &error))?;
        match config.impossible() {
            Some(impossible) => Err(impossible.into_mistake(name, text)),
            None => Ok(config),
        }
    }

    /// The first value that no server can run with.
    fn impossible(&self) -> Option<Impossible> {
        self.impossible_server()
            .or_else(|| self.impossible_number())
            .or_else(|| self.impossible_time())
            .or_else(|| self.impossible_rule())
    }

    fn impossible_server(&self) -> Option<Impossible> {
        let check_listen = |address: &String| listen::parse_address(address).err();
        if let Some(help) = self.server.listen.as_ref().and_then(check_listen) {
            return Some(Impossible::new(&[["server", "listen"]], "not an address to listen on", help));
        }
        if let Some(help) = self.server.workers.and_then(|workers| listen::check_workers(workers).err()) {
            let help = format!("{help}; leave the key out for one on each core");
            return Some(Impossible::new(&[["server", "workers"]], "not a number of workers", help));
        }
        let help = self.log.level.as_ref().and_then(|level| logging::parse_filter(level).err())?;
        Some(Impossible::new(&[["log", "level"]], "not a level", help))
    }

    fn impossible_number(&self) -> Option<Impossible> {
        let limits = &self.limits;
        let numbers = [
            ("message_bytes_max", limits.message_bytes_max, 1),
            ("connections_max", limits.connections_max, 1),
            ("connections_per_address_max", limits.connections_per_address_max, 0),
            ("handshakes_max", limits.handshakes_max, 1),
            ("topics_per_session_max", limits.topics_per_session_max, 1),
            ("outbox_bytes_max", limits.outbox_bytes_max, 1),
            ("outbox_messages_max", limits.outbox_messages_max, 1),
            ("outboxes_bytes_max", limits.outboxes_bytes_max, 1),
            ("deflate_bytes_min", limits.deflate_bytes_min, 0),
            ("session_flight_bytes_max", limits.session_flight_bytes_max, 1),
            ("local_flight_bytes_max", limits.local_flight_bytes_max, 1),
            ("batch_bytes_max", limits.batch_bytes_max, 1),
            ("unused_topics_max", limits.unused_topics_max, 0),
            ("presence_members_max", limits.presence_members_max, 0),
        ];
        let numbers = numbers.map(|(key, value, min)| (key, value as u64, min, LIMIT_MAX as u64));
        let history = ("history_bytes_max", limits.history_bytes_max as u64, 1, HISTORY_BYTES_LIMIT);
        for (key, value, min, max) in numbers.into_iter().chain([history]) {
            if !(min..=max).contains(&value) {
                let help = format!("`{key}` is {min} to {max}");
                return Some(Impossible::new(&[["limits", key]], "out of range", help));
            }
        }
        if !(1..=9).contains(&limits.deflate_level) {
            let help = "`deflate_level` is 1 (fast) to 9 (small)".to_owned();
            return Some(Impossible::new(&[["limits", "deflate_level"]], "out of range", help));
        }
        if limits.outboxes_bytes_max < limits.outbox_bytes_max {
            let places = [["limits", "outboxes_bytes_max"], ["limits", "outbox_bytes_max"]];
            let (all, one) = (limits.outboxes_bytes_max, limits.outbox_bytes_max);
            let help = format!(
                "`outboxes_bytes_max` is {all} for all readers and `outbox_bytes_max` {one} for each"
            );
            return Some(Impossible::new(
                &places,
                "`outboxes_bytes_max` must be at least `outbox_bytes_max`",
                help,
            ));
        }
        if limits.outbox_bytes_max < limits.message_bytes_max {
            let places = [["limits", "outbox_bytes_max"], ["limits", "message_bytes_max"]];
            let (outbox, message) = (limits.outbox_bytes_max, limits.message_bytes_max);
            let help = format!(
                "`outbox_bytes_max` is {outbox} and `message_bytes_max` {message}: no reader could ever have such a message"
            );
            return Some(Impossible::new(
                &places,
                "`outbox_bytes_max` must be at least `message_bytes_max`",
                help,
            ));
        }
        None
    }

    fn impossible_time(&self) -> Option<Impossible> {
        let limits = &self.limits;
        let times = [
            ("ping_interval", limits.ping_interval, MOMENT),
            ("pong_timeout", limits.pong_timeout, MOMENT),
            ("close_timeout", limits.close_timeout, MOMENT),
            ("stall_timeout", limits.stall_timeout, MOMENT),
            ("handshake_timeout", limits.handshake_timeout, MOMENT),
            ("topic_linger", limits.topic_linger, Duration::ZERO),
            ("dedup_window", limits.dedup_window, Duration::ZERO),
            ("presence_interval", limits.presence_interval, MOMENT),
        ];
        for (key, value, min) in times {
            if !(min..=TIME_MAX).contains(&value) {
                let [min, max] = [min, TIME_MAX].map(humantime::format_duration);
                let help = format!("`{key}` is {min} to {max}");
                return Some(Impossible::new(&[["limits", key]], "out of range", help));
            }
        }
        if limits.pong_timeout >= limits.ping_interval {
            let places = [["limits", "pong_timeout"], ["limits", "ping_interval"]];
            let [pong, ping] = [limits.pong_timeout, limits.ping_interval].map(humantime::format_duration);
            let help = format!(
                "`pong_timeout` is {pong} and `ping_interval` {ping}: an answer must come before the next ping"
            );
            return Some(Impossible::new(
                &places,
                "`pong_timeout` must be shorter than `ping_interval`",
                help,
            ));
        }
        None
    }

    fn impossible_rule(&self) -> Option<Impossible> {
        let impossible = |(index, rule): (usize, &TopicRule)| {
            let in_history = |key, help| {
                let places: &[&[_]] = &[&["history", key]];
                Some(Impossible::in_rule(index, places, "out of range", help))
            };
            let HistoryRule { messages, bytes, age, .. } = rule.history;
            if messages > HISTORY_MESSAGES_LIMIT {
                return in_history("messages", format!("`messages` is 0 to {HISTORY_MESSAGES_LIMIT}"));
            }
            if !(1..=LIMIT_MAX).contains(&bytes) {
                return in_history(
                    "bytes",
                    format!("`bytes` is 1 to {LIMIT_MAX}; `messages = 0` remembers nothing"),
                );
            }
            if !(MOMENT..=TIME_MAX).contains(&age) {
                let [min, max] = [MOMENT, TIME_MAX].map(humantime::format_duration);
                return in_history(
                    "age",
                    format!("`age` is {min} to {max}; `messages = 0` remembers nothing"),
                );
            }
            if !rule.slow_allowed.contains(&rule.slow) {
                let slow = rule.slow.as_str();
                let help = format!("`slow` is {slow:?} for this rule, so `slow_allowed` must name it");
                let places: &[&[_]] = &[&["slow_allowed"], &["slow"]];
                return Some(Impossible::in_rule(
                    index,
                    places,
                    "`slow` must be one of `slow_allowed`",
                    help,
                ));
            }
            None
        };
        self.topics.iter().enumerate().find_map(impossible)
    }
}

/// A sound value that makes no sense.
struct Impossible {
    /// The ways to the values to blame; the first of them that the file holds is shown.
    places: Vec<Vec<Step>>,
    what: &'static str,
    help: String,
}

impl Impossible {
    fn new(places: &[[&'static str; 2]], what: &'static str, help: String) -> Self {
        let places = places.iter().map(|[table, key]| vec![Key(table), Key(key)]).collect();
        Self { places, what, help }
    }

    /// In the rule of this index.
    fn in_rule(index: usize, places: &[&[&'static str]], what: &'static str, help: String) -> Self {
        let place = |keys: &&[&'static str]| {
            [Key("topics"), Entry(index)].into_iter().chain(keys.iter().copied().map(Key)).collect()
        };
        Self { places: places.iter().map(place).collect(), what, help }
    }

    fn into_mistake(self, name: &str, text: &str) -> Box<Mistake> {
        let found = |way: &Vec<Step>| match (Place::of_value(text, way), way.last()) {
            (Some(place), Some(Key(key))) => Some((*key, place)),
            _ => None,
        };
        let (message, place) = match self.places.iter().find_map(found) {
            Some((key, place)) => (format!("impossible value for `{key}`"), Some(place)),
            None => (self.what.to_owned(), None),
        };
        Mistake::new(name, text, place, message, self.what, Some(self.help))
    }
}

/// `topichub check`.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    Config::read(path).map_err(ConfigError::into_failure)?;
    println!("{}: ok", path.display());
    Ok(())
}

impl ConfigError {
    pub(super) fn into_failure(self) -> Failure {
        match &self {
            Self::Unreadable { .. } => Failure::new(Exit::Refused, &self, None),
            Self::Mistake(mistake) => Failure { exit: Exit::Refused, text: mistake.drawn() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../topichub.example.toml");

    #[test]
    fn the_example_file_holds_the_defaults() {
        let config = Config::parse("topichub.example.toml", EXAMPLE).unwrap();
        assert_eq!(config.limits, Settings::default());
        assert_eq!(config.server.listen.as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(config.log.level.as_deref(), Some("info"));
    }

    #[test]
    fn the_example_file_tells_of_every_key() {
        for table in ["[server]", "[limits]", "[log]", "[[topics]]", "[[topics]]\n[topics.history]"] {
            let mistake = Config::parse("x", &format!("{table}\nunknown = 1")).unwrap_err();
            let known: Vec<_> = mistake.known().collect();
            assert!(!known.is_empty());
            for key in known {
                let assigned = format!("{key} = ");
                let told = EXAMPLE.lines().map(|line| line.trim_start_matches("# ")).any(|line| {
                    line.starts_with(&assigned)
                        || line.starts_with("history = {") && line.contains(&format!(" {assigned}"))
                });
                assert!(told, "{table} {key} is not in the example");
            }
        }
    }

    #[test]
    fn the_rule_in_the_example_file_is_one() {
        let (_, rule) = EXAMPLE.split_once("\n# [[topics]]\n").unwrap();
        let lines = rule.lines().map_while(|line| line.strip_prefix("# "));
        let text = format!("[[topics]]\n{}", lines.collect::<Vec<_>>().join("\n"));
        let history = HistoryRule::last(100).for_age(Duration::from_secs(600));
        let expected = TopicRule::new("chat.>").unwrap().with_history(history);
        assert_eq!(Config::parse("x", &text).unwrap().topics, [expected]);
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(Config::parse("x", "").unwrap(), Config::default());
    }
}
