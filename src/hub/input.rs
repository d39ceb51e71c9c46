//! What crosses between the rooms of the hub: what sessions hand to the registry, and what the registry hands to the
//! fan-out of each worker thread. Everything here may cross a thread.

use std::sync::Arc;

use topichub_protocol::command::{CommandId, OneOrMany, Subscribe, Unsubscribe};
use topichub_protocol::message::{Payload, Position};
use topichub_protocol::reply::{self, Reply};
use topichub_protocol::topic::{Filter, Topic};

use super::permit::Permit;
use super::published::Published;

slotmap::new_key_type! {
    /// A session's seat at the fan-out of its worker thread; never used again after it has left.
    pub(crate) struct SubscriberKey;
}

/// One worker thread of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerId(pub(crate) u32);

/// Where a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionRef {
    pub(crate) worker: WorkerId,
    pub(crate) subscriber: SubscriberKey,
}

/// A caller outside of any session (HTTP, this process) that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// Who published, and who wants to know the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    Session { session: SessionRef, id: Option<CommandId> },
    Caller(Ticket),
}

/// A message that has no position yet.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: Topic,
    pub(crate) payload: Payload,
    pub(crate) publisher: Publisher,
    pub(crate) permit: Option<Permit>,
}

/// What the registry is told.
#[derive(Debug)]
pub(crate) enum Input {
    Publish(Publication),
    Subscribe {
        session: SessionRef,
        id: Option<CommandId>,
        subscribe: Subscribe,
        permit: Option<Permit>,
    },
    Unsubscribe {
        session: SessionRef,
        id: Option<CommandId>,
        unsubscribe: Unsubscribe,
        permit: Option<Permit>,
    },
    /// One subscription less on `worker` for each filter named.
    Release {
        worker: WorkerId,
        filters: Vec<Filter>,
    },
    /// A worker thread has begun.
    WorkerJoined {
        worker: WorkerId,
    },
    /// A worker thread has ended, and all its subscriptions with it.
    WorkerLeft {
        worker: WorkerId,
    },
    /// Time has passed.
    Tick,
}

/// What the fan-out of a worker is told, in the order in which it happened at the registry.
#[derive(Debug)]
pub(crate) enum Delivery {
    Message(Arc<Published>),
    Subscribed(Subscribed),
    Unsubscribe {
        subscriber: SubscriberKey,
        id: Option<CommandId>,
        unsubscribe: Unsubscribe,
        permit: Option<Permit>,
    },
    Reply {
        subscriber: SubscriberKey,
        reply: Reply,
    },
}

/// The registry's yes to a subscribe command: from here on the session gets what is published.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) subscriber: SubscriberKey,
    pub(crate) id: Option<CommandId>,
    /// What the registry has counted, with where each topic stands.
    pub(crate) entries: OneOrMany<reply::Subscribed>,
    pub(crate) echo: bool,
    pub(crate) permit: Option<Permit>,
}

/// What the registry wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    Deliver { worker: WorkerId, delivery: Delivery },
    Answer { ticket: Ticket, position: Position },
}
