//! How far it is, on a terminal's standard error; nothing anywhere else.
//! What is done meanwhile is not known here.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::plan::Length;

/// One stage of a run; it leaves the terminal with this value.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A stage of so many steps.
    pub(super) fn new(name: impl Into<Cow<'static, str>>, steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{prefix:>12} [{bar:24}] {msg}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name);
        Self(bar)
    }

    /// Nothing to be seen.
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// A stage as long as a plan says.
    pub(super) fn of_length(name: impl Into<Cow<'static, str>>, length: Length) -> Self {
        Self::new(
            name,
            match length {
                Length::Time(duration) => duration.as_millis() as u64,
                Length::Messages(messages) => messages,
            },
        )
    }

    /// So many steps are done.
    pub(super) fn set(&self, steps: usize) {
        if !self.0.is_hidden() {
            self.0.set_message(format!("{steps} of {}", self.0.length().unwrap_or(0)));
            self.0.set_position(steps as u64);
        }
    }

    /// So much is published, for so long.
    pub(super) fn set_published(&self, length: Length, elapsed: Duration, messages: u64, deliveries: u64) {
        if self.0.is_hidden() {
            return;
        }
        self.0.set_position(match length {
            Length::Time(_) => elapsed.as_millis() as u64,
            Length::Messages(_) => messages,
        });
        let per_second = deliveries as f64 / elapsed.as_secs_f64().max(0.001);
        self.0.set_message(format!("{messages} messages, {per_second:.0} deliveries/s"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
