//! What a session makes of its peer's commands: how fast they may come, whose tokens they show, and to whom each goes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actix::SpawnHandle;
use topichub_protocol::code::CloseCode;
use topichub_protocol::reply::Reply;

use super::rates::{Pace, Rates};
use super::worker::Worker;
use crate::authority::Identified;
use crate::hub::identity::Identity;
use crate::hub::input::{Input, SessionRef};
use crate::hub::session::{Outcome, Proof, Session as Core};
use crate::metrics::figure::{Figure, Op};
use crate::transport::link::Link;

/// The most bytes of commands that wait until it is known who gives them. They come out of one read, which can be much
/// longer once it is inflated.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// A session's core, and what stands before it.
pub(super) struct Listener {
    core: Core,
    /// Most sessions never need it, and there may be a million of them.
    desk: Option<Box<Desk>>,
    renewal: Option<Renewal>,
}

/// What stands before a session's core, where anything does.
#[derive(Default)]
struct Desk {
    rates: Option<Rates>,
    /// A token that is being looked into.
    checking: Option<Checking>,
    /// What ends the session if nothing comes before.
    term: Option<SpawnHandle>,
}

/// Who this is has been found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// What the handshake has shown.
    First,
    /// It may be another than before.
    Again,
}

/// Until it is known whose token it is, commands wait and nothing more is read.
struct Checking {
    proof: Proof,
    identified: Pin<Box<dyn Future<Output = Identified>>>,
    commands: Vec<Box<[u8]>>,
}

impl Listener {
    /// `identity` is who this is, as far as the handshake has shown.
    pub(super) fn new(mut core: Core, identity: Option<Arc<Identity>>) -> Self {
        identity.into_iter().for_each(|identity| core.become_known(identity, None));
        Self { core, desk: None, renewal: Some(Renewal::First) }
    }

    pub(super) fn seat(&self) -> SessionRef {
        self.core.seat()
    }

    /// Notes what will end the session, and returns what was to.
    pub(super) fn replace_term(&mut self, term: Option<SpawnHandle>) -> Option<SpawnHandle> {
        if self.desk.is_none() && term.is_none() {
            return None;
        }
        std::mem::replace(&mut self.desk.get_or_insert_default().term, term)
    }

    /// Whether so much of this session's is on its way through the hub that it should not be read from.
    pub(super) fn must_wait(&self, bytes_max: usize, waker: &Waker) -> bool {
        self.core.must_wait(bytes_max, waker)
    }

    /// Whether who this is has been found out since this was asked last.
    pub(super) fn take_renewal(&mut self) -> Option<Renewal> {
        self.renewal.take()
    }

    /// Who this is; `None` as long as it has not said so and must.
    pub(super) fn who(&self, worker: &Worker) -> Option<Arc<Identity>> {
        self.core.who(&worker.house.borrow()).cloned()
    }

