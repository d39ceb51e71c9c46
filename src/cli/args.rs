//! What can be said on the command line. The help texts teach by example and are snapshot-tested.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use topichub::protocol::Codec;
use topichub::{Filter, Topic};
use topichub_client::ServerUrl;

use super::bench::args::{BENCH_HELP, BenchArgs};
use super::listen;
use super::logging::{self, Format};
use super::options::{Credential, Delivery, Label};
use super::token::{TOKEN_HELP, TokenArgs};

const EXAMPLES: &str = "\
Examples:
  topichub serve --demo
      Start a server with live sample data, and open http://127.0.0.1:8080
  topichub subscribe ws://127.0.0.1:8080 'ticker.>'
      Watch every topic that begins with ticker.
  topichub publish ws://127.0.0.1:8080 sports.demo '{\"home\":3}'
      Send one message to all who watch sports.demo

`topichub COMMAND --help` says more about each.";

const SERVE_HELP: &str = "\
Examples:
  topichub serve --demo
      Sample data and pages to look at, on http://127.0.0.1:8080
  topichub serve --listen 0.0.0.0:80 --workers 4
      For other machines too, with four threads
  topichub serve --config topichub.toml
      As the file says; the environment and flags win over it
  TOPICHUB_LISTEN=127.0.0.1:0 topichub serve
      On any free port; the first lines of the log say which

WebSockets are at /ws, the HTTP API at /topics/TOPIC and /publish, sample pages at /.
SIGTERM and Ctrl-C tell every client to come back, and stop; a second one stops at once. SIGHUP
reads the configuration again: rules for topics, keys and roles, certificates, most limits and the
log's level change while the server runs.

Exit codes: 0 stopped as asked, 1 could not start (port taken, bad file), 2 wrong usage.";

const CHECK_HELP: &str = "\
Example:
  topichub check --config topichub.toml && systemctl reload topichub

Environment variables count as they do for `serve`. What is doubtful is told on standard error.

Exit codes: 0 the file is sound, 1 it is not, 2 wrong usage.";

const CONFIG_HELP: &str = "\
Examples:
  topichub config --config topichub.toml
      What `serve` would use: all keys, and behind those that are not defaults where they come from
  topichub config --default > topichub.toml
      A file to begin with: every key with its documentation and default

Secrets are shown as ***.

Exit codes: 0 shown, 1 there is a mistake in file or environment, 2 wrong usage.";

const PUBLISH_HELP: &str = "\
DATA and lines are JSON: 1.5, \"text in quotes\", [lists], {\"maps\": 1}, true, false, null.
Blank lines are passed over. With --string both are text, taken as it is.

