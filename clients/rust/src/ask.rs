//! What a program can ask of a Hub, each with its options. Nothing is done before `.await` or `.start()`.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use topichub_protocol::command::{
    self, HISTORY_LIMIT, HistoryRange, MAX_RATE_RANGE, PresenceOptions, PublishOptions, REQUEST_TIMEOUT_MAX,
};
use topichub_protocol::reply::HistoryPage;
use topichub_protocol::{
    Filter, Meta, Operation, Payload, PayloadError, Position, Published, Replay, Reply, SlowPolicy,
    SubscribeOptions, Topic, TopicError,
};

use crate::backlog::Full;
use crate::error::Error;
use crate::hub::{Hub, unexpected};
use crate::session::{ReaderId, Served};
use crate::subscription::Subscription;

/// What is awaited.
pub(crate) type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A topic or pattern, or a text that is to be one.
pub trait Name {
    /// The name as what one subscribes to.
    ///
    /// # Errors
    /// If it breaks the rules for names.
    fn filter(self) -> Result<Filter, TopicError>;

    /// The name as what one publishes to.
    ///
    /// # Errors
    /// If it breaks the rules for names, or has wildcards.
    fn topic(self) -> Result<Topic, TopicError>;
}

impl Name for &str {
    fn filter(self) -> Result<Filter, TopicError> {
        Filter::parse(self)
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Topic::parse(self)
    }
}

impl Name for &String {
    fn filter(self) -> Result<Filter, TopicError> {
        Filter::parse(self)
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Topic::parse(self)
    }
}

impl Name for String {
    fn filter(self) -> Result<Filter, TopicError> {
        Filter::parse(&self)
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Topic::parse(&self)
    }
}

impl Name for Topic {
    fn filter(self) -> Result<Filter, TopicError> {
        Ok(self.into())
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Ok(self)
    }
}

impl Name for &Topic {
    fn filter(self) -> Result<Filter, TopicError> {
        Ok(self.clone().into())
    }

    fn topic(self) -> Result<Topic, TopicError> {
        Ok(self.clone())
    }
}

impl Name for Filter {
    fn filter(self) -> Result<Filter, TopicError> {
        Ok(self)
    }

    fn topic(self) -> Result<Topic, TopicError> {
        match self {
            Self::Topic(topic) => Ok(topic),
            Self::Pattern(pattern) => Topic::parse(pattern.as_str()),
        }
    }
}

/// What can be published: a reference to anything that serde writes, or a payload that is ready.
pub trait IntoPayload {
    /// The payload.
    ///
    /// # Errors
    /// If the value has no such form, or is nested too deep.
    fn into_payload(self) -> Result<Payload, PayloadError>;
}

impl<T: Serialize + ?Sized> IntoPayload for &T {
    fn into_payload(self) -> Result<Payload, PayloadError> {
        Payload::of(self)
    }
}

impl IntoPayload for Payload {
    fn into_payload(self) -> Result<Payload, PayloadError> {
        Ok(self)
    }
}

/// A subscription to be: see [`Hub::subscribe`].
#[derive(Debug)]
#[must_use = "a subscription begins with .start() or .await"]
pub struct Subscribe {
    hub: Hub,
    pub(crate) filter: Result<Filter, TopicError>,
    pub(crate) options: Result<SubscribeOptions, Error>,
    pub(crate) buffer: usize,
    pub(crate) full: Full,
}

impl Subscribe {
    pub(crate) fn new(hub: Hub, filter: Result<Filter, TopicError>, (buffer, full): (usize, Full)) -> Self {
        Self { hub, filter, options: Ok(SubscribeOptions::default()), buffer, full }
    }

    fn with(mut self, change: impl FnOnce(&mut SubscribeOptions) -> Result<(), Error>) -> Self {
        if let Ok(options) = &mut self.options
            && let Err(error) = change(options)
        {
            self.options = Err(error);
        }
        self
    }

    fn replay(self, replay: Replay) -> Self {
        self.with(|options| {
            options.replay = Some(replay);
            Ok(())
        })
    }

    /// Begins with the last so many messages of each topic: 0 to 10,000.
    pub fn last(self, messages: u64) -> Self {
        self.replay(Replay::Last(messages))
    }

    /// Begins with the messages of this time: whole seconds, 1 s to 366 days.
    pub fn since(self, time: Duration) -> Self {
        self.replay(Replay::Seconds(time.as_secs()))
    }

    /// Goes on from a position, such as [`Message::position`](crate::Message::position) of the last one that was dealt with. For topics.
    pub fn after(self, position: Position) -> Self {
        self.replay(Replay::After(position))
    }

    /// Goes on from the position of each topic; of topics not named, all that is retained comes. At most 1,000.
    pub fn after_each(self, positions: impl IntoIterator<Item = (Topic, Position)>) -> Self {
        self.replay(Replay::AfterEach(positions.into_iter().collect::<BTreeMap<_, _>>()))
    }

    /// What the server is to do if we do not keep up; if nothing is said, what it has set for the topic.
    pub fn slow(self, policy: SlowPolicy) -> Self {
        self.with(|options| {
            options.slow = Some(policy);
            Ok(())
        })
    }

