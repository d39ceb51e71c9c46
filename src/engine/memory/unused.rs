//! Topics that nobody uses, the longest unused first: a list threaded through their entries, because each publish to
//! such a topic moves it to the end.

use super::index::{TopicKey, Topics};

/// The neighbours of a topic in the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    before: Option<TopicKey>,
    after: Option<TopicKey>,
}

/// The ends of the list.
#[derive(Debug, Default)]
pub(super) struct Unused {
    first: Option<TopicKey>,
    last: Option<TopicKey>,
    len: usize,
}

impl Unused {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The topic that nobody has used for longest.
    pub(super) fn first(&self) -> Option<TopicKey> {
        self.first
    }

    /// Puts a topic to the end of the list, wherever it was.
    pub(super) fn touch(&mut self, topics: &mut Topics, key: TopicKey) {
        if self.last == Some(key) {
            return;
        }
        self.remove(topics, key);
        topics[key].links = Some(Links { before: self.last, after: None });
        match self.last.replace(key) {
            Some(before) => set_after(topics, before, Some(key)),
            None => self.first = Some(key),
        }
        self.len += 1;
    }

    /// Takes a topic out of the list, if it is there.
    pub(super) fn remove(&mut self, topics: &mut Topics, key: TopicKey) {
        let Some(Links { before, after }) = topics[key].links.take() else { return };
        match before {
            Some(before) => set_after(topics, before, after),
            None => self.first = after,
        }
        match after {
            Some(after) => set_before(topics, after, before),
            None => self.last = before,
        }
        self.len -= 1;
    }
}

fn set_after(topics: &mut Topics, key: TopicKey, after: Option<TopicKey>) {
    if let Some(links) = &mut topics[key].links {
        links.after = after;
    }
}

fn set_before(topics: &mut Topics, key: TopicKey, before: Option<TopicKey>) {
    if let Some(links) = &mut topics[key].links {
        links.before = before;
    }
}