    /// Takes one command: what it is for the registry goes into `inputs`, what is answered into `out`.
    pub(super) fn hear(
        &mut self,
        bytes: &[u8],
        (worker, link): (&Worker, &Link),
        inputs: &mut Vec<Input>,
        out: &mut Vec<u8>,
    ) {
        if let Some(checking) = self.desk.as_mut().and_then(|desk| desk.checking.as_mut()) {
            checking.commands.push(bytes.into());
            if checking.commands.iter().map(|command| command.len()).sum::<usize>() > WAITING_BYTES_MAX {
                link.close(CloseCode::RateLimited, "too much before it is known who this is");
            }
            return;
        }
        let rates = self.desk.as_ref().and_then(|desk| desk.rates.as_ref());
        if rates.is_none()
            && worker.has_rates.get()
            && let Some(rates) = Rates::new(&worker.settings())
        {
            self.desk.get_or_insert_default().rates = Some(rates);
        }
        let rates = self.desk.as_ref().and_then(|desk| desk.rates.as_ref());
        let house = worker.house.borrow();
        let mut outcome = match rates.map_or(Pace::Fine, |rates| rates.check(bytes.len())) {
            Pace::Fine => self.core.handle(bytes, &house),
            Pace::TooFast(error) => self.core.refuse(bytes, error),
            Pace::Flood => return link.close(CloseCode::RateLimited, "too much in too short a time"),
        };
        if let Outcome::Forward(Input::Publish(_) | Input::Request { .. }) = outcome
            && let Err(error) = worker.publish_rates.check(|| self.core.user(&house))
        {
            outcome = self.core.refuse(bytes, error);
        }
        if let Some(op) = op_of(&outcome) {
            worker.tally().add(Figure::commands(op), 1);
        }
        // A name without proof holds at once.
        if matches!(outcome, Outcome::Nothing | Outcome::Reply(Reply::Authenticated { .. })) {
            self.renewal.get_or_insert(Renewal::Again);
        }
        if let Outcome::Identify(proof) = outcome {
            let (authority, token) = (Arc::clone(&worker.authority), proof.token.clone());
            let mut identified: Pin<Box<dyn Future<Output = Identified>>> =
                Box::pin(async move { authority.identify(&token).await });
            // Most authorities know at once.
            match identified.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(identified) => outcome = self.identified(proof, identified, worker, inputs),
                Poll::Pending => {
                    let checking = Checking { proof, identified, commands: Vec::new() };
                    self.desk.get_or_insert_default().checking = Some(checking);
                    // Polled again with a waker that wakes.
                    return link.wake();
                }
            }
        }
        carry_out(outcome, (worker, link), inputs, out);
    }

    /// Goes on when it is known whose token it is. `Pending` as long as it is not.
    pub(super) fn poll_checking(
        &mut self,
        cx: &mut Context<'_>,
        (worker, link): (&Worker, &Link),
    ) -> Poll<()> {
        while let Some(desk) = &mut self.desk
            && let Some(checking) = &mut desk.checking
        {
            let Poll::Ready(identified) = checking.identified.as_mut().poll(cx) else { return Poll::Pending };
            let Some(Checking { proof, commands, .. }) = desk.checking.take() else { break };
            let (mut inputs, mut out) = (Vec::new(), Vec::new());
            let outcome = self.identified(proof, identified, worker, &mut inputs);
            carry_out(outcome, (worker, link), &mut inputs, &mut out);
            for bytes in commands {
                self.hear(&bytes, (worker, link), &mut inputs, &mut out);
            }
            worker.tell_registry(inputs);
            link.send(&out);
        }
        Poll::Ready(())
    }

    fn identified(
        &mut self,
        proof: Proof,
        identified: Identified,
        worker: &Worker,
        inputs: &mut Vec<Input>,
    ) -> Outcome {
        if identified.is_ok() {
            self.renewal.get_or_insert(Renewal::Again);
        }
        let expires = identified.as_ref().ok().and_then(|identity| identity.expires);
        let left = expires.map(|expires| worker.clock.left_until(expires));
        self.core.identified(proof, identified, left, inputs)
    }
}

/// What was asked, if it was sound and permitted.
fn op_of(outcome: &Outcome) -> Option<Op> {
    match outcome {
        Outcome::Forward(Input::Publish(_)) => Some(Op::Publish),
        Outcome::Forward(Input::Request { .. }) => Some(Op::Request),
        Outcome::Forward(Input::Answer { .. }) => Some(Op::Reply),
        Outcome::Forward(Input::Subscribe(_)) => Some(Op::Subscribe),
        Outcome::Forward(Input::Unsubscribe { .. }) => Some(Op::Unsubscribe),
        Outcome::Forward(Input::History { .. }) => Some(Op::History),
        Outcome::Forward(Input::Presence { .. }) => Some(Op::Presence),
        Outcome::Reply(Reply::Pong { .. }) => Some(Op::Ping),
        // A name without proof is the only thing that is done at once without a word.
        Outcome::Identify(_) | Outcome::Reply(Reply::Authenticated { .. }) | Outcome::Nothing => {
            Some(Op::Authenticate)
        }
        Outcome::Forward(_) | Outcome::Reply(_) => None,
    }
}

fn carry_out(outcome: Outcome, (worker, link): (&Worker, &Link), inputs: &mut Vec<Input>, out: &mut Vec<u8>) {
    match outcome {
        Outcome::Forward(input) => inputs.push(input),
        Outcome::Nothing | Outcome::Identify(_) => {}
        Outcome::Reply(reply) => {
            if let Reply::Error(error) = &reply {
                worker.tally().add(Figure::errors(error.code), 1);
            }
            link.says(1);
            let codec = link.codec();
            Link::frame(codec, out, |payload| codec.encode_reply(&reply, payload));
        }
    }
}
