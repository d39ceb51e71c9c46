//! Tokens that prove nothing any more, by their ids. Bounded: of more than a hundred thousand the oldest are forgotten.

use std::collections::{HashSet, VecDeque};

use super::api_key::{Hash, hash_of};

/// The most ids that are remembered, in 64 bytes each.
const REVOKED_MAX: usize = 100_000;

/// The ids, by hashes of equal length.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    hashes: HashSet<Hash>,
    /// The same in the order in which they came.
    order: VecDeque<Hash>,
}

impl Revoked {
    pub(super) fn add(&mut self, token_id: &str) {
        let hash = hash_of(token_id.as_bytes());
        if !self.hashes.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > REVOKED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
    }

    pub(super) fn holds(&self, token_id: &str) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&hash_of(token_id.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let mut revoked = Revoked::default();
        (0..REVOKED_MAX).for_each(|id| revoked.add(&id.to_string()));
        revoked.add("0");
        assert!(revoked.holds("0") && revoked.order.len() == REVOKED_MAX);
        revoked.add("one more");
        assert!(!revoked.holds("0") && revoked.holds("1") && revoked.holds("one more"));
        assert_eq!((revoked.order.len(), revoked.hashes.len()), (REVOKED_MAX, REVOKED_MAX));
    }
}
