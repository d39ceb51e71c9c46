//! What a run is to do: the arguments, checked against each other and against what this machine allows.
//! Nothing is opened or started here.

use std::fmt::Write as _;
use std::time::Duration;

use topichub::protocol::{Codec, SlowPolicy};
use topichub_client::ServerUrl;

use super::args::{Common, Deflate, LengthArgs, Protocols, Scenario};
use super::error::BenchError;

/// What a run is to do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) scenario: &'static str,
    /// A server is started if there is none.
    pub(super) url: Option<ServerUrl>,
    pub(super) pid: Option<u32>,
    pub(super) workers: usize,
    pub(super) subscribers: usize,
    pub(super) protocol: Protocols,
    pub(super) deflate: Deflate,
    pub(super) timeout: Duration,
    pub(super) json: bool,
    pub(super) payload_bytes: usize,
    pub(super) length: Length,
    /// How many messages of each topic the server that is started keeps; if not said, what it does by itself.
    pub(super) history: Option<usize>,
    /// What subscribers ask for if they cannot keep up.
    pub(super) slow: Option<SlowPolicy>,
    pub(super) load: Load,
}

/// When publishing ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    Time(Duration),
    Messages(u64),
}

/// What is done with the connections.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// One topic. Without a rate the next burst comes when all have the last.
    FanOut {
        burst: u64,
        rate: Option<f64>,
    },
    ManyTopics {
        topics: u32,
        /// Topics have 1 to so many subscribers, in turn.
        topic_subscribers_max: usize,
        publishers: usize,
        window: usize,
    },
    Idle,
    Storm {
        patience: Duration,
    },
    Recover(Recovery),
    Slow {
        stalled: usize,
        rate: f64,
    },
}

/// Who is cut, what they miss, and who looks on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    pub(super) topics: u32,
    /// Messages of each topic.
    pub(super) missed: u64,
    /// Returns per second; none is all at once.
    pub(super) at: Option<f64>,
    pub(super) healthy: usize,
    pub(super) healthy_rate: f64,
    pub(super) quiet: Duration,
    pub(super) patience: Duration,
}

/// Payloads of scenarios that publish only to see whether all are there.
const PROBE_BYTES: usize = 128;

/// The most memory for messages of the past that a server can be told to have.
const HISTORY_BYTES_MAX: usize = 1 << 30;

/// What a message of the past takes beside its payload, generously.
const ENVELOPE_BYTES: usize = 1024;

impl Plan {
    /// Checks what clap cannot.
    pub(super) fn of(scenario: Scenario) -> Result<Self, BenchError> {
        let few = Length::Messages(1);
        let plan = match scenario {
            Scenario::FanOut(args) => {
                let load = Load::FanOut { burst: 1, rate: args.rate };
                Self::new("fanout", args.common, args.subscribers, load)
                    .publishing(args.payload_bytes, args.length.into())
                    .remembering(args.history)
            }
            Scenario::Burst(args) => {
                let load = Load::FanOut { burst: u64::from(args.burst), rate: args.fan_out.rate };
                let args = args.fan_out;
                Self::new("burst", args.common, args.subscribers, load)
                    .publishing(args.payload_bytes, args.length.into())
                    .remembering(args.history)
            }
            Scenario::ManyTopics(args) => {
                let (publishers, window) = (args.publishers as usize, args.window as usize);
                let topic_subscribers_max = args.topic_subscribers_max as usize;
                let load =
                    Load::ManyTopics { topics: args.topics, topic_subscribers_max, publishers, window };
                Self::new("many-topics", args.common, args.subscribers, load)
                    .publishing(args.payload_bytes, args.length.into())
            }
            Scenario::Latency(args) => {
                let load = Load::FanOut { burst: 1, rate: Some(args.rate) };
                Self::new("latency", args.common, args.subscribers, load)
                    .publishing(args.payload_bytes, args.length.into())
            }
            Scenario::Idle(args) => {
                Self::new("idle", args.common, args.subscribers, Load::Idle).publishing(PROBE_BYTES, few)
            }
            Scenario::Storm(args) => {
                let load = Load::Storm { patience: args.patience };
                Self::new("storm", args.common, args.subscribers, load).publishing(PROBE_BYTES, few)
            }
            Scenario::Recover(args) => {
                let load = Load::Recover(Recovery {
                    topics: args.topics,
                    missed: args.missed.into(),
                    at: args.at,
                    healthy: args.healthy as usize,
                    healthy_rate: args.healthy_rate,
                    quiet: args.quiet,
                    patience: args.patience,
                });
                Self::new("recover", args.common, args.subscribers, load)
                    .publishing(args.payload_bytes, few)
                    .remembering(Some(args.missed))
            }
            Scenario::Slow(args) => {
                let stalled = args.stalled.unwrap_or(args.subscribers.div_ceil(100)) as usize;
                let load = Load::Slow { stalled, rate: args.rate };
                let plan = Self::new("slow", args.common, args.subscribers, load)
                    .publishing(args.payload_bytes, args.length.into());
                Self { slow: args.policy.map(SlowPolicy::from), ..plan }
            }
        };
        plan.check()?;
        Ok(plan)
    }

