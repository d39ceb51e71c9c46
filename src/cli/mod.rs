//! The command line: what can be said, and how the end of each command is told to people and to scripts.
//! Sockets and topics are the library's and the connection's business.

mod args;
mod bench;
mod config;
mod config_check;
mod config_error;
mod config_keys;
mod config_print;
mod config_sources;
mod connection_error;
mod lines;
mod listen;
mod logging;
mod options;
mod publish;
mod reload;
mod serve;
mod service;
mod stop_signals;
mod subscribe;
mod token;

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Command};

/// A command could not do all that was asked. The numbers are those in the help texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// The server, a file or this machine said no.
    Refused = 1,
    /// What was asked for does not fit together; clap says so of the rest.
    Usage = 2,
    /// There was no connection, or not until the end.
    NoConnection = 3,
    /// As shells count a SIGINT.
    Interrupted = 130,
}

/// Why a command ended early, as it is shown.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// `error: …` with its causes, and below it what to do.
    fn new(exit: Exit, error: &dyn Error, advice: Option<&str>) -> Self {
        let mut text = format!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            // Some errors say what their causes say.
            let what = error.to_string();
            if !text.ends_with(&what) {
                let _ = write!(text, ": {what}");
            }
            cause = error.source();
        }
        if let Some(advice) = advice {
            let _ = write!(text, "\n  help: {advice}");
        }
        Self { exit, text }
    }
}

/// Does what the arguments of this process say.
pub(crate) fn run() -> ExitCode {
    let done = match Args::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => config_check::check(&args.config),
        Command::Config(args) => config_check::show(&args),
        Command::Publish(args) => publish::run(args),
        Command::Subscribe(args) => subscribe::run(args),
        Command::Token(args) => token::run(*args),
        Command::Bench(args) => bench::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.text.trim_end());
            ExitCode::from(failure.exit as u8)
        }
    }
}
