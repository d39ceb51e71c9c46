//! Roles: patterns with a place for the user's name, and what becomes of them for one user.

use topichub_protocol::topic::{Filter, Topic, TopicError};

use crate::hub::grants::{Action, Grants};

/// What stands for the user's name in a pattern.
const PLACE: &str = "{user}";

/// The role of those who show nothing.
pub(super) const ANONYMOUS: &str = "anonymous";

/// A topic or pattern with places for the user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Box<str>);

/// Why a pattern grants nothing to a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("there is no user's name for {{user}}")]
    NoName,
    #[error(
        "the user's name is not one token of a topic (no dots, blanks, * or >), so {{user}} cannot stand for it"
    )]
    NotOneToken,
    #[error("with the user's name it would be the server's own")]
    System,
    #[error("with the user's name it is no pattern: {0}")]
    Pattern(#[from] TopicError),
}

/// A pattern as it is written: for everybody the same, or not.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Written {
    Fixed(Filter),
    Template(Template),
}

impl Written {
    /// Checks a topic or pattern, with or without places for a name.
    pub(super) fn parse(text: &str) -> Result<Self, TopicError> {
        if text.contains(PLACE) {
            Filter::parse(&text.replace(PLACE, "u"))?;
            return Ok(Self::Template(Template(text.into())));
        }
        Filter::parse(text).map(Self::Fixed)
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Fixed(filter) => filter.as_str(),
            Self::Template(Template(text)) => text,
        }
    }

    pub(super) fn is_template(&self) -> bool {
        matches!(self, Self::Template(_))
    }

    /// Whether it reaches for the server's own topics.
    pub(super) fn is_system(&self) -> bool {
        matches!(self, Self::Fixed(filter) if filter.is_system())
            || self.is_template() && self.as_str().starts_with("$sys.")
    }

    /// What it is for a user. It never means more than one that was written out with a plain name in its place.
    pub(super) fn of(&self, user: Option<&str>) -> Result<Filter, Unfit> {
        let Template(text) = match self {
            Self::Fixed(filter) => return Ok(filter.clone()),
            Self::Template(template) => template,
        };
        let user = user.ok_or(Unfit::NoName)?;
        if user.contains('.') || Topic::parse(user).is_err() {
            return Err(Unfit::NotOneToken);
        }
        let filter = Filter::parse(&text.replace(PLACE, user))?;
        // A user called $sys, or sys where the pattern says ${user}.
        if filter.is_system() && !self.is_system() { Err(Unfit::System) } else { Ok(filter) }
    }
}

/// What is allowed to those who have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Role {
    pub(super) name: Box<str>,
    /// What is the same for everybody.
    fixed: Grants,
    /// All patterns, as they are written.
    written: Vec<(Action, Written)>,
}

impl Role {
    pub(super) fn new(name: &str, admin: bool, written: Vec<(Action, Written)>) -> Self {
        let mut fixed = Grants::default();
        fixed.admin = admin;
        for (action, pattern) in &written {
            if let Written::Fixed(filter) = pattern {
                fixed.allow(*action, filter.clone());
            }
        }
        Self { name: name.into(), fixed, written }
    }

    /// Adds what this role grants to a user.
    pub(super) fn grant(&self, user: Option<&str>, grants: &mut Grants) {
        grants.extend(&self.fixed);
        for (action, pattern) in self.written.iter().filter(|(_, pattern)| pattern.is_template()) {
            if let Ok(filter) = pattern.of(user) {
                grants.allow(*action, filter);
            }
        }
    }

    /// Its patterns for one action.
    pub(super) fn patterns(&self, action: Action) -> impl Iterator<Item = &Written> {
        self.written.iter().filter(move |(of, _)| *of == action).map(|(_, pattern)| pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pattern: &str, user: Option<&str>) -> Result<String, Unfit> {
        Written::parse(pattern).unwrap().of(user).map(|filter| filter.as_str().to_owned())
    }

    #[test]
    fn a_name_takes_its_place_in_a_pattern() {
        assert_eq!(of("inbox.{user}.>", Some("ada")).unwrap(), "inbox.ada.>");
        assert_eq!(of("inbox.u-{user}", Some("ada")).unwrap(), "inbox.u-ada");
        assert_eq!(of("{user}.{user}", Some("Ünïcode-名")).unwrap(), "Ünïcode-名.Ünïcode-名");
        assert_eq!(of("inbox.{user}", Some("{user}")).unwrap(), "inbox.{user}");
        assert_eq!(of("inbox.*", None).unwrap(), "inbox.*");
    }

    #[test]
    fn no_name_makes_a_pattern_wider() {
        for user in ["*", ">", "a.b", "a.>", "", " ", "a b", "a\u{0}", ".", "a*", "\u{2003}"] {
            assert_eq!(of("inbox.{user}", Some(user)), Err(Unfit::NotOneToken), "{user:?}");
            assert_eq!(of("{user}.>", Some(user)), Err(Unfit::NotOneToken), "{user:?}");
        }
        assert_eq!(of("inbox.{user}", None), Err(Unfit::NoName));
        assert_eq!(of("{user}.>", Some("$sys")), Err(Unfit::System));
        assert_eq!(of("${user}.>", Some("sys")), Err(Unfit::System));
        assert_eq!(of("$sys.user.{user}", Some("ada")).unwrap(), "$sys.user.ada");
        let long = "x".repeat(250);
        assert!(matches!(of("inbox.{user}", Some(&long)), Err(Unfit::Pattern(TopicError::TooLong { .. }))));
    }

    #[test]
    fn a_pattern_that_is_none_is_found_at_once() {
        for pattern in ["{user}*", "a..{user}", "a.>.{user}", "{user}>", ""] {
            assert!(Written::parse(pattern).is_err(), "{pattern}");
        }
    }
}
