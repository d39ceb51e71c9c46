//! What can go wrong, in one type, with what to do about it.
//! Two families as on the wire: the answer to one command, after which all else goes on, and the end of a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use topichub_protocol::command::CommandError;
use topichub_protocol::{ErrorCode, Filter, PayloadError, Reconnect, TopicError};

use crate::address::{AddressError, ServerUrl};

/// Why something was not done, or will not come any more.
///
/// Cheap to clone: one lost connection ends many things.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The text given to [`connect`](crate::connect()) is not the address of a server.
    #[error("not the address of a server: {0}")]
    Address(#[from] AddressError),
    /// The name is not a topic, or not a pattern.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The data cannot be published, or not read as the type asked for.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// An option that cannot be meant: empty, too long, beyond a limit of the protocol.
    #[error("{0}")]
    Option(Arc<str>),
    /// There is no tokio runtime to live in.
    #[error("there is no tokio runtime here to live in")]
    NoRuntime,

    /// The server answered a command, or a subscription, with an error.
    #[error("the server refused: {0}")]
    Refused(Arc<CommandError>),
    /// The server ended a subscription.
    #[error("the server ended the subscription to {filter}: {code}")]
    Unsubscribed {
        /// Which one.
        filter: Filter,
        /// Why.
        code: ErrorCode,
    },
    /// The subscription has ended already.
    #[error("the subscription has ended")]
    Ended,
    /// There is a subscription of this Hub to the same name with other options.
    #[error("there is a subscription to {0} with other options")]
    AlreadySubscribed(Filter),
    /// A subscription was not read, and its buffer is set to [`Full::Error`](crate::Full::Error).
    #[error("the subscription to {filter} was not read: {max} messages were waiting, which is the limit")]
    Overflow {
        /// Which one.
        filter: Filter,
        /// The limit.
        max: usize,
    },
    /// A command is longer than the server takes; it was not sent, because the server would close the connection.
    #[error("the message has {len} bytes on the wire, the server takes at most {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The server's limit.
        max: usize,
    },

    /// There is no connection at the moment, and it was not to be waited for.
    #[error("not connected")]
    NotConnected,
    /// There is no connection at the moment, and as much waits for one as may.
    #[error("not connected, and {messages} messages of {bytes} bytes wait already, which is the limit")]
    OfflineFull {
        /// How many wait.
        messages: usize,
        /// How long they are together.
        bytes: usize,
    },
    /// As many commands wait for their replies as may, and this one was not to wait for its turn.
    #[error("as many commands wait for their replies as may")]
    Busy,
    /// The connection was lost before the reply had come: the command was carried out or not.
    #[error("the connection was lost before the reply had come")]
    ConnectionLost,
    /// The Hub was closed by the program.
    #[error("the hub is closed")]
    Closed,

    /// No connection could be opened.
    #[error("cannot connect to {url}")]
    Unreachable {
        /// The server.
        url: Arc<ServerUrl>,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Whoever is there does not speak with us: another program, a proxy, a captive portal.
    #[error("no TopicHub at {url}: {why}")]
    Stranger {
        /// The server.
        url: Arc<ServerUrl>,
        /// What was answered.
        why: Arc<str>,
        /// The code in it, if there was one.
        code: Option<ErrorCode>,
    },
    /// The handshake was refused: who asks is not known (401), or may not (403).
    #[error("{url} does not let us in: {why}")]
    NotLetIn {
        /// The server.
        url: Arc<ServerUrl>,
        /// What was answered.
        why: Arc<str>,
        /// The code in it, if there was one.
        code: Option<ErrorCode>,
    },
    /// The handshake was refused for now (429, 503).
    #[error("{url} takes no more connections now: {why}")]
    Full {
        /// The server.
        url: Arc<ServerUrl>,
        /// What was answered.
        why: Arc<str>,
        /// When to try again, if that was said.
        after: Option<Duration>,
    },
    /// It took too long.
    #[error("{url} did not answer within {} s", .within.as_secs())]
    NoAnswer {
        /// The server.
        url: Arc<ServerUrl>,
        /// How long it was waited for.
        within: Duration,
    },
    /// The server closed the connection.
    #[error("the server closed the connection: {code}{}{reason}", if reason.is_empty() { "" } else { " " })]
    ClosedByServer {
        /// The close code (SPEC §8); 1005 if it said none.
        code: u16,
        /// Why, in the server's words.
        reason: Arc<str>,
    },
    /// The connection ended without a close.
    #[error("the connection was lost: {0}")]
    Lost(Arc<str>),
    /// Nothing was heard for too long.
    #[error("the connection was lost: nothing heard for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server says what is not of this protocol.
    #[error("the server said something that is not of this protocol: {0}")]
    Unreadable(Arc<str>),
    /// The server does not take our token.
    #[error("the server does not know us: {}", .0.message)]
    Unauthorized(Arc<CommandError>),
    /// The program could not come by a token.
    #[error("there is no token: {0}")]
    Token(Arc<str>),
}

