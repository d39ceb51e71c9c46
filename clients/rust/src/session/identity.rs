//! Who we are to the server: a name, a token, or whatever token the program has by then.

use std::fmt;
use std::time::Duration;

use topichub_protocol::command::{Authenticate, CommandError};
use topichub_protocol::{Credential, ErrorCode, Operation, Payload};

use super::named::Stage;
use super::{Output, Phase, Session, Waiting};
use crate::backoff::believed;
use crate::error::Error;

/// Who we are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) credential: Proof,
    /// What others see of us beside the name.
    pub(crate) data: Option<Payload>,
}

/// What shows it.
#[derive(Clone, Default)]
pub(crate) enum Proof {
    /// Nothing is said.
    #[default]
    Nothing,
    /// A name that the server is to believe.
    User(Box<str>),
    /// One token for as long as it holds.
    Token(Box<str>),
    /// The program is asked for a token, and again when it ends.
    Callback,
}

impl fmt::Debug for Proof {
    /// Tokens are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::User(_) => "User",
            Self::Token(_) => "Token",
            Self::Callback => "Callback",
        })
    }
}

/// What is known of it by now.
pub(super) struct Login {
    token: Option<Box<str>>,
    is_fetching: bool,
    /// A token has been refused, and the program is or was asked for another.
    second_chance: bool,
    /// When to ask the program, or the server, again.
    again: Option<Duration>,
    failures: u32,
}

impl Login {
    pub(super) fn new(identity: &Identity) -> Self {
        let token = match &identity.credential {
            Proof::Token(token) => Some(token.clone()),
            _ => None,
        };
        Self { token, is_fetching: false, second_chance: false, again: None, failures: 0 }
    }

    pub(super) fn is_second_chance(&self) -> bool {
        self.second_chance
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.again
    }

    pub(super) fn forget_schedule(&mut self) {
        self.again = None;
    }
}

impl Session {
    fn can_fetch(&self) -> bool {
        matches!(self.options.identity.credential, Proof::Callback)
    }

    fn fetch(&mut self) {
        if !self.login.is_fetching {
            self.login.is_fetching = true;
            self.output.push_back(Output::FetchToken);
        }
    }

    /// Whether a token is to be waited for before connecting.
    pub(super) fn must_fetch(&mut self) -> bool {
        let must = self.can_fetch() && self.login.token.is_none();
        if must {
            self.fetch();
        }
        must
    }

    /// The token has been refused or has run out. Whether the program may be asked for another one.
    pub(super) fn token_is_spent(&mut self, was_refused: bool) -> bool {
        if !self.can_fetch() || (was_refused && self.login.second_chance) {
            return false;
        }
        self.login.second_chance |= was_refused;
        self.login.token = None;
        true
    }

    /// What the program says to [`Output::FetchToken`].
    pub(crate) fn token(&mut self, token: Result<String, Error>, now: Duration) {
        self.login.is_fetching = false;
        match (token, self.phase) {
            (_, Phase::Closed) => {}
            (Ok(token), phase) => {
                self.login.failures = 0;
                self.login.token = Some(token.trim().into());
                match phase {
                    Phase::Token => self.connect(now),
                    Phase::Open { .. } => self.authenticate(now),
                    _ => {}
                }
            }
            (Err(why), Phase::Token) => self.lose(why, now),
            (Err(why), Phase::Open { .. }) if self.login.token.is_none() => self.break_off(why, 1000, now),
            (Err(_), _) => {
                // The one we have holds for a while yet.
                let spread = self.options.backoff.spread(self.login.failures.max(1));
                self.login.failures = self.login.failures.saturating_add(1);
                self.login.again = Some(now.saturating_add(spread));
            }
        }
    }

    /// The token is about to run out.
    pub(super) fn renew(&mut self) {
        if self.can_fetch() {
            self.fetch();
        }
    }

    /// The time of `again` has come.
    pub(super) fn log_in_again(&mut self, now: Duration) {
        if self.login.again.is_some_and(|at| at <= now) {
            self.login.again = None;
            if self.can_fetch() { self.fetch() } else { self.authenticate(now) }
        }
    }

    /// Says who we are, if we are anybody. Commands that follow wait for the answer at the server.
    pub(super) fn authenticate(&mut self, now: Duration) {
        let credential = match (&self.options.identity.credential, &self.login.token) {
            (Proof::User(user), _) => Credential::User(user.clone()),
            (_, Some(token)) => Credential::Token(token.clone()),
            (_, None) => return,
        };
        let authenticate = Authenticate { credential, data: self.options.identity.data.clone() };
        if let Err(why) = self.send(Operation::Authenticate(authenticate), Waiting::Authenticate) {
            self.give_up(why, now);
        }
    }

    pub(super) fn authenticated(&mut self, now: Duration) {
        self.login.second_chance = false;
        self.login.failures = 0;
        // Those that were refused for want of the token.
        let unasked = self.names.iter().filter(|named| named.stage == Stage::Unasked);
        let unasked: Vec<_> = unasked.map(|named| named.number).collect();
        for number in unasked {
            self.ask(number, now);
        }
    }

    pub(super) fn not_authenticated(&mut self, error: CommandError, now: Duration) {
        if error.code.retry() {
            let fraction = (self.random)();
            let spread = self.options.backoff.spread(self.login.failures).mul_f64(fraction);
            self.login.failures = self.login.failures.saturating_add(1);
            let wait = believed(error.after.unwrap_or_default()).saturating_add(spread);
            self.login.again = Some(now.saturating_add(wait));
        } else if error.code == ErrorCode::Unauthorized && self.token_is_spent(true) {
            self.fetch();
        } else {
            self.give_up(Error::Unauthorized(error.into()), now);
        }
    }
}