    fn new(scenario: &'static str, common: Common, subscribers: u32, load: Load) -> Self {
        let Common { url, protocol, deflate, workers, pid, timeout, json } = common;
        Self {
            scenario,
            url,
            pid,
            workers,
            subscribers: subscribers as usize,
            protocol,
            deflate,
            timeout,
            json,
            payload_bytes: PROBE_BYTES,
            length: Length::Messages(1),
            history: None,
            slow: None,
            load,
        }
    }

    fn publishing(self, payload_bytes: usize, length: Length) -> Self {
        Self { payload_bytes, length, ..self }
    }

    fn remembering(self, messages: Option<u32>) -> Self {
        Self { history: messages.map(|messages| messages as usize), ..self }
    }

    /// Topics whose past is wanted.
    fn topics(&self) -> usize {
        match self.load {
            Load::Recover(Recovery { topics, .. }) => topics as usize,
            _ => 1,
        }
    }

    /// What the past of all topics takes in the server, at most.
    fn history_bytes(&self) -> usize {
        let message = self.payload_bytes.saturating_mul(4) + ENVELOPE_BYTES;
        self.history.unwrap_or(0).saturating_mul(message).saturating_mul(self.topics())
    }

    /// The configuration of a server that is started, if it needs one.
    pub(super) fn config(&self) -> Option<String> {
        let messages = self.history?;
        let bytes = messages.saturating_mul(self.payload_bytes).clamp(1024 * 1024, HISTORY_BYTES_MAX);
        let all = self.history_bytes().clamp(256 * 1024 * 1024, HISTORY_BYTES_MAX);
        let mut config = String::new();
        let _ = write!(
            config,
            "[limits]\nhistory_bytes_max = {all}\n\n[[topics]]\npattern = \"bench.>\"\n\
             history = {{ messages = {messages}, bytes = {bytes}, age = \"1h\" }}\n"
        );
        Some(config)
    }

    fn check(&self) -> Result<(), BenchError> {
        if self.url.as_ref().is_some_and(ServerUrl::is_tls) {
            return Err(BenchError::Tls);
        }
        if matches!(self.load, Load::Idle) && self.url.is_some() && self.pid.is_none() {
            return Err(BenchError::NoPid);
        }
        let history = self.history_bytes();
        if history > HISTORY_BYTES_MAX && self.url.is_none() {
            return Err(BenchError::MuchHistory { bytes: history, max: HISTORY_BYTES_MAX });
        }
        match (self.load, self.length) {
            (Load::Recover(Recovery { topics, .. }), _) if topics as usize > self.subscribers => {
                Err(BenchError::FewSubscribers { topics, subscribers: self.subscribers })
            }
            (Load::FanOut { rate: Some(rate), burst }, Length::Time(duration))
                if duration.as_secs_f64() * rate < burst as f64 =>
            {
                Err(BenchError::NothingDue { rate, burst, duration })
            }
            (Load::Slow { rate, .. }, Length::Time(duration)) if duration.as_secs_f64() * rate < 1.0 => {
                Err(BenchError::NothingDue { rate, burst: 1, duration })
            }
            (Load::ManyTopics { topics, publishers, .. }, _) if (topics as usize) < publishers => {
                Err(BenchError::FewTopics { topics, publishers })
            }
            (Load::FanOut { burst, .. }, Length::Messages(messages)) if messages < burst => {
                Err(BenchError::ShorterThanBurst { messages, burst })
            }
            _ => Ok(()),
        }
    }

    /// How many connections there are at most at one time.
    pub(super) fn connections(&self) -> usize {
        self.subscribers
            + match self.load {
                Load::FanOut { .. } | Load::Storm { .. } => 1,
                Load::ManyTopics { publishers, .. } => publishers,
                Load::Idle => 0,
                Load::Recover(Recovery { healthy, .. }) => healthy + 2,
                Load::Slow { stalled, .. } => stalled + 1,
            }
    }

    /// What the subscriber of this number speaks.
    pub(super) fn codec(&self, subscriber: usize) -> Codec {
        match self.protocol {
            Protocols::Json => Codec::Json,
            Protocols::MsgPack => Codec::MsgPack,
            Protocols::Mixed if subscriber.is_multiple_of(2) => Codec::Json,
            Protocols::Mixed => Codec::MsgPack,
        }
    }

    /// Whether the subscriber of this number offers compression: with both mixed, every combination occurs.
    pub(super) fn offers_deflate(&self, subscriber: usize) -> bool {
        match self.deflate {
            Deflate::Off => false,
            Deflate::On => true,
            Deflate::Mixed => (subscriber / 2).is_multiple_of(2),
        }
    }

    /// What publishers speak.
    pub(super) fn publisher_codec(&self) -> Codec {
        match self.protocol {
            Protocols::MsgPack => Codec::MsgPack,
            Protocols::Json | Protocols::Mixed => Codec::Json,
        }
    }
}

impl From<LengthArgs> for Length {
    fn from(args: LengthArgs) -> Self {
        args.messages.map_or(Self::Time(args.duration), Self::Messages)
    }
}
