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
use topichub_protocol::message::Payload;
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::Topic;

use super::fan_out::{Cut, Deliveries, Drain, FanOut, Reload};
use super::news::News;
use super::orders::{Order, Purge, Survey};
use super::worker::Census;
use crate::clock::Clock;
use crate::hub::input::{Asker, Delivery, Effect, Input, Publication, Ticket, WorkerId};
use crate::hub::registry::Registry as Core;
use crate::metrics::board::Sample;
use crate::metrics::delays::Delays;
use crate::metrics::figure::Figure;
use crate::metrics::stats::{Beside, Stats};
use crate::metrics::tally::Tally;
use crate::metrics::top_topics::TopTopics;
use crate::transport::admission::Admission;

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
    tally: Tally,
    /// How long what was sent to this has waited.
    lag: Delays,
    admission: Arc<Admission>,
    stats: Stats,
    busiest: TopTopics,
    news: News,
    own: OwnTopics,
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

/// The topics to which the server itself publishes.
pub(crate) struct OwnTopics {
    pub(crate) stats: Topic,
    pub(crate) sessions: Topic,
}

impl OwnTopics {
    pub(crate) fn new() -> Self {
        let topic = |name: &str| match Topic::parse(name) {
            Ok(topic) => topic,
            Err(error) => unreachable!("{name} is a topic: {error}"),
        };
        Self { stats: topic("$sys.stats"), sessions: topic("$sys.sessions") }
    }
}

/// A worker has posted what it has counted.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Report {
    pub(crate) sent: Duration,
    pub(crate) news: News,
}

impl Registry {
    pub(crate) fn new(
        core: Core,
        clock: Clock,
        census: Arc<Census>,
        admission: Arc<Admission>,
        own: OwnTopics,
    ) -> Self {
        Self {
            core,
            clock,
            census,
            workers: HashMap::new(),
            waiting: HashMap::new(),
            next_ticket: 0,
            effects: Vec::new(),
            tally: Tally::default(),
            lag: Delays::default(),
            admission,
            stats: Stats::default(),
            busiest: TopTopics::default(),
            news: News::default(),
            own,
            alarm: None,
            reloaded: None,
        }
    }

    fn take(&mut self, input: Input) {
        self.count(&input);
        self.core.handle(input, self.clock.now(), &mut self.effects);
        self.carry_out();
    }

    fn count(&mut self, input: &Input) {
        match input {
            Input::Publish(publication) => {
                self.tally.add(Figure::PUBLISHES, 1);
                self.busiest.count(&publication.topic);
            }
            Input::Request { publication, .. } => {
                self.tally.add(Figure::REQUESTS, 1);
                self.busiest.count(&publication.topic);
            }
            Input::Subscribe(subscribing) if subscribing.options.replay.is_some() => {
                self.tally.add(Figure::REPLAYS, 1);
            }
            _ => {}
        }
    }

    /// Posts what was counted.
    fn post(&self) {
        self.tally.set(Figure::TOPICS, self.core.topics() as u64);
        self.tally.set(Figure::HISTORY_BYTES, self.core.history_bytes() as u64);
        let sample = Sample { figures: self.tally.figures(), delays: self.lag.clone() };
        self.census.board.post_registry(sample);
    }

    /// Tells those who watch how the server does, and who has come and gone.
    fn tell(&mut self) {
        let now = self.clock.now();
        let busiest = self.busiest.take(self.stats.elapsed(now));
        let beside = Beside {
            connections: self.admission.connections(),
            draining: self.census.draining.load(Ordering::Relaxed),
            time: self.clock.today(),
        };
        let stats = self.stats.tell(&self.census.board.read(), busiest, beside, now);
        if self.core.subscriptions(&self.own.stats) > 0 {
            self.publish(self.own.stats.clone(), &stats);
        }
        let news = std::mem::take(&mut self.news);
        let watched = self.core.subscriptions(&self.own.sessions) > 0;
        self.census.sessions_watched.store(watched, Ordering::Relaxed);
        if watched && !news.is_empty() {
            self.publish(self.own.sessions.clone(), &news);
        }
    }

    /// Publishes as the server itself.
    fn publish(&mut self, topic: Topic, data: &impl serde::Serialize) {
        let Ok(payload) = Payload::of(data) else { return };
        // Nobody waits for an answer.
        let asker = Asker::Caller(Ticket(u64::MAX));
        let publication = Publication { topic, payload, options: None, asker, subscribers: 0, permit: None };
        self.core.handle(Input::Publish(publication), self.clock.now(), &mut self.effects);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Deliver { worker, delivery } => {
                    match &delivery {
                        Delivery::Handout { .. } => self.tally.add(Figure::HANDOUTS, 1),
                        Delivery::Presence { .. } => self.tally.add(Figure::PRESENCE_CHANGES, 1),
                        _ => {}
                    }
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
            registry.post();
            registry.tell();
        });
        self.post();
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

/// Whether anybody listens.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Probe;

impl Handler<Probe> for Registry {
    type Result = ();

    fn handle(&mut self, _: Probe, _: &mut Self::Context) {}
}

impl Handler<Report> for Registry {
    type Result = ();

    fn handle(&mut self, Report { sent, news }: Report, _: &mut Self::Context) {
        self.lag.observe(self.clock.now().saturating_sub(sent));
        self.news.add(news);
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

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) {
        for worker in self.workers.values_mut() {
            worker.send();
            worker.fan_out.do_send(drain);
        }
    }
}

impl Handler<Cut> for Registry {
    type Result = ();

    fn handle(&mut self, cut: Cut, _: &mut Self::Context) {
        self.workers.values().for_each(|worker| worker.fan_out.do_send(cut));
    }
}
