//! What one session's peer has not yet taken: shared slices of joined frames, bounded in bytes and messages.
//! It holds and measures; writing, and what happens at the limit, belong to whoever owns the socket.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::joined::{Chunk, Joined};
use crate::metrics::tally::Tally;

/// A stretch of joined frames on its way to one session, from one message boundary to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) joined: &'a Joined,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl<'a> Part<'a> {
    pub(crate) fn whole(joined: &'a Joined) -> Self {
        Self { joined, start: 0, end: joined.len() }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        &self.joined.bytes()[self.start..self.end]
    }

    /// Each of its messages.
    pub(crate) fn each(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let joined = self.joined;
        let numbers = joined.begun_at(self.start)..joined.begun_at(self.end);
        numbers.map(move |number| &joined.bytes()[joined.message(number)])
    }

    /// How many messages it holds.
    pub(crate) fn messages(&self) -> usize {
        if self.end - self.start == self.joined.len() {
            return self.joined.messages();
        }
        self.joined.begun_at(self.end) - self.joined.begun_at(self.start)
    }
}

/// How much one session may leave unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutboxLimits {
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
}

/// All outboxes of one thread: how much each may hold, how much they hold together, and what the thread counts.
#[derive(Debug)]
pub(crate) struct Outboxes {
    pub(crate) limits: Cell<OutboxLimits>,
    pub(crate) tally: Tally,
    memory: Cell<usize>,
}

impl Outboxes {
    pub(crate) fn new(limits: OutboxLimits) -> Rc<Self> {
        Rc::new(Self { limits: Cell::new(limits), tally: Tally::default(), memory: Cell::new(0) })
    }

    /// The bytes of memory that all of them take. What several hold counts once.
    pub(crate) fn memory(&self) -> usize {
        self.memory.get()
    }

    pub(super) fn add(&self, bytes: usize) {
        self.memory.set(self.memory.get() + bytes);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.memory.set(self.memory.get() - bytes);
    }
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
    /// A queue that grows has room for as many again.
    const BYTES: usize = 2 * size_of::<Self>();

    fn new(chunk: Rc<Chunk>, range: Range<usize>) -> Self {
        chunk.outboxes().add(Self::BYTES);
        Self { chunk, range: range.start as u32..range.end as u32 }
    }

    fn bytes(&self) -> &[u8] {
        &self.chunk.bytes()[self.range.start as usize..self.range.end as usize]
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.chunk.outboxes().subtract(Self::BYTES);
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
    /// Whether the first message is the copied rest of one that the peer has seen the beginning of.
    is_rest: bool,
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

    /// Keeps `part`, or says which limit it would pass.
    pub(crate) fn hold(&mut self, part: Part<'_>, outboxes: &Rc<Outboxes>) -> Result<(), OutboxFull> {
        self.hold_range(&part.joined.chunk(outboxes), part.start..part.end)
    }

    /// Keeps one message that nobody else gets, or says which limit it would pass.
    pub(crate) fn hold_own(&mut self, bytes: &[u8], outboxes: &Rc<Outboxes>) -> Result<(), OutboxFull> {
        self.hold_range(&Rc::new(Chunk::single(bytes, outboxes)), 0..bytes.len())
    }

    /// Keeps bytes whatever the limits say: for the last words of a session, which are few and small.
    pub(crate) fn hold_regardless(&mut self, bytes: &[u8], outboxes: &Rc<Outboxes>) {
        if !bytes.is_empty() {
            self.push(Held::new(Rc::new(Chunk::single(bytes, outboxes)), 0..bytes.len()), 1);
        }
    }

    /// An empty outbox takes anything: a message that grows beyond the limit where its codec changes must not
    /// disconnect a reader that keeps up.
    fn hold_range(&mut self, chunk: &Rc<Chunk>, range: Range<usize>) -> Result<(), OutboxFull> {
        if range.is_empty() {
            return Ok(());
        }
        let limits = chunk.outboxes().limits.get();
        let added = chunk.messages(&range);
        let (bytes, messages) = (self.bytes() + range.len(), self.messages() + added);
        if !self.is_empty() && bytes > limits.bytes {
            return Err(OutboxFull::Bytes { bytes, max: limits.bytes });
        }
        if !self.is_empty() && messages > limits.messages {
            return Err(OutboxFull::Messages { messages, max: limits.messages });
        }
        self.push(Held::new(Rc::clone(chunk), range), added);
        Ok(())
    }

    fn push(&mut self, held: Held, messages: usize) {
        let waiting = self.waiting.get_or_insert_default();
        waiting.bytes += held.range.len();
        waiting.messages += messages;
        waiting.queue.push_back(held);
    }

    /// The waiting bytes, oldest first.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.waiting.iter().flat_map(|waiting| &waiting.queue).map(Held::bytes)
    }

