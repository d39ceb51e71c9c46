//! Raw DEFLATE read piece by piece into a window of the caller's, and the inflaters of a thread.
//! What the inflated bytes mean, and how many of them are allowed, is decided in `connection`.

use flate2::{Decompress, FlushDecompress, Status};

use super::TAIL;
use super::context::{Context, Total};

/// About what one inflater takes of the heap: a window of 32 KiB and its tables.
pub const INFLATER_BYTES: usize = 48 * 1024;

/// Inflated bytes that a message can have without a buffer of its own.
const SCRATCH_BYTES: usize = 16 * 1024;
/// Inflaters kept for the next messages. More than one is needed only while messages are cut by reads.
const IDLE_MAX: usize = 4;

/// The inflaters of a thread, for all its connections. A message that arrives in one read borrows one for that
/// read; a message cut by reads keeps one until its end, and hands it back. None is made before the first compressed
/// message.
#[derive(Debug, Default)]
pub struct Inflaters {
    #[allow(clippy::vec_box)] // boxes go to and fro: a connection has room for no more than a pointer
    idle: Vec<Box<Inflater>>,
    scratch: Vec<u8>,
    contexts: Total,
}

impl Inflaters {
    /// Without any yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of heap kept for the next messages, of all connections together: at most 208 KiB.
    #[must_use]
    pub fn idle_bytes(&self) -> usize {
        self.idle.len() * INFLATER_BYTES + self.scratch.len()
    }

    /// The context of a peer that has sent nothing yet.
    pub(in crate::websocket) fn new_context(&self) -> Context {
        Context::new(&self.contexts)
    }

    /// One at the beginning of a message of a peer.
    pub(in crate::websocket) fn take(&mut self, context: &Context) -> Box<Inflater> {
        let mut inflater = match self.idle.pop() {
            Some(mut inflater) => {
                inflater.reset();
                inflater
            }
            None => Box::new(Inflater::new()),
        };
        inflater.refer_to(context.window(), self.scratch_mut());
        inflater
    }

    pub(in crate::websocket) fn give_back(&mut self, inflater: Box<Inflater>) {
        if self.idle.len() < IDLE_MAX {
            self.idle.push(inflater);
        }
    }

    /// Where a connection inflates to: never longer than that, however much comes out.
    pub(in crate::websocket) fn scratch_mut(&mut self) -> &mut [u8] {
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH_BYTES];
        }
        &mut self.scratch
    }

    pub(in crate::websocket) fn scratch(&self) -> &[u8] {
        &self.scratch
    }
}

/// The decompression of one message.
#[derive(Debug)]
pub(in crate::websocket) struct Inflater {
    stream: Decompress,
    /// Compressed bytes of the message so far.
    pub(in crate::websocket) received: usize,
    /// Whether a DEFLATE stream may begin here: nothing has been read, or all of it up to a final block.
    at_start: bool,
}

/// What came of some input.
pub(in crate::websocket) struct Inflated {
    pub(in crate::websocket) consumed: usize,
    pub(in crate::websocket) produced: usize,
    /// Whether what follows the consumed input is no DEFLATE.
    pub(in crate::websocket) is_corrupt: bool,
}

impl Inflater {
    fn new() -> Self {
        Self { stream: Decompress::new(false), received: 0, at_start: true }
    }

    fn reset(&mut self) {
        self.stream.reset(false);
        self.received = 0;
        self.at_start = true;
    }

    /// Lets the message refer to `window`: inflates it as a stored block (RFC 1951 §3.2.4), and forgets the result.
    fn refer_to(&mut self, window: &[u8], scratch: &mut [u8]) {
        if window.is_empty() {
            return;
        }
        let len = window.len() as u16;
        let ([a, b], [c, d]) = (len.to_le_bytes(), (!len).to_le_bytes());
        for mut rest in [&[0x00, a, b, c, d], window] {
            while !rest.is_empty() {
                let inflated = self.inflate(rest, scratch);
                if inflated.is_corrupt {
                    debug_assert!(false, "a stored block is DEFLATE");
                    return self.reset();
                }
                rest = &rest[inflated.consumed..];
            }
        }
        self.at_start = true;
    }

    /// Inflates until `output` is full, `input` is used up, or a final block ends. What follows a final block in the
    /// same message begins a stream of its own: RFC 7692 §7.2.3.4 has a sender put an empty block there.
    pub(in crate::websocket) fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Inflated {
        let (input_before, output_before) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, output, FlushDecompress::None);
        // Lossless: no more than the lengths of the slices.
        let consumed = (self.stream.total_in() - input_before) as usize;
        let produced = (self.stream.total_out() - output_before) as usize;
        self.at_start &= consumed == 0;
        if matches!(status, Ok(Status::StreamEnd)) {
            self.stream.reset(false);
            self.at_start = true;
        }
        // Room and input, but nothing done with either: that would be for ever.
        let stuck = consumed == 0 && produced == 0 && !input.is_empty() && !output.is_empty();
        Inflated { consumed, produced, is_corrupt: status.is_err() || stuck }
    }

    /// Whether the message may end here, that is: if the tail that its sender took off (§7.2.1) is put back, then it
    /// ends between two blocks, which shows by the fact that a final block can follow. Nothing at all, and a
    /// final block without the empty one behind it, pass as ends too: they lack nothing.
    pub(in crate::websocket) fn may_end(&mut self) -> bool {
        const EMPTY_FINAL_BLOCK: [u8; 2] = [0x03, 0x00];
        const TAIL_AND_FINAL: [u8; 6] = {
            let ([a, b, c, d], [e, f]) = (TAIL, EMPTY_FINAL_BLOCK);
            [a, b, c, d, e, f]
        };
        if self.at_start {
            return true;
        }
        // Without room: whatever else is inflated here was not in the message.
        let inflated = self.inflate(&TAIL_AND_FINAL, &mut []);
        self.at_start && inflated.consumed == TAIL_AND_FINAL.len()
    }
}
