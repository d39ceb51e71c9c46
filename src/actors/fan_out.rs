//! The fan-out actor, one for each worker thread: takes what the registry sends, writes it out when its mailbox is
//! empty, and keeps the heartbeat of the thread's sessions.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, Handler};
use tokio::sync::oneshot;
use topichub_protocol::code::{CloseCode, ErrorCode};
use topichub_protocol::command::{CommandId, OneOrMany, SlowPolicy, SubscribeOptions};
use topichub_protocol::reply::{Member, MemberId, Reply};
use topichub_protocol::topic::Filter;

use super::destination::Destination;
use super::leaving::{Chance, Leaving};
use super::orders::{Listed, Order, Target};
use super::roster::Whom;
use super::worker::Worker;
use crate::hub::input::{Delivery, Input, SessionRef, SubscriberKey, Subscribing, Wanted};
use crate::hub::pulse::Beat;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::subscription::{self, Subscription};
use crate::transport::link::Flow;

/// How exactly heartbeats and closings are kept.
const TICK: Duration = Duration::from_millis(250);

/// How often it is looked whose time has come, when everybody is sent away.
const SEE_OFF: Duration = Duration::from_millis(20);

/// How often it is looked how late a timer fires.
const PROBE: Duration = Duration::from_millis(100);

/// How often what was counted is posted.
const POST: Duration = Duration::from_secs(1);

/// The fan-out of one worker thread.
pub(crate) struct FanOut {
    worker: Rc<Worker>,
    /// When the next probe should be.
    probe: Duration,
    /// When the core is to be told that time has passed.
    alarm: Option<Duration>,
    /// Who is still to be sent away, once that has begun.
    leaving: Option<Leaving>,
}

/// What the registry has for this worker, in order.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Deliveries(pub(crate) Vec<Delivery>);

/// Somebody within this process subscribes.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct OpenStream {
    pub(crate) filter: Filter,
    pub(crate) options: SubscribeOptions,
    pub(crate) capacity: usize,
    pub(crate) opened: oneshot::Sender<Subscription>,
    pub(crate) subscribed: oneshot::Sender<Reply>,
}

/// The hub stops: everybody is told to come back, one after the other over this time.
#[derive(Clone, Copy, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Drain {
    pub(crate) over: Duration,
}

/// Nobody is waited for any more.
#[derive(Clone, Copy, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Cut;

/// Other rules and limits hold from now on.
#[derive(Clone, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Reload {
    pub(crate) settings: Arc<Settings>,
    pub(crate) rules: Arc<Rules>,
}

impl FanOut {
    pub(crate) fn new(worker: Rc<Worker>) -> Self {
        Self { probe: worker.now() + PROBE, worker, alarm: None, leaving: None }
    }
}

impl Actor for FanOut {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.worker.census.workers.fetch_add(1, Ordering::Relaxed);
        ctx.spawn(WriteAtTheEndOfEachTurn);
        ctx.run_interval(TICK, |fan_out, _| fan_out.beat());
        self.probe = self.worker.now() + PROBE;
        ctx.run_interval(PROBE, |fan_out, _| fan_out.probe());
        ctx.run_interval(POST, |fan_out, _| fan_out.worker.post());
        self.worker.post();
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.worker.census.workers.fetch_sub(1, Ordering::Relaxed);
        self.worker.census.board.retire(self.worker.id(), self.worker.tally().figures());
        self.worker.tell_registry(vec![Input::WorkerLeft { worker: self.worker.id() }]);
    }
}

/// An actor polls its mailbox until it is empty and then its futures: so this one is polled once after each batch.
struct WriteAtTheEndOfEachTurn;

impl ActorFuture<FanOut> for WriteAtTheEndOfEachTurn {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        fan_out: &mut FanOut,
        ctx: &mut Context<FanOut>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        fan_out.worker.end_turn();
        fan_out.set_alarm(ctx);
        Poll::Pending
    }
}

impl Handler<Deliveries> for FanOut {
    type Result = ();

    fn handle(&mut self, Deliveries(deliveries): Deliveries, _: &mut Self::Context) {
        let now = self.worker.now();
        let mut fan_out = self.worker.fan_out.borrow_mut();
        deliveries.into_iter().for_each(|delivery| fan_out.handle(delivery, now));
    }
}

