//! The session actor, one for each connection: reads from its link, hands what it reads to the session core, and
//! carries the outcome to the peer or the registry.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context};
use topichub_protocol::code::CloseCode;
use topichub_protocol::command::Command;
use topichub_protocol::push::{Limits, Push, Welcome};
use uuid::Uuid;

use super::destination::Destination;
use super::listener::{Listener, Renewal};
use super::news::{Described, Ended};
use super::parting::Parting;
use super::worker::Worker;
use crate::hub::identity::Identity;
use crate::hub::input::{SessionRef, SubscriberKey};
use crate::hub::session::Session as Core;
use crate::metrics::figure::Figure;
use crate::transport::admission::Ticket;
use crate::transport::link::Link;
use crate::transport::source::Source;

/// After this much a session lets the others of its thread have their turn.
const BYTES_PER_TURN: usize = 64 * 1024;

/// How long before the end of what it has authenticated with a session is told, if there is so long.
const EXPIRING_NOTICE: Duration = Duration::from_secs(60);

/// How the server names itself.
const SERVER: &str = concat!("topichub/", env!("CARGO_PKG_VERSION"));

/// Whose connection it is, as far as the handshake shows.
pub(crate) struct Visitor {
    /// Its place among the connections, if the session is to keep it.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) identity: Option<Arc<Identity>>,
}

/// One connection's session.
pub(crate) struct Session {
    worker: Rc<Worker>,
    link: Rc<Link>,
    source: Source,
    listener: Listener,
    /// Its place among the connections, until it has stopped.
    ticket: Option<Ticket>,
}

impl Session {
    /// Starts the session of a connection whose handshake is done. What it has said in the handshake it does first.
    pub(crate) fn begin(
        worker: Rc<Worker>,
        link: Rc<Link>,
        source: Source,
        Visitor { ticket, address, identity }: Visitor,
        (commands, bytes): (Vec<Command>, usize),
    ) {
        let key = worker.fan_out.borrow_mut().join(Destination::Peer(Rc::clone(&link)));
        worker.pulse.borrow_mut().joined(key, worker.now());
        let seat = SessionRef { worker: worker.id(), subscriber: key };
        let listener = Listener::new(Core::new(seat, link.codec()), identity);
        let mut session = Self { worker, link, source, listener, ticket };
        session.worker.census.sessions.fetch_add(1, Ordering::Relaxed);
        session.worker.roster.borrow_mut().enter(key, address, session.worker.now());
        let (tally, class) = (session.worker.tally(), session.link.class());
        tally.add(Figure::sessions(class), 1);
        tally.add(Figure::opened(class), 1);
        session.welcome();
        let mut inputs = Vec::new();
        let Self { worker, link, listener, .. } = &mut session;
        listener.begin(commands, bytes, (worker, link), &mut inputs);
        worker.tell_registry(inputs);
        session.start();
    }

    fn key(&self) -> SubscriberKey {
        self.listener.seat().subscriber
    }

    fn id(&self) -> Uuid {
        Uuid::from_u128(self.worker.house.borrow().seats.id(self.listener.seat()))
    }

    fn welcome(&self) {
        let settings = self.worker.settings();
        let welcome = Push::Welcome(Welcome {
            session: self.id().to_string(),
            server: SERVER.to_owned(),
            protocol: topichub_protocol::push::PROTOCOL_VERSION,
            ping: settings.ping_interval,
            limits: Limits {
                message_bytes: settings.message_bytes_max as u64,
                topics_per_session: settings.topics_per_session_max as u64,
                ..Limits::default()
            },
        });
        self.push(&welcome);
    }

