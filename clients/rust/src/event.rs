//! What happens to a subscription, messages among it.

pub use topichub_protocol::PresenceChange;
use topichub_protocol::{Epoch, Filter, Position, push};

use crate::message::Message;

/// What happens to a subscription, in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Message),
    /// Messages that do not come.
    Gap(Gap),
    /// Who is on the topic.
    Presence(Presence),
    /// The server has agreed, for the first time or after a reconnect.
    Subscribed(Subscribed),
}

/// Messages that do not come through this subscription.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gap {
    /// Of which topic; the subscription's pattern if nobody knows of which of its topics.
    pub topic: Filter,
    /// Of which incarnation of its log, if that is known.
    pub epoch: Option<Epoch>,
    /// The first and the last offset that do not come; `None` if nobody knows how many there are.
    pub range: Option<(u64, u64)>,
    /// Why.
    pub why: GapReason,
}

/// Why messages do not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// We did not keep up, and the server's policy is `drop`.
    Dropped,
    /// We did not keep up, and newer messages took their place (`latest`, `latest-per-key`).
    Conflated,
    /// The server's history no longer reaches back so far.
    History,
    /// They were worth having for a time that is over.
    Expired,
    /// This subscription's own buffer was full ([`Full::Drop`](crate::Full::Drop)).
    Buffer,
    /// The topic's log is another one now: what the old one had behind our position, nobody knows.
    Epoch,
    /// The pattern matches too many topics for a replay: what was published while there was no connection is not known.
    Unknown,
}

impl GapReason {
    /// The word: as on the wire, and for our own three in the same style.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Conflated => "conflated",
            Self::History => "history",
            Self::Expired => "expired",
            Self::Buffer => "buffer",
            Self::Epoch => "epoch",
            Self::Unknown => "unknown",
        }
    }
}

impl From<push::GapReason> for GapReason {
    fn from(reason: push::GapReason) -> Self {
        match reason {
            push::GapReason::Dropped => Self::Dropped,
            push::GapReason::Conflated => Self::Conflated,
            push::GapReason::History => Self::History,
            push::GapReason::Expired => Self::Expired,
        }
    }
}

impl From<push::Gap> for Gap {
    fn from(gap: push::Gap) -> Self {
        let range = Some((gap.from, gap.to));
        Self { topic: gap.topic.into(), epoch: Some(gap.epoch), range, why: gap.why.into() }
    }
}

/// Who is on a topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Presence {
    /// Everybody; takes the place of all that was told before.
    State(topichub_protocol::Presence),
    /// Who has come and who has gone since.
    Change(PresenceChange),
}

/// The server's agreement to a subscription.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Subscribed {
    /// To what.
    pub filter: Filter,
    /// Where the topic stands; `None` for a pattern.
    pub position: Option<Position>,
    /// How many messages of the past follow.
    pub replayed: u64,
    /// `false` if the position asked for could not be honoured; gaps say what is lost.
    pub recovered: bool,
    /// Whether this is after a reconnect rather than the first time.
    pub resumed: bool,
}
