//! Replies: the answers to commands that bear an `id`.
//! They hold what goes over the wire and nothing more; what the server says unasked is in `push`.

use crate::command::{CommandError, CommandId, OneOrMany};
use crate::message::Position;
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
    },
    /// `pong`: the answer to `ping`, which comes without an id too.
    Pong {
        /// The command's, if it had one.
        id: Option<CommandId>,
    },
    /// `error`: the command did nothing. Its `retry` is that of the code.
    Error(CommandError),
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
}

/// One publish over HTTP that succeeded: the answer of `POST /topics/{topic}`, and of an entry of `POST /publish`.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Where to.
    pub topic: Topic,
    /// The place of the message.
    pub position: Position,
}
