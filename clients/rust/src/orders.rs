//! Commands of the program beside its subscriptions: those that wait for their replies, and those that wait for a connection.

use std::collections::VecDeque;

use topichub_protocol::{Operation, Payload};

use crate::error::Error;

/// What becomes of what is published while there is no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offline {
    /// It fails with [`Error::NotConnected`].
    #[default]
    Reject,
    /// It waits, in order, and is sent when there is a connection again, after the subscriptions. Beyond the limits it
    /// fails with [`Error::OfflineFull`].
    Queue {
        /// The most messages.
        messages: usize,
        /// The most bytes of data of all of them together.
        bytes: usize,
    },
}

impl Offline {
    /// At most 1,000 messages of 1 MiB together.
    pub const QUEUE: Self = Self::Queue { messages: 1000, bytes: 1 << 20 };
}

/// Who waits for the outcome of a command.
pub(crate) type Ticket = u64;

/// A command of the program.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) ticket: Ticket,
    pub(crate) operation: Operation,
}

impl Order {
    /// Whether the server takes it once only, however often it is sent.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(&self.operation, Operation::Publish(publish)
            if publish.options.as_ref().is_some_and(|options| options.dedup.is_some()))
    }

    fn is_publish(&self) -> bool {
        matches!(self.operation, Operation::Publish(_))
    }

    fn payload(&self) -> Option<&Payload> {
        match &self.operation {
            Operation::Publish(publish) => Some(&publish.payload),
            _ => None,
        }
    }

    fn len(&self) -> usize {
        self.payload().map_or(0, |payload| payload.as_bytes().len())
    }
}

/// Orders that wait for a connection.
#[derive(Debug)]
pub(crate) struct Shelf {
    offline: Offline,
    orders: VecDeque<Order>,
    bytes: usize,
}

impl Shelf {
    pub(crate) fn new(offline: Offline) -> Self {
        Self { offline, orders: VecDeque::new(), bytes: 0 }
    }

    /// Takes an order that came while there is no connection.
    pub(crate) fn put(&mut self, order: Order) -> Result<(), Error> {
        let Offline::Queue { messages, bytes } = self.offline else { return Err(Error::NotConnected) };
        if !order.is_publish() {
            return Err(Error::NotConnected);
        }
        if self.orders.len() >= messages || self.bytes.saturating_add(order.len()) > bytes {
            return Err(Error::OfflineFull { messages: self.orders.len(), bytes: self.bytes });
        }
        self.bytes += order.len();
        self.orders.push_back(order);
        Ok(())
    }

    /// Takes orders back that were under way, in their order and before all others. They were let in before, so the
    /// limits do not concern them.
    pub(crate) fn put_back(&mut self, orders: Vec<Order>) {
        for order in orders.into_iter().rev() {
            self.bytes += order.len();
            self.orders.push_front(order);
        }
    }

    pub(crate) fn take(&mut self) -> VecDeque<Order> {
        self.bytes = 0;
        std::mem::take(&mut self.orders)
    }
}
