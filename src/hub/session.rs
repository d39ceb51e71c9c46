//! What a session makes of what its peer says: an answer at once, or something for the registry. Here, and only here,
//! is decided what a session may do.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::codec::Codec;
use topichub_protocol::command::{
    Authenticate, Command, CommandError, CommandId, Credential, Operation, Publish, PublishOptions, Request,
    SlowPolicy, Subscribe,
};
use topichub_protocol::message::{Extras, Payload};
use topichub_protocol::reply::{Member, MemberId, Reply};
use topichub_protocol::topic::{Filter, Topic};

use super::grants::Action;
use super::identity::Identity;
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
    /// Find out whose token this is, and say so by [`Session::identified`] before the next command.
    Identify(Proof),
    /// It is done, and nobody wants to know.
    Nothing,
}

/// What all sessions of a hub decide by.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub(crate) seats: Seats,
    pub(crate) rules: Arc<Rules>,
    /// Who a session is that has not said who it is; `None` if it must.
    pub(crate) anonymous: Option<Arc<Identity>>,
    /// Whether a session may name its user without proof.
    pub(crate) believes_names: bool,
}

/// A token that somebody shows.
pub(crate) struct Proof {
    id: Option<CommandId>,
    pub(crate) token: Box<str>,
    data: Option<Payload>,
}

impl std::fmt::Debug for Proof {
    /// Without the token, which is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("id", &self.id).finish_non_exhaustive()
    }
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
    identity: Option<Arc<Identity>>,
    /// What others see of the user, as the session said when it authenticated.
    data: Option<Payload>,
}

impl Session {
    pub(crate) fn new(seat: SessionRef, codec: Codec) -> Self {
        Self { seat, codec, account: None }
    }

    /// Whose it is.
    pub(crate) fn seat(&self) -> SessionRef {
        self.seat
    }

