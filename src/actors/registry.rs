//! The registry actor: hands inputs to the registry core and its effects to the workers, joined per turn.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use tokio::sync::oneshot;
use topichub_protocol::message::{Payload, Position};
use topichub_protocol::topic::Topic;

use super::fan_out::{Deliveries, Drain, FanOut};
use crate::clock::Clock;
use crate::hub::input::{Delivery, Effect, Input, Publication, Publisher, Ticket, WorkerId};
use crate::hub::permit::Permit;
use crate::hub::registry::Registry as Core;

/// A worker hears of at most this many things at once, so that it can begin while the registry goes on.
const DELIVERIES_PER_BATCH: usize = 512;

/// How often topics without use are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Owner of the topics.
pub(crate) struct Registry {
    core: Core,
    clock: Clock,
    workers: HashMap<WorkerId, ToWorker>,
    waiting: HashMap<Ticket, oneshot::Sender<Position>>,
    next_ticket: u64,
    effects: Vec<Effect>,
}

struct ToWorker {
    fan_out: Addr<FanOut>,
    batch: Vec<Delivery>,
}

/// What sessions and workers have for the registry, in order.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Inputs(pub(crate) Vec<Input>);

/// A worker thread begins.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct JoinWorker {
    pub(crate) worker: WorkerId,
    pub(crate) fan_out: Addr<FanOut>,
}

/// Somebody outside of any session publishes and waits for the position.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Publish {
    pub(crate) topic: Topic,
    pub(crate) payload: Payload,
    pub(crate) permit: Permit,
    pub(crate) published: oneshot::Sender<Position>,
}

impl Registry {
    pub(crate) fn new(core: Core, clock: Clock) -> Self {
        Self {
            core,
            clock,
            workers: HashMap::new(),
            waiting: HashMap::new(),
            next_ticket: 0,
            effects: Vec::new(),
        }
    }

    fn take(&mut self, input: Input) {
        self.core.handle(input, self.clock.now(), &mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Deliver { worker, delivery } => {
                    let Some(worker) = self.workers.get_mut(&worker) else { continue };
                    worker.batch.push(delivery);
                    if worker.batch.len() >= DELIVERIES_PER_BATCH {
                        worker.send();
                    }
                }
                Effect::Answer { ticket, position } => {
                    if let Some(published) = self.waiting.remove(&ticket) {
                        let _ = published.send(position);
                    }
                }
            }
        }
    }
}

impl ToWorker {
    fn send(&mut self) {
        if !self.batch.is_empty() {
            self.fan_out.do_send(Deliveries(std::mem::take(&mut self.batch)));
        }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(SendAtTheEndOfEachTurn);
        ctx.run_interval(TICK, |registry, _| registry.take(Input::Tick));
    }
}

/// Polled when the mailbox is empty.
struct SendAtTheEndOfEachTurn;

impl ActorFuture<Registry> for SendAtTheEndOfEachTurn {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        registry: &mut Registry,
        _: &mut Context<Registry>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        registry.workers.values_mut().for_each(ToWorker::send);
        Poll::Pending
    }
}

impl Handler<Inputs> for Registry {
    type Result = ();

    fn handle(&mut self, Inputs(inputs): Inputs, _: &mut Self::Context) {
        inputs.into_iter().for_each(|input| {
            if let Input::WorkerLeft { worker } = &input {
                self.workers.remove(worker);
            }
            self.take(input);
        });
    }
}

impl Handler<JoinWorker> for Registry {
    type Result = ();

    fn handle(&mut self, JoinWorker { worker, fan_out }: JoinWorker, _: &mut Self::Context) {
        self.workers.insert(worker, ToWorker { fan_out, batch: Vec::new() });
        self.take(Input::WorkerJoined { worker });
    }
}

impl Handler<Publish> for Registry {
    type Result = ();

    fn handle(&mut self, publish: Publish, _: &mut Self::Context) {
        let Publish { topic, payload, permit, published } = publish;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, published);
        let publisher = Publisher::Caller(ticket);
        self.take(Input::Publish(Publication { topic, payload, publisher, permit: Some(permit) }));
    }
}

impl Handler<Drain> for Registry {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        for worker in self.workers.values_mut() {
            worker.send();
            worker.fan_out.do_send(Drain);
        }
    }
}
