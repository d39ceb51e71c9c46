//! The session actor, one for each connection: reads from its link, hands what it reads to the session core, and
//! carries the outcome to the peer or the registry.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context, SpawnHandle};
use topichub_protocol::code::CloseCode;
use topichub_protocol::push::{Limits, Push, Welcome};
use uuid::Uuid;

use super::destination::Destination;
use super::worker::Worker;
use crate::authority::Identified;
use crate::hub::identity::Identity;
use crate::hub::input::{Input, SessionRef, SubscriberKey};
use crate::hub::session::{Outcome, Proof, Session as Core};
use crate::transport::admission::Ticket;
use crate::transport::link::Link;
use crate::transport::source::Source;

/// After this much a session lets the others of its thread have their turn.
const BYTES_PER_TURN: usize = 64 * 1024;

/// How long before the end of what it has authenticated with a session is told, if there is so long.
const EXPIRING_NOTICE: Duration = Duration::from_secs(60);

/// How the server names itself.
const SERVER: &str = concat!("topichub/", env!("CARGO_PKG_VERSION"));

/// One connection's session.
pub(crate) struct Session {
    worker: Rc<Worker>,
    link: Rc<Link>,
    source: Source,
    key: SubscriberKey,
    core: Core,
    /// A token that is being looked into.
    checking: Option<Box<Checking>>,
    /// What ends the session if nothing comes before.
    term: Option<SpawnHandle>,
    /// Whether who this is has been found out anew.
    renewed: bool,
    _ticket: Ticket,
}

/// Until it is known whose token it is, commands wait and nothing more is read.
struct Checking {
    proof: Proof,
    identified: Pin<Box<dyn Future<Output = Identified>>>,
    commands: Vec<Box<[u8]>>,
}

impl Session {
    /// Starts the session of a connection whose handshake is done.
    pub(crate) fn begin(
        worker: Rc<Worker>,
        link: Rc<Link>,
        source: Source,
        ticket: Ticket,
        address: Option<IpAddr>,
        identity: Option<Arc<Identity>>,
    ) {
        let key = worker.fan_out.borrow_mut().join(Destination::Peer(Rc::clone(&link)));
        worker.pulse.borrow_mut().joined(key, worker.now());
        let seat = SessionRef { worker: worker.id(), subscriber: key };
        let mut core = Core::new(seat, link.codec());
        identity.into_iter().for_each(|identity| core.become_known(identity, None));
        let session = Self {
            worker,
            link,
            source,
            key,
            core,
            checking: None,
            term: None,
            renewed: true,
            _ticket: ticket,
        };
        session.worker.census.sessions.fetch_add(1, Ordering::Relaxed);
        session.worker.roster.borrow_mut().enter(key, address, session.worker.now());
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
        self.push(&welcome);
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
            if self.poll_checking(cx).is_pending() {
                return Poll::Pending;
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
        let Self { worker, link, source, core, checking, renewed, .. } = self;
        let mut inputs = Vec::new();
        let (mut scratch, mut inflaters) = (worker.scratch.borrow_mut(), worker.inflaters.borrow_mut());
        let count = source.poll_read(cx, link, &mut scratch, |bytes| {
            link.receive(bytes, &mut inflaters, |bytes, out| match checking {
                Some(checking) => checking.commands.push(bytes.into()),
                None => *renewed |= command(core, worker, link, checking, bytes, &mut inputs, out),
            });
        });
        drop((scratch, inflaters));
        worker.tell_registry(inputs);
        count
    }

    /// Goes on when it is known whose token it is.
    fn poll_checking(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Self { worker, link, core, checking, renewed, .. } = self;
        while let Some(mut waiting) = checking.take() {
            let Poll::Ready(identified) = waiting.identified.as_mut().poll(cx) else {
                *checking = Some(waiting);
                return Poll::Pending;
            };
            let (mut inputs, mut out) = (Vec::new(), Vec::new());
            let Checking { proof, commands, .. } = *waiting;
            *renewed = true;
            let outcome = identified_as(core, worker, proof, identified, &mut inputs);
            carry_out(outcome, link, &mut inputs, &mut out);
            for bytes in commands {
                match checking {
                    Some(checking) => checking.commands.push(bytes),
                    None => _ = command(core, worker, link, checking, &bytes, &mut inputs, &mut out),
                }
            }
            worker.tell_registry(inputs);
            link.send(&out);
        }
        Poll::Ready(())
    }
}

impl Session {
    /// Sees to it that the session ends when what it has authenticated with runs out, or if it never does so and must.
    fn set_term(&mut self, ctx: &mut Context<Self>) {
        if let Some(term) = self.term.take() {
            ctx.cancel_future(term);
        }
        let Some(identity) = self.core.who(&self.worker.house) else {
            let wait = self.worker.settings.handshake_timeout;
            self.term = Some(ctx.run_later(wait, |session, _| {
                session.link.close(CloseCode::HandshakeTimeout, "who this is was not said in time");
            }));
            return;
        };
        let identity = Arc::clone(identity);
        let (mut roster, users) = (self.worker.roster.borrow_mut(), &self.worker.users);
        if let Err(max) = roster.identify(self.key, &identity, users) {
            let reason = format!("a user may have {max} sessions, and this one has them");
            return self.link.close(CloseCode::TooManyConnections, &reason);
        }
        let Some(expires) = identity.expires else { return };
        let left = self.worker.clock.left_until(expires);
        let notice = EXPIRING_NOTICE.min(left / 2);
        self.term = Some(ctx.run_later(left - notice, move |session, ctx| {
            session.push(&Push::Expiring { within: session.worker.clock.left_until(expires) });
            session.term = Some(ctx.run_later(notice, |session, _| {
                session.link.close(CloseCode::TokenExpired, "the token has expired");
            }));
        }));
    }

