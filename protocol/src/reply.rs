//! Replies: the answers to commands that bear an `id`.
//! They hold what goes over the wire and nothing more; what the server says unasked is in `push`.

use std::time::Duration;

use crate::command::{CommandError, CommandId, OneOrMany};
use crate::message::{Message, Payload, Position};
use crate::topic::{Filter, Topic};

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `subscribed`: all the subscriptions asked for are in force.
    Subscribed {
        /// The command's.
        id: CommandId,
        /// In the form and order of the command, less duplicates.
        topics: OneOrMany<Subscribed>,
    },
    /// `unsubscribed`: nothing more comes through these subscriptions.
    Unsubscribed {
        /// The command's.
        id: CommandId,
        /// In the form and order of the command, less duplicates.
        topics: OneOrMany<Filter>,
    },
    /// `published`: the message has its place in the topic.
    Published {
        /// The command's.
        id: CommandId,
        /// Where to.
        topic: Topic,
        /// The place of the message.
        position: Position,
        /// How many subscriptions on this server it goes to.
        subscribers: u64,
        /// Whether it was published before under the same `dedup`; then all else is of that publish.
        duplicate: bool,
    },
    /// `history`: a page of what was published.
    History {
        /// The command's.
        id: CommandId,
        /// The page.
        page: HistoryPage,
    },
    /// `presence`: who is on a topic.
    Presence {
        /// The command's.
        id: CommandId,
        /// The answer.
        presence: Presence,
    },
    /// `authenticated`: the server knows who this is.
    Authenticated {
        /// The command's.
        id: CommandId,
        /// Who; `None` for one without a name, such as a back end.
        user: Option<Box<str>>,
        /// How long this holds; on the wire `expires_ms`, whole milliseconds. `None` is for as long as the connection.
        expires: Option<Duration>,
    },
    /// `reply`: the answer to a request.
    Answer {
        /// The command's.
        id: CommandId,
        /// What was answered.
        payload: Payload,
    },
    /// `replied`: the answer is on its way to who asked.
    Replied {
        /// The command's.
        id: CommandId,
    },
    /// `pong`: the answer to `ping`, which comes without an id too.
    Pong {
        /// The command's, if it had one.
        id: Option<CommandId>,
    },
    /// `error`: the command did nothing. Its `retry` is that of the code.
    Error(CommandError),
}

impl Reply {
    /// The word on the wire.
    pub const fn op(&self) -> &'static str {
        match self {
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Published { .. } => "published",
            Self::History { .. } => "history",
            Self::Presence { .. } => "presence",
            Self::Authenticated { .. } => "authenticated",
            Self::Answer { .. } => "reply",
            Self::Replied { .. } => "replied",
            Self::Pong { .. } => "pong",
            Self::Error(_) => "error",
        }
    }

    /// The command's, if it is known.
    pub fn id(&self) -> Option<&CommandId> {
        match self {
            Self::Subscribed { id, .. }
            | Self::Unsubscribed { id, .. }
            | Self::Published { id, .. }
            | Self::History { id, .. }
            | Self::Presence { id, .. }
            | Self::Authenticated { id, .. }
            | Self::Answer { id, .. }
            | Self::Replied { id } => Some(id),
            Self::Pong { id } => id.as_ref(),
            Self::Error(error) => error.id.as_ref(),
        }
    }
}

impl From<CommandError> for Reply {
    fn from(error: CommandError) -> Self {
        Self::Error(error)
    }
}

/// One subscription in a `subscribed` reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribed {
    /// What is subscribed to.
    pub filter: Filter,
    /// Where the topic stands: the next live message has a higher offset. `None` for a pattern, which has no position.
    pub position: Option<Position>,
    /// What comes of the `replay` that was asked for; `None` if none was.
    pub replay: Option<Replayed>,
}

/// What comes of a `replay`.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// How many messages of the past are to come.
    pub messages: u64,
    /// `false` if a position could not be honoured: it is of another epoch, or history no longer reaches back to it.
    pub recovered: bool,
    /// For a pattern: where each topic that it matches stands.
    pub positions: Option<Vec<(Topic, Position)>>,
}

/// A page of a topic's history, in rising order of offset.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage {
    /// Of which topic.
    pub topic: Topic,
    /// Where the topic stands now.
    pub position: Position,
    /// The messages; all of this topic and epoch.
    pub messages: Vec<Message>,
    /// Whether all is there that the position asked for calls for: `false` if history no longer reaches back to it.
    pub recovered: bool,
    /// Whether there is more in the direction asked for.
    pub more: bool,
}

/// Who is on a topic. A member is a user, or a session that has named no user.
#[derive(Clone, Debug, PartialEq)]
pub struct Presence {
    /// Which topic.
    pub topic: Topic,
    /// How many members there are.
    pub count: u64,
    /// How many sessions they have.
    pub sessions: u64,
    /// Each of them; `None` if there are too many to be named.
    pub members: Option<Vec<Member>>,
}

/// One member.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// What there is to see beside the name.
    pub data: Option<Payload>,
}

/// Who is there: on the wire the key `user` or the key `session`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberId {
    /// Somebody with a name, once for all their sessions.
    User(Box<str>),
    /// A session that has named no user: its id from `welcome`, a UUID as a number.
    Session(u128),
}

/// One publish over HTTP that succeeded: the answer of `POST /topics/{topic}`, and of an entry of `POST /publish`.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Where to.
    pub topic: Topic,
    /// The place of the message.
    pub position: Position,
    /// How many subscriptions on this server it goes to.
    pub subscribers: u64,
    /// Whether it was published before under the same `dedup`; then all else is of that publish.
    pub duplicate: bool,
}
