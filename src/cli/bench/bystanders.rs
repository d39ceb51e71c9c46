//! Healthy readers of a topic of their own and its publisher, at a steady rate, on a thread of their own: what they notice
//! of what is done to the server elsewhere. What that is, they do not know.

use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::bar::Bar;
use super::error::BenchError;
use super::faults::Faults;
use super::ledger::Measured;
use super::outcome::{Outcome, everybody_has_it};
use super::plan::{Length, Load, Plan};
use super::process;
use super::publisher::Publisher;
use super::readers::Run;
use super::stage::{Stage, WARM_UP};
use super::stop::Stop;
use super::target::Target;

/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// The thread. It ends when this is dropped.
pub(super) struct Bystanders {
    questions: mpsc::UnboundedSender<Question>,
    thread: JoinHandle<Result<Ended, BenchError>>,
    pub(super) have_core: bool,
}

/// What was measured since the last one?
type Question = oneshot::Sender<Stretch>;

/// What they have measured for a while.
pub(super) struct Stretch {
    pub(super) elapsed: Duration,
    pub(super) measured: Measured,
    /// Of their thread.
    pub(super) cpu: Option<Duration>,
}

/// How it went for them.
struct Ended {
    outcome: Outcome,
    faults: Faults,
}

/// What a thread needs to begin.
struct Beginning {
    plan: Plan,
    target: Target,
    cores: Vec<usize>,
    rate: f64,
    questions: mpsc::UnboundedReceiver<Question>,
    ready: oneshot::Sender<()>,
}

impl Bystanders {
    /// Until `count` are connected and get messages. They have a core of their own if one is spare.
    pub(super) async fn start(stage: &Stage<'_>, count: usize, rate: f64) -> Result<Self, BenchError> {
        let plan = Plan { subscribers: count, load: Load::Idle, ..stage.plan.clone() };
        let target = stage.target.borrowed();
        let cores = stage.target.server.as_ref().map(|server| server.spare_cores.clone()).unwrap_or_default();
        let have_core = !cores.is_empty();
        let (asking, questions) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let beginning = Beginning { plan, target, cores, rate, questions, ready };
        let thread = std::thread::spawn(move || attend(beginning));
        tokio::select! {
            ready = is_ready => match ready {
                Ok(()) => Ok(Self { questions: asking, thread, have_core }),
                // It has an error to tell, or else it would be ready.
                Err(_) => match thread.join() {
                    Ok(Err(error)) => Err(error),
                    _ => Err(BenchError::ThreadEnded),
                },
            },
            () = stage.stop.asked() => Err(BenchError::Interrupted),
        }
    }

    /// What they have measured since this was asked last.
    pub(super) async fn measured(&self) -> Result<Stretch, BenchError> {
        let (asking, answer) = oneshot::channel();
        let _ = self.questions.send(asking); // if nobody is there, nobody answers
        answer.await.map_err(|_| BenchError::ThreadEnded)
    }

    /// Ends them. What went wrong for them goes into `faults`.
    pub(super) fn end(self, faults: &mut Faults) -> Result<Outcome, BenchError> {
        drop(self.questions);
        let Ended { outcome, faults: theirs } = self.thread.join().map_err(|_| BenchError::ThreadEnded)??;
        faults.add(theirs);
        Ok(outcome)
    }
}

/// The thread's whole life.
fn attend(beginning: Beginning) -> Result<Ended, BenchError> {
    if !beginning.cores.is_empty() {
        process::keep_to(&beginning.cores);
    }
    actix_rt::Runtime::new().map_err(BenchError::Thread)?.block_on(publish(beginning))
}

async fn publish(beginning: Beginning) -> Result<Ended, BenchError> {
    let Beginning { plan, target, rate, questions, ready, .. } = beginning;
    let stop = Stop::default();
    let stage = Stage::new(&plan, &target, &stop);
    let subscriptions = stage.one_topic()?;
    let run = stage.run(&subscriptions)?;
    let audience = stage.open(&run, &stage.filters(&subscriptions)).await?;
    let mut publisher = Publisher::open(&stage, Rc::clone(&run)).await?;
    let mut outcome = publisher.warm_up(WARM_UP).await?;
    let _ = ready.send(()); // if nobody waits any more, no question comes either
    actix_rt::spawn(answer(questions, Rc::clone(&run), stop.clone()));
    if outcome == Outcome::Complete {
        let published = publisher.publish(1, Some(rate), Length::Time(FOREVER), &Bar::hidden()).await;
        // To be stopped is how it ends. Whoever ends before waits for that, and answers what there is.
        stop.asked().await;
        outcome = published?;
    }
    let calm = Stop::default();
    if outcome == Outcome::Interrupted {
        outcome = everybody_has_it(&run, &calm, plan.timeout).await;
    }
    outcome = audience.farewell(outcome, &calm, plan.timeout).await;
    let mut ledger = run.ledger.borrow_mut();
    ledger.close();
    Ok(Ended { outcome, faults: std::mem::take(&mut ledger.faults) })
}

/// Answers until nobody can ask any more.
async fn answer(mut questions: mpsc::UnboundedReceiver<Question>, run: Rc<Run>, stop: Stop) {
    let (mut began, mut cpu) = (Instant::now(), process::thread_time());
    while let Some(question) = questions.recv().await {
        let Ok(measured) = run.ledger.borrow_mut().restart() else { break };
        let now = process::thread_time();
        let spent = now.zip(cpu).map(|(now, before)| now.saturating_sub(before));
        let stretch = Stretch { elapsed: began.elapsed(), measured, cpu: spent };
        (began, cpu) = (Instant::now(), now);
        let _ = question.send(stretch); // who asked may be gone
    }
    stop.ask();
}