    /// Takes one command as it came.
    pub(crate) fn handle(&mut self, bytes: &[u8], house: &House) -> Outcome {
        let decided = self.codec.decode_command(bytes);
        match decided.and_then(|command| self.decide(command, bytes.len(), house)) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Reply(Reply::Error(error)),
        }
    }

    /// Refuses a command for a reason that lies outside of it.
    pub(crate) fn refuse(&self, bytes: &[u8], error: CommandError) -> Outcome {
        let id = match self.codec.decode_command(bytes) {
            Ok(command) => command.id,
            Err(error) => error.id,
        };
        Outcome::Reply(Reply::Error(error.with_id(id)))
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
            Operation::Authenticate(Authenticate { credential: Credential::Token(token), data }) => {
                return Ok(Outcome::Identify(Proof { id, token, data }));
            }
            Operation::Authenticate(Authenticate { credential: Credential::User(user), data }) => {
                return self.named(id, user, data, house);
            }
            Operation::Subscribe(subscribe) => {
                let subscribing = self.subscribing(id, subscribe, bytes, house)?;
                Input::Subscribe(Box::new(subscribing))
            }
            Operation::Unsubscribe(unsubscribe) => {
                Input::Unsubscribe { session, id, unsubscribe, permit: self.book(bytes) }
            }
            Operation::Publish(Publish { topic, payload, options }) => {
                self.may_on(Action::Publish, &topic, &id, house)?;
                let options = options.map(|options| Box::new(publication_options(*options, house)));
                let permit = self.book(bytes);
                Input::Publish(Publication { topic, payload, options, asker, subscribers: 0, permit })
            }
            Operation::Request(Request { topic, payload, timeout }) => {
                self.may_on(Action::Publish, &topic, &id, house)?;
                let permit = self.book(bytes);
                let publication =
                    Publication { topic, payload, options: None, asker, subscribers: 0, permit };
                Input::Request { publication, timeout }
            }
            Operation::Answer(answer) => {
                self.identity(house, &id)?;
                Input::Answer { asker, answer, permit: self.book(bytes) }
            }
            Operation::History(history) => {
                self.may_on(Action::History, &history.topic, &id, house)?;
                Input::History { asker, history, permit: self.book(bytes) }
            }
            Operation::Presence(topic) => {
                self.may_on(Action::Presence, &topic, &id, house)?;
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
        let identity = self.identity(house, &id)?;
        for filter in &filters {
            may(identity, Action::Subscribe, filter, &id)?;
            if options.presence.is_some() {
                may(identity, Action::Presence, filter, &id)?;
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
        let data = shown.or_else(|| self.account.as_ref()?.data.clone()).or_else(|| identity.data.clone());
        let member = match &identity.user {
            Some(user) => Member { id: MemberId::User(user.clone()), data },
            None => Member { id: MemberId::Session(house.seats.id(self.seat)), data },
        };
        let (session, permit) = (self.seat, self.book(bytes));
        Ok(Subscribing { session, id, wanted, options, member, permit })
    }

    /// A name without proof.
    fn named(
        &mut self,
        id: Option<CommandId>,
        user: Box<str>,
        data: Option<Payload>,
        house: &House,
    ) -> Result<Outcome, CommandError> {
        let anonymous = house.anonymous.as_ref().filter(|_| house.believes_names).ok_or_else(|| {
            let message = "a user's name proves nothing here: authenticate with a token";
            CommandError::new(ErrorCode::Unauthorized, message).with_id(id.clone())
        })?;
        let identity = Identity { user: Some(user), ..Identity::clone(anonymous) };
        let user = identity.user.clone();
        self.become_known(Arc::new(identity), data);
        Ok(id.map_or(Outcome::Nothing, |id| Outcome::Reply(Reply::Authenticated { id, user, expires: None })))
    }

    /// What has come of a token, and how long it holds from now on. Whoever shows one that proves nothing stays who they
    /// were.
    pub(crate) fn identified(
        &mut self,
        proof: Proof,
        identified: Result<Arc<Identity>, CommandError>,
        expires: Option<Duration>,
        inputs: &mut Vec<Input>,
    ) -> Outcome {
        let Proof { id, data, .. } = proof;
        let identity = match identified {
            Ok(identity) => identity,
            Err(error) => return Outcome::Reply(Reply::Error(error.with_id(id))),
        };
        let user = identity.user.clone();
        // Behind all that it has asked for before.
        inputs.push(Input::Recheck { session: self.seat, identity: Arc::clone(&identity) });
        self.become_known(identity, data);
        id.map_or(Outcome::Nothing, |id| Outcome::Reply(Reply::Authenticated { id, user, expires }))
    }

    /// Who this is, as the handshake has shown.
    pub(crate) fn become_known(&mut self, identity: Arc<Identity>, data: Option<Payload>) {
        let account = self.account.get_or_insert_default();
        account.identity = Some(identity);
        account.data = data;
    }

    /// Who this is; `None` as long as it has not said so and must.
    pub(crate) fn who<'a>(&'a self, house: &'a House) -> Option<&'a Arc<Identity>> {
        self.account.as_ref().and_then(|account| account.identity.as_ref()).or(house.anonymous.as_ref())
    }

    /// Its name, if it is known and has one.
    pub(crate) fn user<'a>(&'a self, house: &'a House) -> Option<&'a str> {
        self.who(house).and_then(|identity| identity.user.as_deref())
    }

    fn identity<'a>(
        &'a self,
        house: &'a House,
        id: &Option<CommandId>,
    ) -> Result<&'a Identity, CommandError> {
        self.who(house).map(|identity| &**identity).ok_or_else(|| {
            let message = "authenticate first: this server wants to know who asks";
            CommandError::new(ErrorCode::Unauthorized, message).with_id(id.clone())
        })
    }

    fn may_on(
        &self,
        action: Action,
        topic: &Topic,
        id: &Option<CommandId>,
        house: &House,
    ) -> Result<(), CommandError> {
        may_on(self.identity(house, id)?, action, topic).map_err(|error| error.with_id(id.clone()))
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

/// Whether somebody may do this on a topic.
pub(crate) fn may_on(identity: &Identity, action: Action, topic: &Topic) -> Result<(), CommandError> {
    if identity.grants.may_on(action, topic) { Ok(()) } else { Err(forbidden(action, topic.as_str())) }
}

/// Whether somebody may do this on all that a filter can mean.
fn may(
    identity: &Identity,
    action: Action,
    filter: &Filter,
    id: &Option<CommandId>,
) -> Result<(), CommandError> {
    if identity.grants.may(action, filter) {
        Ok(())
    } else {
        Err(forbidden(action, filter.as_str()).with_id(id.clone()))
    }
}

fn forbidden(action: Action, topic: &str) -> CommandError {
    CommandError::new(ErrorCode::Forbidden, format!("may not {} {topic}", action.verb()))
}
