//! The session actor, one for each connection: reads from its link, hands what it reads to the session core, and
//! carries the outcome to the peer or the registry.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context};
use topichub_protocol::push::{Limits, Push, Welcome};
use uuid::Uuid;

use super::destination::Destination;
use super::worker::Worker;
use crate::hub::input::{SessionRef, SubscriberKey};
use crate::hub::session::{Outcome, Session as Core};
use crate::transport::admission::Ticket;
use crate::transport::link::Link;
use crate::transport::source::Source;

/// After this much a session lets the others of its thread have their turn.
const BYTES_PER_TURN: usize = 64 * 1024;

/// How the server names itself.
const SERVER: &str = concat!("topichub/", env!("CARGO_PKG_VERSION"));

/// One connection's session.
pub(crate) struct Session {
    worker: Rc<Worker>,
    link: Rc<Link>,
    source: Source,
    key: SubscriberKey,
    core: Core,
    _ticket: Ticket,
}

impl Session {
    /// Starts the session of a connection whose handshake is done.
    pub(crate) fn begin(worker: Rc<Worker>, link: Rc<Link>, source: Source, ticket: Ticket) {
        let key = worker.fan_out.borrow_mut().join(Destination::Peer(Rc::clone(&link)));
        worker.pulse.borrow_mut().joined(key, worker.now());
        let seat = SessionRef { worker: worker.id(), subscriber: key };
        let core = Core::new(seat, link.codec());
        let session = Self { worker, link, source, key, core, _ticket: ticket };
        session.worker.census.sessions.fetch_add(1, Ordering::Relaxed);
        session.welcome();
        session.start();
    }

    fn seat(&self) -> SessionRef {
        SessionRef { worker: self.worker.id(), subscriber: self.key }
    }

    fn welcome(&self) {
        let settings = &self.worker.settings;
        let welcome = Push::Welcome(Welcome {
            session: Uuid::from_u128(self.worker.house.seats.id(self.seat())).to_string(),
            server: SERVER.to_owned(),
            protocol: topichub_protocol::push::PROTOCOL_VERSION,
            ping: settings.ping_interval,
            limits: Limits {
                message_bytes: settings.message_bytes_max as u64,
                topics_per_session: settings.topics_per_session_max as u64,
                ..Limits::default()
            },
        });
        let codec = self.link.codec();
        let mut out = Vec::new();
        Link::frame(codec, &mut out, |payload| codec.encode_push(&welcome, payload));
        self.link.send(&out);
    }

    /// Writes what waits, reads what has come. `Ready` at the end of the session.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let mut read = 0;
        loop {
            self.link.poll_flush(cx);
            if self.link.takes_more(cx) {
                self.worker.resume(self.key);
            }
            if self.link.begins_to_wait() {
                self.worker.pulse.borrow_mut().waiting(self.key, self.worker.now());
            }
            if self.link.has_ended() {
                return Poll::Ready(());
            }
            if self.link.begins_to_close() {
                self.worker.pulse.borrow_mut().closing(self.key, self.worker.now());
            }
            if self.link.is_clogged()
                || self.core.must_wait(self.worker.settings.session_flight_bytes_max, cx.waker())
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
        let Self { worker, link, source, core, .. } = self;
        let codec = link.codec();
        let mut inputs = Vec::new();
        let (mut scratch, mut inflaters) = (worker.scratch.borrow_mut(), worker.inflaters.borrow_mut());
        let count = source.poll_read(cx, link, &mut scratch, |bytes| {
            link.receive(bytes, &mut inflaters, |bytes, out| match core.handle(bytes, &worker.house) {
                Outcome::Forward(input) => inputs.push(input),
                Outcome::Nothing => {}
                Outcome::Reply(reply) => {
                    Link::frame(codec, out, |payload| codec.encode_reply(&reply, payload));
                }
            });
        });
        drop((scratch, inflaters));
        worker.tell_registry(inputs);
        count
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Conversation);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.link.peer_has_gone();
        self.worker.leave(self.key);
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
        if ended.is_ready() {
            ctx.stop();
        }
        ended
    }
}