impl Handler<OpenStream> for FanOut {
    type Result = ();

    fn handle(&mut self, open: OpenStream, _: &mut Self::Context) {
        let (sender, subscription) = subscription::channel(open.capacity, open.subscribed);
        let subscriber = self.worker.fan_out.borrow_mut().join(Destination::Stream(Box::new(sender)));
        let session = SessionRef { worker: self.worker.id(), subscriber };
        let wanted = OneOrMany::One(Wanted { filter: open.filter, policy: SlowPolicy::Disconnect });
        let member = Member { id: MemberId::Session(0), data: None };
        let (id, options) = (Some(CommandId::Integer(0)), open.options);
        let subscribing = Subscribing { session, id, wanted, options, member, permit: None };
        self.worker.tell_registry(vec![Input::Subscribe(Box::new(subscribing))]);
        let _ = open.opened.send(subscription);
    }
}

impl Handler<Reload> for FanOut {
    type Result = ();

    fn handle(&mut self, Reload { settings, rules }: Reload, _: &mut Self::Context) {
        self.worker.reload(settings, rules);
    }
}

impl Handler<Drain> for FanOut {
    type Result = ();

    fn handle(&mut self, Drain { over }: Drain, ctx: &mut Self::Context) {
        if self.leaving.is_some() {
            return;
        }
        let fan_out = self.worker.fan_out.borrow();
        let peers =
            fan_out.subscribers().filter(|(_, destination)| matches!(destination, Destination::Peer(_)));
        let peers = peers.map(|(key, _)| key).collect();
        drop(fan_out);
        self.leaving = Some(Leaving::new(peers, self.worker.now(), over, Chance::new()));
        self.see_off();
        ctx.run_interval(SEE_OFF, |fan_out, _| fan_out.see_off());
    }
}

impl Handler<Cut> for FanOut {
    type Result = ();

    fn handle(&mut self, _: Cut, _: &mut Self::Context) {
        for (_, destination) in self.worker.fan_out.borrow().subscribers() {
            if let Destination::Peer(link) = destination {
                link.abort();
            }
        }
    }
}

impl Handler<Order> for FanOut {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        match order {
            Order::Disconnect { whom, code, reason, done } => {
                let keys = self.meant(&whom);
                let mut fan_out = self.worker.fan_out.borrow_mut();
                fan_out.flush(self.worker.now());
                for key in &keys {
                    if let Some(Destination::Peer(link)) = fan_out.outlet(*key) {
                        link.close(code, &reason);
                    }
                }
                let _ = done.send(keys.len());
            }
            Order::Unsubscribe { whom, filter, done } => {
                let keys = self.meant(&whom);
                let mut fan_out = self.worker.fan_out.borrow_mut();
                let now = self.worker.now();
                let ended = keys
                    .into_iter()
                    .filter(|key| fan_out.expel_from(*key, &filter, ErrorCode::Forbidden, now));
                let _ = done.send(ended.count());
            }
            Order::Identify { user, found } => {
                let roster = self.worker.roster.borrow();
                let identity = roster.find(&Whom::User(user)).first().and_then(|key| roster.get(*key));
                identity
                    .and_then(|guest| guest.identity.clone())
                    .into_iter()
                    .for_each(|identity| _ = found.send(identity));
            }
            Order::List { after, user, limit, listed } => {
                _ = listed.send(self.list(after, user.as_deref(), limit))
            }
        }
    }
}

impl FanOut {
    /// The sessions of this thread that are meant.
    fn meant(&self, target: &Target) -> Vec<SubscriberKey> {
        let whom = target.on(self.worker.id());
        whom.map(|whom| self.worker.roster.borrow().find(&whom)).unwrap_or_default()
    }

