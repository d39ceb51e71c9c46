//! Finds the patterns that match a topic: a trie over tokens, so that a look-up costs what the topic's depth costs,
//! not what the number of patterns does.

use std::collections::HashMap;

use topichub_protocol::topic::{Filter, Pattern, Token, Topic};

/// Patterns with a value each.
#[derive(Debug)]
pub(crate) struct PatternIndex<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Debug)]
struct Node<V> {
    literals: HashMap<Box<str>, Node<V>>,
    one: Option<Box<Node<V>>>,
    rest: Option<V>,
    here: Option<V>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self { literals: HashMap::new(), one: None, rest: None, here: None }
    }
}

impl<V> Default for PatternIndex<V> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<V> PatternIndex<V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, pattern: &Pattern) -> Option<&V> {
        let mut node = &self.root;
        for token in pattern.tokens() {
            node = match token {
                Token::Literal(literal) => node.literals.get(literal)?,
                Token::One => node.one.as_deref()?,
                Token::Rest => return node.rest.as_ref(),
            };
        }
        node.here.as_ref()
    }

    pub(crate) fn get_mut(&mut self, pattern: &Pattern) -> Option<&mut V> {
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            node = match token {
                Token::Literal(literal) => node.literals.get_mut(literal)?,
                Token::One => node.one.as_deref_mut()?,
                Token::Rest => return node.rest.as_mut(),
            };
        }
        node.here.as_mut()
    }

    /// Puts `value` at `pattern`; what stood there comes back.
    pub(crate) fn insert(&mut self, pattern: &Pattern, value: V) -> Option<V> {
        let mut node = &mut self.root;
        let mut at_rest = false;
        for token in pattern.tokens() {
            node = match token {
                Token::Literal(literal) => node.literals.entry(literal.into()).or_default(),
                Token::One => node.one.get_or_insert_default(),
                Token::Rest => {
                    at_rest = true;
                    break;
                }
            };
        }
        let place = if at_rest { &mut node.rest } else { &mut node.here };
        let before = place.replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes the value at `pattern` out, and the branches that only it needed.
    pub(crate) fn remove(&mut self, pattern: &Pattern) -> Option<V> {
        let mut tokens = pattern.tokens();
        let removed = Self::remove_below(&mut self.root, &mut tokens);
        self.len -= usize::from(removed.is_some());
        removed
    }

    fn remove_below<'a>(node: &mut Node<V>, tokens: &mut impl Iterator<Item = Token<'a>>) -> Option<V> {
        match tokens.next() {
            None => node.here.take(),
            Some(Token::Rest) => node.rest.take(),
            Some(Token::One) => {
                let below = node.one.as_deref_mut()?;
                let removed = Self::remove_below(below, tokens);
                if below.is_bare() {
                    node.one = None;
                }
                removed
            }
            Some(Token::Literal(literal)) => {
                let below = node.literals.get_mut(literal)?;
                let removed = Self::remove_below(below, tokens);
                if below.is_bare() {
                    node.literals.remove(literal);
                }
                removed
            }
        }
    }

    /// Keeps only the patterns whose value `keep` approves of.
    pub(crate) fn retain(&mut self, keep: &mut impl FnMut(&mut V) -> bool) {
        self.len = self.root.retain(keep);
    }

    /// Calls `found` with the value of every pattern that matches `topic`.
    pub(crate) fn matching(&self, topic: &Topic, found: &mut impl FnMut(&V)) {
        if self.is_empty() {
            return;
        }
        // A wildcard in first place does not reach the server's own topics.
        let from_wildcards = !topic.is_system();
        self.root.visit(topic.as_str(), from_wildcards, found);
    }

    /// The same to change the values, with the pattern of each for who needs it.
    pub(crate) fn matching_mut(
        &mut self,
        topic: &Topic,
        found: &mut impl FnMut(&dyn Fn() -> Filter, &mut V),
    ) {
        if self.len == 0 {
            return;
        }
        let from_wildcards = !topic.is_system();
        let mut path = Vec::new();
        self.root.visit_mut(topic.as_str(), from_wildcards, &mut path, found);
    }
}

/// The pattern that a path through the index spells.
fn spelled(path: &[&str]) -> Filter {
    match Filter::parse(&path.join(".")) {
        Ok(filter) => filter,
        Err(error) => unreachable!("a path of the index is a pattern: {error}"),
    }
}

