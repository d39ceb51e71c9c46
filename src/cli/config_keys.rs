//! The keys of the configuration as the types have them: names, documentation, defaults. Whatever goes through all keys
//! (the example file, the environment, `topichub config`) goes by this list, so that a new field is known everywhere.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};
use toml::Value;

use super::config::Config;

/// A key, and where it is a table what is in it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// The documentation of the field.
    pub(crate) about: String,
    pub(crate) default: Option<Value>,
    /// What could be written where there is no default.
    pub(crate) example: Option<Value>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Text, a time, a word among some: what stands in quotes.
    Text,
    /// Numbers, `true` and `false`, lists.
    Value,
    /// `[name]`.
    Table(Vec<Key>),
    /// A table that means something by being there, and so is not there by default.
    OptionalTable(Vec<Key>),
    /// `[[name]]`, as many as one likes.
    Tables(Vec<Key>),
}

/// The tables of the file.
pub(crate) fn tables() -> &'static [Key] {
    static TABLES: LazyLock<Vec<Key>> = LazyLock::new(of_type::<Config>);
    &TABLES
}

/// The keys of a type.
pub(super) fn of_type<T: JsonSchema>() -> Vec<Key> {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    schema.as_object().and_then(|schema| schema.get("properties")).map(keys_of).unwrap_or_default()
}

/// Every key that has a value of its own, lists of tables as a whole, with the way to it.
pub(crate) fn values() -> Vec<(Vec<&'static str>, &'static Key)> {
    fn collect(
        way: &[&'static str],
        keys: &'static [Key],
        found: &mut Vec<(Vec<&'static str>, &'static Key)>,
    ) {
        for key in keys {
            let way = [way, &[key.name.as_str()]].concat();
            match &key.kind {
                Kind::Table(keys) | Kind::OptionalTable(keys) => collect(&way, keys, found),
                Kind::Text | Kind::Value | Kind::Tables(_) => found.push((way, key)),
            }
        }
    }
    let mut found = Vec::new();
    collect(&[], tables(), &mut found);
    found
}

/// Whether what a key holds must not be shown. Names of files are.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_path =
        || value.starts_with(['/', '.']) || [".pem", ".key", ".der"].iter().any(|end| value.ends_with(end));
    match name.rsplit(['_', '-']).next() {
        _ if value.contains("PRIVATE KEY") => true,
        Some("secret" | "password" | "passphrase" | "token" | "hash") => true,
        Some("key") => !name.ends_with("public_key") && !is_path(),
        _ => false,
    }
}

fn keys_of(properties: &Json) -> Vec<Key> {
    let properties = properties.as_object();
    properties.into_iter().flatten().map(|(name, schema)| key_of(name, schema)).collect()
}

fn key_of(name: &str, schema: &Json) -> Key {
    let text = |key| schema.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let value = |value: &Json| Value::try_from(value).ok();
    let default = schema.get("default").and_then(value);
    let example = schema.get("examples").and_then(|all| all.get(0));
    let first_word = schema.get("enum").and_then(|all| all.get(0));
    let first_word = first_word.or_else(|| schema.get("oneOf").and_then(|all| all.get(0)?.get("const")));
    let example = example.or(first_word).and_then(value);
    let kind = match (&default, schema.as_object()) {
        (Some(Value::String(_)), _) | (_, None) => Kind::Text,
        (_, Some(schema)) => kind_of(schema),
    };
    Key { name: name.to_owned(), about: text("description"), default, example, kind }
}

fn kind_of(schema: &Map<String, Json>) -> Kind {
    let is_type = |name: &str| match schema.get("type") {
        Some(Json::String(one)) => one == name,
        Some(Json::Array(some)) => some.iter().any(|one| one == name),
        _ => false,
    };
    let may_be_null = |any: &&Vec<Json>| any.iter().any(|one| one["type"] == "null");
    if let Some(any) = schema.get("anyOf").and_then(Json::as_array).filter(may_be_null) {
        let kind = any.iter().filter_map(Json::as_object).map(kind_of).next();
        return match kind {
            Some(Kind::Table(keys)) => Kind::OptionalTable(keys),
            other => other.unwrap_or(Kind::Value),
        };
    }
    match schema.get("properties") {
        Some(properties) if is_type("null") => Kind::OptionalTable(keys_of(properties)),
        Some(properties) => Kind::Table(keys_of(properties)),
        None if is_type("string") || schema.contains_key("enum") || is_words(schema) => Kind::Text,
        None if is_type("array") => match schema.get("items").and_then(|items| items.get("properties")) {
            Some(properties) => Kind::Tables(keys_of(properties)),
            None => Kind::Value,
        },
        None => Kind::Value,
    }
}

/// Whether it is one of several words, each with documentation of its own.
fn is_words(schema: &Map<String, Json>) -> bool {
    let one_of = schema.get("oneOf").and_then(Json::as_array);
    one_of.is_some_and(|all| all.iter().all(|one| one.get("const").is_some_and(Json::is_string)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented_and_has_a_value_to_show() {
        fn check(way: &str, keys: &[Key]) {
            for key in keys {
                let way = format!("{way}.{}", key.name);
                assert!(!key.about.is_empty(), "{way} has no documentation");
                match &key.kind {
                    Kind::Table(keys) | Kind::OptionalTable(keys) | Kind::Tables(keys) => check(&way, keys),
                    Kind::Text | Kind::Value => {
                        assert!(
                            key.default.is_some() || key.example.is_some(),
                            "{way} has no default or example"
                        );
                    }
                }
            }
        }
        check("", tables());
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in ["secret", "api_token", "hash", "TOPICHUB_AUTH_SECRET", "key", "private_key"] {
            assert!(is_secret(name, "s3cret"), "{name}");
        }
        for (name, value) in [
            ("secret_file", "/run/secret"),
            ("public_key", "MCow"),
            ("key", "/etc/topichub/key.pem"),
            ("token_cookie", "id"),
            ("listen", "[::1]:80"),
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
    }
}