    /// The most messages per second of each topic, the newest: 0.1 to 1,000.
    pub fn max_rate(self, rate: f64) -> Self {
        self.with(|options| {
            options.interval = Some(interval(rate)?);
            Ok(())
        })
    }

    /// Whether what this Hub itself publishes comes back; `true` if nothing is said.
    pub fn echo(self, echo: bool) -> Self {
        self.with(|options| {
            options.echo = echo;
            Ok(())
        })
    }

    /// Shares the messages with the other members of this group: each comes to one of them. 1 to 128 bytes. Nothing is
    /// replayed then, also not after a reconnect: the others have it.
    pub fn group(self, name: &str) -> Self {
        self.with(|options| {
            options.group = Some(name.into());
            Ok(())
        })
    }

    /// Is there for others to see, and sees who is: [`Event::Presence`](crate::Event::Presence). For topics.
    pub fn presence(self) -> Self {
        self.presence_as(PresenceOptions { join: true, watch: true, data: None })
    }

    /// The same in parts: only to be there, only to see, with something to see beside the name.
    pub fn presence_as(self, presence: PresenceOptions) -> Self {
        self.with(|options| {
            options.presence = Some(presence);
            Ok(())
        })
    }

    /// All the options of the wire at once, in place of what was said before.
    pub fn options(mut self, options: SubscribeOptions) -> Self {
        self.options = Ok(options);
        self
    }

    /// How many messages may wait for the reader: 1,000 if nothing is said, at least 1.
    pub fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages;
        self
    }

    /// What happens if as many wait; [`Full::Drop`] if nothing is said.
    pub fn full(mut self, full: Full) -> Self {
        self.full = full;
        self
    }

    /// Begins, whether or not there is a connection. If the server refuses, the stream ends with the reason.
    ///
    /// # Errors
    /// If name or options cannot be meant, or the Hub is closed.
    pub fn start(self) -> Result<Subscription, Error> {
        self.hub.clone().start(self)
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription, Error>;
    type IntoFuture = Waiting<Subscription>;

    /// Begins, and waits until the server has agreed.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut subscription = self.start()?;
            subscription.ready().await?;
            Ok(subscription)
        })
    }
}

/// The time between two messages at a rate.
fn interval(rate: f64) -> Result<Duration, Error> {
    if !MAX_RATE_RANGE.contains(&rate) {
        let (min, max) = (MAX_RATE_RANGE.start(), MAX_RATE_RANGE.end());
        let why = format!("a max_rate is {min} to {max} messages per second, got {rate}");
        return Err(Error::Option(why.into()));
    }
    Ok(Duration::from_secs_f64(1.0 / rate))
}

/// A change to be: see [`Subscription::change`]. What is not said is as if it had never been said.
#[derive(Debug)]
#[must_use = "nothing is changed before .await"]
pub struct Change {
    hub: Hub,
    reader: ReaderId,
    slow: Option<SlowPolicy>,
    max_rate: Option<f64>,
    echo: bool,
}

impl Change {
    pub(crate) fn new(hub: Hub, reader: ReaderId) -> Self {
        Self { hub, reader, slow: None, max_rate: None, echo: true }
    }

    /// As [`Subscribe::slow`].
    pub fn slow(mut self, policy: SlowPolicy) -> Self {
        self.slow = Some(policy);
        self
    }

    /// As [`Subscribe::max_rate`].
    pub fn max_rate(mut self, rate: f64) -> Self {
        self.max_rate = Some(rate);
        self
    }

    /// As [`Subscribe::echo`].
    pub fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }
}

impl IntoFuture for Change {
    type Output = Result<(), Error>;
    type IntoFuture = Waiting<()>;

    /// Changes it, and waits until the server has agreed; without a connection it is asked for so with the next one. If it
    /// does not agree, all is as it was.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let interval = self.max_rate.map(interval).transpose()?;
            self.hub.change(self.reader, Served { echo: self.echo, slow: self.slow, interval }).await
        })
    }
}

/// A message to be published: see [`Hub::publish`].
#[derive(Debug)]
#[must_use = "nothing is published before .await"]
pub struct Publish {
    hub: Hub,
    topic: Result<Topic, TopicError>,
    payload: Result<Payload, PayloadError>,
    options: PublishOptions,
    meta: Vec<(Box<str>, Box<str>)>,
}

impl Publish {
    pub(crate) fn new(
        hub: Hub,
        topic: Result<Topic, TopicError>,
        payload: Result<Payload, PayloadError>,
    ) -> Self {
        Self { hub, topic, payload, options: PublishOptions::default(), meta: Vec::new() }
    }

    /// Which of the topic's things it is about: 1 to 128 bytes.
    pub fn key(mut self, key: &str) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// Passed along to the subscribers: at most 16 entries of 1,024 bytes together.
    pub fn meta(mut self, name: &str, value: &str) -> Self {
        self.meta.push((name.into(), value.into()));
        self
    }