/// What to do about an error, if anything can be said.
pub type Advice = Option<&'static str>;

impl Error {
    /// The word for programs: that of the server (SPEC §7) where it has given one, else our own in the same style.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::Option(_) | Self::Payload(_) => "bad_request",
            Self::Topic(_) => "invalid_topic",
            Self::NoRuntime => "no_runtime",
            Self::Refused(error) | Self::Unauthorized(error) => error.code.as_str(),
            Self::Unsubscribed { code, .. } => code.as_str(),
            Self::Ended => "not_subscribed",
            Self::AlreadySubscribed(_) => "already_subscribed",
            Self::Overflow { .. } => "buffer_overflow",
            Self::TooLong { .. } => "too_large",
            Self::NotConnected => "not_connected",
            Self::OfflineFull { .. } => "offline_full",
            Self::Busy => "busy",
            Self::ConnectionLost => "connection_lost",
            Self::Closed | Self::ClosedByServer { .. } => "closed",
            Self::Unreachable { .. } => "unreachable",
            Self::Stranger { code: Some(code), .. } | Self::NotLetIn { code: Some(code), .. } => {
                code.as_str()
            }
            Self::Stranger { .. } => "no_topichub",
            Self::NotLetIn { .. } => "unauthorized",
            Self::Full { .. } => "unavailable",
            Self::NoAnswer { .. } | Self::Silent(_) => "timeout",
            Self::Lost(_) => "lost",
            Self::Unreadable(_) => "unreadable",
            Self::Token(_) => "no_token",
        }
    }

    /// Whether the same, unchanged, may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(error) => error.code.retry(),
            Self::ClosedByServer { code, .. } => Reconnect::after_close(*code) != Reconnect::Never,
            Self::NotConnected
            | Self::OfflineFull { .. }
            | Self::Busy
            | Self::ConnectionLost
            | Self::Unreachable { .. }
            | Self::Full { .. }
            | Self::NoAnswer { .. }
            | Self::Lost(_)
            | Self::Silent(_) => true,
            _ => false,
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> Advice {
        Some(match self {
            Self::NoRuntime => "call it within #[tokio::main] or Runtime::block_on",
            Self::AlreadySubscribed(_) => {
                "share that subscription or change it, end it first, or use a second Hub"
            }
            Self::Overflow { .. } => "read faster, raise `buffer`, or choose another policy by `full`",
            Self::TooLong { .. } => "send less at once, or raise message_bytes_max of the server",
            Self::NotConnected => "wait for `opened()`, or set `offline` to queue",
            Self::OfflineFull { .. } => "wait for `opened()`, or raise the limits of `offline`",
            Self::Busy => "await some of them first, or use .await in place of .start()",
            Self::ConnectionLost => "publish again under the same `dedup`: the server takes it once",
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "is the server running? start one with: topichub serve"
            }
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                "does the server speak TLS, with a certificate this machine trusts? without TLS begin with ws://"
            }
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
                "build topichub-client with its feature `rustls`"
            }
            Self::Unreachable { .. } | Self::NoAnswer { .. } => {
                "is the address right, and can it be reached from here?"
            }
            Self::Stranger { .. } => {
                "is the address right? TopicHub's WebSocket is at /ws, over TLS begin with wss://"
            }
            Self::NotLetIn { .. } | Self::Unauthorized(_) => "show a valid token or API key",
            Self::Full { .. } => "try again later",
            Self::ClosedByServer { code, .. } => match Reconnect::after_close(*code) {
                Reconnect::Never => return None,
                Reconnect::Later => "try again later",
                Reconnect::Now => "connect again",
            },
            _ => return None,
        })
    }
}
