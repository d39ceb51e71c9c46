//! `topichub publish`: many commands on their way at once, each accounted for.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::time::{Instant, sleep_until};
use topichub::Topic;
use topichub::protocol::{Codec, PublishOptions, Published};
use topichub_client::{Error, Hub, State, connect};

use self::Unpublished::{Refused, Unknown, Unsent};
use super::args::PublishArgs;
use super::lines::{Line, Lines, Notation};
use super::{Exit, Failure};

/// The messages that may wait for their replies.
const WINDOW: usize = 256;

/// From a message to some reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// `topichub publish`.
pub(super) fn run(args: PublishArgs) -> Result<(), Failure> {
    actix_rt::System::new().block_on(publish(args))
}

async fn publish(args: PublishArgs) -> Result<(), Failure> {
    let many = args.data.as_deref().is_none_or(|text| text == "-");
    let options = args.label.options(many)?;
    // What is under way when the connection ends is published or not: who asked is to know, so there is no second connection.
    let mut connecting = connect(&args.url.to_string()).codec(args.protocol.codec()).reconnect(false);
    if let Some(token) = args.credential.token() {
        connecting = connecting.header("Authorization", &format!("Bearer {}", token.trim()));
    }
    let hub = connecting.await?;
    let notation = if args.string { Notation::Text } else { Notation::Json };
    let lines = Lines::of(args.data.as_deref(), notation);
    let mut publisher = Publisher {
        hub,
        lines,
        topic: args.topic,
        options: options.map(|options| *options).unwrap_or_default(),
        verbose: args.verbose,
        under_way: FuturesOrdered::new(),
        waiting: BTreeSet::new(),
        replied_at: Instant::now(),
        last: 0,
        published: 0,
        repeated: 0,
        refused: 0,
    };
    let ended = publisher.run().await;
    let mut account = publisher.account();
    if ended.is_err() {
        account.push_str(&publisher.rest());
    }
    let refused = publisher.refused > 0;
    publisher.hub.close().await;
    if ended.is_ok() && refused {
        return Err(Failure { exit: Exit::Refused, text: account });
    }
    eprintln!("{account}");
    ended.map_err(Failure::from)
}

/// Why publishing ends before the last reply.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("no reply for {} s", REPLY_TIMEOUT.as_secs())]
    NoReply,
    #[error("interrupted")]
    Interrupted,
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        let exit = match ended {
            Ended::Client(error) => return error.into(),
            Ended::Input(_) | Ended::Output(_) => Exit::Refused,
            Ended::NoReply => Exit::NoConnection,
            Ended::Interrupted => Exit::Interrupted,
        };
        Failure::new(exit, &ended, None)
    }
}

/// A line on its way, with its number.
type UnderWay = Pin<Box<dyn Future<Output = (i64, Result<Published, Unpublished>)>>>;

/// Why a line has no reply that says where it is.
enum Unpublished {
    Refused(String),
    /// The connection was lost: it is published or not.
    Unknown,
    /// There was no connection any more.
    Unsent,
}

impl From<Error> for Unpublished {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(error) => Refused(error.to_string()),
            Error::TooLong { .. } => Refused(error.to_string()),
            Error::ConnectionLost => Unknown,
            _ => Unsent,
        }
    }
}

struct Publisher {
    hub: Hub,
    lines: Lines,
    topic: Topic,
    options: PublishOptions,
    verbose: bool,
    under_way: FuturesOrdered<UnderWay>,
    /// The numbers of the lines whose replies have not come.
    waiting: BTreeSet<i64>,
    replied_at: Instant,
    /// The last line that was sent.
    last: i64,
    published: u64,
    /// What the server knew already.
    repeated: u64,
    refused: u64,
}

