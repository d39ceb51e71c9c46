//! What a Hub knows and decides, free of I/O: what comes in and the time go in, what is to be done comes out.
//! No sockets, tasks, clock or dice live here; `driver` has those.

mod asking;
mod echoes;
mod identity;
mod life;
mod named;
mod names;
mod positions;
mod receiving;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::{Codec, Filter, Operation, Reply, SubscribeOptions, Unsubscribe};
use topichub_protocol::{OneOrMany, push::Goodbye};

pub(crate) use self::asking::Served;
use self::identity::Login;
pub(crate) use self::identity::{Identity, Proof};
pub(crate) use self::life::{End, Refusal};
use self::named::{Ask, Named};
use self::names::Names;
use self::positions::Positions;
use crate::address::ServerUrl;
use crate::backoff::{Attempts, Backoff};
use crate::codec;
use crate::error::Error;
use crate::event::{Event, Subscribed};
use crate::hub::State;
use crate::orders::{Offline, Order, Shelf, Ticket};

/// How a Hub is to behave.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) url: Arc<ServerUrl>,
    pub(crate) codec: Codec,
    pub(crate) backoff: Backoff,
    /// Whether to come back at all.
    pub(crate) reconnects: bool,
    pub(crate) offline: Offline,
    pub(crate) identity: Identity,
}

/// Which reader of this program.
pub(crate) type ReaderId = u64;

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Output {
    /// Ask the program for a token.
    FetchToken,
    /// Open a connection.
    Connect,
    /// Say this.
    Send(Vec<u8>),
    /// End the connection, or the opening of one: with this close code, or without a word.
    Disconnect(Option<u16>),
    State(State),
    Deliver(ReaderId, Event),
    /// There is no more; `None` if the program itself has ended it.
    End(ReaderId, Option<Error>),
    /// `None`: it holds without a word of the server's.
    Settle(Ticket, Result<Option<Reply>, Error>),
}

/// What has been asked of the server and not been answered.
#[derive(Debug)]
enum Waiting {
    Authenticate,
    /// For the name of this number.
    Subscribe(u64, Ask),
    Unsubscribe,
    /// How the name was served before.
    Change {
        number: u64,
        before: Box<SubscribeOptions>,
        ticket: Ticket,
    },
    Order(Order),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The program is looking for a token to connect with.
    Token,
    /// From the first packet to `welcome`.
    Connecting {
        since: Duration,
    },
    Open {
        since: Duration,
    },
    Waiting {
        until: Duration,
    },
    Closed,
}

/// One Hub: a connection after the other, and what outlives them.
pub(crate) struct Session {
    options: Options,
    random: Box<dyn FnMut() -> f64 + Send>,
    phase: Phase,
    /// Why the phase is `Closed`.
    closed_by: Option<Error>,
    attempts: Attempts,
    goodbye: Option<Goodbye>,
    heard_at: Duration,
    ping: Duration,
    message_bytes_max: Option<usize>,
    login: Login,
    last_id: i64,
    waiting: HashMap<i64, Waiting>,
    names: Names,
    last_number: u64,
    positions: Positions,
    shelf: Shelf,
    output: VecDeque<Output>,
}

impl Session {
    /// A Hub that begins to connect. `random` gives numbers of [0, 1).
    pub(crate) fn start(options: Options, random: Box<dyn FnMut() -> f64 + Send>, now: Duration) -> Self {
        let mut session = Self {
            login: Login::new(&options.identity),
            shelf: Shelf::new(options.offline),
            options,
            random,
            phase: Phase::Closed,
            closed_by: None,
            attempts: Attempts::default(),
            goodbye: None,
            heard_at: now,
            ping: Duration::ZERO,
            message_bytes_max: None,
            last_id: 0,
            waiting: HashMap::new(),
            names: Names::default(),
            last_number: 0,
            positions: Positions::default(),
            output: VecDeque::new(),
        };
        session.begin(now);
        session
    }

