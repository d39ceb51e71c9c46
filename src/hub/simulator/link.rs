//! A socket whose peer reads when it likes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use topichub_protocol::command::{CommandError, OneOrMany};
use topichub_protocol::message::Message;
use topichub_protocol::push::Push;
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::Filter;

use crate::hub::fan_out::Outlet;
use crate::hub::joined::Joined;
use crate::hub::outbox::{Outbox, OutboxLimits, Outboxes, Part};
use crate::hub::published::{Class, Published};

/// With no more than this in its outbox, a peer gets more of the past.
const ROOM_BYTES: usize = 100;

pub(super) struct Link {
    class: Class,
    outboxes: Rc<Outboxes>,
    kernel: RefCell<Vec<u8>>,
    kernel_max: usize,
    outbox: RefCell<Outbox>,
    pub(super) read: RefCell<Vec<u8>>,
    pub(super) cut: Cell<bool>,
    awaited: Cell<bool>,
    pub(super) writes: Cell<usize>,
}

impl Link {
    pub(super) fn new(class: Class, limits: OutboxLimits, kernel_max: usize) -> Rc<Self> {
        Rc::new(Self {
            class,
            outboxes: Outboxes::new(limits),
            kernel: RefCell::default(),
            kernel_max,
            outbox: RefCell::default(),
            read: RefCell::default(),
            cut: Cell::new(false),
            awaited: Cell::new(false),
            writes: Cell::new(0),
        })
    }

    fn take(&self, bytes: &[u8]) -> usize {
        let mut kernel = self.kernel.borrow_mut();
        let taken = bytes.len().min(self.kernel_max - kernel.len());
        kernel.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The peer reads up to `count` bytes; then the kernel has room for what waits in the outbox. Whether somebody has
    /// waited for that room.
    pub(super) fn drain(&self, count: usize) -> bool {
        let mut kernel = self.kernel.borrow_mut();
        let taken = count.min(kernel.len());
        self.read.borrow_mut().extend(kernel.drain(..taken));
        drop(kernel);
        let mut outbox = self.outbox.borrow_mut();
        let taken = outbox.slices().map(|slice| self.take(slice)).sum();
        outbox.advance(taken);
        let has_room = outbox.is_empty() && self.kernel.borrow().len() < self.kernel_max;
        has_room && self.awaited.replace(false)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.outbox.borrow().is_empty() && self.kernel.borrow().is_empty()
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }
}

impl Outlet for Rc<Link> {
    type Encoder = ();

    fn encode(class: Class, message: &Message) -> Box<[u8]> {
        let (topic, position) = (&message.topic, message.position);
        format!("{class:?} {topic} {} {}\n", position.epoch, position.offset).into_bytes().into()
    }

    /// Every other message is not worth it.
    fn compress(_: &mut (), frame: &[u8]) -> Option<Box<[u8]>> {
        let text = std::str::from_utf8(frame).unwrap();
        let even = text.trim_end().ends_with(['0', '2', '4', '6', '8']);
        even.then(|| text.replacen(' ', "Deflate ", 1).into_bytes().into())
    }

    fn class(&self) -> Class {
        self.class
    }

    fn encode_reply(&self, reply: &Reply) -> Option<Box<[u8]>> {
        Some(format!("reply {}\n", describe(reply)).into_bytes().into())
    }

    fn encode_push(&self, push: &Push) -> Option<Box<[u8]>> {
        let Push::Gap(gap) = push else { unreachable!("nobody watches who is there") };
        let (topic, why) = (&gap.topic, gap.why.as_str());
        Some(format!("gap {topic} {} {} {} {why}\n", gap.epoch, gap.from, gap.to).into_bytes().into())
    }

    fn write(&self, parts: &[Part<'_>]) {
        self.writes.set(self.writes.get() + 1);
        if self.cut.get() {
            return;
        }
        for part in parts {
            let mut part = *part;
            if self.outbox.borrow().is_empty() {
                part.start += self.take(part.bytes());
            }
            if part.start < part.end && self.outbox.borrow_mut().hold(part, &self.outboxes).is_err() {
                self.outbox.borrow_mut().drop_unbegun();
                self.cut.set(true);
                return;
            }
        }
    }

    fn offer(&self, messages: &Joined) -> usize {
        self.writes.set(self.writes.get() + 1);
        if self.cut.get() {
            return messages.messages();
        }
        if !self.outbox.borrow().is_empty() {
            return 0;
        }
        let written = self.take(messages.bytes());
        let taken = messages.begun_at(written);
        if taken > 0 {
            let rest = &messages.bytes()[written..messages.message(taken - 1).end];
            self.outbox.borrow_mut().hold_regardless(rest, &self.outboxes);
        }
        if taken < messages.messages() {
            self.await_room();
        }
        taken
    }

    fn is_clear(&self) -> bool {
        !self.awaited.get() && self.outbox.borrow().is_empty()
    }

    fn has_room(&self) -> bool {
        self.outbox.borrow().bytes() <= ROOM_BYTES
    }

    fn await_room(&self) {
        self.awaited.set(true);
    }

    fn deliver(&self, _: &Published) {
        unreachable!("every link here takes bytes");
    }

    fn waiting_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    fn give_up(&self, _: &str) {
        self.outbox.borrow_mut().drop_unbegun();
        self.cut.set(true);
    }
}

fn describe(reply: &Reply) -> String {
    fn list<T>(topics: &OneOrMany<T>, name: impl Fn(&T) -> String) -> String {
        topics.iter().map(name).collect::<Vec<_>>().join(",")
    }
    match reply {
        Reply::Subscribed { id, topics } => {
            let recovered =
                topics.iter().filter_map(|entry| entry.replay.as_ref()).all(|replay| replay.recovered);
            let names = list(topics, |entry| entry.filter.to_string());
            format!("{id} subscribed {names} {recovered}")
        }
        Reply::Unsubscribed { id, topics } => {
            format!("{id} unsubscribed {}", list(topics, Filter::to_string))
        }
        Reply::Published { id, .. } => format!("{id} published"),
        Reply::Error(CommandError { id, code, .. }) => format!("{} {code}", id.as_ref().unwrap()),
        Reply::Answer { id, .. } => format!("{id} answered"),
        Reply::Replied { id } => format!("{id} replied"),
        other => unreachable!("nobody asks for {other:?}"),
    }
}
