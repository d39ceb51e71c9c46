//! One connection after the other: opening, silence, the end, and when to come back.

use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::push::Welcome;
use topichub_protocol::{CloseCode, Reconnect};

use super::named::Stage;
use super::{Output, Phase, Session, Waiting};
use crate::error::Error;
use crate::hub::State;

/// From the first packet to `welcome`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after the time of a ping it is waited for.
const PING_GRACE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) verdict: Reconnect,
    pub(crate) after: Duration,
    /// The answer was 401.
    pub(crate) is_unauthorized: bool,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By the server's close frame; 1005 if it had no code.
    Closed { code: u16, reason: String },
    /// Without one.
    Lost(String),
}

impl Session {
    /// Makes for a connection.
    pub(super) fn begin(&mut self, now: Duration) {
        self.set_state(State::Connecting);
        if self.must_fetch() {
            self.phase = Phase::Token;
        } else {
            self.connect(now);
        }
    }

    pub(super) fn connect(&mut self, now: Duration) {
        self.phase = Phase::Connecting { since: now };
        self.output.push_back(Output::Connect);
    }

    /// The handshake has succeeded; `welcome` is to come.
    pub(crate) fn opened(&mut self, now: Duration) {
        self.heard_at = now;
    }

    pub(super) fn welcome(&mut self, welcome: &Welcome, now: Duration) {
        let Phase::Connecting { .. } = self.phase else { return };
        self.phase = Phase::Open { since: now };
        self.ping = welcome.ping;
        self.message_bytes_max = usize::try_from(welcome.limits.message_bytes).ok();
        self.set_state(State::Open { session: welcome.session.as_str().into() });
        self.authenticate(now);
        self.ask_all(now);
        for order in self.shelf.take() {
            self.send_order(order);
        }
    }

    /// The handshake has failed.
    pub(crate) fn refused(&mut self, refusal: Refusal, now: Duration) {
        let Refusal { error, mut verdict, after, is_unauthorized } = refusal;
        if is_unauthorized && self.token_is_spent(true) {
            verdict = Reconnect::Now;
        }
        self.come_back(error, verdict, after, now);
    }

    /// The connection has ended.
    pub(crate) fn ended(&mut self, end: End, now: Duration) {
        let goodbye = self.goodbye.take();
        let mut after = Duration::ZERO;
        let (code, error) = match (goodbye, end) {
            (Some(goodbye), _) => {
                after = goodbye.after.unwrap_or_default();
                let code = goodbye.code;
                (Some(code), Error::ClosedByServer { code, reason: goodbye.reason.into() })
            }
            (None, End::Closed { code, reason }) => {
                (Some(code), Error::ClosedByServer { code, reason: reason.into() })
            }
            (None, End::Lost(why)) => (None, Error::Lost(why.into())),
        };
        let mut verdict = code.map_or(Reconnect::Later, Reconnect::after_close);
        if code == Some(CloseCode::TokenExpired.as_u16()) {
            self.token_is_spent(false);
        } else if code == Some(CloseCode::Unauthorized.as_u16()) && self.token_is_spent(true) {
            verdict = Reconnect::Now;
        }
        self.come_back(error, verdict, after, now);
    }

    /// What the server said cannot be read.
    pub(crate) fn unreadable(&mut self, why: &str, now: Duration) {
        self.break_off(Error::Unreadable(why.into()), CloseCode::ProtocolError.as_u16(), now);
    }

    /// Ends the connection from this side, to come back later.
    pub(super) fn break_off(&mut self, error: Error, code: u16, now: Duration) {
        self.output.push_back(Output::Disconnect(Some(code)));
        self.lose(error, now);
    }

    pub(super) fn lose(&mut self, error: Error, now: Duration) {
        self.come_back(error, Reconnect::Later, Duration::ZERO, now);
    }

    /// Ends the connection from this side, for good.
    pub(super) fn give_up(&mut self, error: Error, now: Duration) {
        self.output.push_back(Output::Disconnect(Some(CloseCode::Normal.as_u16())));
        self.come_back(error, Reconnect::Never, Duration::ZERO, now);
    }

