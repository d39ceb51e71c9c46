//! What those who look after a hub can see and do: topics, sessions, and the ends of both.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use topichub_protocol::code::CloseCode;
use topichub_protocol::codec::Codec;
use topichub_protocol::topic::{Filter, Topic};
use uuid::Uuid;

use crate::actors::orders::{Listed, Order, Purge, Survey, Target};
use crate::embed::Hub;
use crate::hub::identity::Identity;
use crate::hub::registry::TopicPage;

/// One session, as those see it who look after the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Its id, as in its `welcome`.
    pub session: Uuid,
    /// Its user, if it has said who it is and has a name.
    pub user: Option<Box<str>>,
    /// The notation that it speaks.
    pub codec: Codec,
    /// What it speaks: the name of the subprotocol, or `events` or `poll` for a stream or a long poll over HTTP.
    pub protocol: &'static str,
    /// Where it comes from, if that is known.
    pub address: Option<IpAddr>,
    /// How long it has been there.
    pub age: Duration,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// How many bytes wait for it.
    pub waiting_bytes: usize,
}

/// Sessions in the order of their seats, which says nothing but is always the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionStatus>,
    /// Behind which one to go on; `None` at the end.
    pub next: Option<Uuid>,
}

impl Hub {
    /// The topics that match, `limit` at a time, in the order of their names.
    pub async fn topics(
        &self,
        filter: Option<Filter>,
        after: Option<Topic>,
        limit: usize,
    ) -> Option<TopicPage> {
        let (answered, answer) = oneshot::channel();
        self.registry().do_send(Survey { filter, after, limit, answered });
        answer.await.ok()
    }

    /// Forgets what was published to a topic, and returns how many messages that were. Offsets go on from where they
    /// are: who comes back for messages that are gone is told so.
    pub async fn purge(&self, topic: Topic) -> Option<usize> {
        let (answered, answer) = oneshot::channel();
        self.registry().do_send(Purge { topic, answered });
        answer.await.ok()
    }

    /// The sessions there are, or those of one user, `limit` at a time.
    pub async fn list_sessions(&self, user: Option<&str>, after: Option<Uuid>, limit: usize) -> SessionPage {
        let seats = self.seats();
        let after = after.and_then(|id| seats.session(id.as_u128()));
        let (listed, lists) = mpsc::unbounded_channel();
        let user = user.map(Into::into);
        // One more than is shown says whether there are more.
        self.registry().do_send(Order::List { after, user, limit: limit.saturating_add(1), listed });
        let mut all: Vec<Listed> = gather(lists).await.into_iter().flatten().collect();
        all.sort_by_key(|listed| place(listed.session));
        let more = all.len() > limit;
        all.truncate(limit);
        let status = |listed: Listed| SessionStatus {
            session: Uuid::from_u128(seats.id(listed.session)),
            user: listed.user,
            codec: listed.codec,
            protocol: listed.protocol,
            address: listed.address,
            age: listed.age,
            subscriptions: listed.subscriptions,
            waiting_bytes: listed.waiting_bytes,
        };
        let sessions: Vec<_> = all.into_iter().map(status).collect();
        let next = sessions.last().filter(|_| more).map(|last| last.session);
        SessionPage { sessions, next }
    }

    /// Who a user is in one of its sessions, if there are any.
    pub(crate) async fn identity_of(&self, user: &str) -> Option<Arc<Identity>> {
        let (found, mut identities) = mpsc::unbounded_channel();
        self.registry().do_send(Order::Identify { user: user.into(), found });
        identities.recv().await
    }

    /// Ends a session (4005: it should not come back). Returns whether it was there.
    pub async fn disconnect_session(&self, session: Uuid) -> bool {
        let Some(session) = self.seats().session(session.as_u128()) else { return false };
        self.disconnect(Target::Session(session), CloseCode::Kicked, "ended by an administrator").await > 0
    }

    /// Ends all sessions of a user (4005: they should not come back). Returns how many there were.
    pub async fn disconnect_user(&self, user: &str) -> usize {
        self.disconnect(Target::User(user.into()), CloseCode::Kicked, "ended by an administrator").await
    }

    /// Ends all subscriptions of a user that are exactly this topic or pattern. Returns how many there were.
    pub async fn unsubscribe_user(&self, user: &str, filter: Filter) -> usize {
        let (done, counts) = mpsc::unbounded_channel();
        let whom = Target::User(user.into());
        self.registry().do_send(Order::Unsubscribe { whom, filter, done });
        gather(counts).await.into_iter().sum()
    }

    /// From now on the token of this id (`jti`) proves nothing, and the sessions that came with it end (4001). Returns
    /// how many these were.
    pub async fn revoke_token(&self, token_id: &str) -> usize {
        self.authority().revoke(token_id);
        self.disconnect(Target::Token(token_id.into()), CloseCode::Unauthorized, "the token was revoked")
            .await
    }

    async fn disconnect(&self, whom: Target, code: CloseCode, reason: &str) -> usize {
        let (done, counts) = mpsc::unbounded_channel();
        self.registry().do_send(Order::Disconnect { whom, code, reason: reason.into(), done });
        gather(counts).await.into_iter().sum()
    }

    /// How many topics there are, as of the last second.
    pub fn topic_count(&self) -> usize {
        self.census().topics.load(Ordering::Relaxed)
    }
}

fn place(session: crate::hub::input::SessionRef) -> (u32, u64) {
    use slotmap::Key;
    (session.worker.0, session.subscriber.data().as_ffi() & u64::from(u32::MAX))
}

/// What all have answered.
async fn gather<T>(mut answers: mpsc::UnboundedReceiver<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(answer) = answers.recv().await {
        all.push(answer);
    }
    all
}
