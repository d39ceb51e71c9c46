//! What this Hub has published itself, for subscriptions without echo: of a later session the server cannot tell.

use std::collections::{HashSet, VecDeque};

use topichub_protocol::{Position, Topic};

/// The most that is known of one subscription.
const ECHOES_MAX: usize = 500;

/// The newest of our own messages to the topics of one subscription.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    known: HashSet<(Topic, Position)>,
    /// The oldest first.
    order: VecDeque<(Topic, Position)>,
}

impl Echoes {
    /// We have published this one.
    pub(super) fn add(&mut self, topic: &Topic, position: Position) {
        let echo = (topic.clone(), position);
        if !self.known.insert(echo.clone()) {
            return;
        }
        self.order.push_back(echo);
        if self.order.len() > ECHOES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn has(&self, topic: &Topic, position: Position) -> bool {
        !self.known.is_empty() && self.known.contains(&(topic.clone(), position))
    }
}

#[cfg(test)]
mod tests {
    use topichub_protocol::Epoch;

    use super::*;

    #[test]
    fn the_newest_are_known() {
        let (topic, at) = (Topic::parse("a").unwrap(), |offset| Position { epoch: Epoch(1), offset });
        let mut echoes = Echoes::default();
        for offset in (1..=ECHOES_MAX as u64 + 1).chain([5]) {
            echoes.add(&topic, at(offset));
        }
        assert!(!echoes.has(&topic, at(1)));
        assert!(echoes.has(&topic, at(2)) && echoes.has(&topic, at(501)));
        assert!(!echoes.has(&topic, Position { epoch: Epoch(2), offset: 5 }));
    }
}
