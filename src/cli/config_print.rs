//! The configuration as text: the example file, which documents every key, and what is in force with where it comes from.

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::config_error::Step;
use super::config_keys::{self, Key, Kind};
use super::config_sources::{Merged, Origin, shown_value};

/// How wide documentation is set.
const WIDTH: usize = 118;

const INTRODUCTION: &str = "\
# TopicHub's configuration, every key with its default; a key behind # has none, or stands for as many as you like.
#
#   topichub check --config topichub.toml     says whether a file is sound
#   topichub serve --config topichub.toml     uses it; SIGHUP reads it again
#   topichub config --config topichub.toml    says what is in force, and where it comes from
#
# Every key is an environment variable too, which wins over this file: TOPICHUB_LIMITS_PING_INTERVAL=1m for `ping_interval`
# in [limits], TOPICHUB_TOPICS='[{pattern = \"chat.>\"}]' for all [[topics]]. Flags win over both.
#
# Made of the program's types: `topichub config --default > topichub.example.toml` renews it.
";

/// The example file.
pub(crate) fn example() -> String {
    let mut text = INTRODUCTION.to_owned();
    document(&mut text, "", config_keys::tables(), "");
    text
}

/// Keys and then tables, with their documentation. `off` stands before keys that are not in force.
fn document(text: &mut String, table: &str, keys: &[Key], off: &str) {
    for key in keys.iter().filter(|key| matches!(key.kind, Kind::Text | Kind::Value)) {
        document_key(text, &key.name, key, off);
    }
    for key in keys {
        let path = if table.is_empty() { key.name.clone() } else { format!("{table}.{}", key.name) };
        let (header, inner, off) = match &key.kind {
            Kind::Text | Kind::Value => continue,
            Kind::Table(inner) => (format!("{off}[{path}]\n"), inner, off),
            Kind::OptionalTable(inner) => (format!("#[{path}]\n"), inner, "#"),
            Kind::Tables(inner) => {
                text.push('\n');
                comment(text, &key.about);
                text.push_str(&format!("#[[{path}]]\n"));
                document_entry(text, "", inner);
                continue;
            }
        };
        text.push('\n');
        comment(text, &key.about);
        text.push_str(&header);
        document(text, &path, inner, off);
    }
}

/// What is in one of several tables: all in one, with dotted keys.
fn document_entry(text: &mut String, prefix: &str, keys: &[Key]) {
    for key in keys {
        let name = format!("{prefix}{}", key.name);
        match &key.kind {
            Kind::Text | Kind::Value | Kind::Tables(_) => document_key(text, &name, key, "#"),
            Kind::Table(inner) | Kind::OptionalTable(inner) => {
                comment(text, &key.about);
                document_entry(text, &format!("{name}."), inner);
            }
        }
    }
}

fn document_key(text: &mut String, name: &str, key: &Key, off: &str) {
    comment(text, &key.about);
    let off = if key.default.is_some() { off } else { "#" };
    let value = key.default.as_ref().or(key.example.as_ref()).map(Value::to_string).unwrap_or_default();
    text.push_str(&format!("{off}{name} = {value}\n"));
}