impl<V> Node<V> {
    fn is_bare(&self) -> bool {
        self.literals.is_empty() && self.one.is_none() && self.rest.is_none() && self.here.is_none()
    }

    /// Retains below here and returns how many values are left.
    fn retain(&mut self, keep: &mut impl FnMut(&mut V) -> bool) -> usize {
        for place in [&mut self.rest, &mut self.here] {
            if place.as_mut().is_some_and(|value| !keep(value)) {
                *place = None;
            }
        }
        let mut left = usize::from(self.rest.is_some()) + usize::from(self.here.is_some());
        if let Some(one) = &mut self.one {
            left += one.retain(keep);
        }
        self.one.take_if(|one| one.is_bare());
        self.literals.retain(|_, below| {
            left += below.retain(keep);
            !below.is_bare()
        });
        left
    }

    fn visit_mut<'a>(
        &mut self,
        tokens: &'a str,
        wildcards: bool,
        path: &mut Vec<&'a str>,
        found: &mut impl FnMut(&dyn Fn() -> Filter, &mut V),
    ) {
        if let (true, Some(value)) = (wildcards, &mut self.rest) {
            path.push(">");
            found(&|| spelled(path), value);
            path.pop();
        }
        let (token, more) = match tokens.split_once('.') {
            Some((token, more)) => (token, Some(more)),
            None => (tokens, None),
        };
        let one = if wildcards { self.one.as_deref_mut() } else { None };
        let literal = self.literals.get_mut(token).map(|below| (token, below));
        for (step, below) in literal.into_iter().chain(one.map(|below| ("*", below))) {
            path.push(step);
            match (more, &mut below.here) {
                (Some(more), _) => below.visit_mut(more, true, path, found),
                (None, Some(value)) => found(&|| spelled(path), value),
                (None, None) => {}
            }
            path.pop();
        }
    }

    fn visit(&self, tokens: &str, wildcards: bool, found: &mut impl FnMut(&V)) {
        if let (true, Some(value)) = (wildcards, &self.rest) {
            found(value);
        }
        let (token, more) = match tokens.split_once('.') {
            Some((token, more)) => (token, Some(more)),
            None => (tokens, None),
        };
        let one = if wildcards { self.one.as_deref() } else { None };
        for below in [self.literals.get(token), one].into_iter().flatten() {
            match more {
                Some(more) => below.visit(more, true, found),
                None => below.here.iter().for_each(&mut *found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn token() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("$sys")]
    }

    fn topic() -> impl Strategy<Value = Topic> {
        prop::collection::vec(token(), 1..5).prop_map(|tokens| Topic::parse(&tokens.join(".")).unwrap())
    }

    fn pattern() -> impl Strategy<Value = Option<Pattern>> {
        let tokens = prop::collection::vec(prop_oneof![3 => token(), 2 => Just("*")], 0..4);
        (tokens, any::<bool>()).prop_map(|(mut tokens, rest)| {
            if rest {
                tokens.push(">");
            }
            Pattern::parse(&tokens.join(".")).ok()
        })
    }

    proptest! {
        #[test]
        fn the_index_finds_what_naive_matching_finds(
            patterns in prop::collection::vec(pattern(), 0..30),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            topics in prop::collection::vec(topic(), 1..10),
        ) {
            let mut index = PatternIndex::default();
            let mut model = BTreeSet::new();
            let patterns: Vec<_> = patterns.into_iter().flatten().collect();
            for pattern in &patterns {
                let was_new = index.insert(pattern, pattern.to_string()).is_none();
                prop_assert_eq!(was_new, model.insert(pattern.to_string()));
            }
            for place in removed.iter().filter(|_| !patterns.is_empty()) {
                let pattern = place.get(&patterns);
                prop_assert_eq!(index.remove(pattern).is_some(), model.remove(pattern.as_str()));
            }
            for topic in topics {
                let mut found = BTreeSet::new();
                index.matching(&topic, &mut |value| assert!(found.insert(value.clone()), "{value} found twice"));
                let naive: BTreeSet<_> =
                    model.iter().filter(|text| Pattern::parse(text).unwrap().matches(&topic)).cloned().collect();
                prop_assert_eq!(found, naive);
            }
            for pattern in &patterns {
                prop_assert_eq!(index.get(pattern).is_some(), model.contains(pattern.as_str()));
            }
            for pattern in &patterns {
                index.remove(pattern);
            }
            prop_assert!(index.is_empty() && index.root.is_bare(), "an empty index keeps no branches");
        }
    }
}
