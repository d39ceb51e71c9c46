//! `many-topics`: many topics with few subscribers each, and publishers that keep a window of messages on their way.
//! Connections and books are the stage's.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix_rt::task::JoinHandle;
use hdrhistogram::Histogram;
use tokio::time::interval;
use topichub::protocol::{CommandId, Reply, ServerMessage};
use topichub_client::ServerUrl;

use super::bar::Bar;
use super::error::{BenchError, PeerError};
use super::gauge::Gauge;
use super::ledger::{Subscriptions, histogram};
use super::outcome::{Outcome, everybody_has_it};
use super::peer::{Peer, Wish};
use super::plan::Length;
use super::publisher::{feed, left};
use super::readers::Run;
use super::report::{ALL_ARRIVED, Report, number};
use super::stage::Stage;

/// From one look at the whole to the next.
const LOOK: Duration = Duration::from_millis(100);

/// What all publishers share.
struct Floor {
    run: Rc<Run>,
    began: u64,
    length: Length,
    window: usize,
    published: Cell<u64>,
    replies: Cell<u64>,
    /// Why there is no use in going on.
    failure: RefCell<Option<BenchError>>,
    /// From when a message was written to its `published`, in nanoseconds.
    latency: RefCell<Histogram<u64>>,
}

/// Why a publisher ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Bench(#[from] BenchError),
}

/// Many topics at once.
pub(super) async fn run(
    stage: &Stage<'_>,
    topics: u32,
    topic_subscribers_max: usize,
    publishers: usize,
    window: usize,
) -> Result<Report, BenchError> {
    let Stage { plan, target, stop, .. } = *stage;
    let subscriptions = spread(stage, topics, topic_subscribers_max)?;
    let peers = open_publishers(stage, publishers).await?;
    let needed = subscriptions.of_seats.iter().map(Vec::len).max().unwrap_or(0);
    let max =
        peers.iter().filter_map(|peer| peer.welcome.as_ref()).map(|it| it.limits.topics_per_session).min();
    if let Some(max) = max.filter(|max| needed as u64 > *max) {
        return Err(BenchError::TooManySubscriptions { needed, max });
    }
    let run = stage.run(&subscriptions)?;
    let audience = stage.open(&run, &stage.filters(&subscriptions)).await?;

    let gauge = Gauge::start(target, &run)?;
    let floor = Rc::new(Floor {
        run: Rc::clone(&run),
        began: run.now(),
        length: plan.length,
        window,
        published: Cell::new(0),
        replies: Cell::new(0),
        failure: RefCell::new(None),
        latency: RefCell::new(histogram()?),
    });
    let mut outcome = publish(stage, &floor, peers, topics).await?;
    if outcome == Outcome::Complete {
        outcome = everybody_has_it(&run, stop, plan.timeout).await;
    }
    let figures = gauge.stop(&run)?;
    outcome = audience.farewell(outcome, stop, plan.timeout).await;

    let mut report = stage.report(&audience);
    let count: usize = subscriptions.of_seats.iter().map(Vec::len).sum();
    report.value("topics", topics);
    report.value("subscriptions", count);
    report.value("publishers", publishers);
    report.value("window_messages", window);
    report.row("topics", format!("{} with {} subscriptions", number(topics.into()), number(count as u64)));
    report.row(
        "published",
        format!("by {publishers} connections, each with up to {window} messages on their way"),
    );
    report.add_counts(&figures);
    report.add_latency("publish_reply", "reply to publish", &floor.latency.borrow());
    report.add_latency("latency", "latency", &figures.measured.latency);
    report.add_cpu(&figures, "deliveries", figures.measured.deliveries);
    report.add_memory(&[
        ("before", "before", stage.bytes_before),
        ("after", "with all connections", figures.server_bytes),
    ]);
    let mut ledger = run.ledger.borrow_mut();
    if outcome != Outcome::Interrupted {
        ledger.close();
        let unanswered = floor.published.get() - floor.replies.get();
        if unanswered > 0 {
            ledger.faults.unexpected += unanswered;
            ledger.faults.tell(|| format!("{unanswered} messages that were published had no reply"));
        }
    }
    report.conclude(&ledger.faults, outcome, ALL_ARRIVED);
    Ok(report)
}

/// Gives the topics 1 subscriber and more in turn, and the subscribers equally many topics.
fn spread(stage: &Stage<'_>, topics: u32, topic_subscribers_max: usize) -> Result<Subscriptions, BenchError> {
    let seats = stage.plan.subscribers;
    let mut of_seats = vec![Vec::new(); seats];
    let mut seat = 0;
    for topic in 0..topics {
        for _ in 0..(1 + topic as usize % topic_subscribers_max).min(seats) {
            of_seats[seat].push(topic);
            seat = (seat + 1) % seats;
        }
    }
    let topics = (0..topics).map(|topic| stage.topic(topic)).collect::<Result<_, _>>()?;
    Ok(Subscriptions { topics, of_seats })
}

