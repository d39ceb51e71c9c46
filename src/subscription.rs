//! A subscription within this process: a bounded stream of messages. Its sending half is a fan-out's destination.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};
use topichub_protocol::message::Message;
use topichub_protocol::reply::Reply;

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionEnded {
    /// The stream was not read fast enough.
    #[error("the subscription was not read: {waiting} messages were waiting, which is the limit")]
    TooSlow {
        /// The messages that waited; they can still be read before this.
        waiting: usize,
    },
    /// The hub has stopped.
    #[error("the hub has stopped")]
    HubStopped,
}

/// The messages of a topic, or of all topics that match a pattern, as they are published.
///
/// Each item is a message, or at the end the reason why there are no more. It ends when it is dropped, too.
#[derive(Debug)]
pub struct Subscription {
    messages: mpsc::Receiver<Message>,
    ended: Option<oneshot::Receiver<SubscriptionEnded>>,
}

impl Stream for Subscription {
    type Item = Result<Message, SubscriptionEnded>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_recv(cx).map(|message| match message {
            Some(message) => Some(Ok(message)),
            None => {
                let why = self.ended.take()?.try_recv().unwrap_or(SubscriptionEnded::HubStopped);
                Some(Err(why))
            }
        })
    }
}

impl Subscription {
    /// The next message, or why there are no more; `None` after that.
    pub async fn next(&mut self) -> Option<Result<Message, SubscriptionEnded>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

/// The fan-out's half.
pub(crate) struct Sender {
    capacity: usize,
    open: RefCell<Option<Open>>,
    subscribed: RefCell<Option<oneshot::Sender<Reply>>>,
    awaited: Cell<bool>,
}

struct Open {
    messages: mpsc::Sender<Message>,
    ended: oneshot::Sender<SubscriptionEnded>,
}

/// A subscription whose stream holds up to `capacity` messages. `subscribed` hears the reply to the subscribing.
pub(crate) fn channel(capacity: usize, subscribed: oneshot::Sender<Reply>) -> (Sender, Subscription) {
    let (messages, receiver) = mpsc::channel(capacity);
    let (ended, why) = oneshot::channel();
    let open = RefCell::new(Some(Open { messages, ended }));
    let sender =
        Sender { capacity, open, subscribed: RefCell::new(Some(subscribed)), awaited: Cell::new(false) };
    (sender, Subscription { messages: receiver, ended: Some(why) })
}

impl Sender {
    pub(crate) fn reply(&self, reply: &Reply) {
        if let Some(subscribed) = self.subscribed.take() {
            let _ = subscribed.send(reply.clone());
        }
    }

    /// Passes a message on. A stream that is full has ended.
    pub(crate) fn deliver(&self, message: &Message) {
        let mut open = self.open.borrow_mut();
        let Some(Open { messages, .. }) = open.as_ref() else { return };
        match messages.try_send(message.clone()) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                if let Some(Open { ended, .. }) = open.take() {
                    let _ = ended.send(SubscriptionEnded::TooSlow { waiting: self.capacity });
                }
            }
            Err(mpsc::error::TrySendError::Closed(_)) => *open = None,
        }
    }

    /// Whether there is room for a batch of the past.
    pub(crate) fn has_room(&self) -> bool {
        self.open.borrow().as_ref().is_none_or(|open| open.messages.capacity() > self.capacity / 2)
    }

    /// More of the past is to come when there is room.
    pub(crate) fn await_room(&self) {
        self.awaited.set(true);
    }

    /// Whether there is room for what was waited with.
    pub(crate) fn wants_more(&self) -> bool {
        self.awaited.get() && self.has_room() && self.awaited.replace(false)
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.open.borrow().as_ref().is_none_or(|open| open.messages.is_closed())
    }
}
