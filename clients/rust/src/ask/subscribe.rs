//! A subscription to be, with its options.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::time::Duration;

use topichub_protocol::command::{MAX_RATE_RANGE, PresenceOptions};
use topichub_protocol::{Filter, Position, Replay, SlowPolicy, SubscribeOptions, Topic, TopicError};

use super::Waiting;
use crate::backlog::Full;
use crate::error::Error;
use crate::hub::Hub;
use crate::subscription::Subscription;

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
pub(super) fn interval(rate: f64) -> Result<Duration, Error> {
    if !MAX_RATE_RANGE.contains(&rate) {
        let (min, max) = (MAX_RATE_RANGE.start(), MAX_RATE_RANGE.end());
        let why = format!("a max_rate is {min} to {max} messages per second, got {rate}");
        return Err(Error::Option(why.into()));
    }
    Ok(Duration::from_secs_f64(1.0 / rate))
}
