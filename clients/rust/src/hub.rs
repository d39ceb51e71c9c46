//! The program's handle on a connection that outlives its connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use topichub_protocol::command::{Answer, REQUEST_TIMEOUT};
use topichub_protocol::{Operation, Presence, Reply};

use crate::ask::{History, IntoPayload, Name, Publish, Request, Subscribe};
use crate::backlog::{Backlog, Full};
use crate::driver::{Answering, Job};
use crate::error::Error;
use crate::message::Message;
use crate::session::{ReaderId, Served};
use crate::subscription::{Mailbox, Subscription};

/// Whether there is a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// One is being opened.
    Connecting,
    /// There is one.
    Open {
        /// What the server calls it: what [`Publish::exclude`] takes.
        session: Arc<str>,
    },
    /// There is none, and the next attempt is planned.
    Waiting {
        /// Why there is none.
        why: Error,
        /// From the moment of this state to the attempt.
        retry_in: Duration,
    },
    /// There will be none any more.
    Closed {
        /// Why; `None` if the program has closed it.
        why: Option<Error>,
    },
}

/// A connection to a server, now or soon: subscriptions and commands go through it. Cheap to clone.
///
/// It reconnects by itself, until [`close`](Self::close) or until the server says not to come back. When the last clone
/// and the last subscription are dropped, it closes.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    jobs: mpsc::UnboundedSender<Job>,
    state: watch::Receiver<State>,
    room: Arc<Notify>,
    /// As many commands may wait for their replies.
    window: Arc<Semaphore>,
    last_reader: AtomicU64,
    buffer: usize,
    full: Full,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("state", &*self.0.state.borrow()).finish()
    }
}

impl Hub {
    pub(crate) fn new(
        jobs: mpsc::UnboundedSender<Job>,
        state: watch::Receiver<State>,
        room: Arc<Notify>,
        window: usize,
        (buffer, full): (usize, Full),
    ) -> Self {
        let window = Arc::new(Semaphore::new(window.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Shared { jobs, state, room, window, last_reader: AtomicU64::new(0), buffer, full }))
    }

    /// Subscribes to a topic or pattern, now and after every reconnect. `.start()` on what is returned gives the
    /// subscription at once, with or without a connection; `.await` waits until the server has agreed.
    pub fn subscribe(&self, name: impl Name) -> Subscribe {
        Subscribe::new(self.clone(), name.filter(), (self.0.buffer, self.0.full))
    }

    /// Publishes a value: anything that serde writes, by reference, or a [`Payload`](crate::Payload). Nothing is done
    /// before `.await` on what is returned.
    pub fn publish(&self, topic: impl Name, data: impl IntoPayload) -> Publish {
        Publish::new(self.clone(), topic.topic(), data.into_payload())
    }

    /// Shows a page of what was published before: the newest 100, if nothing else is said.
    pub fn history(&self, topic: impl Name) -> History {
        History::new(self.clone(), topic.topic())
    }

    /// Says who is on a topic.
    ///
    /// # Errors
    /// What the server says, or what is wrong with the connection.
    pub async fn presence(&self, topic: impl Name) -> Result<Presence, Error> {
        match self.order(Operation::Presence(topic.topic()?)).await? {
            Reply::Presence { presence, .. } => Ok(presence),
            other => Err(unexpected(&other)),
        }
    }

    /// Publishes a question and waits for one answer to it, 5 s if nothing else is said.
    pub fn request(&self, topic: impl Name, data: impl IntoPayload) -> Request {
        Request::new(self.clone(), topic.topic(), data.into_payload(), REQUEST_TIMEOUT)
    }

    /// Answers a message that has a `reply_to`. The first answer wins.
    ///
    /// # Errors
    /// [`Error::Option`] if nobody waits for an answer to this message, and what the server says: `conflict`, if nobody
    /// does any more.
    pub async fn reply(&self, message: &Message, data: impl IntoPayload) -> Result<(), Error> {
        let reply_to = message.reply_to();
        let reply_to = reply_to.ok_or_else(|| Error::Option("the message asks for no answer".into()))?;
        let answer = Answer { reply_to, payload: data.into_payload()? };
        self.order(Operation::Answer(answer)).await.map(|_| ())
    }

    /// Whether there is a connection.
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// The same to be watched.
    pub fn states(&self) -> watch::Receiver<State> {
        self.0.state.clone()
    }

