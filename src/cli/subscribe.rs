//! `topichub subscribe`: messages as lines of JSON, as long as somebody reads them.

use std::collections::HashMap;
use std::io::{self, Write};

use futures_util::StreamExt;
use futures_util::stream::select_all;
use serde::Serializer as _;
use topichub::{Filter, Topic};
use topichub_client::{Epoch, Error, Event, Full, Gap, Hub, Message, State, Subscribed, connect};

use super::Failure;
use super::args::SubscribeArgs;

/// `topichub subscribe`.
pub(super) fn run(args: SubscribeArgs) -> Result<(), Failure> {
    actix_rt::System::new().block_on(subscribe(args))
}

/// Why there are no more messages.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Client(error) => error.into(),
            ended @ Ended::Output(_) => Failure::new(super::Exit::Refused, &ended, None),
        }
    }
}

async fn subscribe(args: SubscribeArgs) -> Result<(), Failure> {
    let options = args.delivery.options(&args.topics)?;
    let mut connecting =
        connect(&args.url.to_string()).codec(args.protocol.codec()).reconnect(!args.no_reconnect);
    if let Some(token) = args.credential.token() {
        connecting = connecting.header("Authorization", &format!("Bearer {}", token.trim()));
    }
    let hub = connecting.await?;
    let mut filters: Vec<Filter> = Vec::new();
    for filter in args.topics {
        if !filters.contains(&filter) {
            filters.push(filter);
        }
    }
    // Who reads our output decides how fast we read: the server notices, and does what --slow says.
    let start =
        |filter: &Filter| hub.subscribe(filter.clone()).options(options.clone()).full(Full::Wait).start();
    let mut printer = Printer::of(&filters, args.count);
    let events = filters.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let events = events.into_iter().enumerate();
    let mut events = select_all(
        events.map(|(index, subscription)| subscription.events().map(move |event| (index, event))),
    );
    let printing = async {
        while !printer.has_enough() {
            match events.next().await {
                Some((index, Ok(event))) => printer.take(index, event).map_err(Ended::Output)?,
                Some((_, Err(why))) => return Err(Ended::Client(why)),
                None => return Ok(()),
            }
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = printing => ended,
        () = tell(&hub) => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    hub.close().await;
    match ended {
        // The reader has had enough, as `head` has.
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended.map_err(Failure::from),
    }
}

/// Says when there is no connection. Never ends.
async fn tell(hub: &Hub) {
    let mut states = hub.states();
    while states.changed().await.is_ok() {
        if let State::Waiting { why, retry_in } = &*states.borrow_and_update() {
            eprintln!("{why}; connecting again in {:.1} s", retry_in.as_secs_f64());
        }
    }
    std::future::pending().await
}

/// What comes, as lines.
struct Printer {
    /// Where each subscription begins, until all of them have.
    places: Vec<Option<String>>,
    /// The last offset of each topic, where several of our subscriptions bring the same messages.
    printed: Option<HashMap<Topic, (Option<Epoch>, u64)>>,
    count: Option<u64>,
    done: u64,
}

impl Printer {
    fn of(filters: &[Filter], count: Option<u64>) -> Self {
        let mut pairs = filters.iter().enumerate();
        let overlap = pairs.any(|(at, one)| filters[..at].iter().any(|other| one.overlaps(other)));
        let places = vec![None; filters.len()];
        Self { places, printed: overlap.then(HashMap::new), count, done: 0 }
    }

    fn has_enough(&self) -> bool {
        self.count.is_some_and(|count| self.done >= count)
    }

    fn take(&mut self, index: usize, event: Event) -> io::Result<()> {
        match event {
            Event::Message(message) if self.is_new(&message) => {
                print(&message)?;
                self.done += 1;
            }
            Event::Subscribed(subscribed) => self.subscribed(index, &subscribed),
            Event::Gap(Gap { topic, range: Some((from, to)), why, .. }) => {
                eprintln!("gap in {topic}: {from} to {to} ({})", why.as_str());
            }
            Event::Gap(Gap { topic, why, .. }) => {
                eprintln!("gap in {topic}: nobody knows how long ({})", why.as_str());
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether no other subscription of ours has brought it.
    fn is_new(&mut self, message: &Message) -> bool {
        let Some(printed) = &mut self.printed else { return true };
        let last = printed.get(&message.topic);
        let is_new = last.is_none_or(|(epoch, offset)| *epoch != message.epoch || *offset < message.offset);
        if is_new {
            printed.insert(message.topic.clone(), (message.epoch, message.offset));
        }
        is_new
    }

    fn subscribed(&mut self, index: usize, subscribed: &Subscribed) {
        let filter = &subscribed.filter;
        if subscribed.resumed {
            let missed = match subscribed.replayed {
                0 if !subscribed.recovered => "nothing is left of what was missed".to_owned(),
                0 => "nothing was missed".to_owned(),
                1 => "1 message was missed and follows".to_owned(),
                missed => format!("{missed} messages were missed and follow"),
            };
            eprintln!("resumed {}: {missed}", place(subscribed));
        } else if let Some(at) = self.places.get_mut(index) {
            *at = Some(place(subscribed));
            let all: Option<Vec<_>> = self.places.iter().cloned().collect();
            if let Some(all) = all {
                eprintln!("subscribed to {}", all.join(", "));
            }
        }
        if !subscribed.recovered {
            eprintln!("{filter} does not go back to that position: what it still has follows");
        }
    }
}

/// Where a subscription begins: to be said to `--after` another time.
fn place(subscribed: &Subscribed) -> String {
    match &subscribed.position {
        Some(position) => format!("{} at {position}", subscribed.filter),
        None => subscribed.filter.to_string(),
    }
}

/// One line, at once: whoever reads may wait for each.
fn print(message: &Message) -> io::Result<()> {
    let Message { topic, offset, .. } = message;
    let payload = message.payload().map_err(io::Error::other)?;
    let mut line = b"{\"topic\":".to_vec();
    serde_json::to_writer(&mut line, topic.as_str())?;
    write!(line, ",\"offset\":{offset},\"{}\":", payload.json_key())?;
    payload.write_json_line(&mut line);
    if let Some(key) = message.key() {
        line.extend_from_slice(b",\"key\":");
        serde_json::to_writer(&mut line, key)?;
    }
    if let Some(meta) = message.meta() {
        line.extend_from_slice(b",\"meta\":");
        serde_json::Serializer::new(&mut line).collect_map(meta.iter())?;
    }
    line.extend_from_slice(b"}\n");
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}
