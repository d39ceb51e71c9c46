//! What somebody may do: patterns for each kind of action. Where they come from is not known here.

use std::fmt;

use topichub_protocol::topic::{Filter, Topic};

/// What can be allowed on topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To be sent what is published, and what a replay brings.
    Subscribe,
    /// To publish, and to ask with `request`.
    Publish,
    /// To see who is on a topic, and to be seen there.
    Presence,
    /// To look at what was published before.
    History,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Subscribe, Self::Publish, Self::Presence, Self::History];

    /// The word in tokens and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
        }
    }

    /// The same in an error: may not …
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe to",
            Self::Publish => "publish to",
            Self::Presence => "see who is on",
            Self::History => "see the history of",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What somebody may do. Without any it is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grants {
    patterns: [Vec<Filter>; Action::ALL.len()],
    /// Whether the server itself may be looked into and acted upon: sessions, topics, drain.
    pub admin: bool,
}

impl Grants {
    /// Everything on all topics but the server's own.
    pub fn open() -> Self {
        let everything: Vec<_> = Filter::parse(">").into_iter().collect();
        Self { patterns: Action::ALL.map(|_| everything.clone()), admin: false }
    }

    /// Everything there is.
    pub fn everything() -> Self {
        let mut grants = Self { admin: true, ..Self::open() };
        for action in [Action::Subscribe, Action::Presence, Action::History] {
            Filter::parse("$sys.>").into_iter().for_each(|filter| grants.allow(action, filter));
        }
        grants
    }

    /// Allows one thing more.
    pub fn allow(&mut self, action: Action, filter: Filter) {
        let patterns = &mut self.patterns[action as usize];
        if !patterns.contains(&filter) {
            patterns.push(filter);
        }
    }

    /// Allows all that `other` allows.
    pub fn extend(&mut self, other: &Self) {
        for action in Action::ALL {
            other.of(action).iter().for_each(|filter| self.allow(action, filter.clone()));
        }
        self.admin |= other.admin;
    }

    /// What is allowed, as it was said.
    pub fn of(&self, action: Action) -> &[Filter] {
        &self.patterns[action as usize]
    }

    /// The pattern that allows it on every topic that `filter` can mean. A wildcard as the first token allows nothing on
    /// the server's own topics, and nobody publishes to these.
    pub fn granted_by(&self, action: Action, filter: &Filter) -> Option<&Filter> {
        if action == Action::Publish && filter.is_system() {
            return None;
        }
        self.of(action).iter().find(|granted| granted.covers(filter))
    }

    /// Whether it is allowed on every topic that `filter` can mean.
    pub fn may(&self, action: Action, filter: &Filter) -> bool {
        self.granted_by(action, filter).is_some()
    }

    /// The same for one topic.
    pub fn may_on(&self, action: Action, topic: &Topic) -> bool {
        let system = action == Action::Publish && topic.is_system();
        !system && self.of(action).iter().any(|granted| granted.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    fn granting(patterns: &[&str]) -> Grants {
        let mut grants = Grants::default();
        for action in Action::ALL {
            patterns.iter().for_each(|pattern| grants.allow(action, filter(pattern)));
        }
        grants
    }

    #[test]
    fn a_pattern_is_allowed_if_all_that_it_can_mean_is() {
        let cases = [
            ("sports.>", "sports.nba", true),
            ("sports.>", "sports.*", true),
            ("sports.>", "sports.*.score", true),
            ("sports.>", "sports.>", true),
            ("sports.>", "sports", false),
            ("sports.>", ">", false),
            ("sports.>", "*.nba", false),
            ("sports.*", "sports.nba", true),
            ("sports.*", "sports.>", false),
            ("sports.*", "sports.nba.lakers", false),
            ("*.nba", "sports.nba", true),
            ("*.nba", "sports.*", false),
            ("sports.nba", "sports.nba", true),
            ("sports.nba", "sports.*", false),
            (">", "sports.>", true),
            (">", "$sys.stats", false),
            ("*.stats", "$sys.stats", false),
            ("$sys.>", "$sys.stats", true),
            ("$sys.>", "sports", false),
        ];
        for (granted, asked, may) in cases {
            let grants = granting(&[granted]);
            assert_eq!(grants.may(Action::Subscribe, &filter(asked)), may, "{granted} for {asked}");
            if let Filter::Topic(topic) = filter(asked) {
                assert_eq!(grants.may_on(Action::History, &topic), may, "{granted} on {asked}");
            }
        }
    }

    #[test]
    fn nobody_publishes_to_the_servers_own_topics() {
        let everything = Grants::everything();
        assert!(everything.may(Action::Subscribe, &filter("$sys.stats")));
        assert!(everything.may(Action::Publish, &filter("sports.nba")));
        for grants in [everything, granting(&["$sys.>", "$sys.stats"])] {
            assert!(!grants.may(Action::Publish, &filter("$sys.stats")));
            assert!(!grants.may_on(Action::Publish, &Topic::parse("$sys.stats").unwrap()));
        }
    }

    #[test]
    fn what_nobody_has_allowed_is_not() {
        for action in Action::ALL {
            assert!(!Grants::default().may(action, &filter("a")));
        }
        let mut grants = Grants::default();
        grants.allow(Action::Publish, filter("a"));
        assert!(grants.may(Action::Publish, &filter("a")));
        assert!(!grants.may(Action::Subscribe, &filter("a")));
    }
}