    fn list(&self, after: Option<SessionRef>, user: Option<&str>, limit: usize) -> Vec<Listed> {
        let worker = self.worker.id();
        let after = match after {
            Some(after) if after.worker > worker => return Vec::new(),
            Some(after) if after.worker == worker => Some(after.subscriber),
            _ => None,
        };
        let (roster, fan_out) = (self.worker.roster.borrow(), self.worker.fan_out.borrow());
        let page = roster.page(after, user, limit).into_iter();
        let listed = page.filter_map(|(key, guest)| match fan_out.outlet(key)? {
            Destination::Peer(link) => Some(Listed {
                session: SessionRef { worker, subscriber: key },
                user: guest.user().map(Into::into),
                codec: link.codec(),
                protocol: link.class().names().0,
                address: guest.address,
                age: self.worker.now().saturating_sub(guest.since),
                subscriptions: fan_out.subscriptions_of(key),
                waiting_bytes: link.waiting_bytes(),
            }),
            Destination::Stream(_) => None,
        });
        listed.collect()
    }

    /// Sends those away whose time has come.
    fn see_off(&mut self) {
        let Some(leaving) = self.leaving.as_mut().filter(|leaving| !leaving.is_over()) else { return };
        let now = self.worker.now();
        let mut fan_out = self.worker.fan_out.borrow_mut();
        fan_out.flush(now);
        while let Some((key, due)) = leaving.next(now) {
            let Some(Destination::Peer(link)) = fan_out.outlet(key) else { continue };
            if fan_out.owes(key) && leaving.stays(key, due, now) {
                continue;
            }
            link.close_for(CloseCode::Drain, "the server is restarting", Some(leaving.after()));
        }
    }

    /// A timer has fired. Those that were missed fire as well, each as late as it is.
    fn probe(&mut self) {
        let late = self.worker.now().saturating_sub(self.probe);
        self.worker.delays.borrow_mut().observe(late);
        self.probe += PROBE;
    }

    fn beat(&mut self) {
        let now = self.worker.now();
        let mut pulse = self.worker.pulse.borrow_mut();
        while let Some(beat) = pulse.next(now) {
            let (Beat::Ping(key) | Beat::Check(key) | Beat::Flow(key) | Beat::Part(key)) = beat;
            let fan_out = self.worker.fan_out.borrow();
            let Some(Destination::Peer(link)) = fan_out.outlet(key) else { continue };
            match beat {
                Beat::Ping(_) => {
                    link.take_heard();
                    if link.ping() {
                        pulse.pinged(key, now);
                    } else {
                        pulse.joined(key, now);
                    }
                }
                Beat::Check(_) if link.take_heard() => pulse.alive(key, now),
                Beat::Check(_) => {
                    let reason =
                        format!("no answer to a ping within {:?}", self.worker.settings().pong_timeout);
                    link.close(CloseCode::NoPong, &reason);
                }
                Beat::Flow(_) => match link.flow() {
                    Flow::Clear => {}
                    Flow::Moving => pulse.waiting(key, now),
                    Flow::Stalled => {
                        let max = self.worker.settings().stall_timeout;
                        link.give_up(&format!("the reader has taken nothing for {max:?}"));
                    }
                },
                Beat::Part(_) => link.abort(),
            }
        }
        drop(pulse);
        self.look_after_streams();
    }

    /// Sees to it that the core is told when it has something to do.
    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.worker.fan_out.borrow().next_due() else { return };
        if self.alarm.is_some_and(|alarm| alarm <= due) {
            return;
        }
        self.alarm = Some(due);
        ctx.run_later(due.saturating_sub(self.worker.now()), move |fan_out, _| {
            if fan_out.alarm == Some(due) {
                fan_out.alarm = None;
            }
            fan_out.worker.fan_out.borrow_mut().tick(fan_out.worker.now());
        });
    }

    /// Streams within this process do not say when they are dropped, nor when they are read.
    fn look_after_streams(&self) {
        let fan_out = self.worker.fan_out.borrow();
        let thirsty: Vec<_> = fan_out
            .subscribers()
            .filter(
                |(_, destination)| matches!(destination, Destination::Stream(sender) if sender.wants_more()),
            )
            .map(|(key, _)| key)
            .collect();
        let abandoned: Vec<_> = fan_out
            .subscribers()
            .filter(
                |(_, destination)| matches!(destination, Destination::Stream(sender) if sender.is_closed()),
            )
            .map(|(key, _)| key)
            .collect();
        drop(fan_out);
        abandoned.into_iter().for_each(|key| self.worker.leave(key));
        thirsty.into_iter().for_each(|key| self.worker.resume(key));
    }
}