    /// The next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The next thing to do, if that is to deliver to this reader.
    pub(crate) fn poll_delivery(&mut self, reader: ReaderId) -> Option<Event> {
        let next =
            self.output.pop_front_if(|next| matches!(next, Output::Deliver(other, _) if *other == reader));
        match next? {
            Output::Deliver(_, event) => Some(event),
            _ => None,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Subscribes, now and after every reconnect. The reader hears of it by [`Output::Deliver`] and [`Output::End`].
    pub(crate) fn subscribe(
        &mut self,
        reader: ReaderId,
        filter: Filter,
        options: SubscribeOptions,
        now: Duration,
    ) {
        if self.is_closed() {
            let why = self.closed_by.clone().unwrap_or(Error::Closed);
            return self.output.push_back(Output::End(reader, Some(why)));
        }
        if let Some(named) = self.names.iter_mut().find(|named| named.filter == filter) {
            if named.options != options {
                let why = Error::AlreadySubscribed(filter);
                return self.output.push_back(Output::End(reader, Some(why)));
            }
            named.readers.push(reader);
            if named.is_in_force() {
                let position = match &filter {
                    Filter::Topic(topic) => self.positions.get(topic),
                    Filter::Pattern(_) => None,
                };
                let subscribed =
                    Subscribed { filter, position, replayed: 0, recovered: true, resumed: false };
                self.output.push_back(Output::Deliver(reader, Event::Subscribed(subscribed)));
            }
            return;
        }
        self.last_number += 1;
        self.names.push(Named::new(self.last_number, filter, options, reader));
        if self.is_open() {
            self.ask(self.last_number, now);
        }
    }

    /// One reader has gone; the last one of a name takes the subscription along.
    pub(crate) fn unsubscribe(&mut self, reader: ReaderId) {
        let Some(at) = self.names.iter().position(|named| named.readers.contains(&reader)) else { return };
        let Some(named) = self.names.get_mut(at) else { return };
        named.readers.retain(|other| *other != reader);
        if !named.readers.is_empty() {
            return;
        }
        let named = self.names.remove(at);
        self.forget_positions();
        if self.is_open() && named.is_asked() {
            let unsubscribe = Unsubscribe { filters: OneOrMany::One(named.filter) };
            let _ = self.send(Operation::Unsubscribe(unsubscribe), Waiting::Unsubscribe);
        }
    }

    /// What a reader reads.
    pub(crate) fn filter_of(&self, reader: ReaderId) -> Option<Filter> {
        let named = self.names.iter().find(|named| named.readers.contains(&reader))?;
        Some(named.filter.clone())
    }

    /// A command of the program.
    pub(crate) fn order(&mut self, order: Order) {
        match self.phase {
            Phase::Closed => {
                let why = self.closed_by.clone().unwrap_or(Error::Closed);
                self.output.push_back(Output::Settle(order.ticket, Err(why)));
            }
            Phase::Open { .. } => self.send_order(order),
            _ => {
                let ticket = order.ticket;
                if let Err(why) = self.shelf.put(order) {
                    self.output.push_back(Output::Settle(ticket, Err(why)));
                }
            }
        }
    }

    fn send_order(&mut self, order: Order) {
        let ticket = order.ticket;
        if let Err(why) = self.send(order.operation.clone(), Waiting::Order(order)) {
            self.output.push_back(Output::Settle(ticket, Err(why)));
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Says a command under an id of its own.
    fn send(&mut self, operation: Operation, waiting: Waiting) -> Result<(), Error> {
        let id = self.last_id + 1;
        let bytes = codec::encode(self.options.codec, id, operation, self.message_bytes_max)?;
        self.last_id = id;
        self.output.push_back(Output::Send(bytes));
        self.waiting.insert(id, waiting);
        Ok(())
    }

    fn set_state(&mut self, state: State) {
        self.output.push_back(Output::State(state));
    }

    fn forget_positions(&mut self) {
        let names = &self.names;
        self.positions
            .keep(|topic| names.iter().any(|named| !named.is_group() && named.filter.matches(topic)));
    }
}
