//! Where the configuration comes from, each winning over those before it: a file, the environment, flags. All become one
//! document whose places still say where each value stood.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::config::Config;
use super::config_error::{ConfigError, Mistake, Step, masked, nearest};
use super::config_keys::{self, Key, Kind, is_secret};

/// What names of variables begin with.
const PREFIX: &str = "TOPICHUB_";

/// Shorter names, and one that other programs understand too; the full name wins over them.
const SHORT_NAMES: [(&str, &str); 5] = [
    ("RUST_LOG", "TOPICHUB_LOG_LEVEL"),
    ("TOPICHUB_LOG", "TOPICHUB_LOG_LEVEL"),
    ("TOPICHUB_LISTEN", "TOPICHUB_SERVER_LISTEN"),
    ("TOPICHUB_WORKERS", "TOPICHUB_SERVER_WORKERS"),
    ("TOPICHUB_DRAIN", "TOPICHUB_SERVER_DRAIN"),
];

/// Variables that are flags of the command and no keys.
const NO_KEYS: [&str; 4] = ["TOPICHUB_CONFIG", "TOPICHUB_DEMO", "TOPICHUB_OPEN", "TOPICHUB_TOKEN"];

/// What was said where, not yet read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    pub(crate) file: Option<PathBuf>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) flags: Vec<Flag>,
}

/// A flag that was given for a key.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) way: [&'static str; 2],
    pub(crate) value: String,
}

/// All texts of a configuration, one behind the other as if they were one.
#[derive(Debug)]
pub(crate) struct Sources {
    all: Vec<Source>,
    /// Variables that mean nothing.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug)]
struct Source {
    origin: Origin,
    /// What is shown if something in it is wrong.
    text: String,
    /// What the parser gets: all places in it are those in the one long text.
    padded: String,
    start: usize,
    /// Of which key this is the value; a file has many.
    key: Option<(Vec<&'static str>, &'static Key)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File(String),
    Variable(String),
    Flag(&'static str),
}

/// The one document.
pub(crate) struct Merged<'s> {
    sources: &'s Sources,
    table: DeTable<'s>,
}

impl Layers {
    /// A file if there is one, and the environment of this process.
    pub(crate) fn of_process(file: Option<&Path>) -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self { file: file.map(Path::to_owned), variables: variables.collect(), flags: Vec::new() }
    }

    /// Reads the file, now.
    pub(crate) fn read(&self) -> Result<Sources, ConfigError> {
        let mut sources = Sources { all: Vec::new(), warnings: Vec::new() };
        if let Some(path) = &self.file {
            let unreadable = |source| ConfigError::Unreadable { path: path.clone(), source };
            let text = std::fs::read_to_string(path).map_err(unreadable)?;
            sources.add(Origin::File(path.display().to_string()), text, String::clone, None);
        }
        sources.add_variables(&self.variables);
        for Flag { name, way, value } in &self.flags {
            let key = config_keys::values().into_iter().find(|(known, _)| known == way);
            sources.add_value(Origin::Flag(name), &format!("{name} "), value, key);
        }
        Ok(sources)
    }
}

impl Sources {
    /// A text alone.
    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Self {
        let mut sources = Self { all: Vec::new(), warnings: Vec::new() };
        sources.add(Origin::File("topichub.toml".to_owned()), text.to_owned(), String::clone, None);
        sources
    }

