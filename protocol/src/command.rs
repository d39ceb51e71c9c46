//! Commands: what a client asks, as owned and checked values.
//! How they are written down is the codec's business; whether they are permitted, the session's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::code::ErrorCode;
use crate::message::{Meta, Payload};
use crate::position::{Epoch, EpochError, Position};
use crate::topic::{Filter, Topic};

/// Integer ids are smaller than this in absolute value, so that every JSON reader keeps them exact (RFC 7493 §2.2).
pub const ID_INTEGER_LIMIT: i64 = 1 << 53;

/// The longest text id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 128;

/// The most entries in `topics`.
pub const TOPICS_PER_COMMAND_MAX: usize = 1000;

/// The most entries in a batch of publishes over HTTP.
pub const BATCH_MAX: usize = 1000;

/// The most `subscribe` commands in the body of `POST /events`.
pub const EVENTS_COMMANDS_MAX: usize = 128;

/// How long a long poll waits if it does not say.
pub const EVENTS_WAIT: Duration = Duration::from_secs(25);

/// The most messages that `replay` by `last` may ask for.
pub const REPLAY_LAST_MAX: u64 = 10_000;

/// The longest time that `replay` by `seconds` may look back: a year.
pub const REPLAY_SECONDS_MAX: u64 = 366 * 24 * 3600;

/// The most topics that one replay covers, named in `after` or matched by a pattern.
pub const REPLAY_TOPICS_MAX: usize = 1000;

/// The most messages in one `history` reply.
pub const HISTORY_LIMIT_MAX: u64 = 1000;

/// How many messages a `history` reply holds if the command does not say.
pub const HISTORY_LIMIT: u64 = 100;

/// The longest time that a `GET` for messages may wait until there are some.
pub const HISTORY_WAIT_MAX: Duration = Duration::from_secs(60);

/// The slowest and the fastest `max_rate`, in messages per second.
pub const MAX_RATE_RANGE: std::ops::RangeInclusive<f64> = 0.1..=1000.0;

/// The longest of each of the names that commands give: `key`, `dedup`, `group` and `user`, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 128;

/// The longest `token`, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// The longest `data` that others see of a member, in `presence` and `authenticate`, in bytes as it is written.
pub const PRESENCE_DATA_BYTES_MAX: usize = 1024;

/// The most sessions in `exclude`.
pub const EXCLUDE_MAX: usize = 100;

/// How long a `request` waits for its answer if it does not say.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time a `request` may wait.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// One thing a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// With it, exactly one reply bears it; without it, success is silent (but for `ping`).
    pub id: Option<CommandId>,
    /// What is asked.
    pub operation: Operation,
}

/// What a command asks for: its `op` and the fields of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Deliver what is published to these topics and patterns.
    Subscribe(Subscribe),
    /// Deliver it no more.
    Unsubscribe(Unsubscribe),
    /// Publish one message.
    Publish(Publish),
    /// Show messages that were published before.
    History(History),
    /// Say who is on a topic.
    Presence(Topic),
    /// Say who the client is.
    Authenticate(Authenticate),
    /// Publish one message and wait for an answer to it. Needs an `id`.
    Request(Request),
    /// Answer a message that has a `reply_to`.
    Answer(Answer),
    /// Answer with `pong`.
    Ping,
}

/// `subscribe`: all-or-nothing, and again to change the options.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// `topic` or `topics`; the latter 1 to 1,000 entries, each once.
    pub filters: OneOrMany<Filter>,
    /// How to be served.
    pub options: SubscribeOptions,
}

/// How a subscription is to be served. The default is what a `subscribe` without options gets.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscribeOptions {
    /// Whether the session's own publishes come back to it through this subscription. `true` if not said.
    pub echo: bool,
    /// What to get of what was published before.
    pub replay: Option<Replay>,
    /// What is to happen if the reader cannot keep up. `None`: what the server has set for the topic.
    pub slow: Option<SlowPolicy>,
    /// The shortest time between two messages of a topic; on the wire `max_rate`, messages per second.
    pub interval: Option<Duration>,
    /// Whether to appear among those who are there, and to be told of them.
    pub presence: Option<PresenceOptions>,
    /// Share the messages with the other members of this group.
    pub group: Option<Box<str>>,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { echo: true, replay: None, slow: None, interval: None, presence: None, group: None }
    }
}

/// `replay`: which of the messages in a topic's history a new subscriber gets first.
#[derive(Clone, Debug, PartialEq)]
pub enum Replay {
    /// The last so many of each topic, 0 to 10,000.
    Last(u64),
    /// Those of the last so many seconds.
    Seconds(u64),
    /// Those behind this position: for one topic.
    After(Position),
    /// Those behind the position of each topic; of topics not named, all there are. For patterns and several topics.
    AfterEach(BTreeMap<Topic, Position>),
}

/// `slow`: what happens to a subscription when its reader cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlowPolicy {
    /// The connection ends with 4104.
    Disconnect,
    /// The oldest messages are dropped.
    Drop,
    /// The newest message of each topic is kept.
    Latest,
    /// The newest message of each `key` of each topic is kept.
    LatestPerKey,
}

