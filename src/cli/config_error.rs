//! Mistakes in a configuration file, drawn with the line, a caret and what would be right.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::PathBuf;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use thiserror::Error;
use toml::de::DeTable;

/// What serde and the parser call things, and what people do.
const REWORDINGS: [(&str, &str); 15] = [
    ("struct Server", "a table"),
    ("struct Settings", "a table"),
    ("struct Log", "a table"),
    ("struct Config", "a table"),
    ("struct TopicRule", "a table"),
    ("struct HistoryRule", "a table"),
    ("invalid type: map, expected a sequence", "one table alone, expected a list of them: [[…]]"),
    ("expected a sequence", "expected a list in brackets"),
    ("missing field", "missing key"),
    ("expected usize", "expected a whole number"),
    ("expected a duration", "expected a time such as \"25s\", \"1m 30s\" or \"500ms\""),
    ("expected a string", "expected text in quotes"),
    ("expected a boolean", "expected true or false"),
    ("expected literal string", "expected a number, or text in quotes"),
    ("unknown field", "unknown key"),
];

/// A configuration file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// It cannot be read at all.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Something in it is wrong.
    #[error(transparent)]
    Mistake(#[from] Box<Mistake>),
}

/// Where in a file something is wrong, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Place(Range<usize>);

impl Place {
    /// The value at the end of a way, if the file holds it.
    pub(crate) fn of_value(text: &str, way: &[Step]) -> Option<Self> {
        let file = DeTable::parse(text).ok()?;
        let (Step::Key(first), rest) = way.split_first()? else { return None };
        let value = rest.iter().try_fold(file.get_ref().get(*first)?, |value, step| match step {
            Step::Key(key) => value.get_ref().get(key),
            Step::Entry(index) => value.get_ref().get(index),
        })?;
        Some(Self(value.span()))
    }
}

/// One step of the way to a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// In a table.
    Key(&'static str),
    /// In a list, from 0.
    Entry(usize),
}

/// One thing that is wrong in a file.
#[derive(Debug, Error)]
#[error("{message}")]
pub(crate) struct Mistake {
    message: String,
    label: String,
    help: Option<String>,
    place: Option<Place>,
    file: NamedSource<String>,
}

impl Mistake {
    pub(crate) fn new(
        name: &str,
        text: &str,
        place: Option<Place>,
        message: String,
        label: impl Into<String>,
        help: Option<String>,
    ) -> Box<Self> {
        let file = NamedSource::new(name, text.to_owned());
        Box::new(Self { message, label: label.into(), help, place, file })
    }

    /// What the parser or serde found wrong.
    pub(crate) fn of_toml(name: &str, text: &str, error: &toml::de::Error) -> Box<Self> {
        let place = error.span().map(Place);
        // The parser's own messages may have several lines; the first says what is wrong, the rest what was expected.
        let mut message = error.message().trim().replace('\n', ", ");
        for (from, to) in REWORDINGS {
            message = message.replace(from, to);
        }
        if let Some((unknown, known)) = unknown_key(&message) {
            let message = format!("unknown key `{unknown}`");
            let help = format!(
                "known are {}",
                known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
            );
            let label = match nearest(unknown, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "not known here".to_owned(),
            };
            return Self::new(name, text, place, message, label, Some(help));
        }
        let (message, label) = match message.split_once(", expected ") {
            Some((found, expected)) => (found.to_owned(), format!("expected {expected}")),
            None => (message, "here".to_owned()),
        };
        Self::new(name, text, place, message, label, None)
    }

    /// The keys that would have been known in place of an unknown one.
    #[cfg(test)]
    pub(crate) fn known(&self) -> impl Iterator<Item = &str> {
        self.help.iter().flat_map(|help| help.split('`').skip(1).step_by(2))
    }

    /// The mistake as people read it: in colour on a terminal, unless `NO_COLOR` is set.
    pub(crate) fn drawn(&self) -> String {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut drawn = String::new();
        let report = GraphicalReportHandler::new_themed(theme).with_width(110).with_links(false);
        match report.render_report(&mut drawn, self) {
            Ok(()) => drawn,
            Err(_) => self.message.clone(),
        }
    }
}

impl Diagnostic for Mistake {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Place(range) = self.place.clone()?;
        let label = LabeledSpan::new_with_span(Some(self.label.clone()), range);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Serde's word on an unknown key: the key, and those it knows.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let quoted = message.strip_prefix("unknown key ")?;
    let mut words = quoted.split('`').skip(1).step_by(2);
    Some((words.next()?, words.collect()))
}

/// The known key that was probably meant.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |key: &str| strsim::jaro_winkler(unknown, key);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.8).then_some(best)
}
