//! What crosses between the rooms of the hub: what sessions hand to the registry, and what the registry hands to the
//! fan-out of each worker thread. Everything here may cross a thread.

use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::command::{
    Answer, CommandId, History, OneOrMany, SlowPolicy, SubscribeOptions, Unsubscribe,
};
use topichub_protocol::message::{Extras, Payload};
use topichub_protocol::push::Push;
use topichub_protocol::reply::{self, Member, Presence, Reply};
use topichub_protocol::topic::{Filter, Topic};

use super::catch_up::{Batch, CatchUp};
use super::identity::Identity;
use super::permit::Permit;
use super::published::Published;
use super::queue_group::Load;

slotmap::new_key_type! {
    /// A session's seat at the fan-out of its worker thread; never used again after it has left.
    pub(crate) struct SubscriberKey;
}

/// One worker thread of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerId(pub(crate) u32);

/// Where a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionRef {
    pub(crate) worker: WorkerId,
    pub(crate) subscriber: SubscriberKey,
}

/// A caller outside of any session (HTTP, this process) that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// Who asks, and where the answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A session; without an id it hears of failure only.
    Session {
        session: SessionRef,
        id: Option<CommandId>,
    },
    Caller(Ticket),
}

impl Asker {
    /// The session, if one asks.
    pub(crate) fn session(&self) -> Option<SessionRef> {
        match self {
            Self::Session { session, .. } => Some(*session),
            Self::Caller(_) => None,
        }
    }
}

/// A message that has no position yet.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: Topic,
    pub(crate) payload: Payload,
    pub(crate) options: Option<Box<PublicationOptions>>,
    pub(crate) asker: Asker,
    /// How many subscriptions it will reach: known to the registry, told in the reply, and once more to a repeat.
    pub(crate) subscribers: u32,
    pub(crate) permit: Option<Permit>,
}

/// What few publications say.
#[derive(Debug, Default)]
pub(crate) struct PublicationOptions {
    pub(crate) extras: Option<Arc<Extras>>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) dedup: Option<Box<str>>,
    pub(crate) if_offset: Option<u64>,
    /// Sessions that do not get it.
    pub(crate) exclude: Box<[SessionRef]>,
}

/// One name or pattern to be subscribed to, with what the session has decided about it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: Filter,
    pub(crate) policy: SlowPolicy,
}

/// A subscribe command whose session may do so.
#[derive(Debug)]
pub(crate) struct Subscribing {
    pub(crate) session: SessionRef,
    pub(crate) id: Option<CommandId>,
    pub(crate) wanted: OneOrMany<Wanted>,
    pub(crate) options: SubscribeOptions,
    /// Who the session is among those present.
    pub(crate) member: Member,
    pub(crate) permit: Option<Permit>,
}

/// What the registry is told.
#[derive(Debug)]
pub(crate) enum Input {
    Publish(Publication),
    /// Publishes, and has the answer passed on to who asks.
    Request {
        publication: Publication,
        timeout: Duration,
    },
    /// An answer to a request.
    Answer {
        asker: Asker,
        answer: Answer,
        permit: Option<Permit>,
    },
    Subscribe(Box<Subscribing>),
    Unsubscribe {
        session: SessionRef,
        id: Option<CommandId>,
        unsubscribe: Unsubscribe,
        permit: Option<Permit>,
    },
    /// A session may do other things than before: subscriptions that it may not have end.
    Recheck {
        session: SessionRef,
        identity: Arc<Identity>,
    },
    /// A reader has room for more of the past.
    CatchUp {
        session: SessionRef,
        catch_up: Box<CatchUp>,
    },
    /// Who was to get a message for its queue group has gone.
    HandBack {
        handout: Handout,
    },
    History {
        asker: Asker,
        history: History,
        permit: Option<Permit>,
    },
    Presence {
        asker: Asker,
        topic: Topic,
        permit: Option<Permit>,
    },
    /// What has ended on `worker`.
    Release {
        worker: WorkerId,
        released: Vec<Released>,
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

/// Something that the registry counts and that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// One subscription.
    Interest(Filter),
    /// A place in a queue group.
    Share { subscriber: SubscriberKey, filter: Filter, group: Box<str> },
    /// A session is not shown any more.
    Member { subscriber: SubscriberKey, topic: Topic },
    /// A session does not watch who is there any more.
    Watcher { topic: Topic },
}

/// A message for one member of a queue group.
#[derive(Debug)]
pub(crate) struct Handout {
    pub(crate) published: Arc<Published>,
    pub(crate) filter: Filter,
    pub(crate) group: Box<str>,
}

/// What the fan-out of a worker is told, in the order in which it happened at the registry.
#[derive(Debug)]
pub(crate) enum Delivery {
    Message {
        published: Arc<Published>,
        permit: Option<Permit>,
    },
    Subscribed(Box<Subscribed>),
    Unsubscribe {
        subscriber: SubscriberKey,
        id: Option<CommandId>,
        unsubscribe: Unsubscribe,
        permit: Option<Permit>,
    },
    /// Ends what the session may not have.
    Recheck {
        subscriber: SubscriberKey,
        identity: Arc<Identity>,
    },
    /// More of the past.
    CaughtUp {
        subscriber: SubscriberKey,
        catch_up: Box<CatchUp>,
        batch: Batch,
    },
    Handout {
        subscriber: SubscriberKey,
        handout: Box<Handout>,
    },
    /// For those who watch who is on a topic.
    Presence {
        topic: Topic,
        push: Arc<Push>,
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
    pub(crate) entries: OneOrMany<Entry>,
    pub(crate) options: SubscribeOptions,
    pub(crate) permit: Option<Permit>,
}

/// One subscription that the registry has counted.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) policy: SlowPolicy,
    /// What is answered; how much will be replayed, the fan-out knows.
    pub(crate) subscribed: reply::Subscribed,
    pub(crate) replay: Option<(Box<CatchUp>, Batch)>,
    pub(crate) presence: Option<Presence>,
    pub(crate) load: Option<Arc<Load>>,
}

/// What the registry wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    Deliver { worker: WorkerId, delivery: Delivery },
    Answer { ticket: Ticket, reply: Reply },
}