    /// Writes what waits, reads what has come. `Ready` at the end of the session.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.worker.departures.are_many() && self.link.is_about_to_end() {
            self.worker.departures.wait(cx);
            return Poll::Pending;
        }
        let mut read = 0;
        loop {
            self.link.poll_flush(cx);
            if self.link.takes_more(cx) {
                self.worker.resume(self.key());
            }
            if self.link.awaits_end_of_past() && !self.worker.fan_out.borrow().is_catching_up(self.key()) {
                self.link.complete();
            }
            if self.link.begins_to_wait() {
                self.worker.pulse.borrow_mut().waiting(self.key(), self.worker.now());
            }
            if self.link.has_ended() {
                self.worker.departures.count();
                return Poll::Ready(());
            }
            if self.link.begins_to_close() {
                self.worker.pulse.borrow_mut().closing(self.key(), self.worker.now());
            }
            if self.listener.poll_checking(cx, (&self.worker, &self.link)).is_pending() {
                return Poll::Pending;
            }
            if self.link.is_clogged()
                || self.listener.must_wait(self.worker.settings().session_flight_bytes_max, cx.waker())
            {
                return Poll::Pending;
            }
            if read >= BYTES_PER_TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_read(cx) {
                Poll::Ready(0) => self.link.peer_has_gone(),
                Poll::Ready(count) => read += count,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_read(&mut self, cx: &mut TaskContext<'_>) -> Poll<usize> {
        let Self { worker, link, source, listener, .. } = self;
        let mut inputs = Vec::new();
        let (mut scratch, mut inflaters) = (worker.scratch.borrow_mut(), worker.inflaters.borrow_mut());
        let count = source.poll_read(cx, link, &mut scratch, |bytes| {
            link.receive(bytes, &mut inflaters, |bytes, out| {
                listener.hear(bytes, (worker, link), &mut inputs, out);
            });
        });
        drop((scratch, inflaters));
        worker.tell_registry(inputs);
        count
    }

    /// Sees to it that the session ends when what it has authenticated with runs out, or if it never does so and must.
    fn set_term(&mut self, ctx: &mut Context<Self>) {
        if let Some(term) = self.listener.replace_term(None) {
            ctx.cancel_future(term);
        }
        let Some(identity) = self.listener.who(&self.worker) else {
            let wait = self.worker.settings().handshake_timeout;
            let term = ctx.run_later(wait, move |session, _| {
                let reason = format!("who this is was not said within {wait:?}");
                session.link.close(CloseCode::HandshakeTimeout, &reason);
            });
            self.listener.replace_term(Some(term));
            return;
        };
        let (mut roster, users) = (self.worker.roster.borrow_mut(), &self.worker.users);
        if let Err(max) = roster.identify(self.key(), &identity, users) {
            let reason = format!("a user may have {max} sessions, and this one has them");
            return self.link.close(CloseCode::TooManyConnections, &reason);
        }
        let Some(expires) = identity.expires else { return };
        let left = self.worker.clock.left_until(expires);
        let notice = EXPIRING_NOTICE.min(left / 2);
        let term = ctx.run_later(left - notice, move |session, ctx| {
            session.push(&Push::Expiring { within: session.worker.clock.left_until(expires) });
            let term = ctx.run_later(notice, |session, _| {
                session.link.close(CloseCode::TokenExpired, "the token has expired");
            });
            session.listener.replace_term(Some(term));
        });
        self.listener.replace_term(Some(term));
    }

    /// Tells those who watch sessions who this is.
    fn announce(&self, renewal: Renewal) {
        self.worker.note(|news| {
            let session = self.described();
            match renewal {
                Renewal::First => news.connected(session),
                Renewal::Again => news.identified(session),
            }
        });
    }

    fn described(&self) -> Described {
        let roster = self.worker.roster.borrow();
        let guest = roster.get(self.key());
        let lasted = self.worker.now().saturating_sub(guest.map_or(Duration::ZERO, |guest| guest.since));
        let since = self.worker.clock.today().saturating_sub(lasted);
        Described {
            session: self.id(),
            user: guest.and_then(|guest| guest.user()).map(Into::into),
            protocol: self.link.class().names().0,
            address: guest.and_then(|guest| guest.address),
            since_ms: since.as_millis() as u64,
        }
    }

    /// Tells the metrics, those who watch sessions, and the log.
    fn tell_the_end(&self) {
        let (tally, ending) = (self.worker.tally(), self.link.ending());
        tally.subtract(Figure::sessions(self.link.class()), 1);
        tally.add(Figure::closed(ending.code, ending.by), 1);
        self.worker.note(|news| {
            news.ended(Ended { session: self.described(), code: ending.code, by: ending.by.as_str() });
        });
        let roster = self.worker.roster.borrow();
        let Some(guest) = roster.get(self.key()) else { return };
        self.worker.partings.borrow_mut().tell(&Parting {
            session: self.id(),
            user: guest.user(),
            address: guest.address,
            class: self.link.class(),
            lasted: self.worker.now().saturating_sub(guest.since),
            ending,
            traffic: self.link.traffic(),
        });
    }

    fn push(&self, push: &Push) {
        let mut out = Vec::new();
        self.link.push(push, &mut out);
        self.link.says(1);
        self.link.send(&out);
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Conversation);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.link.peer_has_gone();
        self.tell_the_end();
        self.worker.leave(self.key());
        // Whoever sees the session gone finds its place free.
        self.ticket = None;
        self.worker.census.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The session's work, for as long as its connection lasts.
struct Conversation;

impl ActorFuture<Session> for Conversation {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let ended = session.poll(cx);
        if let Some(renewal) = session.listener.take_renewal() {
            session.set_term(ctx);
            session.announce(renewal);
        }
        if ended.is_ready() {
            ctx.stop();
        }
        ended
    }
}
