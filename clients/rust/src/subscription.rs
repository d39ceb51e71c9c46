//! The reader's end of a subscription, and the box between it and the Hub's task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use tokio::sync::Notify;
use topichub_protocol::Filter;

use crate::ask::Change;
use crate::backlog::{Backlog, Pushed};
use crate::driver::Job;
use crate::error::Error;
use crate::event::Event;
use crate::hub::Hub;
use crate::message::Message;
use crate::session::ReaderId;

/// The messages of a topic or pattern: a [`Stream`] of `Result<Message, Error>`.
///
/// A lost connection does not end it: the Hub comes back, and goes on behind the last message. It ends with one `Err` that
/// says why, and then `None`; or with `None` alone if the program itself has closed the Hub. Dropping it unsubscribes.
///
/// Gaps are not errors, and not messages: who wants to see them takes [`events`](Self::events).
#[derive(Debug)]
#[must_use = "a subscription that is dropped has ended"]
pub struct Subscription {
    events: Events,
}

/// All that happens to a subscription, in order: a [`Stream`] of `Result<Event, Error>`. It ends as [`Subscription`] does.
#[derive(Debug)]
#[must_use = "a subscription that is dropped has ended"]
pub struct Events {
    filter: Filter,
    reader: ReaderId,
    mailbox: Arc<Mailbox>,
    hub: Hub,
    /// Taken out of the mailbox already.
    taken: VecDeque<Event>,
    has_ended: bool,
}

/// The most that is taken out of a mailbox at once.
const TAKEN_MAX: usize = 64;

impl Subscription {
    pub(crate) fn new(filter: Filter, reader: ReaderId, mailbox: Arc<Mailbox>, hub: Hub) -> Self {
        Self { events: Events { filter, reader, mailbox, hub, taken: VecDeque::new(), has_ended: false } }
    }

    /// The name that was subscribed to.
    pub fn filter(&self) -> &Filter {
        &self.events.filter
    }

    /// The next message, or why there are no more; `None` after that. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Waits until the server has agreed to the subscription for the first time.
    ///
    /// # Errors
    /// If it has not; the subscription has ended then.
    pub async fn ready(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.events.mailbox.poll_ready(cx)).await
    }

    /// Changes how the subscription is served, now and after every reconnect, without ending it.
    pub fn change(&self) -> Change {
        self.events.change()
    }

    /// The same subscription with all that happens to it: gaps, presence, and the server's agreement, first and after each
    /// reconnect.
    pub fn events(self) -> Events {
        self.events
    }
}

impl Events {
    /// The name that was subscribed to.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Changes how the subscription is served, now and after every reconnect, without ending it.
    pub fn change(&self) -> Change {
        Change::new(self.hub.clone(), self.reader)
    }

    /// The next event, or why there are no more; `None` after that. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Subscription {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return match Pin::new(&mut self.events).poll_next(cx) {
                Poll::Ready(Some(Ok(Event::Message(message)))) => Poll::Ready(Some(Ok(message))),
                Poll::Ready(Some(Ok(_))) => continue,
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl Stream for Events {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.taken.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let Self { mailbox, taken, .. } = &mut *self;
        let next = mailbox.poll_next(cx, taken);
        if let Poll::Ready(None | Some(Err(_))) = next {
            self.has_ended = true;
        }
        next
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.mailbox.leave();
        self.hub.tell(Job::Unsubscribe(self.reader));
    }
}

/// Between the Hub's task and one reader.
#[derive(Debug)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    /// Told when there is room again.
    room: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    backlog: Backlog,
    reader: Option<Waker>,
    /// The server has agreed.
    is_ready: bool,
    /// The reader has gone.
    is_left: bool,
    /// The Hub's task waits for room.
    is_awaited: bool,
    /// What comes last.
    end: Option<Option<Error>>,
}

impl Mailbox {
    pub(crate) fn new(backlog: Backlog, room: Arc<Notify>) -> Arc<Self> {
        let inner =
            Inner { backlog, reader: None, is_ready: false, is_left: false, is_awaited: false, end: None };
        Arc::new(Self { inner: Mutex::new(inner), room })
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all of these up to the one for which there is no room, if that is the end.
    pub(crate) fn push(&self, events: impl Iterator<Item = Event>) -> Pushed {
        let mut inner = self.lock();
        let is_over = inner.is_left || inner.end.is_some();
        let mut pushed = Pushed::Fine;
        for event in events {
            if is_over || pushed == Pushed::Overflow {
                continue; // what nobody reads is taken all the same
            }
            inner.is_ready |= matches!(event, Event::Subscribed(_));
            pushed = inner.backlog.push(event);
        }
        inner.is_awaited |= pushed == Pushed::Filled;
        let reader = inner.reader.take();
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
        pushed
    }

    /// No more comes than what waits.
    pub(crate) fn end(&self, why: Option<Error>) {
        let mut inner = self.lock();
        inner.end.get_or_insert(why);
        let reader = inner.reader.take();
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether the Hub's task has to wait.
    pub(crate) fn is_in_the_way(&self) -> bool {
        let inner = self.lock();
        !inner.is_left && inner.end.is_none() && inner.backlog.is_full()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.lock().backlog.max()
    }

    fn leave(&self) {
        let mut inner = self.lock();
        inner.is_left = true;
        inner.reader = None;
        let is_awaited = inner.is_awaited;
        drop(inner);
        if is_awaited {
            self.room.notify_one();
        }
    }

    /// The next event; those behind it are taken along.
    fn poll_next(
        &self,
        cx: &mut Context<'_>,
        taken: &mut VecDeque<Event>,
    ) -> Poll<Option<Result<Event, Error>>> {
        let mut inner = self.lock();
        inner.backlog.take(taken, TAKEN_MAX);
        if let Some(event) = taken.pop_front() {
            let has_room = inner.is_awaited && !inner.backlog.is_full();
            inner.is_awaited &= !has_room;
            drop(inner);
            if has_room {
                self.room.notify_one();
            }
            return Poll::Ready(Some(Ok(event)));
        }
        match &inner.end {
            Some(why) => Poll::Ready(why.clone().map(Err)),
            None => {
                inner.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut inner = self.lock();
        match &inner.end {
            _ if inner.is_ready => Poll::Ready(Ok(())),
            Some(why) => Poll::Ready(Err(why.clone().unwrap_or(Error::Closed))),
            None => {
                inner.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