    fn add_variables(&mut self, variables: &[(String, String)]) {
        let mut known: Vec<_> = config_keys::values()
            .into_iter()
            .map(|(way, key)| (format!("{PREFIX}{}", way.join("_").to_ascii_uppercase()), (way, key)))
            .collect();
        let of_short = |(short, full): &(&str, &str)| {
            let (_, key) = known.iter().find(|(name, _)| name == full)?;
            Some(((*short).to_owned(), key.clone()))
        };
        let short: Vec<_> = SHORT_NAMES.iter().filter_map(of_short).collect();
        known.splice(0..0, short);

        let value_of = |name: &str| variables.iter().find(|(said, _)| said == name).map(|(_, value)| value);
        for (name, key) in &known {
            if let Some(value) = value_of(name).filter(|value| !value.is_empty()) {
                let origin = Origin::Variable(name.clone());
                self.add_value(origin, &format!("{name}="), value, Some(key.clone()));
            }
        }

        let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).chain(NO_KEYS).collect();
        let mut unknown: Vec<_> = variables.iter().map(|(name, _)| name.as_str()).collect();
        unknown.retain(|name| name.starts_with(PREFIX) && !names.contains(name) && !is_of_kubernetes(name));
        unknown.sort_unstable();
        let bare: Vec<_> = names.iter().filter_map(|name| name.strip_prefix(PREFIX)).collect();
        for name in unknown {
            let near = nearest(&name[PREFIX.len()..], &bare);
            let advice = near.map(|near| format!(": did you mean {PREFIX}{near}?")).unwrap_or_default();
            self.warnings.push(format!("the variable {name} means nothing here{advice}"));
        }
    }

    fn add_value(
        &mut self,
        origin: Origin,
        prefix: &str,
        value: &str,
        key: Option<(Vec<&'static str>, &'static Key)>,
    ) {
        // As long as the name, so that the value stands in the same place.
        let assigned = |_: &String| format!("{}x={value}", " ".repeat(prefix.len().saturating_sub(2)));
        self.add(origin, format!("{prefix}{value}"), assigned, key);
    }

    fn add(
        &mut self,
        origin: Origin,
        text: String,
        parsed: impl FnOnce(&String) -> String,
        key: Option<(Vec<&'static str>, &'static Key)>,
    ) {
        // A byte between two texts, so that the end of one is no place in the next.
        let start = self.all.last().map_or(0, |last| last.start + last.text.len() + 1);
        let padded = " ".repeat(start) + &parsed(&text);
        self.all.push(Source { origin, text, padded, start, key });
    }

    /// The one document, if each text can be read.
    pub(crate) fn merge(&self) -> Result<Merged<'_>, Box<Mistake>> {
        let mut table = DeTable::new();
        for source in &self.all {
            let Some((way, key)) = &source.key else {
                let file = DeTable::parse(&source.padded).map_err(|error| self.mistake_of_toml(&error))?;
                table = file.into_inner(); // the file is the lowest layer
                continue;
            };
            let value = source.value(key).map_err(|error| self.mistake_of_toml(&error))?;
            put(&mut table, way, value);
        }
        Ok(Merged { sources: self, table })
    }

    fn at(&self, offset: usize) -> Option<&Source> {
        self.all.iter().rev().find(|source| source.start <= offset)
    }

    /// Where something stands, as people say it.
    pub(crate) fn origin(&self, place: &Range<usize>) -> Option<(&Origin, String)> {
        let source = self.at(place.start)?;
        let before = source.text.as_bytes().get(..place.start - source.start)?;
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let said = match &source.origin {
            Origin::File(name) => format!("{name}:{line}"),
            other => other.to_string(),
        };
        Some((&source.origin, said))
    }

    fn mistake_of_toml(&self, error: &toml::de::Error) -> Box<Mistake> {
        let source = error.span().and_then(|place| self.at(place.start));
        let (name, text, place) = self.shown(error.span());
        // What is wrong with a secret is said without it.
        let is_hidden = source
            .zip(place.clone())
            .is_some_and(|(source, place)| source.text[place.clone()] != text[place]);
        Mistake::of_toml(&name, &text, place, error.message(), is_hidden)
    }

    /// The text that holds a place, without secrets, and the place in it.
    fn shown(&self, place: Option<Range<usize>>) -> (String, String, Option<Range<usize>>) {
        let Some((source, place)) = place.and_then(|place| Some((self.at(place.start)?, place))) else {
            return ("the configuration".to_owned(), String::new(), None);
        };
        let within = |offset: usize| offset.saturating_sub(source.start).min(source.text.len());
        let name = match &source.origin {
            Origin::File(name) => name.clone(),
            Origin::Variable(_) => "environment".to_owned(),
            Origin::Flag(_) => "command line".to_owned(),
        };
        let text = match &source.key {
            Some((way, _)) if is_secret(way.last().unwrap_or(&""), source.said()) => {
                source.text.replace(source.said(), &"*".repeat(source.said().len()))
            }
            _ => masked(&source.text),
        };
        (name, text, Some(within(place.start)..within(place.end)))
    }
}

impl Source {
    /// The value of a variable or a flag.
    fn said(&self) -> &str {
        self.padded.split_once("x=").map_or("", |(_, value)| value)
    }

