//! What is counted, each with its place in a tally. Labels come from small fixed sets: there are as many figures as this
//! says, whatever peers do.

use topichub_protocol::code::{CloseCode, ErrorCode};
use topichub_protocol::push::GapReason;

use crate::hub::published::Class;

/// One number that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figure(pub(super) usize);

/// What a session can ask for, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Authenticate,
    Subscribe,
    Unsubscribe,
    Publish,
    Request,
    Reply,
    History,
    Presence,
    Ping,
}

impl Op {
    pub(crate) const ALL: [Self; 9] = [
        Self::Authenticate,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Publish,
        Self::Request,
        Self::Reply,
        Self::History,
        Self::Presence,
        Self::Ping,
    ];

    /// The word on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish => "publish",
            Self::Request => "request",
            Self::Reply => "reply",
            Self::History => "history",
            Self::Presence => "presence",
            Self::Ping => "ping",
        }
    }
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) const ALL: [Self; 2] = [Self::Client, Self::Server];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// The codes that peers may send too, and two for closes without any.
const NO_CODE: u16 = 1005;
pub(crate) const NO_CLOSE_FRAME: u16 = 1006;

/// Which codes are counted by themselves; behind them stand all others as one.
const OURS: usize = CloseCode::ALL.len();
const CLOSES: usize = OURS + 3;

impl Figure {
    /// Of WebSocket traffic, frames and all, but not what TLS adds.
    pub(crate) const BYTES_IN: Self = Self(0);
    pub(crate) const BYTES_OUT: Self = Self(1);
    /// WebSocket messages: commands.
    pub(crate) const MESSAGES_IN: Self = Self(2);
    /// WebSocket messages: replies and pushes.
    pub(crate) const MESSAGES_OUT: Self = Self(3);
    /// Published messages, once for each subscriber who gets them.
    pub(crate) const DELIVERIES: Self = Self(4);
    /// The same of those that were published before.
    pub(crate) const REPLAYED: Self = Self(5);
    /// Connections given up because their readers were too slow.
    pub(crate) const SLOW_CONSUMERS: Self = Self(6);
    pub(crate) const PUBLISHES: Self = Self(7);
    pub(crate) const REQUESTS: Self = Self(8);
    pub(crate) const REPLAYS: Self = Self(9);
    pub(crate) const PRESENCE_CHANGES: Self = Self(10);
    pub(crate) const HANDOUTS: Self = Self(11);
    pub(crate) const SUBSCRIPTIONS: Self = Self(12);
    pub(crate) const GROUP_MEMBERS: Self = Self(13);
    pub(crate) const TOPICS: Self = Self(14);
    pub(crate) const HISTORY_BYTES: Self = Self(15);
    pub(crate) const OUTBOX_BYTES: Self = Self(16);

    const SESSIONS: usize = 17;
    const OPENED: usize = Self::SESSIONS + Class::ENCODED;
    const COMMANDS: usize = Self::OPENED + Class::ENCODED;
    const ERRORS: usize = Self::COMMANDS + Op::ALL.len();
    const DROPPED: usize = Self::ERRORS + ErrorCode::ALL.len();
    const GAPS: usize = Self::DROPPED + GapReason::ALL.len();
    const CLOSED: usize = Self::GAPS + GapReason::ALL.len();
    /// How many figures there are.
    pub(super) const COUNT: usize = Self::CLOSED + CLOSES * Side::ALL.len();

    /// Sessions there are that take this form.
    pub(crate) fn sessions(class: Class) -> Self {
        Self(Self::SESSIONS + class as usize)
    }

    /// Sessions there have been.
    pub(crate) fn opened(class: Class) -> Self {
        Self(Self::OPENED + class as usize)
    }

    /// Commands that were sound and permitted.
    pub(crate) fn commands(op: Op) -> Self {
        Self(Self::COMMANDS + op as usize)
    }

    /// Commands that were answered with an error.
    pub(crate) fn errors(code: ErrorCode) -> Self {
        Self(Self::ERRORS + code as usize)
    }

    /// Messages that a slow reader does not get.
    pub(crate) fn dropped(why: GapReason) -> Self {
        Self(Self::DROPPED + why as usize)
    }

    /// Gaps that were announced.
    pub(crate) fn gaps(why: GapReason) -> Self {
        Self(Self::GAPS + why as usize)
    }

    /// Connections that ended with this code.
    pub(crate) fn closed(code: u16, by: Side) -> Self {
        let ours = CloseCode::ALL.iter().position(|ours| ours.as_u16() == code);
        let place = ours.unwrap_or(match code {
            NO_CODE => OURS,
            NO_CLOSE_FRAME => OURS + 1,
            _ => OURS + 2,
        });
        Self(Self::CLOSED + by as usize * CLOSES + place)
    }

    /// The codes of connections that ended, by name.
    pub(crate) fn all_closed(by: Side) -> impl Iterator<Item = (String, Self)> {
        let codes = CloseCode::ALL.into_iter().map(CloseCode::as_u16).chain([NO_CODE, NO_CLOSE_FRAME]);
        codes
            .map(|code| code.to_string())
            .chain(["other".to_owned()])
            .enumerate()
            .map(move |(place, name)| (name, Self(Self::CLOSED + by as usize * CLOSES + place)))
    }

    /// Whether it goes up and down, rather than only up.
    pub(crate) fn is_level(self) -> bool {
        (Self::SUBSCRIPTIONS.0..Self::OPENED).contains(&self.0)
    }
}