/// Documentation, set anew.
fn comment(text: &mut String, about: &str) {
    for paragraph in about.split("\n\n") {
        let mut line = "#".to_owned();
        for word in paragraph.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                text.push_str(&line);
                text.push('\n');
                "#".clone_into(&mut line);
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
}

/// What is in force, as a file; behind each value that is not a default where it comes from. Secrets are stars.
pub(crate) fn effective(merged: &Merged<'_>) -> String {
    let mut text = String::new();
    tables_in_force(&mut text, merged, &[], config_keys::tables());
    text.trim_start().to_owned()
}

/// What differs from the defaults, as `key = value # where it comes from`, of one table.
pub(crate) fn changed(merged: &Merged<'_>, table: &str) -> Vec<String> {
    let mut text = String::new();
    let keys = config_keys::tables().iter().find(|key| key.name == table);
    if let Some(Key { kind: Kind::Table(keys), .. }) = keys {
        values_in_force(&mut text, merged, &[table], keys);
    }
    text.lines().filter(|line| line.contains(" # from ")).map(str::to_owned).collect()
}

/// Every key that has a value, and the value, to be compared and not to be shown.
pub(crate) fn in_force(merged: &Merged<'_>) -> Vec<(String, String)> {
    let values = config_keys::values().into_iter().filter_map(|(way, key)| {
        let said = merged.value(&steps(&way)).and_then(|said| plain(said.get_ref()));
        said.or_else(|| key.default.clone()).map(|value| (way.join("."), value.to_string()))
    });
    values.collect()
}

fn tables_in_force(text: &mut String, merged: &Merged<'_>, way: &[&str], keys: &[Key]) {
    for key in keys {
        let way = [way, &[key.name.as_str()]].concat();
        let (path, value) = (way.join("."), merged.value(&steps(&way)));
        match &key.kind {
            Kind::Text | Kind::Value => {}
            Kind::OptionalTable(_) if value.is_none() => {}
            Kind::Table(inner) | Kind::OptionalTable(inner) => {
                text.push_str(&format!("\n[{path}]\n"));
                values_in_force(text, merged, &way, inner);
                tables_in_force(text, merged, &way, inner);
            }
            Kind::Tables(inner) => {
                let entries = value.and_then(|value| value.get_ref().as_array());
                for entry in entries.into_iter().flatten() {
                    let from =
                        merged.sources().origin(&entry.span()).map(|(_, said)| format!(" # from {said}"));
                    text.push_str(&format!("\n[[{path}]]{}\n", from.unwrap_or_default()));
                    entry_in_force(text, "", entry.get_ref(), inner);
                }
            }
        }
    }
}

fn values_in_force(text: &mut String, merged: &Merged<'_>, way: &[&str], keys: &[Key]) {
    for key in keys.iter().filter(|key| matches!(key.kind, Kind::Text | Kind::Value)) {
        let way = [way, &[key.name.as_str()]].concat();
        let said = merged.value(&steps(&way));
        let value = said.and_then(|said| plain(said.get_ref())).or_else(|| key.default.clone());
        let Some(value) = value else { continue };
        // A file may write defaults down; an override that is one still is an override.
        let tells =
            |origin: &Origin| !matches!(origin, Origin::File(_)) || Some(&value) != key.default.as_ref();
        let from =
            said.and_then(|said| merged.sources().origin(&said.span())).filter(|(origin, _)| tells(origin));
        let from = from.map(|(_, said)| format!(" # from {said}")).unwrap_or_default();
        text.push_str(&format!("{} = {}{from}\n", key.name, shown_value(&key.name, value)));
    }
}

/// One of several tables, with dotted keys.
fn entry_in_force(text: &mut String, prefix: &str, entry: &DeValue<'_>, keys: &[Key]) {
    for key in keys {
        let name = format!("{prefix}{}", key.name);
        let said = entry.get(key.name.as_str());
        match (&key.kind, said) {
            (Kind::OptionalTable(_), None) => {}
            (Kind::Table(inner), None) => {
                entry_in_force(text, &format!("{name}."), &DeValue::Table(DeTable::new()), inner);
            }
            (Kind::Table(inner) | Kind::OptionalTable(inner), Some(said)) => {
                entry_in_force(text, &format!("{name}."), said.get_ref(), inner);
            }
            (Kind::Text | Kind::Value | Kind::Tables(_), said) => {
                let value = said.and_then(|said| plain(said.get_ref())).or_else(|| key.default.clone());
                if let Some(value) = value {
                    text.push_str(&format!("{name} = {}\n", shown_value(&key.name, value)));
                }
            }
        }
    }
}

fn steps<'a>(way: &[&'a str]) -> Vec<Step<'a>> {
    way.iter().copied().map(Step::Key).collect()
}

/// A value without its places.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    let value = toml::Spanned::new(0..0, value.clone());
    Value::deserialize(ValueDeserializer::from(value)).ok()
}

#[cfg(test)]
mod tests {
    use topichub::{Settings, TopicRule};

    use super::super::config::Config;
    use super::super::config_sources::Sources;
    use super::*;

    const EXAMPLE: &str = include_str!("../../topichub.example.toml");

    fn read(text: &str) -> Config {
        Sources::of_text(text).merge().and_then(|merged| merged.config()).unwrap()
    }

