//! The registry actor: hands inputs to the registry core and its effects to the workers, joined per turn.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use tokio::sync::oneshot;
use topichub_protocol::reply::Reply;

use super::fan_out::{Deliveries, Drain, FanOut, Reload};
use super::orders::{Order, Purge, Survey};
use super::worker::Census;
use crate::clock::Clock;
use crate::hub::input::{Asker, Delivery, Effect, Input, Ticket, WorkerId};
use crate::hub::registry::Registry as Core;

/// A worker hears of at most this many things at once, so that it can begin while the registry goes on.
const DELIVERIES_PER_BATCH: usize = 512;

/// How often topics without use are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Owner of the topics.
pub(crate) struct Registry {
    core: Core,
    clock: Clock,
    census: Arc<Census>,
    workers: HashMap<WorkerId, ToWorker>,
    waiting: HashMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: u64,
    effects: Vec<Effect>,
    /// When the core is to be told that time has passed.
    alarm: Option<Duration>,
    /// What has been changed last since the hub began: workers that begin later hear of it too.
    reloaded: Option<Reload>,
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

/// Somebody outside of any session asks, and waits for the answer.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Ask {
    pub(crate) question: Box<dyn FnOnce(Asker) -> Input + Send>,
    pub(crate) answered: oneshot::Sender<Reply>,
}

impl Registry {
    pub(crate) fn new(core: Core, clock: Clock, census: Arc<Census>) -> Self {
        Self {
            core,
            clock,
            census,
            workers: HashMap::new(),
            waiting: HashMap::new(),
            next_ticket: 0,
            effects: Vec::new(),
            alarm: None,
            reloaded: None,
        }
    }

    fn take(&mut self, input: Input) {
        self.core.handle(input, self.clock.now(), &mut self.effects);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Deliver { worker, delivery } => {
                    let Some(worker) = self.workers.get_mut(&worker) else { continue };
                    worker.batch.push(delivery);
                    if worker.batch.len() >= DELIVERIES_PER_BATCH {
                        worker.send();
                    }
                }
                Effect::Answer { ticket, reply } => {
                    if let Some(answered) = self.waiting.remove(&ticket) {
                        let _ = answered.send(reply);
                    }
                }
            }
        }
    }

    /// Sees to it that the core is told when it has something to do.
    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.core.next_due() else { return };
        if self.alarm.is_some_and(|alarm| alarm <= due) {
            return;
        }
        self.alarm = Some(due);
        ctx.run_later(due.saturating_sub(self.clock.now()), move |registry, _| {
            if registry.alarm == Some(due) {
                registry.alarm = None;
            }
            registry.core.pass_time(registry.clock.now(), &mut registry.effects);
            registry.carry_out();
        });
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
        ctx.run_interval(TICK, |registry, _| {
            registry.take(Input::Tick);
            registry.census.history_bytes.store(registry.core.history_bytes(), Ordering::Relaxed);
            registry.census.topics.store(registry.core.topics(), Ordering::Relaxed);
        });
    }
}

/// Polled when the mailbox is empty.
struct SendAtTheEndOfEachTurn;

impl ActorFuture<Registry> for SendAtTheEndOfEachTurn {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        registry: &mut Registry,
        ctx: &mut Context<Registry>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        registry.set_alarm(ctx);
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
        if let Some(reload) = &self.reloaded {
            fan_out.do_send(reload.clone());
        }
        self.workers.insert(worker, ToWorker { fan_out, batch: Vec::new() });
        self.take(Input::WorkerJoined { worker });
    }
}

impl Handler<Ask> for Registry {
    type Result = ();

    fn handle(&mut self, Ask { question, answered }: Ask, _: &mut Self::Context) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, answered);
        self.take(question(Asker::Caller(ticket)));
    }
}

impl Handler<Survey> for Registry {
    type Result = ();

    fn handle(&mut self, Survey { filter, after, limit, answered }: Survey, _: &mut Self::Context) {
        let page = self.core.survey(filter.as_ref(), after.as_ref(), limit, self.clock.now());
        let _ = answered.send(page);
    }
}

impl Handler<Purge> for Registry {
    type Result = ();

    fn handle(&mut self, Purge { topic, answered }: Purge, _: &mut Self::Context) {
        let _ = answered.send(self.core.purge(&topic, self.clock.now()));
    }
}

impl Handler<Order> for Registry {
    type Result = ();

    /// Passes it on behind all that the workers have been told before.
    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        for worker in self.workers.values_mut() {
            worker.send();
            worker.fan_out.do_send(order.clone());
        }
    }
}

impl Handler<Reload> for Registry {
    type Result = ();

    fn handle(&mut self, reload: Reload, _: &mut Self::Context) {
        self.core.reload(&reload.settings, self.clock.now());
        for worker in self.workers.values_mut() {
            worker.fan_out.do_send(reload.clone());
        }
        self.reloaded = Some(reload);
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