    /// The oldest waiting bytes as one shared slice, taken out.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let held = self.waiting.as_ref()?.queue.front()?;
        let bytes = held.chunk.bytes().slice_ref(held.bytes());
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

    /// Drops every message the peer has seen nothing of; only the rest of one already begun stays. It becomes a copy
    /// where that takes less memory than a share of all that was joined with it.
    pub(crate) fn drop_unbegun(&mut self) {
        let Some(mut waiting) = self.waiting.take() else { return };
        let Some(mut held) = waiting.queue.pop_front() else { return };
        let start = held.range.start as usize;
        if !waiting.is_rest && held.chunk.start_of_message_at(start) == start {
            return;
        }
        let end = held.chunk.end_of_message_at(start);
        if end - start < held.chunk.bytes().len() / Rc::strong_count(&held.chunk) {
            self.hold_regardless(&held.chunk.bytes()[start..end], held.chunk.outboxes());
            self.waiting.iter_mut().for_each(|copy| copy.is_rest = true);
        } else {
            held.range.end = end as u32;
            self.push(held, 1);
            self.waiting.iter_mut().for_each(|same| same.is_rest = waiting.is_rest);
        }
    }
}

impl Waiting {
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
                self.is_rest = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outboxes() -> Rc<Outboxes> {
        Outboxes::new(OutboxLimits { bytes: 20, messages: 4 })
    }

    fn joined(messages: &[&str]) -> Joined {
        let mut joined = Joined::default();
        messages.iter().for_each(|message| joined.push(message.as_bytes()));
        joined
    }

    fn hold(outbox: &mut Outbox, messages: &[&str], outboxes: &Rc<Outboxes>) -> Result<(), OutboxFull> {
        outbox.hold(Part::whole(&joined(messages)), outboxes)
    }

    fn waiting(outbox: &Outbox) -> String {
        outbox.slices().map(|slice| std::str::from_utf8(slice).unwrap()).collect()
    }

    #[test]
    fn bytes_and_messages_are_counted_through_partial_writes() {
        let (mut outbox, outboxes) = (Outbox::default(), outboxes());
        hold(&mut outbox, &["aaa", "bb"], &outboxes).unwrap();
        hold(&mut outbox, &["c"], &outboxes).unwrap();
        assert_eq!((outbox.bytes(), outbox.messages()), (6, 3));
        outbox.advance(4);
        assert_eq!((waiting(&outbox).as_str(), outbox.messages()), ("bc", 2));
        outbox.advance(2);
        assert!(outbox.is_empty());
        assert_eq!((outbox.bytes(), outbox.messages()), (0, 0));
    }

    #[test]
    fn the_limit_in_bytes_and_the_limit_in_messages_refuse_the_whole_part() {
        let (mut outbox, outboxes) = (Outbox::default(), outboxes());
        hold(&mut outbox, &["0123456789"], &outboxes).unwrap();
        let full = hold(&mut outbox, &["0123456789", "x"], &outboxes);
        assert_eq!(full, Err(OutboxFull::Bytes { bytes: 21, max: 20 }));
        let full = hold(&mut outbox, &["a", "b", "c", "d"], &outboxes);
        assert_eq!(full, Err(OutboxFull::Messages { messages: 5, max: 4 }));
        assert_eq!(waiting(&outbox), "0123456789");
    }