    #[test]
    fn the_example_file_is_made_of_the_types() {
        assert!(EXAMPLE == example(), "renew it: topichub config --default > topichub.example.toml");
    }

    #[test]
    fn the_example_file_holds_the_defaults() {
        assert_eq!(read(EXAMPLE), Config::default());
        assert_eq!(read(EXAMPLE).limits, Settings::default());
        assert_eq!(read(""), Config::default());
    }

    #[test]
    fn the_rule_in_the_example_file_is_one_with_the_defaults() {
        let (_, rule) = EXAMPLE.split_once("\n#[[topics]]\n").unwrap();
        let is_key = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
        let keys: Vec<_> = rule.lines().filter(is_key).map(|line| &line[1..]).collect();
        let rule = format!("[[topics]]\n{}", keys.join("\n"));
        assert_eq!(read(&rule).topics, [TopicRule::new("chat.>").unwrap()]);
    }

    #[test]
    fn what_is_in_force_is_a_file_of_the_same_meaning() {
        let text = "server.workers = 3\nlog.level = 'a=warn,b=debug'\n[limits]\ndeflate = false\n\
                    [[topics]]\npattern = 'a'\nhistory = {age = '5m'}\n[[topics]]\npattern = 'b'\nslow = 'drop'\n";
        let sources = Sources::of_text(text);
        let printed = effective(&sources.merge().unwrap());
        assert_eq!(read(&printed), read(text), "{printed}");
        assert!(printed.contains("\nworkers = 3 # from topichub.toml:1\n"), "{printed}");
        assert!(printed.contains("\n[[topics]] # from topichub.toml:8\n"), "{printed}");
    }

    /// Tables as they may come. Only their documentation is read.
    #[expect(dead_code)]
    mod sample {
        use schemars::JsonSchema;
        use serde::Serialize;

        #[derive(Default, JsonSchema)]
        #[serde(default)]
        pub(super) struct Sample {
            /// Who may do what.
            auth: Auth,
            /// Certificates. Without this table there is no TLS.
            tls: Option<Tls>,
        }

        #[derive(Default, JsonSchema)]
        #[serde(default)]
        struct Auth {
            /// Whom tokens must be from.
            #[schemars(example = "https://login.example")]
            issuer: Option<String>,
            /// How much clocks may differ.
            #[schemars(with = "Option<String>", example = "30s")]
            leeway: Option<std::time::Duration>,
            /// What tokens are signed with.
            keys: Vec<SigningKey>,
        }

        #[derive(JsonSchema)]
        struct SigningKey {
            /// How.
            algorithm: Algorithm,
            /// The secret of HS256.
            #[schemars(example = "at least 32 bytes")]
            secret: Option<String>,
            /// Where it may be used.
            #[serde(default)]
            limits: KeyLimits,
        }

        #[derive(Default, Serialize, JsonSchema)]
        enum Algorithm {
            /// With a secret.
            #[default]
            HS256,
            /// With a key.
            RS256,
        }

        #[derive(Default, JsonSchema)]
        #[serde(default)]
        struct KeyLimits {
            /// Audiences.
            audiences: Vec<String>,
        }

        #[derive(JsonSchema)]
        struct Tls {
            /// The chain, PEM.
            #[schemars(example = "/etc/topichub/chain.pem")]
            certificate: String,
            /// Whether clients must have one too.
            #[serde(default)]
            mutual: bool,
        }
    }

    #[test]
    fn every_kind_of_table_is_documented() {
        let mut text = String::new();
        document(&mut text, "", &config_keys::of_type::<sample::Sample>(), "");
        insta::assert_snapshot!("example_of_tables", text);
    }

    #[test]
    fn every_kind_of_table_is_shown_and_no_secret() {
        let keys = config_keys::of_type::<sample::Sample>();
        let show = |text: &str| {
            let sources = Sources::of_text(text);
            let mut shown = String::new();
            tables_in_force(&mut shown, &sources.merge().unwrap(), &[], &keys);
            shown
        };
        assert_eq!(show(""), "\n[auth]\n");
        let text = "[[auth.keys]]\nalgorithm = \"RS256\"\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"hush\"\n\
                    limits.audiences = [\"a\"]\n[tls]\ncertificate = \"x.pem\"\n";
        insta::assert_snapshot!("tables_in_force", show(text));
    }
}