    /// What a variable or a flag says: text as it is, everything else as it would be written in a file.
    fn value(&self, key: &Key) -> Result<Spanned<DeValue<'_>>, toml::de::Error> {
        let as_text = || {
            let len = self.padded.find("x=").map_or(0, |at| at + 2);
            let place = len..self.padded.len();
            Spanned::new(place.clone(), DeValue::String(self.padded[place].into()))
        };
        if matches!(key.kind, Kind::Text) {
            return Ok(as_text());
        }
        match DeTable::parse(&self.padded) {
            Ok(table) if table.get_ref().len() == 1 => {
                Ok(table.into_inner().into_iter().next().map_or_else(as_text, |(_, value)| value))
            }
            // Lists and tables have a place where they go wrong; of the rest serde says what was expected.
            Err(error) if self.padded.contains(['[', '{']) => Err(error),
            Ok(_) | Err(_) => Ok(as_text()),
        }
    }
}

impl<'s> Merged<'s> {
    /// The configuration, if no value is of a wrong kind or makes no sense.
    pub(crate) fn config(&self) -> Result<Config, Box<Mistake>> {
        let document = Spanned::new(0..0, self.table.clone());
        let config = Config::deserialize(toml::Deserializer::from(document))
            .map_err(|error| self.sources.mistake_of_toml(&error))?;
        match config.impossible() {
            Some(impossible) => Err(impossible.into_mistake(self)),
            None => Ok(config),
        }
    }

    /// The value at the end of a way.
    pub(crate) fn value(&self, way: &[Step]) -> Option<&Spanned<DeValue<'s>>> {
        let (Step::Key(first), rest) = way.split_first()? else { return None };
        rest.iter().try_fold(self.table.get(*first)?, |value, step| match step {
            Step::Key(key) => value.get_ref().get(key),
            Step::Entry(index) => value.get_ref().get(index),
        })
    }

    pub(crate) fn sources(&self) -> &'s Sources {
        self.sources
    }

    /// What is wrong with a value, or with all of them if none is to blame.
    pub(crate) fn mistake(
        &self,
        place: Option<Range<usize>>,
        message: String,
        label: &str,
        help: Option<String>,
    ) -> Box<Mistake> {
        let (name, text, place) = self.sources.shown(place);
        Mistake::new(&name, &text, place, message, label, help)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) | Self::Variable(name) => formatter.write_str(name),
            Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// Kubernetes tells every pod where a service named `topichub` is, by these.
fn is_of_kubernetes(name: &str) -> bool {
    let rest = &name[PREFIX.len()..];
    rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_")
}

/// Puts one value into a document. Where the file has something else in place of a table, that mistake is left to be told.
fn put<'s>(table: &mut DeTable<'s>, way: &[&'static str], value: Spanned<DeValue<'s>>) {
    let Some((first, rest)) = way.split_first() else { return };
    let place = value.span();
    let key = Spanned::new(place.clone(), (*first).into());
    if rest.is_empty() {
        table.insert(key, value);
        return;
    }
    let below = table.entry(key).or_insert(Spanned::new(place, DeValue::Table(DeTable::new())));
    if let DeValue::Table(below) = below.get_mut() {
        put(below, rest, value);
    }
}

/// What is shown of a value.
pub(crate) fn shown_value(name: &str, value: toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) if is_secret(name, &text) => toml::Value::String("***".to_owned()),
        toml::Value::Array(values) => {
            values.into_iter().map(|value| shown_value(name, value)).collect::<Vec<_>>().into()
        }
        toml::Value::Table(table) => {
            let hidden = table.into_iter().map(|(name, value)| {
                let value = shown_value(&name, value);
                (name, value)
            });
            toml::Value::Table(hidden.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_variable_of_its_own() {
        let name = |way: &[&str]| format!("{PREFIX}{}", way.join("_").to_ascii_uppercase());
        let mut names: Vec<_> = config_keys::values().iter().map(|(way, _)| name(way)).collect();
        for (_, full) in SHORT_NAMES {
            assert!(names.iter().any(|name| name == full), "{full}");
        }
        names.extend(SHORT_NAMES.map(|(short, _)| short.to_owned()));
        names.extend(NO_KEYS.map(str::to_owned));
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn places_lead_back_to_where_a_value_stood() {
        let mut sources = Sources::of_text("[server]\nworkers = 2\n");
        sources.add_variables(&[("TOPICHUB_LOG_LEVEL".to_owned(), "debug".to_owned())]);
        let merged = sources.merge().unwrap();
        for (way, origin) in
            [(["server", "workers"], "topichub.toml:2"), (["log", "level"], "TOPICHUB_LOG_LEVEL")]
        {
            let value = merged.value(&way.map(Step::Key)).unwrap();
            assert_eq!(sources.origin(&value.span()).unwrap().1, origin);
        }
    }
}
