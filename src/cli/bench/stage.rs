//! What every scenario stands on: the plan, the server, and subscribers that are connected to it.
//! What is published, and what is measured, is the scenarios' own.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};
use topichub::protocol::{Command, CommandId, Operation, SlowPolicy, SubscribeOptions};
use topichub::{Filter, Topic};
use uuid::Uuid;

use super::bar::Bar;
use super::error::{BenchError, PeerError};
use super::ledger::{Ledger, Subscriptions};
use super::outcome::{Outcome, everybody_has_it};
use super::peer::{Peer, Wish};
use super::plan::Plan;
use super::process::Process;
use super::readers::{Readers, Run};
use super::report::Report;
use super::stamp::Stamper;
use super::stop::Stop;
use super::target::Target;

/// Handshakes that are under way together.
const HANDSHAKES: usize = 64;

/// A server that says 503 is not asked sooner than after this.
const LATER_MIN: Duration = Duration::from_millis(100);

/// Messages before anything is measured.
pub(super) const WARM_UP: u64 = 16;

/// The plan, the server, and the wish to stop.
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) target: &'a Target,
    pub(super) stop: &'a Stop,
    /// The server's memory before anybody was connected.
    pub(super) bytes_before: Option<u64>,
    run: u32,
    /// When somebody last came in, and how often somebody was told to come later.
    connected_at: Cell<Instant>,
    refused: Cell<u64>,
}

/// Subscribers that are connected.
pub(super) struct Audience {
    pub(super) readers: Readers,
    pub(super) offered: usize,
    pub(super) accepted: usize,
    /// How the server names itself.
    pub(super) server: Option<String>,
    /// How long it took to connect them.
    took: Duration,
}

impl<'a> Stage<'a> {
    pub(super) fn new(plan: &'a Plan, target: &'a Target, stop: &'a Stop) -> Self {
        let bytes_before = target.process.and_then(Process::resident_bytes);
        let run = Uuid::new_v4().as_fields().0;
        Self {
            plan,
            target,
            stop,
            bytes_before,
            run,
            connected_at: Cell::new(Instant::now()),
            refused: Cell::new(0),
        }
    }

    /// A topic that only this run has.
    pub(super) fn topic(&self, number: u32) -> Result<Topic, BenchError> {
        Ok(Topic::parse(&format!("bench.{:08x}.{number}", self.run))?)
    }

    /// Every subscriber to the one topic.
    pub(super) fn one_topic(&self) -> Result<Subscriptions, BenchError> {
        Ok(Subscriptions { topics: vec![self.topic(0)?], of_seats: vec![vec![0]; self.plan.subscribers] })
    }

    /// What reads and writes the stamps of this run.
    pub(super) fn stamper(&self) -> Stamper {
        Stamper::new(self.run, self.plan.payload_bytes)
    }

    /// Opens the books.
    pub(super) fn run(&self, subscriptions: &Subscriptions) -> Result<Rc<Run>, BenchError> {
        let ledger = Ledger::new(self.stamper(), self.plan.payload_bytes, subscriptions)?;
        let may_lose = self.plan.slow.is_some_and(|policy| policy != SlowPolicy::Disconnect);
        Ok(Run::new(if may_lose { ledger.with_gaps() } else { ledger }))
    }

    /// How the subscriber of this number connects.
    pub(super) fn wish(&self, subscriber: usize) -> Wish {
        let (codec, deflate) = (self.plan.codec(subscriber), self.plan.offers_deflate(subscriber));
        Wish { codec, deflate, small_window: false }
    }

    /// How subscribers subscribe.
    pub(super) fn options(&self) -> SubscribeOptions {
        SubscribeOptions { slow: self.plan.slow, ..SubscribeOptions::default() }
    }

    /// Connects and subscribes to whatever is asked. A server that says 503 is asked again when it wants to be, for as
    /// long as others get in.
    pub(super) async fn connect(
        &self,
        who: impl Fn() -> String,
        wish: Wish,
        filters: &[Filter],
    ) -> Result<Peer, BenchError> {
        loop {
            let attempt = async {
                let mut peer = Peer::open(self.target, wish).await?;
                peer.subscribe(filters, &self.options()).await?;
                Ok(peer)
            };
            match attempt.await {
                Ok(peer) => {
                    self.connected_at.set(Instant::now());
                    return Ok(peer);
                }
                Err(PeerError::Busy { after, .. })
                    if self.connected_at.get().elapsed() < self.plan.timeout =>
                {
                    self.refused.set(self.refused.get() + 1);
                    sleep(after.unwrap_or_default().max(LATER_MIN)).await;
                }
                Err(error) => return Err(error.of(who(), &self.target.url)),
            }
        }
    }

    /// The beginning of a report: what was done, with whom, and how the subscribers came in.
    pub(super) fn report(&self, audience: &Audience) -> Report {
        let mut report = Report::new(self.plan, self.target, audience.server.as_deref());
        report.value("connect_s", audience.took.as_secs_f64());
        let refused = self.refused.get();
        report.value("connect_refused_attempts", refused);
        if refused > 0 {
            report
                .row("connecting", format!("{refused} times refused for the moment (503), and tried again"));
        }
        report.add_deflate(self.plan.deflate, audience.offered, audience.accepted);
        report
    }

    /// Connects all subscribers and subscribes each to its own, if any.
    pub(super) async fn open(&self, run: &Rc<Run>, filters: &[Vec<Filter>]) -> Result<Audience, BenchError> {
        let bar = Bar::new("connecting", filters.len() as u64);
        let began = Instant::now();
        let opening = async |subscriber: usize| {
            let who = || format!("subscriber {subscriber}");
            let peer = self.connect(who, self.wish(subscriber), &filters[subscriber]).await?;
            Ok::<_, BenchError>((subscriber, peer))
        };
        let mut opening = stream::iter((0..filters.len()).map(opening)).buffer_unordered(HANDSHAKES);
        let readers = Readers::new(Rc::clone(run));
        let mut audience = Audience { readers, offered: 0, accepted: 0, server: None, took: Duration::ZERO };
        loop {
            let opened = tokio::select! {
                opened = opening.next() => opened,
                () = self.stop.asked() => return Err(BenchError::Interrupted),
            };
            let Some(opened) = opened else { return Ok(audience) };
            let (subscriber, mut peer) = opened?;
            audience.offered += usize::from(self.plan.offers_deflate(subscriber));
            audience.accepted += usize::from(peer.deflates);
            let server = peer.welcome.take().map(|welcome| welcome.server);
            audience.server = audience.server.or(server);
            audience.readers.add(subscriber, peer);
            bar.set(audience.readers.len());
            audience.took = began.elapsed();
        }
    }

    /// The filters of every subscriber.
    pub(super) fn filters(&self, subscriptions: &Subscriptions) -> Vec<Vec<Filter>> {
        let topic = |topic: &u32| Filter::Topic(subscriptions.topics[*topic as usize].clone());
        subscriptions.of_seats.iter().map(|topics| topics.iter().map(topic).collect()).collect()
    }
}

impl Audience {
    /// Asks everybody for an answer, and waits for it: whatever else was on its way would come before that.
    pub(super) async fn farewell(&self, outcome: Outcome, stop: &Stop, timeout: Duration) -> Outcome {
        if outcome != Outcome::Complete {
            return outcome;
        }
        self.readers.ask_all(&Command { id: Some(CommandId::Integer(1)), operation: Operation::Ping });
        everybody_has_it(self.readers.run(), stop, timeout).await
    }
}
