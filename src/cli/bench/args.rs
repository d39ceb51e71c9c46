//! What can be said after `topichub bench`. Whether it fits together is decided in `plan`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use topichub::protocol::SlowPolicy;
use topichub_client::ServerUrl;

use super::stamp::PAYLOAD_BYTES_MIN;
use crate::cli::listen;

/// What a server can be told at once is far below it.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(crate) const BENCH_HELP: &str = "\
Without a URL it starts a server for the run, on a core of its own where there are several, and
also says what the server spent. Every message that arrives is checked; one that is lost, doubled,
out of order or altered fails the run.

Examples:
  topichub bench fanout
      1,000 subscribers, messages one by one for 10 s
  topichub bench fanout ws://hub.example.com --subscribers 5000 --rate 20
      The same with another server, 20 messages a second
  topichub bench latency --protocol mixed --deflate mixed --json > latency.json
      Percentiles at a fixed rate, for scripts
  topichub bench storm --subscribers 10000
      How long until all are back after all were cut off
  topichub bench recover --missed 100
      The same for 10,000 who want what they missed, and what others notice of it

`topichub bench SCENARIO --help` says what each can be told.

Exit codes: 0 all arrived, 1 something did not or was refused, 2 wrong usage, 3 no connection or
lost, 130 interrupted (with the figures so far).";

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(super) scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub(super) enum Scenario {
    /// One topic with many subscribers, messages one by one
    #[command(name = "fanout")]
    FanOut(FanOutArgs),
    /// One topic with many subscribers, many messages in one write
    Burst(BurstArgs),
    /// Many topics with 1 to 5 subscribers each, and many publishers that do not wait
    ManyTopics(ManyTopicsArgs),
    /// Percentiles at a fixed rate, counted from when each message was due
    Latency(LatencyArgs),
    /// Memory of the server for each idle connection
    Idle(IdleArgs),
    /// All connections are cut at once and come back
    Storm(StormArgs),
    /// All are cut, miss messages, and come back for them; beside readers of another topic
    Recover(RecoverArgs),
    /// What readers that have stopped reading do to the others
    Slow(SlowArgs),
}

/// What every scenario can be told.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// The server: ws://HOST:PORT or http://HOST:PORT [default: one started for the run]
    #[arg(value_name = "URL")]
    pub(super) url: Option<ServerUrl>,
    /// How messages go over the wire; mixed is every other subscriber
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Protocols::Json)]
    pub(super) protocol: Protocols,
    /// Whether subscribers offer permessage-deflate; mixed is half of them
    #[arg(long, value_name = "WHO", value_enum, default_value_t = Deflate::Off)]
    pub(super) deflate: Deflate,
    /// Threads of the server that is started
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "url", value_parser = listen::parse_workers)]
    pub(super) workers: usize,
    /// The process of the server at URL, if it is on this machine: for its processor time and memory
    #[arg(long, value_name = "PID", requires = "url")]
    pub(super) pid: Option<u32>,
    /// How long nothing may arrive before what is missing counts as lost
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub(super) timeout: Duration,
    /// Print one JSON object with every figure instead of the table
    #[arg(long)]
    pub(super) json: bool,
}

