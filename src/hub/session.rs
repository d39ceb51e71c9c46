//! What a session makes of what its peer says: an answer at once, or something for the registry. Here, and only here,
//! is decided what a session may do.

use std::sync::Arc;
use std::task::Waker;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::codec::Codec;
use topichub_protocol::command::{Command, CommandError, CommandId, Operation};
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::Filter;

use super::input::{Input, Publication, Publisher, SessionRef};
use super::permit::{Flight, Permit};

/// What is to be done about a command.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Answer at once.
    Reply(Reply),
    /// Ask the registry.
    Forward(Input),
}

/// One peer's state, apart from its connection.
#[derive(Debug)]
pub(crate) struct Session {
    seat: SessionRef,
    codec: Codec,
    /// Made at the first command that travels; most sessions of a broadcast hub never publish.
    flight: Option<Arc<Flight>>,
}

impl Session {
    pub(crate) fn new(seat: SessionRef, codec: Codec) -> Self {
        Self { seat, codec, flight: None }
    }

    /// Takes one command as it came.
    pub(crate) fn handle(&mut self, bytes: &[u8]) -> Outcome {
        match self.codec.decode_command(bytes).and_then(|command| self.decide(command, bytes.len())) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Reply(Reply::Error(error)),
        }
    }

    /// Whether so much of this session's is on its way through the hub that it should not be read from; if so,
    /// `waker` is woken when that changes.
    pub(crate) fn must_wait(&self, bytes_max: usize, waker: &Waker) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.is_over(bytes_max, waker))
    }

    fn decide(&mut self, command: Command, bytes: usize) -> Result<Outcome, CommandError> {
        let Command { id, operation } = command;
        let session = self.seat;
        let input = match operation {
            Operation::Ping => return Ok(Outcome::Reply(Reply::Pong { id })),
            Operation::Subscribe(subscribe) => {
                may_use("subscribe to", &subscribe.filters, &id)?;
                Input::Subscribe { session, id, subscribe, permit: self.book(bytes) }
            }
            Operation::Unsubscribe(unsubscribe) => {
                Input::Unsubscribe { session, id, unsubscribe, permit: self.book(bytes) }
            }
            Operation::Publish(publish) => {
                if publish.topic.is_system() {
                    return Err(forbidden("publish to", publish.topic.as_str(), &id));
                }
                let publisher = Publisher::Session { session, id };
                let (topic, payload) = (publish.topic, publish.payload);
                Input::Publish(Publication { topic, payload, publisher, permit: self.book(bytes) })
            }
        };
        Ok(Outcome::Forward(input))
    }

    fn book(&mut self, bytes: usize) -> Option<Permit> {
        Some(self.flight.get_or_insert_default().book(bytes))
    }
}

/// The server's own topics are closed to clients.
fn may_use<'a>(
    verb: &str,
    filters: impl IntoIterator<Item = &'a Filter>,
    id: &Option<CommandId>,
) -> Result<(), CommandError> {
    match filters.into_iter().find(|filter| filter.is_system()) {
        Some(filter) => Err(forbidden(verb, filter.as_str(), id)),
        None => Ok(()),
    }
}

fn forbidden(verb: &str, topic: &str, id: &Option<CommandId>) -> CommandError {
    CommandError::new(ErrorCode::Forbidden, format!("may not {verb} {topic}")).with_id(id.clone())
}
