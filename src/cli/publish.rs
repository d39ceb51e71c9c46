//! `topichub publish`: many commands on their way at once, each accounted for.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use topichub::Topic;
use topichub::protocol::{
    Codec, Command, CommandId, Operation, Publish, PublishOptions, Published, Push, Reply, ServerMessage,
};

use super::args::PublishArgs;
use super::connection::Connection;
use super::connection_error::ConnectionError;
use super::lines::{Line, Lines, Notation};
use super::{Exit, Failure};

/// The messages that may wait for their replies.
const WINDOW: usize = 256;

/// How long we read on after a write has failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// From a message to some reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// `topichub publish`.
pub(super) fn run(args: PublishArgs) -> Result<(), Failure> {
    actix_rt::System::new().block_on(publish(args))
}

async fn publish(args: PublishArgs) -> Result<(), Failure> {
    let many = args.data.as_deref().is_none_or(|text| text == "-");
    let options = args.label.options(many)?;
    let connection = Connection::open(&args.url, args.protocol.codec(), args.credential.token()).await?;
    let notation = if args.string { Notation::Text } else { Notation::Json };
    let lines = Lines::of(args.data.as_deref(), notation);
    let mut publisher = Publisher {
        connection,
        lines,
        topic: args.topic,
        options,
        verbose: args.verbose,
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
    publisher.connection.close().await;
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
    Connection(#[from] ConnectionError),
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
            Ended::Connection(error) => return error.into(),
            Ended::Input(_) | Ended::Output(_) => Exit::Refused,
            Ended::NoReply => Exit::NoConnection,
            Ended::Interrupted => Exit::Interrupted,
        };
        Failure::new(exit, &ended, None)
    }
}

struct Publisher {
    connection: Connection,
    lines: Lines,
    topic: Topic,
    options: Option<Box<PublishOptions>>,
    verbose: bool,
    /// The lines whose replies have not come; the number of a line is the id of its command.
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
        while more || !self.waiting.is_empty() {
            let deadline = self.replied_at + REPLY_TIMEOUT;
            tokio::select! {
                line = self.lines.next(), if more && self.waiting.len() < WINDOW => {
                    let sent = match line {
                        Ok(Some(line)) => self.send(line).await,
                        Ok(None) => { more = false; Ok(()) }
                        Err(error) => { more = false; unread = Some(error); self.connection.flush().await }
                    };
                    if let Err(lost) = sent {
                        return Err(self.last_words(lost).await);
                    }
                }
                message = self.connection.receive() => self.take(message?)?,
                () = sleep_until(deadline), if !self.waiting.is_empty() => return Err(Ended::NoReply),
                _ = tokio::signal::ctrl_c() => return Err(Ended::Interrupted),
            }
        }
        unread.map_or(Ok(()), |error| Err(Ended::Input(error)))
    }

    /// One write for all the lines that are there already.
    async fn send(&mut self, line: Line) -> Result<(), ConnectionError> {
        self.feed(line).await?;
        if !self.lines.is_ready() || self.waiting.len() >= WINDOW {
            self.connection.flush().await?;
        }
        Ok(())
    }

    async fn feed(&mut self, line: Line) -> Result<(), ConnectionError> {
        let number = line.number;
        let payload = match line.payload {
            Ok(payload) => payload,
            Err(why) => {
                self.refuse(number, &why);
                return Ok(());
            }
        };
        let operation =
            Operation::Publish(Publish { topic: self.topic.clone(), payload, options: self.options.clone() });
        let command = Command { id: Some(CommandId::Integer(number)), operation };
        if self.waiting.is_empty() {
            self.replied_at = Instant::now();
        }
        // Before it is sent: a write that fails may have left all the same.
        self.waiting.insert(number);
        self.last = number;
        if let Err(too_long) = self.connection.feed(&command).await? {
            self.waiting.remove(&number);
            self.refuse(number, &too_long.to_string());
        }
        Ok(())
    }

    /// A write that fails hides why: what the server has said before is still to be read.
    async fn last_words(&mut self, lost: ConnectionError) -> Ended {
        loop {
            match timeout(LAST_WORDS, self.connection.receive()).await {
                Ok(Ok(message)) => {
                    if let Err(ended) = self.take(message) {
                        return ended;
                    }
                }
                Ok(Err(closed @ ConnectionError::Closed { .. })) => return closed.into(),
                Ok(Err(_)) | Err(_) => return lost.into(),
            }
        }
    }

    fn take(&mut self, message: ServerMessage) -> Result<(), Ended> {
        match message {
            ServerMessage::Reply(Reply::Published {
                id: CommandId::Integer(number),
                topic,
                position,
                subscribers,
                duplicate,
            }) => {
                if !self.answered(number) {
                    return Ok(());
                }
                if duplicate {
                    self.repeated += 1;
                } else {
                    self.published += 1;
                }
                if self.verbose {
                    print(&Published { topic, position, subscribers, duplicate }).map_err(Ended::Output)?;
                }
            }
            ServerMessage::Reply(Reply::Error(error)) => match error.id {
                Some(CommandId::Integer(number)) if self.answered(number) => {
                    self.refuse(number, &error.to_string())
                }
                _ => {
                    eprintln!("the server complains: {error}");
                    self.refused += 1;
                }
            },
            ServerMessage::Push(Push::Goodbye(goodbye)) => {
                return Err(
                    ConnectionError::Closed { code: goodbye.code.as_u16(), reason: goodbye.reason }.into()
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, number: i64) -> bool {
        self.replied_at = Instant::now();
        self.waiting.remove(&number)
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