    /// How long it is worth having, in whole milliseconds; later it is not replayed.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// A second publish of this name to the topic is taken for a repeat of the first: 1 to 128 bytes. With it the Hub
    /// itself publishes again if the connection is lost before the reply.
    pub fn dedup(mut self, name: &str) -> Self {
        self.options.dedup = Some(name.into());
        self
    }

    /// Publishes only if the topic's last offset is this one, 0 for none; else the server answers `conflict`.
    pub fn if_offset(mut self, offset: u64) -> Self {
        self.options.if_offset = Some(offset);
        self
    }

    /// Sessions that do not get it: UUIDs as numbers, at most 100.
    pub fn exclude(mut self, sessions: impl IntoIterator<Item = u128>) -> Self {
        self.options.exclude.extend(sessions);
        self
    }

    /// All the options of the wire at once, in place of what was said before.
    pub fn options(mut self, options: PublishOptions) -> Self {
        self.options = options;
        self
    }
}

impl Publish {
    /// Publishes at once, and leaves the reply for later: what is started in an order is published in it. At most 1,024
    /// commands may wait for their replies.
    ///
    /// # Errors
    /// If topic, data or options cannot be meant, if too much is under way, or if the Hub is closed.
    pub fn start(self) -> Result<impl Future<Output = Result<Published, Error>> + Send + 'static, Error> {
        let (hub, operation) = self.operation()?;
        let ordered = hub.order_now(operation)?;
        Ok(async move { published(ordered.reply().await?) })
    }

    fn operation(self) -> Result<(Hub, Operation), Error> {
        let Self { hub, topic, payload, mut options, meta } = self;
        if !meta.is_empty() {
            let meta = Meta::new(meta).map_err(|error| Error::Option(format!("meta: {error}").into()))?;
            options.meta = Some(meta);
        }
        let options = (options != PublishOptions::default()).then(|| Box::new(options));
        Ok((hub, Operation::Publish(command::Publish { topic: topic?, payload: payload?, options })))
    }
}

impl IntoFuture for Publish {
    type Output = Result<Published, Error>;
    type IntoFuture = Waiting<Published>;

    /// Publishes, and waits for the place of the message in its topic.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (hub, operation) = self.operation()?;
            published(hub.order(operation).await?)
        })
    }
}

fn published(reply: Reply) -> Result<Published, Error> {
    match reply {
        Reply::Published { topic, position, subscribers, duplicate, .. } => {
            Ok(Published { topic, position, subscribers, duplicate })
        }
        other => Err(unexpected(&other)),
    }
}

/// A page of history to be shown: see [`Hub::history`].
#[derive(Debug)]
#[must_use = "nothing is asked before .await"]
pub struct History {
    hub: Hub,
    topic: Result<Topic, TopicError>,
    range: HistoryRange,
    limit: u64,
}

impl History {
    pub(crate) fn new(hub: Hub, topic: Result<Topic, TopicError>) -> Self {
        Self { hub, topic, range: HistoryRange::Newest, limit: HISTORY_LIMIT }
    }

    /// The oldest behind this position.
    pub fn after(mut self, position: Position) -> Self {
        self.range = HistoryRange::After(position);
        self
    }

    /// The newest before this position.
    pub fn before(mut self, position: Position) -> Self {
        self.range = HistoryRange::Before(position);
        self
    }

    /// The most messages to show: 1 to 1,000, 100 if nothing is said.
    pub fn limit(mut self, messages: u64) -> Self {
        self.limit = messages;
        self
    }
}

impl IntoFuture for History {
    type Output = Result<HistoryPage, Error>;
    type IntoFuture = Waiting<HistoryPage>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { hub, topic, range, limit } = self;
            match hub.order(Operation::History(command::History { topic: topic?, range, limit })).await? {
                Reply::History { page, .. } => Ok(page),
                other => Err(unexpected(&other)),
            }
        })
    }
}

/// A question to be asked: see [`Hub::request`].
#[derive(Debug)]
#[must_use = "nothing is asked before .await"]
pub struct Request {
    hub: Hub,
    topic: Result<Topic, TopicError>,
    payload: Result<Payload, PayloadError>,
    timeout: Duration,
}

impl Request {
    pub(crate) fn new(
        hub: Hub,
        topic: Result<Topic, TopicError>,
        payload: Result<Payload, PayloadError>,
        timeout: Duration,
    ) -> Self {
        Self { hub, topic, payload, timeout }
    }

    /// How long the server waits for an answer, in whole milliseconds: 1 ms to 10 minutes, 5 s if nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl IntoFuture for Request {
    type Output = Result<Payload, Error>;
    type IntoFuture = Waiting<Payload>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { hub, topic, payload, timeout } = self;
            if !(Duration::from_millis(1)..=REQUEST_TIMEOUT_MAX).contains(&timeout) {
                let why = format!("a timeout is 1 ms to 10 minutes, got {timeout:?}");
                return Err(Error::Option(why.into()));
            }
            let request = command::Request { topic: topic?, payload: payload?, timeout };
            match hub.order(Operation::Request(request)).await? {
                Reply::Answer { payload, .. } => Ok(payload),
                other => Err(unexpected(&other)),
            }
        })
    }
}
