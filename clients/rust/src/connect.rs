//! How a Hub begins: its address, and how it is to behave.

use std::error::Error as StdError;
use std::future::{Future, IntoFuture};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use topichub_protocol::{Codec, Payload};

use crate::address::{AddressError, ServerUrl};
use crate::ask::Waiting;
use crate::backlog::Full;
use crate::backoff::Backoff;
use crate::driver::{Driver, Parts, TokenSource};
use crate::error::Error;
use crate::hub::{Hub, State};
use crate::orders::Offline;
use crate::session::{Identity, Options, Proof};
use crate::transport::Settings;

/// The commands that may wait for their replies at once; more wait for these.
const WINDOW: usize = 1024;

/// The messages that may wait for a reader, if nothing else is said.
const BUFFER: usize = 1000;

/// The longest message that is taken from a server, if nothing else is said.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Connects to a server: `ws://` or `http://`, over TLS `wss://` or `https://`. Without a path it is `/ws`.
///
/// `.await` on what is returned gives the [`Hub`] when the connection is open, or says why it could not be opened.
/// `.start()` gives it at once, and connects until it has succeeded.
pub fn connect(url: &str) -> Connect {
    Connect {
        url: url.parse(),
        codec: Codec::Json,
        identity: Identity::default(),
        tokens: None,
        headers: Vec::new(),
        backoff: Backoff::default(),
        reconnects: true,
        offline: Offline::default(),
        buffer: BUFFER,
        full: Full::default(),
        message_bytes_max: MESSAGE_BYTES_MAX,
        compression: false,
        #[cfg(feature = "rustls")]
        tls: None,
    }
}

/// A Hub to be: see [`connect()`].
#[must_use = "nothing is connected before .await or .start()"]
pub struct Connect {
    url: Result<ServerUrl, AddressError>,
    codec: Codec,
    identity: Identity,
    tokens: Option<TokenSource>,
    headers: Vec<(String, String)>,
    backoff: Backoff,
    reconnects: bool,
    offline: Offline,
    buffer: usize,
    full: Full,
    message_bytes_max: usize,
    compression: bool,
    #[cfg(feature = "rustls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Connect {
    /// How messages go over the wire; [`Codec::Json`] if nothing is said. What is published and read is the same in both.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Shows a token or an API key, after every reconnect the same.
    pub fn token(mut self, token: &str) -> Self {
        self.identity.credential = Proof::Token(token.trim().into());
        self
    }

    /// Asks the program for a token: before the first connection, when the server says that it is about to run out, and once
    /// more when it was refused. It may take 30 s. If it fails, the Hub waits and asks again.
    pub fn token_from<F, T, E>(mut self, source: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.identity.credential = Proof::Callback;
        self.tokens = Some(Arc::new(move || {
            let token = source();
            Box::pin(async { token.await.map_err(|error| Error::Token(error.into().to_string().into())) })
        }));
        self
    }

    /// Says a name, for servers that believe it: 1 to 128 bytes.
    pub fn user(mut self, user: &str) -> Self {
        self.identity.credential = Proof::User(user.into());
        self
    }

    /// What others see of us beside the name, where we are present: 1,024 bytes at most.
    pub fn user_data(mut self, data: Payload) -> Self {
        self.identity.data = Some(data);
        self
    }

    /// A header of the handshake, such as a proxy may want. A token is better shown by [`token`](Self::token): it can be
    /// renewed there.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long to wait between connections: at random up to 500 ms, doubling up to 30 s, if nothing is said.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Whether to come back at all; `true` if nothing is said. Else the end of the first connection is that of the Hub.
    pub fn reconnect(mut self, reconnects: bool) -> Self {
        self.reconnects = reconnects;
        self
    }

    /// What becomes of what is published while there is no connection; [`Offline::Reject`] if nothing is said.
    pub fn offline(mut self, offline: Offline) -> Self {
        self.offline = offline;
        self
    }

    /// How many messages may wait for the reader of a subscription that says nothing else; 1,000.
    pub fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages;
        self
    }

    /// What happens if as many wait; [`Full::Drop`].
    pub fn full(mut self, full: Full) -> Self {
        self.full = full;
        self
    }

    /// The longest WebSocket message that is taken from the server, in bytes and inflated; 64 MiB if nothing is said. A
    /// longer one ends the connection.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Whether to offer permessage-deflate (RFC 7692), so that the server may compress what it sends: fewer bytes on the way for more work at both ends.
    /// `false` if nothing is said, because most programs in Rust are near their server. What we send is never compressed.
    pub fn compression(mut self, compression: bool) -> Self {
        self.compression = compression;
        self
    }

    /// What TLS trusts and shows; the certificates of this machine, if nothing is said.
    #[cfg(feature = "rustls")]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Begins to connect, and goes on until it has succeeded or the server says not to.
    ///
    /// # Errors
    /// If the address is none, or if this is called outside of a tokio runtime.
    pub fn start(self) -> Result<Hub, Error> {
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let url = Arc::new(self.url?);
        #[cfg(feature = "rustls")]
        let tls = match self.tls {
            None if url.is_tls() => Some(crate::tls::config(&url)?),
            given => given,
        };
        let settings = Settings {
            url: Arc::clone(&url),
            codec: self.codec,
            headers: self.headers,
            message_bytes_max: self.message_bytes_max,
            compression: self.compression,
            #[cfg(feature = "rustls")]
            tls,
        };
        let options = Options {
            url,
            codec: self.codec,
            backoff: self.backoff,
            reconnects: self.reconnects,
            offline: self.offline,
            identity: self.identity,
        };
        let (sender, jobs) = mpsc::unbounded_channel();
        let (state, states) = watch::channel(State::Connecting);
        let room = Arc::new(Notify::new());
        let window = match self.offline {
            Offline::Reject => WINDOW,
            Offline::Queue { messages, .. } => WINDOW.max(messages.saturating_add(1)),
        };
        let hub = Hub::new(sender, states, Arc::clone(&room), window, (self.buffer, self.full));
        runtime.spawn(Driver::run(Parts { settings, options, tokens: self.tokens, jobs, state, room }));
        Ok(hub)
    }
}

impl IntoFuture for Connect {
    type Output = Result<Hub, Error>;
    type IntoFuture = Waiting<Hub>;

    /// Begins to connect, and waits for the outcome of the first attempt.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async {
            let hub = self.start()?;
            let mut states = hub.states();
            let outcome = states.wait_for(|state| !matches!(state, State::Connecting)).await;
            match outcome.as_deref() {
                Ok(State::Waiting { why, .. } | State::Closed { why: Some(why) }) => Err(why.clone()),
                Ok(State::Open { .. }) => {
                    drop(outcome);
                    Ok(hub)
                }
                _ => Err(Error::Closed),
            }
        })
    }
}
