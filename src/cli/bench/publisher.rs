//! The connection that publishes to one topic, one by one or in bursts, in turn with its subscribers or at a rate.
//! Who gets it, and what of it is measured, is not decided here.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use topichub::protocol::{
    Command, CommandId, Operation, Publish, PublishOptions, Reply, ServerMessage, SlowPolicy,
};

use super::bar::Bar;
use super::error::{BenchError, PeerError};
use super::ledger::Ledger;
use super::outcome::{Outcome, everybody_has_it};
use super::pace::Pace;
use super::peer::{Peer, Wish};
use super::plan::Length;
use super::readers::Run;
use super::stage::Stage;
use super::stop::Stop;
use super::target::Target;

/// Messages that are written in one go however late they are.
const WRITTEN_MAX: u64 = 1024;

/// How many things messages are about, where that matters.
pub(super) const KEYS: u64 = 10;

/// Who publishes.
pub(super) struct Publisher<'a> {
    peer: Peer,
    run: Rc<Run>,
    target: &'a Target,
    stop: &'a Stop,
    timeout: Duration,
    has_keys: bool,
}

impl<'a> Publisher<'a> {
    pub(super) async fn open(stage: &Stage<'a>, run: Rc<Run>) -> Result<Self, BenchError> {
        let Stage { plan, target, stop, .. } = *stage;
        let wish = Wish::plain(plan.publisher_codec());
        let peer = stage.connect(|| "the publisher".to_owned(), wish, &[]).await?;
        let has_keys = plan.slow == Some(SlowPolicy::LatestPerKey);
        Ok(Self { peer, run, target, stop, timeout: plan.timeout, has_keys })
    }

    /// Messages one by one before anything is measured: at first TCP acknowledges every segment at once, which the
    /// server pays for on a loopback interface.
    pub(super) async fn warm_up(&mut self, messages: u64) -> Result<Outcome, BenchError> {
        for _ in 0..messages {
            self.write(1, self.run.now())?;
            self.flush().await;
            match self.everybody_has_it().await? {
                Outcome::Complete => {}
                other => return Ok(other),
            }
        }
        Ok(Outcome::Complete)
    }

    /// The next burst when all have the last, or at `rate` messages per second.
    pub(super) async fn publish(
        &mut self,
        burst: u64,
        rate: Option<f64>,
        length: Length,
        bar: &Bar,
    ) -> Result<Outcome, BenchError> {
        let outcome = match rate {
            Some(rate) => self.publish_at(rate, burst, length, bar).await?,
            None => self.publish_in_turn(burst, length, bar).await?,
        };
        match outcome {
            Outcome::Complete => self.everybody_has_it().await,
            other => Ok(other),
        }
    }

    async fn publish_in_turn(
        &mut self,
        burst: u64,
        length: Length,
        bar: &Bar,
    ) -> Result<Outcome, BenchError> {
        let (began, mut published) = (self.run.now(), 0);
        loop {
            let now = self.run.now();
            let left = left(length, published, now - began);
            if left == 0 {
                return Ok(Outcome::Complete);
            }
            let burst = burst.min(left);
            self.write(burst, now)?;
            published += burst;
            self.flush().await;
            match self.everybody_has_it().await? {
                Outcome::Complete => self.show(bar, length, began, published),
                other => return Ok(other),
            }
        }
    }

