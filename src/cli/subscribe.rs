//! `topichub subscribe`: messages as lines of JSON, as long as somebody reads them.

use std::io::{self, Write};

use serde::Serializer as _;
use topichub::protocol::{
    Command, CommandError, CommandId, ErrorCode, Extras, Gap, OneOrMany, Operation, Push, Reply,
    ServerMessage, Subscribe, Subscribed,
};
use topichub::{Filter, Payload, Topic};

use super::args::SubscribeArgs;
use super::connection::{Connection, TooLong};
use super::connection_error::ConnectionError;
use super::{Exit, Failure};

/// `topichub subscribe`.
pub(super) fn run(args: SubscribeArgs) -> Result<(), Failure> {
    actix_rt::System::new().block_on(subscribe(args))
}

/// Why there are no more messages.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the server refused: {0}")]
    Refused(CommandError),
    #[error("the server ended the subscription to {filter}: {code}")]
    Unsubscribed { filter: Filter, code: ErrorCode },
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Connection(error) => error.into(),
            ended => Failure::new(Exit::Refused, &ended, None),
        }
    }
}

async fn subscribe(args: SubscribeArgs) -> Result<(), Failure> {
    let options = args.delivery.options(&args.topics)?;
    let subscribe = Subscribe { filters: OneOrMany::Many(args.topics), options };
    let mut connection = Connection::open(&args.url, args.protocol.codec(), args.credential.token()).await?;
    let ended = tokio::select! {
        ended = print_messages(&mut connection, subscribe, args.count) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    connection.close().await;
    match ended {
        // The reader has had enough, as `head` has.
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended.map_err(Failure::from),
    }
}

async fn print_messages(
    connection: &mut Connection,
    subscribe: Subscribe,
    count: Option<u64>,
) -> Result<(), Ended> {
    let command = Command { id: Some(CommandId::Integer(1)), operation: Operation::Subscribe(subscribe) };
    connection.feed(&command).await??;
    connection.flush().await?;

    let mut printed = 0;
    while count.is_none_or(|count| printed < count) {
        match connection.receive().await? {
            ServerMessage::Push(Push::Message { topic, offset, payload, extras, .. }) => {
                print(&topic, offset, &payload, extras.as_deref()).map_err(Ended::Output)?;
                printed += 1;
            }
            ServerMessage::Reply(Reply::Subscribed { topics, .. }) => {
                let places: Vec<_> = topics.iter().map(place).collect();
                eprintln!("subscribed to {}", places.join(", "));
                for Subscribed { filter, replay, .. } in &topics {
                    if replay.as_ref().is_some_and(|replay| !replay.recovered) {
                        eprintln!("{filter} does not go back to that position: what it still has follows");
                    }
                }
            }
            ServerMessage::Push(Push::Gap(Gap { topic, from, to, why, .. })) => {
                eprintln!("gap in {topic}: {from} to {to} ({})", why.as_str());
            }
            ServerMessage::Reply(Reply::Error(error)) => return Err(Ended::Refused(error)),
            ServerMessage::Push(Push::Unsubscribed { filter, code }) => {
                return Err(Ended::Unsubscribed { filter, code });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where a subscription begins: to be said to `--after` another time.
fn place(subscribed: &Subscribed) -> String {
    match &subscribed.position {
        Some(position) => format!("{} at {position}", subscribed.filter),
        None => subscribed.filter.to_string(),
    }
}

/// One line, at once: whoever reads may wait for each.
fn print(topic: &Topic, offset: u64, payload: &Payload, extras: Option<&Extras>) -> io::Result<()> {
    let mut line = b"{\"topic\":".to_vec();
    serde_json::to_writer(&mut line, topic.as_str())?;
    write!(line, ",\"offset\":{offset},\"{}\":", payload.json_key())?;
    payload.write_json_line(&mut line);
    if let Some(key) = extras.and_then(|extras| extras.key.as_deref()) {
        line.extend_from_slice(b",\"key\":");
        serde_json::to_writer(&mut line, key)?;
    }
    if let Some(meta) = extras.and_then(|extras| extras.meta.as_ref()) {
        line.extend_from_slice(b",\"meta\":");
        serde_json::Serializer::new(&mut line).collect_map(meta.iter())?;
    }
    line.extend_from_slice(b"}\n");
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}
