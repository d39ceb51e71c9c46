//! Mistakes in a configuration file, drawn with the line, a caret and what would be right.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::PathBuf;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use thiserror::Error;

use super::config_keys::is_secret;
use super::{Exit, Failure};

/// What serde and the parser call things, and what people do.
const REWORDINGS: [(&str, &str); 12] = [
    ("invalid type: map, expected a sequence", "one table alone, expected a list of them: [[…]]"),
    ("expected a sequence", "expected a list in brackets"),
    ("missing field", "missing key"),
    ("expected usize", "expected a whole number from 0"),
    ("expected u64", "expected a whole number from 0"),
    ("expected u32", "expected a whole number from 0"),
    ("expected u8", "expected a whole number from 0"),
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

/// One step of the way to a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// In a table.
    Key(&'a str),
    /// In a list, from 0.
    Entry(usize),
}

/// One thing that is wrong, in a file, a variable or a flag.
#[derive(Debug, Error)]
#[error("{message}")]
pub(crate) struct Mistake {
    message: String,
    label: String,
    help: Option<String>,
    place: Option<Range<usize>>,
    file: NamedSource<String>,
}

impl ConfigError {
    /// What a command that could not begin says.
    pub(crate) fn into_failure(self) -> Failure {
        match &self {
            Self::Unreadable { .. } => Failure::new(Exit::Refused, &self, None),
            Self::Mistake(mistake) => Failure { exit: Exit::Refused, text: mistake.drawn() },
        }
    }
}

impl Mistake {
    pub(crate) fn new(
        name: &str,
        text: &str,
        place: Option<Range<usize>>,
        message: String,
        label: impl Into<String>,
        help: Option<String>,
    ) -> Box<Self> {
        let file = NamedSource::new(name, text.to_owned());
        Box::new(Self { message, label: label.into(), help, place, file })
    }

    /// What the parser or serde found wrong. If it is about a secret, its value is not repeated.
    pub(crate) fn of_toml(
        name: &str,
        text: &str,
        place: Option<Range<usize>>,
        message: &str,
        secret: bool,
    ) -> Box<Self> {
        // The parser's own messages may have several lines; the first says what is wrong, the rest what was expected.
        let mut message = message.trim().replace('\n', ", ");
        for (from, to) in REWORDINGS {
            message = message.replace(from, to);
        }
        if let Some((before, named)) = message.split_once("expected struct ") {
            let after = named.trim_start_matches(|letter: char| letter.is_alphanumeric());
            message = format!("{before}expected a table{after}");
        }
        if let (true, Some(from), Some(to)) = (secret, message.find('"'), message.rfind('"')) {
            message.replace_range(from..=to, "\"***\"");
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
        let label = LabeledSpan::new_with_span(Some(self.label.clone()), self.place.clone()?);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Serde's word on an unknown key: the key, and those it knows.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let quoted = message.strip_prefix("unknown key ")?;
    let mut words = quoted.split('`').skip(1).step_by(2);
    Some((words.next()?, words.collect()))
}

/// What was probably meant among what is known.
pub(crate) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |key: &str| strsim::jaro_winkler(unknown, key);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.8).then_some(best)
}

/// The text with stars for every letter of a secret: of what stands behind the name of one and `=`, up to the end of the
/// line or of the quotes. It need not be TOML.
pub(crate) fn masked(text: &str) -> String {
    let mut masked = text.to_owned();
    for (at, _) in text.match_indices('=') {
        let before = text[..at].trim_end_matches([' ', '\t', '"', '\'']);
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        let name = &before[before.trim_end_matches(is_of_name).len()..];
        let value = text[at + 1..].trim_start_matches([' ', '\t']);
        let quotes = ["\"\"\"", "\'\'\'", "\"", "\'"].into_iter().find(|quotes| value.starts_with(quotes));
        let value = &value[quotes.map_or(0, str::len)..];
        let line = value.find('\n').unwrap_or(value.len());
        let len = match quotes {
            Some(quotes) if quotes.len() == 3 => value.find(quotes).unwrap_or(value.len()),
            Some(quotes) => end_of_quoted(value, quotes).min(line),
            None => line,
        };
        if !name.is_empty() && is_secret(name, &value[..len]) {
            let start = text.len() - value.len();
            let hidden = value[..len].bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' });
            masked.replace_range(start..start + len, &hidden.collect::<String>());
        }
    }
    masked
}

fn end_of_quoted(value: &str, quotes: &str) -> usize {
    let escaped = |at: usize| {
        quotes == "\"" && value[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
    };
    value.match_indices(quotes).map(|(at, _)| at).find(|at| !escaped(*at)).unwrap_or(value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_in_what_is_shown_and_nothing_moves() {
        let masked = |text: &str| {
            let masked = masked(text);
            assert_eq!(masked.len(), text.len());
            masked
        };
        assert_eq!(masked("secret = \"a\\\"b=\" # c"), "secret = \"*****\" # c");
        assert_eq!(masked("{kid = 'x', \"hash\" = 'ab', y = 1}"), "{kid = 'x', \"hash\" = '**', y = 1}");
        assert_eq!(masked("password = oops\nlisten = 1"), "password = ****\nlisten = 1");
        assert_eq!(masked("secret = \"open\nlisten = 1"), "secret = \"****\nlisten = 1");
        assert_eq!(masked("token = \"\"\"a\nbé\"\"\""), "token = \"\"\"*\n***\"\"\"");
        assert_eq!(masked("secret_file = \"/run/x\""), "secret_file = \"/run/x\"");
    }
}
