//! What a session makes of what its peer says: an answer at once, or something for the registry. Here, and only here,
//! is decided what a session may do.

use std::sync::Arc;
use std::task::Waker;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::codec::Codec;
use topichub_protocol::command::{
    Authenticate, Command, CommandError, CommandId, Operation, Publish, PublishOptions, Request, SlowPolicy,
    Subscribe,
};
use topichub_protocol::message::{Extras, Payload};
use topichub_protocol::reply::{Member, MemberId, Reply};
use topichub_protocol::topic::Topic;

use super::input::{Asker, Input, Publication, PublicationOptions, SessionRef, Subscribing, Wanted};
use super::permit::{Flight, Permit};
use super::seat::Seats;
use crate::rules::Rules;

/// What is to be done about a command.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Answer at once.
    Reply(Reply),
    /// Ask the registry.
    Forward(Input),
    /// It is done, and nobody wants to know.
    Nothing,
}

/// What all sessions of a hub decide by.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub(crate) seats: Seats,
    pub(crate) rules: Arc<Rules>,
}

/// Who a session says it is.
#[derive(Debug)]
struct User {
    name: Box<str>,
    data: Option<Payload>,
}

/// One peer's state, apart from its connection.
#[derive(Debug)]
pub(crate) struct Session {
    seat: SessionRef,
    codec: Codec,
    /// Made at the first command that needs it: until then it is one null pointer, and there may be a million of them.
    account: Option<Box<Account>>,
}

/// What a session has on account of the commands it has given.
#[derive(Debug, Default)]
struct Account {
    flight: Arc<Flight>,
    user: Option<User>,
}

impl Session {
    pub(crate) fn new(seat: SessionRef, codec: Codec) -> Self {
        Self { seat, codec, account: None }
    }

    /// Takes one command as it came.
    pub(crate) fn handle(&mut self, bytes: &[u8], house: &House) -> Outcome {
        let decided = self.codec.decode_command(bytes);
        match decided.and_then(|command| self.decide(command, bytes.len(), house)) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Reply(Reply::Error(error)),
        }
    }

    /// Whether so much of this session's is on its way through the hub that it should not be read from; if so,
    /// `waker` is woken when that changes.
    pub(crate) fn must_wait(&self, bytes_max: usize, waker: &Waker) -> bool {
        self.account.as_ref().is_some_and(|account| account.flight.is_over(bytes_max, waker))
    }

    fn decide(&mut self, command: Command, bytes: usize, house: &House) -> Result<Outcome, CommandError> {
        let Command { id, operation } = command;
        let session = self.seat;
        let asker = Asker::Session { session, id: id.clone() };
        let input = match operation {
            Operation::Ping => return Ok(Outcome::Reply(Reply::Pong { id })),
            Operation::Authenticate(Authenticate { user, data }) => {
                self.account.get_or_insert_default().user = Some(User { name: user.clone(), data });
                return Ok(
                    id.map_or(Outcome::Nothing, |id| Outcome::Reply(Reply::Authenticated { id, user }))
                );
            }
            Operation::Subscribe(subscribe) => {
                let subscribing = self.subscribing(id, subscribe, bytes, house)?;
                Input::Subscribe(Box::new(subscribing))
            }
            Operation::Unsubscribe(unsubscribe) => {
                Input::Unsubscribe { session, id, unsubscribe, permit: self.book(bytes) }
            }
            Operation::Publish(Publish { topic, payload, options }) => {
                may("publish to", &topic, &id)?;
                let options = options.map(|options| Box::new(publication_options(*options, house)));
                let permit = self.book(bytes);
                Input::Publish(Publication { topic, payload, options, asker, subscribers: 0, permit })
            }
            Operation::Request(Request { topic, payload, timeout }) => {
                may("publish to", &topic, &id)?;
                let permit = self.book(bytes);
                let publication =
                    Publication { topic, payload, options: None, asker, subscribers: 0, permit };
                Input::Request { publication, timeout }
            }
            Operation::Answer(answer) => Input::Answer { asker, answer, permit: self.book(bytes) },
            Operation::History(history) => {
                may("see", &history.topic, &id)?;
                Input::History { asker, history, permit: self.book(bytes) }
            }
            Operation::Presence(topic) => {
                may("see", &topic, &id)?;
                Input::Presence { asker, topic, permit: self.book(bytes) }
            }
        };
        Ok(Outcome::Forward(input))
    }

    fn subscribing(
        &mut self,
        id: Option<CommandId>,
        subscribe: Subscribe,
        bytes: usize,
        house: &House,
    ) -> Result<Subscribing, CommandError> {
        let Subscribe { filters, options } = subscribe;
        for filter in &filters {
            if filter.is_system() {
                return Err(forbidden("subscribe to", filter.as_str(), &id));
            }
            let (policy, allowed) = house.rules.slow(filter);
            if let Some(slow) = options.slow.filter(|slow| *slow != policy && !allowed.contains(slow)) {
                let allowed: Vec<_> = allowed.iter().map(|policy| policy.as_str()).collect();
                let message = format!(
                    "slow \"{}\" is not allowed on {filter}; \"{}\" is the default, allowed: {}",
                    slow.as_str(),
                    policy.as_str(),
                    allowed.join(", ")
                );
                return Err(CommandError::new(ErrorCode::Forbidden, message).with_id(id));
            }
        }
        let wanted = filters.map(|filter| {
            // A member of a queue group gets each message it is given.
            let grouped = options.group.as_ref().map(|_| SlowPolicy::Disconnect);
            let policy = grouped.or(options.slow).unwrap_or_else(|| house.rules.slow(&filter).0);
            Wanted { filter, policy }
        });
        let shown = options.presence.as_ref().and_then(|presence| presence.data.clone());
        let member = match self.account.as_ref().and_then(|account| account.user.as_ref()) {
            Some(user) => {
                Member { id: MemberId::User(user.name.clone()), data: shown.or_else(|| user.data.clone()) }
            }
            None => Member { id: MemberId::Session(house.seats.id(self.seat)), data: shown },
        };
        let (session, permit) = (self.seat, self.book(bytes));
        Ok(Subscribing { session, id, wanted, options, member, permit })
    }

    fn book(&mut self, bytes: usize) -> Option<Permit> {
        Some(self.account.get_or_insert_default().flight.book(bytes))
    }
}

/// What a publish says beside topic and data, as the hub takes it.
pub(crate) fn publication_options(options: PublishOptions, house: &House) -> PublicationOptions {
    let PublishOptions { key, meta, ttl, dedup, if_offset, exclude } = options;
    let extras = (key.is_some() || meta.is_some()).then(|| Arc::new(Extras { key, meta, reply_to: None }));
    // Sessions that are none (any more) get nothing anyway.
    let exclude = exclude.into_iter().filter_map(|id| house.seats.session(id)).collect();
    PublicationOptions { extras, ttl, dedup, if_offset, exclude }
}

/// The server's own topics are closed to clients.
fn may(verb: &str, topic: &Topic, id: &Option<CommandId>) -> Result<(), CommandError> {
    if topic.is_system() { Err(forbidden(verb, topic.as_str(), id)) } else { Ok(()) }
}

fn forbidden(verb: &str, topic: &str, id: &Option<CommandId>) -> CommandError {
    CommandError::new(ErrorCode::Forbidden, format!("may not {verb} {topic}")).with_id(id.clone())
}
