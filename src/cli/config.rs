//! `topichub.toml`: its tables, and which values no server can run with. How a mistake is shown is in `config_error`.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use topichub::auth::{AuthMistake, AuthSettings, Step as AuthStep};
use topichub::{AllowedOrigin, HistoryRule, Settings, TlsSettings, TopicRule, TrustedProxy};

use super::config_error::Step::{Entry, Key};
use super::config_error::{Mistake, Step};
use super::config_sources::Merged;
use super::listen;
use super::logging::{self, Format};

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

/// All tables. What is left out has its default. A table that is added here is known to the environment, to the example
/// file and to `topichub config`; its fields need documentation for people who run servers, and a default or an example.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where and with what the server runs.
    pub(crate) server: Server,
    /// How much of everything, and how long.
    pub(crate) limits: Settings,
    /// What is logged, on standard error.
    pub(crate) log: Log,
    /// Who may do what, and how they prove who they are. Without this table nobody is asked, and anybody may publish and
    /// subscribe to everything but the server's own topics; with it nobody may do anything that is not allowed here.
    pub(crate) auth: Option<AuthSettings>,
    /// What is remembered of which topics, and what happens to their slow readers: as many of these tables as you like, and
    /// for each topic the first with a pattern that matches counts. All others have the defaults, which are shown here.
    pub(crate) topics: Vec<TopicRule>,
    /// TLS on the port: https:// and wss:// in place of http:// and ws://. The files are PEM, and are read again when they
    /// change; if what is in them then cannot be used, the log says so and the old certificate stays.
    pub(crate) tls: Option<TlsSettings>,
}

/// `[server]`.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Address and port. 127.0.0.1 is for this machine alone, 0.0.0.0 for all others too. Port 0 is any free one. Or
    /// a unix socket, for the owner and the group of the server: "unix:/run/topichub.sock".
    pub(crate) listen: String,
    /// Threads that serve connections. Left out: one for each core.
    #[schemars(example = 4)]
    pub(crate) workers: Option<usize>,
    /// An address for those who run the server, beside the other: `/healthz`, `/readyz` and `/metrics`, and nothing else, for
    /// whoever reaches it. Without TLS.
    #[schemars(example = &"127.0.0.1:9090")]
    pub(crate) admin_listen: Option<String>,
    /// Over which time clients are sent away at SIGTERM, each at a moment of its own, so that they do not come back all at
    /// once. 0s: at once, as Ctrl-C does.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("default" = "30s"))]
    pub(crate) drain: Duration,
    /// Proxies whose word about their clients counts: addresses, networks such as "10.0.0.0/8", or "unix".
    #[schemars(with = "Vec<String>", extend("default" = Vec::<String>::new()))]
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    /// Whether connections of trusted proxies begin with a PROXY header (version 1 or 2).
    pub(crate) proxy_protocol: bool,
    /// Whose web pages may use the server beside its own: "https://app.example.com", "https://*.example.com", "null",
    /// or "*" for all.
    #[schemars(with = "Vec<String>", extend("default" = Vec::<String>::new()))]
    pub(crate) allowed_origins: Vec<AllowedOrigin>,
}

/// `[log]`.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// error, warn, info, debug or trace; also by module: "info,topichub=debug".
    pub(crate) level: String,
    /// "plain" lines, or an object of JSON for each ("json"): ts, level, target, message.
    pub(crate) format: Format,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            workers: None,
            admin_listen: None,
            drain: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            allowed_origins: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Plain }
    }
}

impl Config {
    /// The first value that no server can run with.
    pub(super) fn impossible(&self) -> Option<Impossible> {
        self.impossible_server()
            .or_else(|| self.impossible_number())
            .or_else(|| self.impossible_time())
            .or_else(|| self.impossible_rule())
            .or_else(|| self.auth.as_ref()?.check().err().map(Impossible::in_auth))
    }

    /// What works, but is hardly meant.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let listen = &self.server.listen;
        let host = listen.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
        let is_local =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let mut doubts = Vec::new();
        if !is_local && self.tls.is_none() {
            doubts.push(format!(
                "{listen} is for other machines too, without TLS: what goes over the network can be read on the way"
            ));
        }
        if !is_local && self.auth.is_none() {
            doubts.push(format!(
                "whoever reaches {listen} may publish and subscribe: nobody is asked who they are"
            ));
        }
        doubts
    }

    fn impossible_server(&self) -> Option<Impossible> {
        if let Err(help) = listen::check_drain(self.server.drain) {
            return Some(Impossible::new(&[["server", "drain"]], "out of range", help));
        }
        if let Err(help) = listen::parse_address(&self.server.listen) {
            return Some(Impossible::new(&[["server", "listen"]], "not an address to listen on", help));
        }
        if let Some(help) = self.server.admin_listen.as_ref().and_then(|at| listen::parse_address(at).err()) {
            return Some(Impossible::new(&[["server", "admin_listen"]], "not an address to listen on", help));
        }
        if let Some(help) = self.server.workers.and_then(|workers| listen::check_workers(workers).err()) {
            let help = format!("{help}; leave the key out for one on each core");
            return Some(Impossible::new(&[["server", "workers"]], "not a number of workers", help));
        }
        let help = logging::parse_filter(&self.log.level).err()?;
        Some(Impossible::new(&[["log", "level"]], "not a level", help))
    }

    fn impossible_number(&self) -> Option<Impossible> {
        let limits = &self.limits;
        let numbers = [
            ("message_bytes_max", limits.message_bytes_max, 1),
            ("connections_max", limits.connections_max, 1),
            ("connections_per_address_max", limits.connections_per_address_max, 0),
            ("handshakes_max", limits.handshakes_max, 1),
            ("header_bytes_max", limits.header_bytes_max, 1024),
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
pub(super) struct Impossible {
    /// The ways to the values to blame; the first of them that somebody has written is shown.
    places: Vec<Vec<Step<'static>>>,
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

    /// In the tables of `[auth]`: the value, or else the nearest table around it.
    fn in_auth(AuthMistake { way, what, help, .. }: AuthMistake) -> Self {
        let way: Vec<_> = way
            .into_iter()
            .map(|step| match step {
                AuthStep::Key(key) => Key(key),
                AuthStep::Entry(index) => Entry(index),
            })
            .collect();
        Self { places: (1..=way.len()).rev().map(|len| way[..len].to_vec()).collect(), what, help }
    }

    pub(super) fn into_mistake(self, merged: &Merged<'_>) -> Box<Mistake> {
        let named = |step: &Step<'static>| match step {
            Key(key) => Some(*key),
            Entry(_) => None,
        };
        let found =
            |way: &Vec<Step<'static>>| Some((way.iter().rev().find_map(named)?, merged.value(way)?.span()));
        let (message, place) = match self.places.iter().find_map(found) {
            Some((key, place)) => (format!("impossible value for `{key}`"), Some(place)),
            None => (self.what.to_owned(), None),
        };
        merged.mistake(place, message, self.what, Some(self.help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_for_other_machines_is_told_what_that_means() {
        let doubts = |listen: &str| {
            let server = Server { listen: listen.to_owned(), ..Server::default() };
            Config { server, ..Config::default() }.doubts().len()
        };
        for local in ["127.0.0.1:80", "127.0.0.9:80", "[::1]:80", "localhost:80"] {
            assert_eq!(doubts(local), 0, "{local}");
        }
        for open in ["0.0.0.0:80", "[::]:80", "hub.example:80"] {
            assert_eq!(doubts(open), 2, "{open}");
        }
    }
}
