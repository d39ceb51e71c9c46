//! The log: plain lines on standard error, filtered as `env_logger` does.

use log::LevelFilter;

/// What the server underneath says of itself we say better; and that a client sends nonsense is no error of ours.
const ALWAYS: &str = "actix_server=warn,actix_http::h1::dispatcher=off";

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
pub(crate) fn start(filter: &str) {
    env_logger::Builder::new().parse_filters(&format!("{ALWAYS},{filter}")).format_timestamp_millis().init();
}