impl SlowPolicy {
    /// Every policy; those that lose less come first.
    pub const ALL: [Self; 4] = [Self::Disconnect, Self::Drop, Self::LatestPerKey, Self::Latest];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Drop => "drop",
            Self::Latest => "latest",
            Self::LatestPerKey => "latest-per-key",
        }
    }

    /// The policy behind a word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word)
    }
}

/// `presence` on `subscribe`: `true` for both, or a map of these.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceOptions {
    /// Whether to be shown to others. `true` if not said.
    pub join: bool,
    /// Whether to be told who is there, and who comes and goes. `true` if not said.
    pub watch: bool,
    /// What others are to see beside the name.
    pub data: Option<Payload>,
}

/// `unsubscribe`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe {
    /// `topic` or `topics`; the latter 1 to 1,000 entries, each once.
    pub filters: OneOrMany<Filter>,
}

/// `publish`.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Where to.
    pub topic: Topic,
    /// `data`, or in JSON `data_base64`.
    pub payload: Payload,
    /// What else is said; most publishes say nothing else.
    pub options: Option<Box<PublishOptions>>,
}

/// What a publish may say beside topic and data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishOptions {
    /// Which of the topic's things this is about: of each the newest counts (`latest-per-key`). 1 to 128 bytes.
    pub key: Option<Box<str>>,
    /// Passed along to the subscribers.
    pub meta: Option<Meta>,
    /// How long the message is worth having; later it is not replayed. On the wire `ttl_ms`.
    pub ttl: Option<Duration>,
    /// A second publish of this name to the topic is taken for a repeat of the first. 1 to 128 bytes.
    pub dedup: Option<Box<str>>,
    /// Publish only if the topic's last offset is this.
    pub if_offset: Option<u64>,
    /// Sessions that do not get the message: ids from `welcome`, UUIDs as numbers.
    pub exclude: Vec<u128>,
}

/// `history`: messages of the past, in rising order of offset.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Of which topic.
    pub topic: Topic,
    /// From where, and in which direction.
    pub range: HistoryRange,
    /// The most messages to show, 1 to 1,000.
    pub limit: u64,
}

/// Which way `history` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryRange {
    /// The oldest behind this position.
    After(Position),
    /// The newest before this position.
    Before(Position),
    /// The newest of all.
    Newest,
}

/// `authenticate`.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticate {
    /// What says who the client is.
    pub credential: Credential,
    /// What others are to see of this user beside the name, wherever a subscription says nothing else.
    pub data: Option<Payload>,
}

/// What says who a client is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// `token`: a JSON Web Token or an API key, 1 to 8,192 bytes.
    Token(Box<str>),
    /// `user`: a name for which the server takes the client's word, 1 to 128 bytes. Only for servers where anybody may
    /// do anything.
    User(Box<str>),
}

impl fmt::Debug for Credential {
    /// Tokens are secrets: they never get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token"),
            Self::User(user) => f.debug_tuple("User").field(user).finish(),
        }
    }
}

/// `request`: a publish that waits for one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Where to.
    pub topic: Topic,
    /// `data`, or in JSON `data_base64`.
    pub payload: Payload,
    /// How long to wait for the answer; on the wire `timeout_ms`, 1 ms to 10 minutes.
    pub timeout: Duration,
}

/// `reply`: the answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What the message with the request says.
    pub reply_to: ReplyTo,
    /// `data`, or in JSON `data_base64`.
    pub payload: Payload,
}

/// Where the answer to a request goes. Its text is base 36 in lowercase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub u64);

impl fmt::Display for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Epoch(self.0).fmt(f)
    }
}

impl FromStr for ReplyTo {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        text.parse().map(|Epoch(number)| Self(number))
    }
}

/// What a client calls its command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommandId {
    /// Smaller than 2^53 in absolute value.
    Integer(i64),
    /// At most 128 bytes.
    Text(Box<str>),
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// One thing under the key `topic`, or several under `topics`. A reply answers in the form of its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMany<T> {
    /// The key `topic`.
    One(T),
    /// The key `topics`.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them, in the order written.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// All of them, in the order written.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    /// The same form with other content: how a reply is made of its command.
    pub fn map<U>(self, mut convert: impl FnMut(T) -> U) -> OneOrMany<U> {
        match self {
            Self::One(one) => OneOrMany::One(convert(one)),
            Self::Many(many) => OneOrMany::Many(many.into_iter().map(convert).collect()),
        }
    }
}

impl<'a, T> IntoIterator for &'a OneOrMany<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Why a command failed; becomes the `error` reply as it is, so nothing internal may stand in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct CommandError {
    /// The command's id, whenever it could be read.
    pub id: Option<CommandId>,
    /// What kind of failure, for programs.
    pub code: ErrorCode,
    /// What exactly, for people: lowercase, with limit and value.
    pub message: String,
    /// The least time to wait before the same is tried again; on the wire `after_ms`, whole milliseconds.
    pub after: Option<Duration>,
}

impl CommandError {
    /// An error without an id.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { id: None, code, message: message.into(), after: None }
    }

    /// The same error as the answer to the command of this id.
    pub fn with_id(mut self, id: Option<CommandId>) -> Self {
        self.id = id;
        self
    }

    /// The same error for one who should wait so long before trying again.
    pub fn with_after(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }
}
