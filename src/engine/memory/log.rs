//! The log of one topic: which offset is next, and the messages that its rule retains. They are always the last ones,
//! without a hole, so that an offset leads to its message without a search.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::message::{Epoch, Extras, Position};

use super::super::{Extent, PageLimits};
use crate::hub::input::SessionRef;
use crate::hub::published::Published;
use crate::rules::HistoryRule;

/// What a retained message costs beside its payload and extras: itself, its counts, its place in the log and the log's on
/// the agenda, and what the allocator adds to each of its blocks. `cost` measures it.
const MESSAGE_BYTES: usize = size_of::<Published>() + 112;

/// A queue longer than this gives memory back when it is a quarter full.
const QUEUE_LEN_KEPT: usize = 16;

/// What a message costs as long as it is retained, without its frames.
pub(super) fn retained_bytes(published: &Published) -> usize {
    let exclude = published.exclude.len() * size_of::<SessionRef>();
    let extras = published.message.extras.as_deref().map_or(0, extras_bytes);
    MESSAGE_BYTES + published.message.payload.as_bytes().len() + exclude + extras
}

fn extras_bytes(extras: &Extras) -> usize {
    let key = extras.key.as_ref().map_or(0, |key| key.len());
    let entry = |(name, value): (&str, &str)| 2 * size_of::<Box<str>>() + name.len() + value.len();
    let meta: usize = extras.meta.iter().flat_map(|meta| meta.iter()).map(entry).sum();
    size_of::<Extras>() + key + meta
}

/// One incarnation of a topic.
#[derive(Debug)]
pub(super) struct Log {
    epoch: Epoch,
    last: u64,
    rule: HistoryRule,
    messages: VecDeque<Arc<Published>>,
    payload_bytes: usize,
    retained_bytes: usize,
}

impl Log {
    pub(super) fn new(epoch: Epoch, rule: HistoryRule) -> Self {
        Self { epoch, last: 0, rule, messages: VecDeque::new(), payload_bytes: 0, retained_bytes: 0 }
    }

    /// The place of the last message.
    pub(super) fn end(&self) -> Position {
        Position { epoch: self.epoch, offset: self.last }
    }

    pub(super) fn extent(&self) -> Extent {
        Extent { end: self.end(), oldest: self.oldest() }
    }

    fn oldest(&self) -> u64 {
        self.last + 1 - self.messages.len() as u64
    }

    /// What the retained messages cost.
    pub(super) fn retained_bytes(&self) -> usize {
        self.retained_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// When the oldest message will be over age.
    pub(super) fn due(&self) -> Option<Duration> {
        self.messages.front().map(|oldest| self.over_age_at(oldest))
    }

    /// Whether the rule retains a message with so long a payload.
    pub(super) fn retains(&self, payload_bytes: usize) -> bool {
        self.rule.messages > 0 && payload_bytes <= self.rule.bytes
    }

    /// Takes the next message and retains it, in place of those that the rule has no room for then.
    pub(super) fn push(&mut self, published: Arc<Published>) {
        self.let_age(published.at);
        let len = published.message.payload.as_bytes().len();
        while self.messages.len() >= self.rule.messages || self.payload_bytes + len > self.rule.bytes {
            if !self.pop() {
                break;
            }
        }
        self.last = published.offset();
        self.payload_bytes += len;
        self.retained_bytes += retained_bytes(&published);
        self.messages.push_back(published);
    }

    /// Counts the next message without retaining it. What was before it goes too: history has no holes.
    pub(super) fn pass(&mut self) {
        self.last += 1;
        std::mem::take(&mut self.messages).iter().for_each(|published| published.let_go());
        (self.payload_bytes, self.retained_bytes) = (0, 0);
    }

    /// Lets go of the oldest message, if there is one.
    pub(super) fn pop(&mut self) -> bool {
        let Some(oldest) = self.messages.pop_front() else { return false };
        oldest.let_go();
        self.payload_bytes -= oldest.message.payload.as_bytes().len();
        self.retained_bytes -= retained_bytes(&oldest);
        true
    }

    /// Lets go of messages over age.
    pub(super) fn let_age(&mut self, now: Duration) {
        while self.due().is_some_and(|due| due <= now) {
            self.pop();
        }
    }

    /// Keeps to another rule from now on.
    pub(super) fn obey(&mut self, rule: HistoryRule, now: Duration) {
        self.rule = rule;
        self.let_age(now);
        while self.messages.len() > rule.messages || self.payload_bytes > rule.bytes {
            self.pop();
        }
    }

    /// Gives back what a queue takes that was much longer once.
    pub(super) fn shrink(&mut self) {
        let len = self.messages.len();
        let enough = if len == 0 { 0 } else { QUEUE_LEN_KEPT.max(4 * len) };
        if self.messages.capacity() > enough {
            self.messages.shrink_to(2 * len);
        }
    }

    fn over_age_at(&self, published: &Published) -> Duration {
        published.at.saturating_add(self.rule.age)
    }

    /// See [`Engine::read`](super::super::Engine::read); nothing here is over age.
    pub(super) fn read(
        &self,
        behind: u64,
        limits: PageLimits,
        now: Duration,
        page: &mut Vec<Arc<Published>>,
    ) -> u64 {
        let skipped = (behind + 1).saturating_sub(self.oldest());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.messages.len());
        let rest = self.messages.range(skipped..);
        let full_at = fill(rest, limits, now, page);
        full_at.map_or(behind.max(self.last), |offset| offset - 1)
    }

