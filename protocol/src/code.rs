//! The two families of codes: an [`ErrorCode`] answers a command and the connection lives, a [`CloseCode`] ends it.
//! Only the words, numbers and verdicts live here; who uses which, and when, is said in `SPEC.md`.

use std::fmt;

/// What went wrong with a command. On the wire it is its [`as_str`](Self::as_str).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The bytes are not a command: syntax, a missing field, a wrong type.
    BadRequest,
    /// There is no such `op`, or not in this version.
    UnknownOp,
    /// A topic or pattern breaks the rules for topics.
    InvalidTopic,
    /// Who asks is not known, and must be.
    Unauthorized,
    /// Who asks is known and may not.
    Forbidden,
    /// The message or one of its parts is over a limit in bytes.
    TooLarge,
    /// Too many commands or messages in too short a time.
    RateLimited,
    /// A limit in number is reached, such as topics per session.
    LimitReached,
    /// There is no such subscription in this session.
    NotSubscribed,
    /// There is such a subscription, and its options cannot be changed in place.
    AlreadySubscribed,
    /// What the command takes for granted is not so (any more).
    Conflict,
    /// The position asked for can no longer be served.
    Unrecoverable,
    /// Nobody is there to answer.
    NoResponders,
    /// No answer came in time.
    Timeout,
    /// The server cannot do it at present.
    Unavailable,
    /// The server failed; the reason is in its own log.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of SPEC.md.
    pub const ALL: [Self; 16] = [
        Self::BadRequest,
        Self::UnknownOp,
        Self::InvalidTopic,
        Self::Unauthorized,
        Self::Forbidden,
        Self::TooLarge,
        Self::RateLimited,
        Self::LimitReached,
        Self::NotSubscribed,
        Self::AlreadySubscribed,
        Self::Conflict,
        Self::Unrecoverable,
        Self::NoResponders,
        Self::Timeout,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownOp => "unknown_op",
            Self::InvalidTopic => "invalid_topic",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::LimitReached => "limit_reached",
            Self::NotSubscribed => "not_subscribed",
            Self::AlreadySubscribed => "already_subscribed",
            Self::Conflict => "conflict",
            Self::Unrecoverable => "unrecoverable",
            Self::NoResponders => "no_responders",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The code behind a word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// Whether the same command, unchanged, may succeed later.
    pub const fn retry(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::NoResponders | Self::Timeout | Self::Unavailable | Self::Internal
        )
    }

    /// The status that carries this code over HTTP (RFC 9110 §15).
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest | Self::UnknownOp | Self::InvalidTopic => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::LimitReached | Self::NotSubscribed | Self::AlreadySubscribed | Self::Conflict => 409,
            Self::Unrecoverable => 410,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::NoResponders | Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a connection is closed: RFC 6455 §7.4.1's own codes, and ours in the application range, where the
/// hundred is the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// Done; nothing is wrong.
    Normal = 1000,
    /// The endpoint goes away: a page is left, a server shuts down for good.
    GoingAway = 1001,
    /// The frames break RFC 6455.
    ProtocolError = 1002,
    /// The wrong frame type for the subprotocol.
    UnsupportedData = 1003,
    /// A text frame that is not UTF-8.
    InvalidPayload = 1007,
    /// A message over the announced limit.
    MessageTooBig = 1009,
    /// The server failed.
    InternalError = 1011,
    /// The server restarts (IANA WebSocket Close Code registry).
    ServiceRestart = 1012,
    /// Who connects is not known, and must be.
    Unauthorized = 4001,
    /// Who connects is known and may not.
    Forbidden = 4003,
    /// This user, address or server has as many connections as it may.
    TooManyConnections = 4004,
    /// An operator ended this session.
    Kicked = 4005,
    /// The first message did not come in time.
    HandshakeTimeout = 4009,
    /// The server has more to do than it can.
    Overloaded = 4101,
    /// Too much sent in too short a time, after errors said so.
    RateLimited = 4102,
    /// No pong answered the server's ping in time.
    NoPong = 4103,
    /// The outbox ran over because the peer reads too slowly.
    SlowConsumer = 4104,
    /// This server drains; another one is ready.
    Drain = 4201,
    /// The token ran out; come back with a fresh one.
    TokenExpired = 4203,
    /// The server lost this session's position; come back and recover.
    PositionLost = 4204,
}

impl CloseCode {
    /// Every code, in rising order.
    pub const ALL: [Self; 20] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::UnsupportedData,
        Self::InvalidPayload,
        Self::MessageTooBig,
        Self::InternalError,
        Self::ServiceRestart,
        Self::Unauthorized,
        Self::Forbidden,
        Self::TooManyConnections,
        Self::Kicked,
        Self::HandshakeTimeout,
        Self::Overloaded,
        Self::RateLimited,
        Self::NoPong,
        Self::SlowConsumer,
        Self::Drain,
        Self::TokenExpired,
        Self::PositionLost,
    ];

    /// The number in the close frame.
    pub const fn as_u16(self) -> u16 {
        self as u16
    }

    /// The code behind a number in a close frame, if it is one of ours.
    pub fn from_u16(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_u16() == number)
    }

    /// Whether and how to come back.
    pub const fn verdict(self) -> Reconnect {
        Reconnect::after_close(self.as_u16())
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_u16())
    }
}

/// Whether a client may come back after a close, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reconnect {
    /// Do not come back as you are.
    Never,
    /// Come back with back-off.
    Later,
    /// Come back now and resume.
    Now,
}

impl Reconnect {
    /// The verdict on any close code, also one of a later version or one that never crosses the wire (1005, 1006).
    ///
    /// 40xx and what the client itself did or meant (1000, 1002, 1003, 1007, 1009): never. 42xx: now.
    /// All else, a broken line included: later.
    pub const fn after_close(number: u16) -> Self {
        match number {
            1000 | 1002 | 1003 | 1007 | 1009 | 4000..=4099 => Self::Never,
            4200..=4299 => Self::Now,
            _ => Self::Later,
        }
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Later => "later",
            Self::Now => "now",
        }
    }

    /// The verdict behind a word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Never, Self::Later, Self::Now].into_iter().find(|verdict| verdict.as_str() == word)
    }
}

impl fmt::Display for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