    /// Waits for a connection, however long it takes.
    ///
    /// # Errors
    /// Why there will be none.
    pub async fn opened(&self) -> Result<(), Error> {
        let mut states = self.states();
        let settled = states.wait_for(|state| matches!(state, State::Open { .. } | State::Closed { .. }));
        match settled.await.as_deref() {
            Ok(State::Open { .. }) => Ok(()),
            Ok(State::Closed { why: Some(why) }) => Err(why.clone()),
            _ => Err(Error::Closed),
        }
    }

    /// Ends the connection and all subscriptions; what still waits for a reply fails with [`Error::Closed`]. Returns when
    /// the connection has been closed, after 2 s at the latest, and nothing runs any more.
    pub async fn close(&self) {
        self.tell(Job::Close);
        self.0.jobs.closed().await;
    }

    /// Opens a subscription.
    pub(crate) fn start(&self, subscribe: Subscribe) -> Result<Subscription, Error> {
        let Subscribe { filter, options, buffer, full, .. } = subscribe;
        let filter = filter?;
        let reader = self.0.last_reader.fetch_add(1, Ordering::Relaxed) + 1;
        let backlog = Backlog::new(filter.clone(), buffer, full);
        let mailbox = Mailbox::new(backlog, Arc::clone(&self.0.room));
        let job = Job::Subscribe {
            reader,
            filter: filter.clone(),
            options: options?,
            mailbox: Arc::clone(&mailbox),
        };
        if self.0.jobs.send(job).is_err() {
            return Err(self.why_closed());
        }
        Ok(Subscription::new(filter, reader, mailbox, self.clone()))
    }

    /// Gives a command, when it has its turn, and waits for its reply.
    pub(crate) async fn order(&self, operation: Operation) -> Result<Reply, Error> {
        let permit = Arc::clone(&self.0.window).acquire_owned().await.map_err(|_| Error::Closed)?;
        self.give(operation, permit)?.reply().await
    }

    /// Gives a command at once.
    pub(crate) fn order_now(&self, operation: Operation) -> Result<Ordered, Error> {
        let permit = Arc::clone(&self.0.window).try_acquire_owned().map_err(|_| Error::Busy)?;
        self.give(operation, permit)
    }

    /// Changes how a subscription is served.
    pub(crate) async fn change(&self, reader: ReaderId, served: Served) -> Result<(), Error> {
        let permit = Arc::clone(&self.0.window).acquire_owned().await.map_err(|_| Error::Closed)?;
        self.send(permit, |answering| Job::Change(reader, served, answering))?.outcome().await.map(|_| ())
    }

    fn give(&self, operation: Operation, permit: OwnedSemaphorePermit) -> Result<Ordered, Error> {
        self.send(permit, |answering| Job::Order(operation, answering))
    }

    fn send(
        &self,
        permit: OwnedSemaphorePermit,
        job: impl FnOnce(Answering) -> Job,
    ) -> Result<Ordered, Error> {
        let (answer, answered) = oneshot::channel();
        if self.0.jobs.send(job(Answering { answer, _permit: permit })).is_err() {
            return Err(self.why_closed());
        }
        Ok(Ordered { hub: self.clone(), answered })
    }

    /// For what needs no answer; a Hub that has closed needs to hear nothing.
    pub(crate) fn tell(&self, job: Job) {
        let _ = self.0.jobs.send(job);
    }

    fn why_closed(&self) -> Error {
        match &*self.0.state.borrow() {
            State::Closed { why: Some(why) } => why.clone(),
            _ => Error::Closed,
        }
    }
}

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Ordered {
    hub: Hub,
    answered: oneshot::Receiver<Result<Option<Reply>, Error>>,
}

impl Ordered {
    pub(crate) async fn reply(self) -> Result<Reply, Error> {
        self.outcome().await?.ok_or_else(|| Error::Unreadable("no reply to a command".into()))
    }

    async fn outcome(self) -> Result<Option<Reply>, Error> {
        let Self { hub, answered } = self;
        answered.await.unwrap_or_else(|_| Err(hub.why_closed()))
    }
}

pub(crate) fn unexpected(reply: &Reply) -> Error {
    Error::Unreadable(format!("another reply than that of the command: {reply:?}").into())
}