    fn push(&self, push: &Push) {
        let codec = self.link.codec();
        let mut out = Vec::new();
        Link::frame(codec, &mut out, |payload| codec.encode_push(push, payload));
        self.link.send(&out);
    }
}

/// Takes one command: what it is for the registry goes into `inputs`, what is answered into `out`. Returns whether it
/// may have found out who this is.
fn command(
    core: &mut Core,
    worker: &Worker,
    link: &Link,
    checking: &mut Option<Box<Checking>>,
    bytes: &[u8],
    inputs: &mut Vec<Input>,
    out: &mut Vec<u8>,
) -> bool {
    let mut outcome = core.handle(bytes, &worker.house);
    let mut asked = false;
    if let Outcome::Identify(proof) = outcome {
        let (authority, token) = (Arc::clone(&worker.authority), proof.token.clone());
        let mut identified: Pin<Box<dyn Future<Output = Identified>>> =
            Box::pin(async move { authority.identify(&token).await });
        // Most authorities know at once.
        match identified.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
            Poll::Ready(identified) => {
                outcome = identified_as(core, worker, proof, identified, inputs);
                asked = true;
            }
            Poll::Pending => {
                *checking = Some(Box::new(Checking { proof, identified, commands: Vec::new() }));
                return false;
            }
        }
    }
    carry_out(outcome, link, inputs, out);
    asked
}

fn identified_as(
    core: &mut Core,
    worker: &Worker,
    proof: Proof,
    identified: Identified,
    inputs: &mut Vec<Input>,
) -> Outcome {
    let expires = identified.as_ref().ok().and_then(|identity| identity.expires);
    let left = expires.map(|expires| worker.clock.left_until(expires));
    core.identified(proof, identified, left, inputs)
}

fn carry_out(outcome: Outcome, link: &Link, inputs: &mut Vec<Input>, out: &mut Vec<u8>) {
    match outcome {
        Outcome::Forward(input) => inputs.push(input),
        Outcome::Nothing | Outcome::Identify(_) => {}
        Outcome::Reply(reply) => {
            let codec = link.codec();
            Link::frame(codec, out, |payload| codec.encode_reply(&reply, payload));
        }
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
        if std::mem::take(&mut session.renewed) {
            session.set_term(ctx);
        }
        if ended.is_ready() {
            ctx.stop();
        }
        ended
    }
}
