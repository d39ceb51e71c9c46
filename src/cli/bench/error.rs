//! Why a run cannot be made or not be finished, and what to do about it.
//! What is wrong with messages that arrived is a finding of the run, in `faults`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use topichub::protocol::{CommandError, PayloadError, TopicError};
use topichub_client::{Error as ClientError, ServerUrl};

use crate::cli::{Exit, Failure};

/// No run, or none to the end.
#[derive(Debug, Error)]
pub(super) enum BenchError {
    #[error("bench speaks plain ws:// only")]
    Tls,
    #[error("the memory of a server that runs already is looked up by its process")]
    NoPid,
    #[error("at {rate} messages per second nothing is due within {}{}", humantime::format_duration(*.duration), burst_of(*.burst))]
    NothingDue { rate: f64, burst: u64, duration: Duration },
    #[error("{messages} messages are less than one burst of {burst}")]
    ShorterThanBurst { messages: u64, burst: u64 },
    #[error("{publishers} publishers cannot share {topics} topics: each has its own")]
    FewTopics { topics: u32, publishers: usize },
    #[error("{subscribers} subscribers cannot be spread over {topics} topics: each has one")]
    FewSubscribers { topics: u32, subscribers: usize },
    #[error("what is published may take {bytes} bytes of the server's memory, it can be told to keep {max}")]
    MuchHistory { bytes: usize, max: usize },
    #[error(
        "{needed} open files are needed, one for each connection and a few more; this machine allows {allowed}"
    )]
    OpenFiles { needed: u64, allowed: u64, connections: u64 },
    #[error("{needed} connections are wanted; this machine has {ports} local ports for them")]
    Ports { needed: usize, ports: usize },
    #[error("this machine has no local port left for {0}")]
    NoPortLeft(String),
    #[error("there is no process {0} to look at")]
    NoProcess(u32),
    #[error("the server did not start: {0}")]
    NotStarted(String),
    #[error("cannot start a server")]
    Start(#[source] io::Error),
    #[error("a message of {payload} bytes makes a command of {len} bytes, the server takes at most {max}")]
    TooLong { payload: usize, len: usize, max: u64 },
    #[error("each connection would need {needed} subscriptions, the server allows {max}")]
    TooManySubscriptions { needed: usize, max: u64 },
    #[error("the server refuses {who}: {why}")]
    Busy { who: String, why: String },
    #[error("the server refuses a command of {who}: {source}")]
    Command { who: String, source: CommandError },
    #[error(transparent)]
    Connection(#[from] ClientError),
    #[error("cannot make the topic or message")]
    Payload(#[from] PayloadError),
    #[error("cannot make the topic")]
    Topic(#[from] TopicError),
    #[error("cannot count latencies: {0}")]
    Histogram(String),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("the thread of the healthy readers has ended by itself")]
    ThreadEnded,
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("interrupted before anything was measured")]
    Interrupted,
}

fn burst_of(burst: u64) -> String {
    if burst > 1 { format!(", with bursts of {burst}") } else { String::new() }
}

impl BenchError {
    fn exit(&self) -> Exit {
        match self {
            Self::Tls
            | Self::NoPid
            | Self::NothingDue { .. }
            | Self::ShorterThanBurst { .. }
            | Self::FewTopics { .. }
            | Self::FewSubscribers { .. }
            | Self::MuchHistory { .. } => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
            _ => Exit::Refused,
        }
    }

    fn advice(&self) -> Option<String> {
        Some(match self {
            Self::Tls => "give the address behind the TLS proxy, as in ws://127.0.0.1:8080".to_owned(),
            Self::NoPid => "name it with --pid, or leave out the URL to have a server started".to_owned(),
            Self::NothingDue { .. } => "raise --rate or --duration".to_owned(),
            Self::ShorterThanBurst { .. } => "raise --messages or lower --burst".to_owned(),
            Self::FewTopics { .. } => "raise --topics or lower --publishers".to_owned(),
            Self::FewSubscribers { .. } => "raise --subscribers or lower --topics".to_owned(),
            Self::MuchHistory { .. } => "ask for fewer messages, topics or bytes".to_owned(),
            Self::OpenFiles { connections, .. } => {
                format!("{connections} connections are possible; raise the hard limit (ulimit -Hn) for more")
            }
            Self::Ports { .. } | Self::NoPortLeft(_) => {
                "use fewer connections, or widen net.ipv4.ip_local_port_range; ports of a run that has just ended \
                 may be taken for a minute"
                    .to_owned()
            }
            Self::TooLong { .. } => "lower --payload-bytes, or raise message_bytes_max of the server".to_owned(),
            Self::TooManySubscriptions { .. } => {
                "raise --subscribers or lower --topics, or raise topics_per_session_max of the server".to_owned()
            }
            _ => return None,
        })
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Connection(error) => error.into(),
            other => Failure::new(other.exit(), &other, other.advice().as_deref()),
        }
    }
}

/// Why one connection could not be opened, or ended.
#[derive(Debug, Error)]
pub(super) enum PeerError {
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    /// 503: not now.
    #[error("{why}")]
    Busy { after: Option<Duration>, why: String },
    #[error("{0}")]
    Stranger(String),
    #[error("no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    #[error("closed with {code}{}{reason}", if reason.is_empty() { "" } else { " " })]
    Closed { code: u16, reason: String },
    #[error("lost: {0}")]
    Lost(io::Error),
    #[error("{0}")]
    Command(CommandError),
    #[error("said something that is not of this protocol: {0}")]
    Unreadable(String),
}

impl PeerError {
    /// The same as the reason why there is no run; `who` is whose connection it was.
    pub(super) fn of(self, who: impl Into<String>, url: &ServerUrl) -> BenchError {
        let url = Arc::new(url.clone());
        BenchError::Connection(match self {
            Self::Unreachable(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                return BenchError::NoPortLeft(who.into());
            }
            Self::Unreachable(source) => ClientError::Unreachable { url, source: Arc::new(source) },
            Self::Stranger(why) => ClientError::Stranger { url, why: why.into(), code: None },
            Self::NoAnswer(within) => ClientError::NoAnswer { url, within },
            Self::Closed { code, reason } => ClientError::ClosedByServer { code, reason: reason.into() },
            Self::Lost(error) => ClientError::Lost(error.to_string().into()),
            Self::Unreadable(what) => ClientError::Unreadable(what.into()),
            Self::Busy { why, .. } => return BenchError::Busy { who: who.into(), why },
            Self::Command(source) => return BenchError::Command { who: who.into(), source },
        })
    }
}
