//! What one session's peer has not yet taken: shared slices of joined frames, bounded in bytes and messages.
//! It holds and measures; writing, and what happens at the limit, belong to whoever owns the socket.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

/// Whole messages joined for one turn, made once and shared by every outbox that could not pass them on at once.
/// `ends` are the positions behind each message, so that an outbox can count and cut by message.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) ends: Vec<u32>,
}

impl Chunk {
    /// A chunk of one message.
    pub(crate) fn single(bytes: Bytes) -> Self {
        let ends = vec![bytes.len() as u32];
        Self { bytes, ends }
    }

    /// How many messages end within `range`.
    fn messages(&self, range: &Range<usize>) -> usize {
        let before = |at: usize| self.ends.partition_point(|end| (*end as usize) <= at);
        before(range.end) - before(range.start)
    }

    /// Where the message ends that holds the byte at `at`.
    fn end_of_message_at(&self, at: usize) -> usize {
        let index = self.ends.partition_point(|end| (*end as usize) <= at);
        self.ends.get(index).map_or(self.bytes.len(), |end| *end as usize)
    }

    /// Where the message starts that holds the byte at `at`.
    fn start_of_message_at(&self, at: usize) -> usize {
        let index = self.ends.partition_point(|end| (*end as usize) <= at);
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }
}

/// A stretch of a chunk on its way to one session, from one message boundary to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) chunk: &'a Rc<Chunk>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl<'a> Part<'a> {
    pub(crate) fn whole(chunk: &'a Rc<Chunk>) -> Self {
        Self { chunk, start: 0, end: chunk.bytes.len() }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        &self.chunk.bytes[self.start..self.end]
    }
}

/// How much one session may leave unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutboxLimits {
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
}

/// The outbox would have passed its limit; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutboxFull {
    #[error("{bytes} bytes wait for the reader, the limit is {max}")]
    Bytes { bytes: usize, max: usize },
    #[error("{messages} messages wait for the reader, the limit is {max}")]
    Messages { messages: usize, max: usize },
}

#[derive(Debug)]
struct Held {
    chunk: Rc<Chunk>,
    range: Range<u32>,
}

impl Held {
    fn bytes(&self) -> &[u8] {
        &self.chunk.bytes[self.range.start as usize..self.range.end as usize]
    }
}

/// A session's bounded outbound queue. Most are empty at most times: then it is one null pointer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Option<Box<Waiting>>,
}

/// At least one message, or the rest of one.
#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Held>,
    bytes: usize,
    messages: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_none()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    pub(crate) fn messages(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.messages)
    }

    /// Keeps `part`, or says which limit it would pass. An empty outbox takes any part: a message that grows beyond the
    /// limit where its codec changes must not disconnect a reader that keeps up.
    pub(crate) fn hold(&mut self, part: Part<'_>, limits: &OutboxLimits) -> Result<(), OutboxFull> {
        if self.is_empty() {
            self.hold_regardless(part);
            return Ok(());
        }
        let bytes = self.bytes() + (part.end - part.start);
        let messages = self.messages() + part.chunk.messages(&(part.start..part.end));
        if bytes > limits.bytes {
            return Err(OutboxFull::Bytes { bytes, max: limits.bytes });
        }
        if messages > limits.messages {
            return Err(OutboxFull::Messages { messages, max: limits.messages });
        }
        self.hold_regardless(part);
        Ok(())
    }

    /// Keeps `part` whatever the limits say: for the last words of a session, which are few and small.
    pub(crate) fn hold_regardless(&mut self, part: Part<'_>) {
        if part.start == part.end {
            return;
        }
        let range = part.start as u32..part.end as u32;
        let messages = part.chunk.messages(&(part.start..part.end));
        self.waiting.get_or_insert_default().push(Held { chunk: Rc::clone(part.chunk), range }, messages);
    }

    /// The waiting bytes, oldest first.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.waiting.iter().flat_map(|waiting| &waiting.queue).map(Held::bytes)
    }

    /// The oldest waiting bytes as one shared slice, taken out.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let held = self.waiting.as_ref()?.queue.front()?;
        let bytes = held.chunk.bytes.slice_ref(held.bytes());
        self.advance(bytes.len());
        Some(bytes)
    }

    /// The peer took `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.advance(count);
        if waiting.queue.is_empty() {
            self.waiting = None;
        }
    }

    /// Drops every message the peer has seen nothing of; only the rest of one already begun stays.
    pub(crate) fn drop_unbegun(&mut self) {
        let Some(mut held) = self.waiting.take().and_then(|mut waiting| waiting.queue.pop_front()) else {
            return;
        };
        let start = held.range.start as usize;
        if held.chunk.start_of_message_at(start) < start {
            held.range.end = held.chunk.end_of_message_at(start) as u32;
            self.waiting.get_or_insert_default().push(held, 1);
        }
    }
}