    fn come_back(&mut self, error: Error, verdict: Reconnect, after: Duration, now: Duration) {
        if self.is_closed() {
            return;
        }
        let open = match self.phase {
            Phase::Open { since } => Some(now.saturating_sub(since)),
            _ => None,
        };
        if verdict == Reconnect::Never || !self.options.reconnects {
            return self.finish(Some(error));
        }
        let fraction = (self.random)();
        let wait = self.attempts.wait(self.options.backoff, verdict, open, after, fraction);
        self.phase = Phase::Waiting { until: now.saturating_add(wait) };
        self.goodbye = None;
        self.message_bytes_max = None;
        self.login.forget_schedule();
        for named in self.names.iter_mut() {
            named.stage = Stage::Unasked;
        }
        self.drop_waiting(&Error::ConnectionLost);
        self.set_state(State::Waiting { why: error, retry_in: wait });
    }

    /// Nothing is answered any more: what may be said again waits for the next connection.
    fn drop_waiting(&mut self, why: &Error) {
        let mut waiting: Vec<_> = self.waiting.drain().collect();
        waiting.sort_unstable_by_key(|(id, _)| *id);
        let mut again = Vec::new();
        for (_, waiting) in waiting {
            match waiting {
                Waiting::Order(order) if order.is_repeatable() && !matches!(self.phase, Phase::Closed) => {
                    again.push(order);
                }
                Waiting::Change { ticket, .. } => {
                    self.output.push_back(Output::Settle(ticket, Err(why.clone())));
                }
                Waiting::Order(order) => {
                    self.output.push_back(Output::Settle(order.ticket, Err(why.clone())))
                }
                Waiting::Authenticate | Waiting::Subscribe(..) | Waiting::Unsubscribe => {}
            }
        }
        self.shelf.put_back(again);
    }

    /// Ends everything because the program says so.
    pub(crate) fn close(&mut self) {
        if !self.is_closed() {
            self.output.push_back(Output::Disconnect(Some(CloseCode::Normal.as_u16())));
            self.finish(None);
        }
    }

    fn finish(&mut self, why: Option<Error>) {
        self.phase = Phase::Closed;
        self.closed_by.clone_from(&why);
        let failure = why.clone().unwrap_or(Error::Closed);
        self.drop_waiting(&why.as_ref().map_or(Error::Closed, |_| Error::ConnectionLost));
        for order in self.shelf.take() {
            self.output.push_back(Output::Settle(order.ticket, Err(failure.clone())));
        }
        for named in std::mem::take(&mut self.names).into_list() {
            for reader in named.readers {
                self.output.push_back(Output::End(reader, why.clone()));
            }
        }
        self.set_state(State::Closed { why });
    }

    /// When [`tick`](Self::tick) is due at the latest, if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Token | Phase::Closed => None,
            Phase::Connecting { since } => Some(since.saturating_add(CONNECT_TIMEOUT)),
            Phase::Waiting { until } => Some(until),
            Phase::Open { .. } => {
                let retries = self.names.iter().filter_map(|named| match named.stage {
                    Stage::Retry { at } => Some(at),
                    _ => None,
                });
                retries.chain(self.login.deadline()).chain([self.silence_ends()]).min()
            }
        }
    }

    fn silence_ends(&self) -> Duration {
        self.heard_at.saturating_add(self.ping).saturating_add(PING_GRACE)
    }

    /// The clock has gone on.
    pub(crate) fn tick(&mut self, now: Duration) {
        match self.phase {
            Phase::Connecting { since } if now >= since.saturating_add(CONNECT_TIMEOUT) => {
                self.output.push_back(Output::Disconnect(None));
                let url = Arc::clone(&self.options.url);
                self.lose(Error::NoAnswer { url, within: CONNECT_TIMEOUT }, now);
            }
            Phase::Open { .. } if now >= self.silence_ends() => {
                self.output.push_back(Output::Disconnect(None));
                self.lose(Error::Silent(self.ping.saturating_add(PING_GRACE)), now);
            }
            Phase::Open { .. } => {
                self.ask_again(now);
                self.log_in_again(now);
            }
            Phase::Waiting { until } if now >= until => self.begin(now),
            _ => {}
        }
    }
}