Examples:
  topichub publish ws://127.0.0.1:8080 sports.demo '{\"home\":3}'
      One message
  topichub publish ws://127.0.0.1:8080 chat.lobby --string 'good morning'
      One message that is text
  tail -f scores.ndjson | topichub publish ws://127.0.0.1:8080 sports.demo
      One message for each line of standard input
  topichub publish http://127.0.0.1:8080 ticker.X 7 --protocol msgpack --verbose
      In MessagePack; --verbose prints {\"topic\":…,\"epoch\":…,\"offset\":…} for each
  topichub publish ws://127.0.0.1:8080 seats '\"taken\"' --key r3-14 --meta by=web --ttl 30s
      About one seat, with a note for the subscribers, and not replayed after 30 seconds
  topichub publish ws://127.0.0.1:8080 orders '{\"sum\":9}' --dedup order-7
      However often this is run, it is published once
  topichub publish ws://127.0.0.1:8080 seats '\"free\"' --if-offset 8
      Only if nobody has published since offset 8

Every message is answered for: what is not JSON or what the server refuses is named with its
line on standard error; the others are published all the same.

Exit codes: 0 all published, 1 some refused, 2 wrong usage, 3 no connection or lost,
130 interrupted.";

const SUBSCRIBE_HELP: &str = "\
Each message is one line of JSON on standard output:
  {\"topic\":\"ticker.AAPL\",\"offset\":44,\"data\":{\"price\":190.1}}
Data that is bytes comes as \"data_base64\" in place of \"data\"; \"key\" and \"meta\" follow if there are any.
What does not come is a line on standard error: gap in ticker.AAPL: 45 to 57 (conflated)
A lost connection is told there too; what has been missed follows when there is another one.

Examples:
  topichub subscribe ws://127.0.0.1:8080 ticker.AAPL clock
      Two topics
  topichub subscribe ws://127.0.0.1:8080 'sports.>' 'ticker.*'
      Patterns: * is one token, > is one or more at the end; quote them for the shell
  topichub subscribe ws://127.0.0.1:8080 'ticker.>' --count 10 | jq .data.price
      Ten messages, then the end
  topichub subscribe ws://127.0.0.1:8080 'sports.>' --last 1
      The last message of each topic, and then what is new
  topichub subscribe ws://127.0.0.1:8080 ticker.AAPL --seconds 60
      The last minute, and then what is new
  topichub subscribe ws://127.0.0.1:8080 ticker.AAPL --after k3v9:44
      On from a position, as `subscribed to` named one
  topichub subscribe ws://127.0.0.1:8080 'ticker.>' --slow latest --max-rate 2
      Two a second of each topic at the most, and of what we are too slow for the newest
  topichub subscribe ws://127.0.0.1:8080 orders --group workers
      Started twice, each order comes to one of them

Exit codes: 0 done (--count reached, Ctrl-C, or nobody reads the output any more),
1 the server refused, 2 wrong usage, 3 no connection to begin with, or an end that the server
wants to be the last (with --no-reconnect: any).";

/// A publish/subscribe broker over WebSockets: the server, and a client for the terminal.
#[derive(Debug, Parser)]
#[command(name = "topichub", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Check a configuration file without using it
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Show the configuration that counts, and where it comes from
    #[command(after_help = CONFIG_HELP)]
    Config(ConfigArgs),
    /// Publish one message, or one for each line of standard input
    #[command(after_help = PUBLISH_HELP)]
    Publish(PublishArgs),
    /// Print the messages of topics, one line of JSON each
    #[command(after_help = SUBSCRIBE_HELP)]
    Subscribe(SubscribeArgs),
    /// Make a token or an API key, or look into one
    #[command(after_help = TOKEN_HELP)]
    Token(Box<TokenArgs>),
    /// Load a server and measure it
    #[command(after_help = BENCH_HELP)]
    Bench(BenchArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Address and port; port 0 is any free one [default: 127.0.0.1:8080] [env: TOPICHUB_LISTEN]
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen::parse_address)]
    pub(crate) listen: Option<String>,
    /// Threads that serve connections [default: one for each core] [env: TOPICHUB_WORKERS]
    #[arg(long, value_name = "N", value_parser = listen::parse_workers)]
    pub(crate) workers: Option<usize>,
    /// Over which time clients are sent away at SIGTERM; Ctrl-C sends them away at once [default: 30s] [env:
    /// TOPICHUB_DRAIN]
    #[arg(long, value_name = "TIME", value_parser = listen::parse_drain)]
    pub(crate) drain: Option<Duration>,
    /// Configuration file; `topichub config --default` prints one with every key
    #[arg(long, value_name = "FILE", env = "TOPICHUB_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// What to log on standard error: error, warn, info, debug or trace, also by module as in
    /// info,topichub=debug [default: RUST_LOG, or info] [env: TOPICHUB_LOG]
    #[arg(long, value_name = "FILTER", value_parser = logging::parse_filter)]
    pub(crate) log: Option<String>,
    /// How the log looks: plain, or json for an object a line [default: plain] [env: TOPICHUB_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) log_format: Option<Format>,
    /// Let anybody do everything, the server's own topics and its administration included, whatever [auth] says: for
    /// development
    #[arg(long, env = "TOPICHUB_OPEN", hide_env_values = true)]
    pub(crate) open: bool,
    /// Publish sample data: this machine's load, a clock, recorded prices and matches
    #[arg(long, env = "TOPICHUB_DEMO", hide_env_values = true)]
    pub(crate) demo: bool,
    /// How fast recordings are replayed: 2 is twice as fast, 0.5 half
    #[arg(long, value_name = "FACTOR", default_value = "1", requires = "demo", value_parser = parse_pace)]
    pub(crate) demo_pace: f64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TOPICHUB_CONFIG", hide_env_values = true)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "TOPICHUB_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print an example file in place of what counts
    #[arg(long)]
    pub(crate) default: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    /// The server: ws://HOST:PORT or http://HOST:PORT, over TLS wss:// or https://
    #[arg(value_name = "URL")]
    pub(crate) url: ServerUrl,
    /// Where to publish, such as sports.nba.lakers
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Topic,
    /// The message; without it or with `-`, each line of standard input is one
    #[arg(value_name = "DATA", allow_negative_numbers = true)]
    pub(crate) data: Option<String>,
    /// Take DATA and lines as text rather than JSON
    #[arg(long)]
    pub(crate) string: bool,
    /// How messages go over the wire
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Protocol::Json)]
    pub(crate) protocol: Protocol,
    #[command(flatten)]
    pub(crate) credential: Credential,
    /// Print the server's reply to each message
    #[arg(long, short)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) label: Label,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SubscribeArgs {
    /// The server: ws://HOST:PORT or http://HOST:PORT, over TLS wss:// or https://
    #[arg(value_name = "URL")]
    pub(crate) url: ServerUrl,
    /// Topics, or patterns with the wildcards * and >
    #[arg(value_name = "TOPIC", required = true)]
    pub(crate) topics: Vec<Filter>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How messages go over the wire
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Protocol::Json)]
    pub(crate) protocol: Protocol,
    #[command(flatten)]
    pub(crate) credential: Credential,
    /// End when the connection does, in place of coming back to go on where it was
    #[arg(long)]
    pub(crate) no_reconnect: bool,
    #[command(flatten)]
    pub(crate) delivery: Delivery,
}

/// A subprotocol by its short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Json,
    #[value(name = "msgpack")]
    MsgPack,
}

impl Protocol {
    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::Json => Codec::Json,
            Self::MsgPack => Codec::MsgPack,
        }
    }
}

fn parse_pace(text: &str) -> Result<f64, String> {
    let pace: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=1000.0).contains(&pace) { Ok(pace) } else { Err("a pace is 0.01 to 1000".to_owned()) }
}