impl Waiting {
    fn push(&mut self, held: Held, messages: usize) {
        self.bytes += held.range.len();
        self.messages += messages;
        self.queue.push_back(held);
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while count > 0 {
            let Some(held) = self.queue.front_mut() else { break };
            let taken = count.min(held.range.len());
            let start = held.range.start as usize;
            self.messages -= held.chunk.messages(&(start..start + taken));
            held.range.start += taken as u32;
            count -= taken;
            if held.range.is_empty() {
                self.queue.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { bytes: 20, messages: 4 };

    fn chunk(messages: &[&str]) -> Rc<Chunk> {
        let mut ends = Vec::new();
        let mut bytes = Vec::new();
        for message in messages {
            bytes.extend_from_slice(message.as_bytes());
            ends.push(bytes.len() as u32);
        }
        Rc::new(Chunk { bytes: bytes.into(), ends })
    }

    fn waiting(outbox: &Outbox) -> String {
        outbox.slices().map(|slice| std::str::from_utf8(slice).unwrap()).collect()
    }

    #[test]
    fn bytes_and_messages_are_counted_through_partial_writes() {
        let mut outbox = Outbox::default();
        outbox.hold(Part::whole(&chunk(&["aaa", "bb"])), &LIMITS).unwrap();
        outbox.hold(Part::whole(&chunk(&["c"])), &LIMITS).unwrap();
        assert_eq!((outbox.bytes(), outbox.messages()), (6, 3));
        outbox.advance(4);
        assert_eq!((waiting(&outbox).as_str(), outbox.messages()), ("bc", 2));
        outbox.advance(2);
        assert!(outbox.is_empty());
        assert_eq!((outbox.bytes(), outbox.messages()), (0, 0));
    }

    #[test]
    fn the_limit_in_bytes_and_the_limit_in_messages_refuse_the_whole_part() {
        let mut outbox = Outbox::default();
        outbox.hold(Part::whole(&chunk(&["0123456789"])), &LIMITS).unwrap();
        let full = outbox.hold(Part::whole(&chunk(&["0123456789", "x"])), &LIMITS);
        assert_eq!(full, Err(OutboxFull::Bytes { bytes: 21, max: 20 }));
        let full = outbox.hold(Part::whole(&chunk(&["a", "b", "c", "d"])), &LIMITS);
        assert_eq!(full, Err(OutboxFull::Messages { messages: 5, max: 4 }));
        assert_eq!(waiting(&outbox), "0123456789");
    }

    #[test]
    fn an_empty_outbox_takes_a_message_of_any_length() {
        let mut outbox = Outbox::default();
        outbox.hold(Part::whole(&chunk(&["a message longer than the limit"])), &LIMITS).unwrap();
        assert!(outbox.hold(Part::whole(&chunk(&["x"])), &LIMITS).is_err());
    }

    #[test]
    fn dropping_keeps_the_rest_of_a_message_already_begun() {
        let mut outbox = Outbox::default();
        outbox.hold(Part::whole(&chunk(&["abc", "def", "ghi"])), &LIMITS).unwrap();
        outbox.advance(4);
        outbox.drop_unbegun();
        assert_eq!((waiting(&outbox).as_str(), outbox.messages()), ("ef", 1));
    }

    #[test]
    fn dropping_at_a_boundary_keeps_nothing() {
        let mut outbox = Outbox::default();
        outbox.hold(Part::whole(&chunk(&["abc", "def"])), &LIMITS).unwrap();
        outbox.advance(3);
        outbox.drop_unbegun();
        assert_eq!((outbox.is_empty(), outbox.bytes(), outbox.messages()), (true, 0, 0));
    }
}
