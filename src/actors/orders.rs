//! What those who look after a server want of its actors: lists, and that sessions or subscriptions end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use topichub_protocol::code::CloseCode;
use topichub_protocol::codec::Codec;
use topichub_protocol::topic::{Filter, Topic};

use super::roster::Whom;
use crate::hub::identity::Identity;
use crate::hub::input::SessionRef;
use crate::hub::registry::TopicPage;

/// A page of topics.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Survey {
    pub(crate) filter: Option<Filter>,
    pub(crate) after: Option<Topic>,
    pub(crate) limit: usize,
    pub(crate) answered: oneshot::Sender<TopicPage>,
}

/// Forget the messages of a topic; answered with their number.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Purge {
    pub(crate) topic: Topic,
    pub(crate) answered: oneshot::Sender<usize>,
}

/// For every worker; each sends its answer, and who asks has all when the last sender is gone.
#[derive(Clone, actix::Message)]
#[rtype(result = "()")]
pub(crate) enum Order {
    /// Ends sessions. Answered with how many.
    Disconnect { whom: Target, code: CloseCode, reason: Box<str>, done: mpsc::UnboundedSender<usize> },
    /// Ends subscriptions. Answered with how many.
    Unsubscribe { whom: Target, filter: Filter, done: mpsc::UnboundedSender<usize> },
    /// Who a user is in one of its sessions.
    Identify { user: Box<str>, found: mpsc::UnboundedSender<Arc<Identity>> },
    /// Lists sessions, at most `limit` of each worker.
    List {
        after: Option<SessionRef>,
        user: Option<Box<str>>,
        limit: usize,
        listed: mpsc::UnboundedSender<Vec<Listed>>,
    },
}

/// Whom an order means, over all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Session(SessionRef),
    User(Box<str>),
    Token(Box<str>),
}

impl Target {
    /// Whom it means on one worker.
    pub(crate) fn on(&self, worker: crate::hub::input::WorkerId) -> Option<Whom> {
        match self {
            Self::Session(session) if session.worker != worker => None,
            Self::Session(session) => Some(Whom::Session(session.subscriber)),
            Self::User(user) => Some(Whom::User(user.clone())),
            Self::Token(id) => Some(Whom::Token(id.clone())),
        }
    }
}

/// One session in a list.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) session: SessionRef,
    pub(crate) user: Option<Box<str>>,
    pub(crate) codec: Codec,
    /// The subprotocol, or what is spoken in place of WebSocket.
    pub(crate) protocol: &'static str,
    pub(crate) address: Option<IpAddr>,
    /// How long it has been there.
    pub(crate) age: Duration,
    pub(crate) subscriptions: usize,
    pub(crate) waiting_bytes: usize,
}
