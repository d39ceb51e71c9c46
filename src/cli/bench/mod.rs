//! `topichub bench`: load of the kinds that brokers meet, and what comes of it. A plan is checked, connections are
//! opened, something is measured, a report is printed; each has a file of its own and knows only what comes before it.

pub(super) mod args;
mod bar;
mod bystanders;
mod error;
mod fan_out;
mod faults;
mod gauge;
mod idle;
mod ledger;
mod machine;
mod many_topics;
mod outcome;
mod pace;
mod peer;
mod plan;
mod process;
mod publisher;
mod readers;
mod recover;
mod report;
mod response;
mod returning;
mod server;
mod slow;
mod stage;
mod stamp;
mod stop;
mod storm;
mod target;
mod watch;

use self::args::BenchArgs;
use self::error::BenchError;
use self::outcome::Outcome;
use self::plan::{Load, Plan};
use self::report::Report;
use self::stage::Stage;
use self::stop::Stop;
use self::target::Target;
use super::{Exit, Failure};

/// `topichub bench`.
pub(super) fn run(args: BenchArgs) -> Result<(), Failure> {
    let plan = Plan::of(args.scenario)?;
    machine::make_room(&plan)?;
    let report = actix_rt::System::new().block_on(bench(&plan))?;
    let failed = |exit, text| Err(Failure { exit, text });
    if let Err(error) = report.print() {
        return failed(Exit::Refused, format!("error: cannot write to standard output: {error}"));
    }
    match report.outcome {
        Outcome::Interrupted => failed(Exit::Interrupted, "error: interrupted".to_owned()),
        _ if report.is_sound => Ok(()),
        _ => failed(Exit::Refused, format!("error: the run failed: {}", report.faults)),
    }
}

async fn bench(plan: &Plan) -> Result<Report, BenchError> {
    let stop = Stop::listen()?;
    let target = Target::of(plan).await?;
    let stage = Stage::new(plan, &target, &stop);
    match plan.load {
        Load::FanOut { burst, rate } => fan_out::run(&stage, burst, rate).await,
        Load::ManyTopics { topics, topic_subscribers_max, publishers, window } => {
            many_topics::run(&stage, topics, topic_subscribers_max, publishers, window).await
        }
        Load::Idle => idle::run(&stage).await,
        Load::Storm { patience } => storm::run(&stage, patience).await,
        Load::Recover(recovery) => recover::run(&stage, recovery).await,
        Load::Slow { stalled, rate } => slow::run(&stage, stalled, rate).await,
    }
}