async fn open_publishers(stage: &Stage<'_>, count: usize) -> Result<Vec<Peer>, BenchError> {
    let mut peers = Vec::with_capacity(count);
    for number in 0..count {
        let who = || format!("publisher {number}");
        peers.push(stage.connect(who, Wish::plain(stage.plan.publisher_codec()), &[]).await?);
        if stage.stop.is_asked() {
            return Err(BenchError::Interrupted);
        }
    }
    Ok(peers)
}

/// All of them at once, until the plan is fulfilled or there is no use in going on.
async fn publish(
    stage: &Stage<'_>,
    floor: &Rc<Floor>,
    peers: Vec<Peer>,
    topics: u32,
) -> Result<Outcome, BenchError> {
    let Stage { plan, target, stop, .. } = *stage;
    let bar = Bar::of_length("publishing", plan.length);
    let step = peers.len();
    // Each is a task of its own: as one they would share the turn of one among a thousand subscribers.
    let publishers = peers.into_iter().enumerate().map(|(number, peer)| {
        let own = (0..topics).skip(number).step_by(step).cycle();
        actix_rt::spawn(publish_as(number, Rc::clone(floor), peer, own, target.url.clone()))
    });
    let mut publishers = Publishers(publishers.collect());
    let mut ending = pin!(publishers.ended());
    let mut look = interval(LOOK);
    let (mut before, mut quiet) = (0, Duration::ZERO);
    loop {
        tokio::select! {
            () = &mut ending => {
                let is_broken = floor.run.ledger.borrow().is_broken();
                let outcome = if is_broken { Outcome::Broken } else { Outcome::Complete };
                return floor.failure.take().map_or(Ok(outcome), Err);
            }
            () = stop.asked() => return Ok(Outcome::Interrupted),
            _ = look.tick() => {
                if let Some(failure) = floor.failure.take() {
                    return Err(failure);
                }
                let ledger = floor.run.ledger.borrow();
                if ledger.is_broken() {
                    return Ok(Outcome::Broken);
                }
                let elapsed = Duration::from_nanos(floor.run.now() - floor.began);
                bar.set_published(plan.length, elapsed, floor.published.get(), ledger.measured.deliveries);
                let moved = floor.replies.get() + ledger.progress();
                quiet = if moved == before { quiet + LOOK } else { Duration::ZERO };
                before = moved;
                if quiet > plan.timeout {
                    return Ok(Outcome::GaveUp);
                }
            }
        }
    }
}

/// Publishers at work; they stop when this is dropped.
struct Publishers(Vec<JoinHandle<()>>);

impl Publishers {
    /// Until all have done their work. May be dropped while it waits.
    async fn ended(&mut self) {
        for task in &mut self.0 {
            let _ = task.await; // it tells the floor what went wrong
        }
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// The publisher of this number, to its end.
async fn publish_as(
    number: usize,
    floor: Rc<Floor>,
    mut peer: Peer,
    mut topics: impl Iterator<Item = u32>,
    url: ServerUrl,
) {
    let who = format!("publisher {number}");
    let failure = match publish_to(&floor, &mut peer, &mut topics).await {
        Ok(()) => return,
        Err(Ended::Bench(error)) => error,
        Err(Ended::Peer(error @ PeerError::Command(_))) => error.of(who, &url),
        Err(Ended::Peer(error)) => {
            return floor.run.ledger.borrow_mut().disconnected(&who, &error.to_string());
        }
    };
    floor.failure.borrow_mut().get_or_insert(failure);
}

/// One publisher: as many messages on their way as the window allows, to its topics in turn.
async fn publish_to(
    floor: &Floor,
    peer: &mut Peer,
    topics: &mut impl Iterator<Item = u32>,
) -> Result<(), Ended> {
    let mut waiting = BTreeMap::new();
    let mut id = 0;
    loop {
        let now = floor.run.now();
        while waiting.len() < floor.window && left(floor.length, floor.published.get(), now - floor.began) > 0
        {
            let Some(topic) = topics.next() else { break };
            feed(peer, &mut floor.run.ledger.borrow_mut(), topic, now, Some(CommandId::Integer(id)), None)?;
            waiting.insert(id, now);
            floor.published.set(floor.published.get() + 1);
            id += 1;
        }
        if waiting.is_empty() {
            return Ok(());
        }
        peer.flush().await?;
        // One reply is waited for; all that came with it are taken too, so that the next write is a long one.
        loop {
            match peer.next().await? {
                ServerMessage::Reply(Reply::Published { id: CommandId::Integer(id), .. }) => {
                    if let Some(written) = waiting.remove(&id) {
                        floor.replies.set(floor.replies.get() + 1);
                        floor.latency.borrow_mut().saturating_record(floor.run.now() - written);
                    }
                }
                ServerMessage::Reply(Reply::Error(error)) => return Err(PeerError::Command(error).into()),
                _ => {}
            }
            if peer.unread.is_empty() || waiting.is_empty() {
                break;
            }
        }
    }
}
