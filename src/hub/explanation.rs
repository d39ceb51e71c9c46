//! Why somebody may or may not do something, for people who wonder. It decides nothing: what is true is in the grants.

use std::cmp::Reverse;

use serde::Serialize;
use topichub_protocol::topic::Filter;

use super::grants::Action;
use super::identity::Identity;

/// The most patterns that are told of when none grants it.
const MISSES_MAX: usize = 10;

/// Why somebody may or may not do something on a topic or pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Whether they may.
    pub allowed: bool,
    /// What they would do.
    pub action: &'static str,
    /// Where they would do it.
    pub topic: Box<str>,
    /// Who they are, if they have a name.
    pub user: Option<Box<str>>,
    /// Where their permissions come from.
    pub origin: Box<str>,
    /// Their roles.
    pub roles: Vec<Box<str>>,
    /// The reason in a sentence.
    pub why: String,
    /// The pattern that grants it, or if none does those that come nearest, the nearest first.
    pub patterns: Vec<Considered>,
}

/// A pattern that grants something, or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// Whose it is: `role editor`, `token`.
    pub source: Box<str>,
    /// As it is written there.
    pub pattern: Box<str>,
    /// What it comes to here.
    pub why: String,
}

/// A pattern of somebody's, as it is written and as it is for them.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) source: Box<str>,
    pub(crate) pattern: Box<str>,
    /// What is meant, or why it is nothing.
    pub(crate) filter: Result<Filter, String>,
}

impl Explanation {
    /// From what is in the grants alone, without roles.
    pub fn of(identity: &Identity, action: Action, filter: &Filter) -> Self {
        let candidates = identity.grants.of(action).iter().map(|pattern| Candidate {
            source: identity.origin.clone(),
            pattern: pattern.as_str().into(),
            filter: Ok(pattern.clone()),
        });
        Self::from_candidates(identity, action, filter, candidates.collect())
    }

    /// From all patterns that may have come to the grants.
    pub(crate) fn from_candidates(
        identity: &Identity,
        action: Action,
        filter: &Filter,
        candidates: Vec<Candidate>,
    ) -> Self {
        let allowed = identity.grants.may(action, filter);
        let (why, patterns) =
            if allowed { granted(filter, candidates) } else { refused(action, filter, candidates) };
        Self {
            allowed,
            action: action.as_str(),
            topic: filter.as_str().into(),
            user: identity.user.clone(),
            origin: identity.origin.clone(),
            roles: identity.roles.clone(),
            why,
            patterns,
        }
    }
}

fn granted(filter: &Filter, candidates: Vec<Candidate>) -> (String, Vec<Considered>) {
    let granting = candidates
        .into_iter()
        .find(|candidate| candidate.filter.as_ref().is_ok_and(|granted| granted.covers(filter)));
    match granting {
        Some(Candidate { source, pattern, .. }) => {
            let why = format!("{source} allows {pattern}");
            (why, vec![Considered { source, pattern, why: "covers it".to_owned() }])
        }
        None => ("it was granted when they came in, by what has changed since".to_owned(), Vec::new()),
    }
}

fn refused(action: Action, filter: &Filter, mut candidates: Vec<Candidate>) -> (String, Vec<Considered>) {
    if action == Action::Publish && filter.is_system() {
        return (
            "topics that begin with $sys are the server's own: nobody publishes there".to_owned(),
            Vec::new(),
        );
    }
    if candidates.is_empty() {
        return (format!("nothing that they have allows to {action} anything"), Vec::new());
    }
    candidates.sort_by_key(|candidate| Reverse(nearness(candidate, filter)));
    candidates.truncate(MISSES_MAX);
    let considered: Vec<_> = candidates
        .into_iter()
        .map(|Candidate { source, pattern, filter: granted }| {
            let why = granted.map_or_else(|unfit| unfit, |granted| miss(&granted, filter));
            Considered { source, pattern, why }
        })
        .collect();
    let nearest = considered.first().map(|Considered { source, pattern, why }| {
        format!("nothing covers it; nearest is {pattern} of {source}: {why}")
    });
    (nearest.unwrap_or_default(), considered)
}

fn miss(granted: &Filter, asked: &Filter) -> String {
    let is_wild_first = matches!(granted.as_str().split('.').next(), Some("*" | ">"));
    if asked.is_system() && is_wild_first {
        return "a wildcard as the first token does not reach the server's own topics".to_owned();
    }
    if granted.overlaps(asked) {
        "covers a part of it only".to_owned()
    } else {
        "does not cover it".to_owned()
    }
}

/// How near a pattern comes: the tokens that agree from the front; and first of all whether some of it is covered.
fn nearness(candidate: &Candidate, asked: &Filter) -> (bool, usize) {
    let text = candidate.filter.as_ref().map_or(&*candidate.pattern, |granted| granted.as_str());
    let agree = |(ours, theirs): &(&str, &str)| ours == theirs || matches!(*ours, "*" | "{user}");
    let agreeing = text.split('.').zip(asked.as_str().split('.')).take_while(agree).count();
    (candidate.filter.as_ref().is_ok_and(|granted| granted.overlaps(asked)), agreeing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::grants::Grants;

    fn explained(granted: &[&str], action: Action, asked: &str) -> Explanation {
        let mut grants = Grants::default();
        granted.iter().for_each(|pattern| grants.allow(action, Filter::parse(pattern).unwrap()));
        let identity = Identity { grants, origin: "token".into(), ..Identity::default() };
        Explanation::of(&identity, action, &Filter::parse(asked).unwrap())
    }

    #[test]
    fn what_grants_it_is_named() {
        let explanation = explained(&["news", "chat.>"], Action::Subscribe, "chat.42");
        assert!(explanation.allowed);
        assert_eq!(explanation.why, "token allows chat.>");
    }

    #[test]
    fn the_nearest_miss_is_named() {
        let cases = [
            (&["news.*", "chat.42.>", "chat.*"][..], "chat.42", ""),
            (&["news.*", "chat.42.>"], "chat.42", "nearest is chat.42.> of token: does not cover it"),
            (&["news.*", "chat.42"], "chat.*", "nearest is chat.42 of token: covers a part of it only"),
            (&[">"], "$sys.stats", "a wildcard as the first token does not reach the server's own topics"),
            (&[], "chat.42", "nothing that they have allows to subscribe anything"),
        ];
        for (granted, asked, why) in cases {
            let explanation = explained(granted, Action::Subscribe, asked);
            assert_eq!(explanation.allowed, why.is_empty(), "{asked}");
            assert!(explanation.why.contains(why), "{asked}: {}", explanation.why);
        }
        let explanation = explained(&["$sys.>"], Action::Publish, "$sys.stats");
        assert!(!explanation.allowed && explanation.why.contains("nobody publishes there"));
    }
}