impl Publisher {
    async fn run(&mut self) -> Result<(), Ended> {
        let (mut more, mut unread) = (true, None);
        let mut states = self.hub.states();
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        while more || !self.waiting.is_empty() {
            let deadline = self.replied_at + REPLY_TIMEOUT;
            tokio::select! {
                line = self.lines.next(), if more && self.waiting.len() < WINDOW => {
                    match line {
                        Ok(Some(line)) => self.send(line),
                        Ok(None) => more = false,
                        Err(error) => { more = false; unread = Some(error); }
                    }
                }
                Some((number, outcome)) = self.under_way.next() => self.take(number, outcome)?,
                closed = states.wait_for(|state| matches!(state, State::Closed { .. })) => {
                    let why = match closed.as_deref() {
                        Ok(State::Closed { why: Some(why) }) => why.clone(),
                        _ => Error::Closed,
                    };
                    return Err(self.last_words(why).await);
                }
                () = sleep_until(deadline), if !self.waiting.is_empty() => return Err(Ended::NoReply),
                _ = &mut interrupt => return Err(Ended::Interrupted),
            }
        }
        unread.map_or(Ok(()), |error| Err(Ended::Input(error)))
    }

    fn send(&mut self, line: Line) {
        let number = line.number;
        if self.waiting.is_empty() {
            self.replied_at = Instant::now();
        }
        self.waiting.insert(number);
        self.last = number;
        let payload = match line.payload {
            Ok(payload) => payload,
            Err(why) => {
                return self.under_way.push_back(Box::pin(async move { (number, Err(Refused(why))) }));
            }
        };
        // Begun here, so that lines go in their order.
        let reply = self.hub.publish(&self.topic, payload).options(self.options.clone()).start();
        self.under_way.push_back(Box::pin(async move {
            let outcome = match reply {
                Ok(reply) => reply.await,
                Err(error) => Err(error),
            };
            (number, outcome.map_err(Unpublished::from))
        }));
    }

    /// There is no connection any more: what has been answered before still counts.
    async fn last_words(&mut self, why: Error) -> Ended {
        while let Some((number, outcome)) = self.under_way.next().await {
            if let Err(ended) = self.take(number, outcome) {
                return ended;
            }
        }
        why.into()
    }

    fn take(&mut self, number: i64, outcome: Result<Published, Unpublished>) -> Result<(), Ended> {
        match outcome {
            Ok(published) => {
                self.answered(number);
                if published.duplicate {
                    self.repeated += 1;
                } else {
                    self.published += 1;
                }
                if self.verbose {
                    print(&published).map_err(Ended::Output)?;
                }
            }
            Err(Refused(why)) => {
                self.answered(number);
                self.refuse(number, &why);
            }
            Err(Unknown) => {}
            Err(Unsent) => {
                self.waiting.remove(&number);
                self.last = self.last.min(number - 1);
            }
        }
        Ok(())
    }

    fn answered(&mut self, number: i64) {
        self.replied_at = Instant::now();
        self.waiting.remove(&number);
    }

    fn refuse(&mut self, number: i64, why: &str) {
        eprintln!("{} was not published: {why}", self.lines.name(number));
        self.refused += 1;
    }

    /// What has become of every message.
    fn account(&self) -> String {
        let Self { published, repeated, refused, topic, .. } = self;
        let messages = if *published == 1 { "message" } else { "messages" };
        let mut text = format!("published {published} {messages} to {topic}");
        if *repeated > 0 {
            text.push_str(&format!(", {repeated} published before"));
        }
        if *refused > 0 {
            text.push_str(&format!(", {refused} refused"));
        }
        if let (Some(first), Some(last)) = (self.waiting.first(), self.waiting.last()) {
            let unknown = self.waiting.len();
            text.push_str(&format!(
                ", {unknown} without a reply (lines {first} to {last}: published or not)"
            ));
        }
        text
    }

    /// Where to go on after an early end.
    fn rest(&self) -> String {
        match (&self.lines, self.last) {
            (Lines::Argument(_), _) => String::new(),
            (Lines::Input(_), 0) => "; no line was sent".to_owned(),
            (Lines::Input(_), last) => format!("; nothing after line {last} was sent"),
        }
    }
}

fn print(published: &Published) -> io::Result<()> {
    let mut line = Vec::new();
    Codec::Json.encode_published(published, &mut line);
    line.push(b'\n');
    io::stdout().lock().write_all(&line)
}
