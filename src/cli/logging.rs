//! The log: lines on standard error, plain or JSON, filtered as `env_logger` does. What is logged can change while the
//! server runs.

use std::io::{self, Write};
use std::sync::{OnceLock, PoisonError, RwLock};

use clap::ValueEnum;
use env_logger::fmt::Formatter;
use log::{LevelFilter, Log, Metadata, Record};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the server underneath says of itself we say better; and that a client sends nonsense is no error of ours.
const ALWAYS: &str = "actix_server=warn,actix_http::h1::dispatcher=off";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Plain,
    /// An object for each: `ts`, `level`, `target`, `message`.
    Json,
}

/// A line as JSON.
#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    level: &'a str,
    target: &'a str,
    message: String,
}

/// A log whose filter can be changed.
struct Changeable {
    format: Format,
    logger: RwLock<env_logger::Logger>,
}

static LOG: OnceLock<Changeable> = OnceLock::new();

/// A level, or directives such as `info,topichub=debug`.
pub(crate) fn parse_filter(text: &str) -> Result<String, String> {
    let levels =
        "levels are off, error, warn, info, debug and trace, alone or by module: info,topichub=debug";
    let plausible = !text.trim().is_empty()
        && text.split(',').all(|directive| match directive.split_once('=') {
            Some((module, level)) => !module.is_empty() && level.parse::<LevelFilter>().is_ok(),
            None => directive.parse::<LevelFilter>().is_ok(),
        });
    if plausible { Ok(text.to_owned()) } else { Err(levels.to_owned()) }
}

/// Starts the log. Called once.
pub(crate) fn start(filter: &str, format: Format) {
    let logger = build(filter, format);
    log::set_max_level(logger.filter());
    let log = LOG.get_or_init(|| Changeable { format, logger: RwLock::new(logger) });
    // Fails only if there is a log already.
    let _ = log::set_logger(log);
}

/// Logs by another filter from now on.
pub(crate) fn change(filter: &str) {
    let Some(log) = LOG.get() else { return };
    let logger = build(filter, log.format);
    log::set_max_level(logger.filter());
    *log.logger.write().unwrap_or_else(PoisonError::into_inner) = logger;
}

fn build(filter: &str, format: Format) -> env_logger::Logger {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&format!("{ALWAYS},{filter}"));
    match format {
        Format::Plain => builder.format_timestamp_millis(),
        Format::Json => builder.format(write_json),
    };
    builder.build()
}

fn write_json(to: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let line = Line {
        ts: to.timestamp_millis().to_string(),
        level: record.level().as_str(),
        target: record.target(),
        message: record.args().to_string(),
    };
    serde_json::to_writer(&mut *to, &line)?;
    writeln!(to)
}

impl Changeable {
    fn with<T>(&self, then: impl FnOnce(&env_logger::Logger) -> T) -> T {
        then(&self.logger.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Log for Changeable {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.with(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        self.with(|logger| logger.log(record));
    }

    fn flush(&self) {
        self.with(Log::flush);
    }
}