/// How long it goes on.
#[derive(Debug, clap::Args)]
pub(super) struct LengthArgs {
    /// How long to publish
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub(super) duration: Duration,
    /// How many messages to publish, in place of --duration
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(super) messages: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(super) struct FanOutArgs {
    /// Connections that subscribe
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) subscribers: u32,
    /// Length of each message, as JSON, in bytes
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_payload_bytes)]
    pub(super) payload_bytes: usize,
    #[command(flatten)]
    pub(super) length: LengthArgs,
    /// Messages per second [default: the next when all have the last]
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(super) rate: Option<f64>,
    /// Messages of the past that the server keeps of the topic, 0 for none [default: what it does by itself]
    #[arg(long, value_name = "N", conflicts_with = "url", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(super) history: Option<u32>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct BurstArgs {
    /// Messages in one write of the publisher
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(super) burst: u32,
    #[command(flatten)]
    pub(super) fan_out: FanOutArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManyTopicsArgs {
    /// Topics; they have 1, 2, 3 and so on subscribers in turn
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) topics: u32,
    /// The most subscribers of a topic
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) topic_subscribers_max: u32,
    /// Connections over which the subscriptions are spread
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) subscribers: u32,
    /// Connections that publish
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) publishers: u32,
    /// Messages of each publisher that may wait for the server's reply
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) window: u32,
    /// Length of each message, as JSON, in bytes
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_payload_bytes)]
    pub(super) payload_bytes: usize,
    #[command(flatten)]
    pub(super) length: LengthArgs,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct LatencyArgs {
    /// Connections that subscribe
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) subscribers: u32,
    /// Length of each message, as JSON, in bytes
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_payload_bytes)]
    pub(super) payload_bytes: usize,
    #[command(flatten)]
    pub(super) length: LengthArgs,
    /// Messages per second
    #[arg(long, value_name = "N", default_value = "50", value_parser = parse_rate)]
    pub(super) rate: f64,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct IdleArgs {
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) subscribers: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct StormArgs {
    /// Connections, each subscribed to one topic
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) subscribers: u32,
    /// How long a connection may try to come back
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub(super) patience: Duration,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct RecoverArgs {
    /// Connections that are cut, each subscribed to one topic
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) subscribers: u32,
    /// Topics, over which they are spread
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) topics: u32,
    /// Messages published to each topic while they are away; a server at URL must keep as many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) missed: u32,
    /// How many come back in a second, evenly, as with clients that back off at random [default: all at once]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(super) at: Option<f64>,
    /// Connections that read another topic all the time, on a thread of their own
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) healthy: u32,
    /// Messages per second of that topic
    #[arg(long, value_name = "N", default_value = "200", value_parser = parse_rate)]
    pub(super) healthy_rate: f64,
    /// How long that topic is measured undisturbed before all are cut
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_time)]
    pub(super) quiet: Duration,
    /// Length of each message, as JSON, in bytes
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_payload_bytes)]
    pub(super) payload_bytes: usize,
    /// How long a connection may try to come back
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub(super) patience: Duration,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct SlowArgs {
    /// Connections that read
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) subscribers: u32,
    /// Connections that never read [default: one for each hundred that do]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) stalled: Option<u32>,
    /// What all of them ask the server to do when they cannot keep up; with latest-per-key, messages have ten keys in
    /// turn. Who takes nothing for its stall_timeout, 30s by default, is disconnected anyhow [default: they ask for
    /// nothing, and the server disconnects them]
    #[arg(long, value_name = "NAME", value_enum)]
    pub(super) policy: Option<Policy>,
    /// Length of each message, as JSON, in bytes
    #[arg(long, value_name = "N", default_value = "16384", value_parser = parse_payload_bytes)]
    pub(super) payload_bytes: usize,
    #[command(flatten)]
    pub(super) length: LengthArgs,
    /// Messages per second
    #[arg(long, value_name = "N", default_value = "50", value_parser = parse_rate)]
    pub(super) rate: f64,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Which subprotocols the subscribers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocols {
    Json,
    #[value(name = "msgpack")]
    MsgPack,
    Mixed,
}

/// Who offers permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Deflate {
    Off,
    On,
    Mixed,
}

/// What is to happen to a reader that cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Policy {
    Disconnect,
    Drop,
    Latest,
    LatestPerKey,
}

impl From<Policy> for SlowPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Disconnect => Self::Disconnect,
            Policy::Drop => Self::Drop,
            Policy::Latest => Self::Latest,
            Policy::LatestPerKey => Self::LatestPerKey,
        }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time =
        humantime::parse_duration(text).map_err(|_| "a time is such as 500ms, 10s or 2m".to_owned())?;
    let possible = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
    if possible.contains(&time) { Ok(time) } else { Err("1ms to 1day are possible".to_owned()) }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=1_000_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("a rate is 0.001 to 1000000".to_owned())
    }
}

fn parse_payload_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().map_err(|_| "not a whole number".to_owned())?;
    if (PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!(
            "{PAYLOAD_BYTES_MIN} to {PAYLOAD_BYTES_MAX} bytes are possible: a message carries its number and its time"
        ))
    }
}