    /// See [`Engine::read_back`](super::super::Engine::read_back); nothing here is over age.
    pub(super) fn read_back(
        &self,
        before: u64,
        limits: PageLimits,
        now: Duration,
        page: &mut Vec<Arc<Published>>,
    ) -> u64 {
        let count = before.saturating_sub(self.oldest());
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.messages.len());
        let start = page.len();
        let full_at = fill(self.messages.range(..count).rev(), limits, now, page);
        page[start..].reverse();
        full_at.map_or(before.min(1), |offset| offset + 1)
    }

    /// The offset behind which the messages are that were published at `since` or later.
    pub(super) fn behind(&self, since: Duration) -> u64 {
        let earlier = self.messages.partition_point(|published| published.at < since);
        self.oldest() - 1 + earlier as u64
    }
}

/// Fills a page and returns the offset of the first message that it has no room for. Those whose time is over take none.
fn fill<'a>(
    messages: impl Iterator<Item = &'a Arc<Published>>,
    limits: PageLimits,
    now: Duration,
    page: &mut Vec<Arc<Published>>,
) -> Option<u64> {
    let (mut count, mut bytes) = (0, 0);
    for published in messages.filter(|published| published.expires.is_none_or(|expires| expires > now)) {
        let len = published.message.payload.as_bytes().len();
        if count >= limits.messages || (count > 0 && bytes + len > limits.bytes) {
            return Some(published.offset());
        }
        count += 1;
        bytes += len;
        page.push(Arc::clone(published));
    }
    None
}

#[cfg(test)]
mod tests {
    use topichub_protocol::message::{Message, Payload};
    use topichub_protocol::topic::Topic;

    use super::*;

    #[test]
    fn a_log_that_was_long_once_gives_its_memory_back() {
        let mut log = Log::new(Epoch(1), HistoryRule::last(10_000));
        for offset in 1..=10_000 {
            let position = Position { epoch: Epoch(1), offset };
            let topic = Topic::parse("a").unwrap();
            let message = Message { topic, position, payload: Payload::of("x").unwrap(), extras: None };
            log.push(Arc::new(Published::new(message, None, Duration::ZERO)));
        }
        let mut shrunk = 0;
        while log.pop() {
            let before = log.messages.capacity();
            log.shrink();
            shrunk += usize::from(log.messages.capacity() < before);
            assert!(log.messages.capacity() <= (4 * log.messages.len()).max(QUEUE_LEN_KEPT));
        }
        assert_eq!((log.messages.capacity(), log.retained_bytes(), log.extent().oldest), (0, 0, 10_001));
        assert!(shrunk < 20, "it gave back {shrunk} times");
    }
}