    async fn publish_at(
        &mut self,
        rate: f64,
        burst: u64,
        length: Length,
        bar: &Bar,
    ) -> Result<Outcome, BenchError> {
        let began = self.run.now();
        let pace = Pace::start(burst as f64 / rate, began, self.run.at(began));
        let end = match length {
            Length::Time(duration) => Some(self.run.at(began) + duration),
            Length::Messages(_) => None,
        };
        let (mut published, mut bursts) = (0, 0);
        loop {
            let (now, mut written) = (self.run.now(), 0);
            while pace.due(bursts) <= now && written < WRITTEN_MAX {
                // The time counts from when it was due: what is late because we were late is late.
                let due = pace.due(bursts);
                let burst = burst.min(left(length, published, due - began));
                if burst == 0 {
                    break;
                }
                self.run.ledger.borrow_mut().measured.late.saturating_record(now - due);
                self.write(burst, due)?;
                published += burst;
                written += burst;
                bursts += 1;
            }
            self.flush().await;
            self.show(bar, length, began, published);
            if left(length, published, self.run.now() - began) == 0 {
                return Ok(Outcome::Complete);
            }
            if written >= WRITTEN_MAX {
                yield_now().await; // the subscribers are served too
            } else {
                tokio::select! {
                    () = pace.tick() => {}
                    message = self.peer.next() => self.take(message)?,
                    () = self.stop.asked() => {}
                    () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {}
                }
            }
            if self.stop.is_asked() {
                return Ok(Outcome::Interrupted);
            }
            if self.run.ledger.borrow().is_broken() {
                return Ok(Outcome::Broken);
            }
        }
    }

    fn show(&self, bar: &Bar, length: Length, began: u64, published: u64) {
        let elapsed = Duration::from_nanos(self.run.now() - began);
        bar.set_published(length, elapsed, published, self.run.ledger.borrow().measured.deliveries);
    }

    fn write(&mut self, messages: u64, due: u64) -> Result<(), BenchError> {
        let mut ledger = self.run.ledger.borrow_mut();
        for _ in 0..messages {
            let key = self.has_keys.then(|| format!("key-{}", ledger.published(0) % KEYS).into());
            let options = key.map(|key| PublishOptions { key: Some(key), ..PublishOptions::default() });
            feed(&mut self.peer, &mut ledger, 0, due, None, options)?;
        }
        Ok(())
    }

    /// Sends what is written, also to a server that takes it slowly; a signal ends the wait.
    async fn flush(&mut self) {
        tokio::select! {
            // Why a write fails is still to be read: the server may have said it before.
            _ = self.peer.flush() => {}
            () = self.stop.asked() => {}
        }
    }

    /// Until every subscriber has everything that was published; what the server says to us meanwhile is read.
    async fn everybody_has_it(&mut self) -> Result<Outcome, BenchError> {
        let run = Rc::clone(&self.run);
        let mut having = pin!(everybody_has_it(&run, self.stop, self.timeout));
        loop {
            tokio::select! {
                biased;
                outcome = &mut having => return Ok(outcome),
                message = self.peer.next() => self.take(message)?,
            }
        }
    }

    /// That the server refuses to publish is the end. That it hangs up is one too, with the figures so far.
    fn take(&mut self, message: Result<ServerMessage, PeerError>) -> Result<(), BenchError> {
        match message {
            Ok(ServerMessage::Reply(Reply::Error(error))) => {
                return Err(PeerError::Command(error).of("the publisher", &self.target.url));
            }
            Ok(_) => {}
            Err(error) => self.run.ledger.borrow_mut().disconnected("the publisher", &error.to_string()),
        }
        Ok(())
    }
}

/// Writes down the next message of a topic.
pub(super) fn feed(
    peer: &mut Peer,
    ledger: &mut Ledger,
    topic: u32,
    due: u64,
    id: Option<CommandId>,
    options: Option<PublishOptions>,
) -> Result<(), BenchError> {
    let (topic, payload) = ledger.publish(topic, due)?;
    let bytes = payload.as_bytes().len();
    let options = options.map(Box::new);
    let len = peer.feed(&Command { id, operation: Operation::Publish(Publish { topic, payload, options }) });
    match peer.welcome.as_ref().map(|welcome| welcome.limits.message_bytes) {
        Some(max) if len as u64 > max => Err(BenchError::TooLong { payload: bytes, len, max }),
        _ => Ok(()),
    }
}

/// How many messages may still be published.
pub(super) fn left(length: Length, published: u64, elapsed: u64) -> u64 {
    match length {
        Length::Messages(messages) => messages.saturating_sub(published),
        Length::Time(duration) if u128::from(elapsed) < duration.as_nanos() => u64::MAX,
        Length::Time(_) => 0,
    }
}
