//! What `topichub subscribe` and `topichub publish` may say beside topic and data, within the limits of the wire.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use topichub::protocol::command::{MAX_RATE_RANGE, NAME_BYTES_MAX, REPLAY_LAST_MAX, REPLAY_SECONDS_MAX};
use topichub::protocol::position::OFFSET_LIMIT;
use topichub::protocol::{Meta, MetaError, PublishOptions, Replay, SlowPolicy, SubscribeOptions};
use topichub::{Filter, Position};

use super::{Exit, Failure};

/// How to be served.
#[derive(Debug, clap::Args)]
pub(crate) struct Delivery {
    /// Begin with the last N messages of each topic
    #[arg(long, value_name = "N", group = "replay", value_parser = clap::value_parser!(u64).range(..=REPLAY_LAST_MAX))]
    last: Option<u64>,
    /// Begin with the messages of the last N seconds
    #[arg(long, value_name = "N", group = "replay", value_parser = clap::value_parser!(u64).range(1..=REPLAY_SECONDS_MAX))]
    seconds: Option<u64>,
    /// Begin with what came after this position; for one topic
    #[arg(long, value_name = "EPOCH:OFFSET", group = "replay")]
    after: Option<Position>,
    /// What is to happen if we cannot keep up [default: as the server has it]
    #[arg(long, value_name = "POLICY", value_parser = policies())]
    slow: Option<SlowPolicy>,
    /// The most messages per second of each topic, the newest
    #[arg(long, value_name = "N", value_parser = parse_max_rate)]
    max_rate: Option<Interval>,
    /// Share the messages with the other members of this group
    #[arg(long, value_name = "NAME", value_parser = parse_name, conflicts_with_all = ["replay", "slow", "max_rate"])]
    group: Option<Box<str>>,
}

/// Who we are.
#[derive(clap::Args)]
pub(crate) struct Credential {
    /// A token or an API key, for servers that want to know who asks
    #[arg(long, value_name = "TOKEN", env = "TOPICHUB_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Credential {
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl std::fmt::Debug for Credential {
    /// Tokens are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}

/// What becomes of a rate.
#[derive(Clone, Copy, Debug)]
struct Interval(Duration);

/// What is said of every message.
#[derive(Debug, clap::Args)]
pub(crate) struct Label {
    /// Which of the topic's things the messages are about
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    key: Option<Box<str>>,
    /// How long they are worth having, such as 30s; later they are not replayed
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// A second DATA of this name is taken for a repeat of the first
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    dedup: Option<Box<str>>,
    /// Publish DATA only if the topic's last offset is N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..OFFSET_LIMIT))]
    if_offset: Option<u64>,
    /// Pass this along; may be said several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_entry)]
    meta: Vec<(Box<str>, Box<str>)>,
}

/// Options that do not fit together.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("--after is for one topic, not for patterns or several")]
    AfterSeveral,
    #[error("--dedup and --if-offset are for one message")]
    OneMessage,
    #[error("--meta: {0}")]
    Meta(#[from] MetaError),
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        let advice = match unfit {
            Unfit::AfterSeveral => Some("use --last or --seconds, or one command for each topic"),
            Unfit::OneMessage => Some("say DATA on the command line"),
            Unfit::Meta(_) => None,
        };
        Failure::new(Exit::Usage, &unfit, advice)
    }
}

impl Delivery {
    pub(crate) fn options(self, filters: &[Filter]) -> Result<SubscribeOptions, Failure> {
        let Self { last, seconds, after, slow, max_rate, group } = self;
        if after.is_some() && !matches!(filters, [Filter::Topic(_)]) {
            return Err(Unfit::AfterSeveral.into());
        }
        let replay = last.map(Replay::Last).or(seconds.map(Replay::Seconds)).or(after.map(Replay::After));
        let interval = max_rate.map(|Interval(interval)| interval);
        Ok(SubscribeOptions { replay, slow, interval, group, ..SubscribeOptions::default() })
    }
}

impl Label {
    /// For messages that come from the command line or, `many`, from standard input.
    pub(crate) fn options(self, many: bool) -> Result<Option<Box<PublishOptions>>, Failure> {
        let Self { key, ttl, dedup, if_offset, meta } = self;
        if many && (dedup.is_some() || if_offset.is_some()) {
            return Err(Unfit::OneMessage.into());
        }
        let meta = if meta.is_empty() { None } else { Some(Meta::new(meta).map_err(Unfit::from)?) };
        let options = PublishOptions { key, meta, ttl, dedup, if_offset, exclude: Vec::new() };
        Ok((options != PublishOptions::default()).then(|| Box::new(options)))
    }
}

fn policies() -> impl TypedValueParser<Value = SlowPolicy> {
    PossibleValuesParser::new(SlowPolicy::ALL.map(SlowPolicy::as_str))
        .try_map(|word| SlowPolicy::parse(&word).ok_or("not a policy"))
}

fn parse_max_rate(text: &str) -> Result<Interval, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !MAX_RATE_RANGE.contains(&rate) {
        let (min, max) = (MAX_RATE_RANGE.start(), MAX_RATE_RANGE.end());
        return Err(format!("a rate is {min} to {max} messages per second"));
    }
    Ok(Interval(Duration::from_secs_f64(1.0 / rate)))
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (1..u128::from(OFFSET_LIMIT)).contains(&ttl.as_millis()) {
        Ok(ttl)
    } else {
        Err("at least 1ms, at most 2^53 - 1 of them".to_owned())
    }
}

/// `key`, `dedup` and `group`.
pub(crate) fn parse_name(text: &str) -> Result<Box<str>, String> {
    if !(1..=NAME_BYTES_MAX).contains(&text.len()) {
        return Err(format!("must be 1 to {NAME_BYTES_MAX} bytes long, got {}", text.len()));
    }
    if text.contains(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(text.into())
}

fn parse_entry(text: &str) -> Result<(Box<str>, Box<str>), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    Ok((name.into(), value.into()))
}