    #[test]
    fn an_empty_outbox_takes_a_message_of_any_length() {
        let (mut outbox, outboxes) = (Outbox::default(), outboxes());
        hold(&mut outbox, &["a message longer than the limit"], &outboxes).unwrap();
        assert!(hold(&mut outbox, &["x"], &outboxes).is_err());
    }

    #[test]
    fn dropping_keeps_the_rest_of_a_message_already_begun() {
        let (mut outbox, outboxes) = (Outbox::default(), outboxes());
        hold(&mut outbox, &["abc", "def", "ghi"], &outboxes).unwrap();
        outbox.advance(4);
        outbox.drop_unbegun();
        assert_eq!((waiting(&outbox).as_str(), outbox.messages()), ("ef", 1));
    }

    #[test]
    fn what_is_dropped_takes_no_memory_on_account_of_the_rest() {
        let (mut outbox, outboxes) = (Outbox::default(), outboxes());
        let long = "x".repeat(60_000);
        hold(&mut outbox, &["abc", &long], &outboxes).unwrap();
        outbox.advance(1);
        assert!(outboxes.memory() > 60_000);
        outbox.drop_unbegun();
        assert_eq!(waiting(&outbox), "bc");
        assert!(outboxes.memory() < 200, "{} bytes for 2", outboxes.memory());
        outbox.drop_unbegun();
        assert_eq!(waiting(&outbox), "bc", "it is still begun");
        outbox.advance(2);
        hold(&mut outbox, &["new"], &outboxes).unwrap();
        outbox.drop_unbegun();
        assert!(outbox.is_empty());
    }

    #[test]
    fn many_who_are_amid_the_same_message_go_on_sharing_it() {
        let (joined, outboxes) = (joined(&[&"x".repeat(10_000)]), outboxes());
        let mut holders: [Outbox; 50] = std::array::from_fn(|_| Outbox::default());
        for outbox in &mut holders {
            outbox.hold(Part::whole(&joined), &outboxes).unwrap();
            outbox.advance(1);
        }
        drop(joined);
        holders.iter_mut().for_each(Outbox::drop_unbegun);
        assert!(holders.iter().all(|outbox| outbox.bytes() == 9_999));
        assert!(outboxes.memory() < 20_000, "{} bytes", outboxes.memory());
    }

    #[test]
    fn dropping_at_a_boundary_keeps_nothing() {
        let (mut outbox, outboxes) = (Outbox::default(), outboxes());
        hold(&mut outbox, &["abc", "def"], &outboxes).unwrap();
        outbox.advance(3);
        outbox.drop_unbegun();
        assert_eq!((outbox.is_empty(), outbox.bytes(), outbox.messages()), (true, 0, 0));
    }

    #[test]
    fn what_many_hold_takes_memory_once_and_none_when_the_last_has_let_go() {
        let outboxes = outboxes();
        let joined = joined(&["0123456789abcdef"]);
        let mut holders: [Outbox; 100] = std::array::from_fn(|_| Outbox::default());
        holders[0].hold(Part::whole(&joined), &outboxes).unwrap();
        let one = outboxes.memory();
        assert!(one > 16, "{one} bytes for 16");
        for outbox in &mut holders[1..] {
            outbox.hold(Part::whole(&joined), &outboxes).unwrap();
        }
        assert_eq!(outboxes.memory(), one + 99 * Held::BYTES);
        drop(joined);
        holders[0].advance(16);
        holders[1].drop_unbegun();
        assert_eq!(outboxes.memory(), one + 97 * Held::BYTES);
        drop(holders);
        assert_eq!(outboxes.memory(), 0);
    }
}
