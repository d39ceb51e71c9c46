//! What is said where a session has no WebSocket: the maps of `pubsub.json` as Server-Sent Events (WHATWG HTML §9.2), or
//! collected to one answer (SPEC.md §21). How the bytes leave is the link's business.

use std::collections::HashSet;
use std::io::Write;
use std::task::{Context, Poll, Waker};

use topichub_protocol::code::{CloseCode, ErrorCode};
use topichub_protocol::codec::Codec;
use topichub_protocol::command::{Command, CommandError, Operation, Replay};
use topichub_protocol::event_id::{EVENT_ID_BYTES_MAX, EVENT_ID_TOPICS_MAX, EscapedTopic};
use topichub_protocol::message::{Message, Position};
use topichub_protocol::push::{Goodbye, Push};
use topichub_protocol::reply::{self, Reply};
use topichub_protocol::topic::{Filter, Topic};

use super::admission::Ticket;
use crate::hub::published::Class;

/// How soon a browser comes back by itself.
const RETRY: &[u8] = b"retry: 1000\n";

/// What says nothing but that the server is there.
pub(super) const COMMENT: &[u8] = b":\n\n";

/// An answer is full with this much, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A message as an event: all who are of this class get the same bytes. In streams of several topics its place is put
/// together anew for each of them, from what stands here.
pub(crate) fn encode(class: Class, message: &Message) -> Box<[u8]> {
    let mut map = Vec::with_capacity(message.payload.as_bytes().len() + message.topic.as_str().len() + 64);
    Codec::Json.encode_message(message, &mut map);
    let mut out = Vec::with_capacity(map.len() + message.topic.as_str().len() + 48);
    place(class, &[(&message.topic, message.position)], &mut out);
    data(&map, &mut out);
    out.into_boxed_slice()
}

fn place(class: Class, places: &[(&Topic, Position)], out: &mut Vec<u8>) {
    if places.is_empty() {
        return;
    }
    out.extend_from_slice(b"id:");
    for (topic, position) in places {
        // Nothing fails that is written to memory.
        let _ = match class {
            Class::Events => write!(out, " {position}"),
            _ => write!(out, " {} {position}", EscapedTopic(topic)),
        };
    }
    out.push(b'\n');
}

fn data(map: &[u8], out: &mut Vec<u8>) {
    let mut rest = map;
    loop {
        out.extend_from_slice(b"data: ");
        let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else { break };
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        rest = &rest[at + if rest[at..].starts_with(b"\r\n") { 2 } else { 1 }..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\n\n");
}

/// Where the reader of several topics stands: in text, as it goes into each id.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The latest last.
    places: Vec<(Box<str>, String)>,
}

impl Places {
    fn note(&mut self, topic: &str, position: &str) {
        let known = self.places.iter().rposition(|(name, _)| **name == *topic);
        match known {
            Some(at) if at + 1 == self.places.len() => {}
            Some(at) => self.places[at..].rotate_left(1),
            None => {
                if self.places.len() >= EVENT_ID_TOPICS_MAX {
                    self.places.remove(0);
                }
                self.places.push((topic.into(), String::new()));
            }
        }
        if let Some((_, latest)) = self.places.last_mut() {
            latest.clear();
            latest.push_str(position);
        }
    }

    /// As many as an id holds, the latest.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut left = EVENT_ID_BYTES_MAX;
        let fits = self.places.iter().rev().take_while(|(topic, position)| {
            let len = topic.len() + position.len() + 2;
            let fits = len <= left;
            left = left.saturating_sub(len);
            fits
        });
        let start = self.places.len() - fits.count();
        for (number, (topic, position)) in self.places[start..].iter().enumerate() {
            let blank: &[&str] = if number == 0 { &[] } else { &[" "] };
            let words = blank.iter().copied().chain([&**topic, " ", position.as_str()]);
            words.for_each(|word| out.extend_from_slice(word.as_bytes()));
        }
    }

    /// Puts the ids of a stream of several topics into these events.
    pub(super) fn readdress_all<'a>(
        &mut self,
        events: impl Iterator<Item = &'a [u8]>,
        mut out: impl FnMut(&[u8]),
    ) {
        let mut event = Vec::new();
        for own in events {
            event.clear();
            self.readdress(own, &mut event);
            out(&event);
        }
    }

    /// The same event, its id that of the stream so far.
    fn readdress(&mut self, event: &[u8], out: &mut Vec<u8>) {
        let Some((line, rest)) = id_of(event) else { return out.extend_from_slice(event) };
        let mut words = line.split(' ');
        while let (Some(topic), Some(position)) = (words.next(), words.next()) {
            self.note(topic, position);
        }
        out.extend_from_slice(b"id: ");
        self.write(out);
        out.push(b'\n');
        out.extend_from_slice(rest);
    }
}

/// The id of an event of ours, and what stands behind it.
fn id_of(event: &[u8]) -> Option<(&str, &[u8])> {
    let rest = event.strip_prefix(b"id: ")?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]))
}

/// How far a stream has come that was asked for.
#[derive(Debug)]
enum Stage {
    /// So many commands have no answer yet.
    Asked(usize),
    /// Nothing comes of it.
    Refused(CommandError),
    Begun,
}

/// What a long poll has so far.
#[derive(Debug)]
struct Answer {
    limit: u64,
    /// Maps, but for those that come in any case.
    messages: u64,
    bytes: usize,
    is_full: bool,
    /// It has waited for as long as it may.
    is_due: bool,
    is_complete: bool,
}

/// One session's stream or answer.
#[derive(Debug)]
pub(super) struct EventStream {
    class: Class,
    stage: Stage,
    places: Places,
    /// Topics whose place the client has named: there it stands until something comes.
    resumed: HashSet<Topic>,
    answer: Option<Answer>,
    /// Of who waits for the beginning, or for the answer.
    waiter: Option<Waker>,
    /// The connection's, once there is one of its own.
    pub(super) ticket: Option<Ticket>,
}

impl EventStream {
    /// Of a session that gives these commands.
    pub(super) fn new(commands: &[Command]) -> Self {
        let subscribes = || {
            commands.iter().filter_map(|command| match &command.operation {
                Operation::Subscribe(subscribe) => Some(subscribe),
                _ => None,
            })
        };
        let mut stream = Self {
            class: Class::Events,
            stage: Stage::Asked(commands.len()),
            places: Places::default(),
            resumed: HashSet::new(),
            answer: None,
            waiter: None,
            ticket: None,
        };
        let filters: Vec<_> = subscribes().flat_map(|subscribe| &subscribe.filters).collect();
        if !matches!(filters.as_slice(), [Filter::Topic(_)]) {
            stream.class = Class::EventsOfMany;
        }
        for subscribe in subscribes() {
            match (&subscribe.options.replay, subscribe.filters.as_slice()) {
                (Some(Replay::After(position)), [Filter::Topic(topic)]) => stream.resume(topic, *position),
                (Some(Replay::AfterEach(positions)), _) => {
                    positions.iter().for_each(|(topic, position)| stream.resume(topic, *position));
                }
                _ => {}
            }
        }
        stream
    }

    /// Of one that waits for an answer of so many messages at most.
    pub(super) fn answer(commands: &[Command], limit: u64) -> Self {
        let (is_full, is_due, is_complete) = (false, false, false);
        let answer = Answer { limit, messages: 0, bytes: 0, is_full, is_due, is_complete };
        Self { class: Class::Poll, answer: Some(answer), ..Self::new(commands) }
    }

    fn resume(&mut self, topic: &Topic, position: Position) {
        self.places.note(&EscapedTopic(topic).to_string(), &position.to_string());
        self.resumed.insert(topic.clone());
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// A reply as an event. The subscribe commands are answered before anything is sent: what stands against one of them
    /// stands against the whole.
    pub(super) fn reply(&mut self, reply: &Reply) -> Vec<u8> {
        match (reply, &mut self.stage) {
            (Reply::Error(error), Stage::Asked(_)) => self.refuse(error.clone()),
            (Reply::Subscribed { .. }, Stage::Asked(missing)) => {
                *missing -= 1;
                if *missing == 0 {
                    self.stage = Stage::Begun;
                    self.wake();
                }
            }
            _ => {}
        }
        let mut places = Vec::new();
        if let Reply::Subscribed { topics, .. } = reply {
            topics.iter().for_each(|subscribed| self.add_places(subscribed, &mut places));
        }
        self.event(reply.op(), &places, |map| Codec::Json.encode_reply(reply, map))
    }

    /// Where the reader stands by a `subscribed`. As long as something of the past is to come, it stands where it stood.
    fn add_places<'a>(&self, subscribed: &'a reply::Subscribed, places: &mut Vec<(&'a Topic, Position)>) {
        let replay = subscribed.replay.as_ref();
        if replay.is_some_and(|replay| replay.messages > 0) {
            return;
        }
        if let (Filter::Topic(topic), Some(position)) = (&subscribed.filter, subscribed.position) {
            places.push((topic, position));
        }
        let of_pattern = replay.and_then(|replay| replay.positions.as_ref()).into_iter().flatten();
        places.extend(of_pattern.map(|(topic, position)| (topic, *position)));
        places.retain(|(topic, _)| !self.resumed.contains(*topic));
    }

    /// A push as an event.
    pub(super) fn push(&self, push: &Push) -> Vec<u8> {
        let gap = match push {
            Push::Gap(gap) => Some((&gap.topic, Position { epoch: gap.epoch, offset: gap.to })),
            _ => None,
        };
        self.event(push.op(), gap.as_slice(), |map| Codec::Json.encode_push(push, map))
    }

    fn event(&self, op: &str, places: &[(&Topic, Position)], encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (mut map, mut out) = (Vec::with_capacity(128), Vec::with_capacity(192));
        encode(&mut map);
        if op == "welcome" {
            out.extend_from_slice(RETRY);
        }
        place(self.class, places, &mut out);
        let _ = writeln!(out, "event: {op}");
        data(&map, &mut out);
        out
    }

    /// What `subscribe` would be answered if the server closed a connection with this instead of answering.
    pub(super) fn close(&mut self, goodbye: &Goodbye) {
        if let Some(answer) = &mut self.answer {
            answer.is_complete = true;
        }
        if let Stage::Asked(_) = self.stage {
            let code = match goodbye.code {
                CloseCode::Unauthorized | CloseCode::TokenExpired => ErrorCode::Unauthorized,
                CloseCode::TooManyConnections => ErrorCode::LimitReached,
                CloseCode::RateLimited => ErrorCode::RateLimited,
                CloseCode::Forbidden | CloseCode::Kicked => ErrorCode::Forbidden,
                _ => ErrorCode::Unavailable,
            };
            let error = CommandError::new(code, goodbye.reason.as_str());
            self.refuse(CommandError { after: goodbye.after, ..error });
        }
        self.wake();
    }

    /// The session is over.
    pub(super) fn end(&mut self) {
        self.ticket = None;
        if let Some(answer) = &mut self.answer {
            answer.is_complete = true;
        }
        if let Stage::Asked(_) = self.stage {
            self.refuse(CommandError::new(ErrorCode::Unavailable, "the session has ended"));
        }
        self.wake();
    }

    fn refuse(&mut self, error: CommandError) {
        self.stage = Stage::Refused(error.with_id(None));
        self.wake();
    }

    fn wake(&mut self) {
        self.waiter.take().into_iter().for_each(Waker::wake);
    }

    /// Whether anything comes of what was asked for.
    pub(super) fn poll_begun(&mut self, cx: &Context<'_>) -> Poll<Result<(), CommandError>> {
        match &self.stage {
            Stage::Begun => Poll::Ready(Ok(())),
            Stage::Refused(error) => Poll::Ready(Err(error.clone())),
            Stage::Asked(_) => {
                self.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether comments may be sent.
    pub(super) fn is_stream(&self) -> bool {
        self.answer.is_none() && matches!(self.stage, Stage::Begun)
    }

    /// Where the reader stands, to be [kept](Self::keep) again as it is by then.
    pub(super) fn take_places(&mut self) -> Places {
        std::mem::take(&mut self.places)
    }

    pub(super) fn keep(&mut self, places: Places) {
        self.places = places;
    }

    /// The map in one of our events, with what stands before it in an answer; none of what an answer does not hold
    /// (any more).
    pub(super) fn collect(&mut self, event: &[u8]) -> Option<Vec<u8>> {
        let answer = self.answer.as_mut()?;
        if answer.is_full || answer.is_complete {
            return None;
        }
        if let Some((line, _)) = id_of(event) {
            let mut words = line.split(' ');
            while let (Some(topic), Some(position)) = (words.next(), words.next()) {
                self.places.note(topic, position);
            }
        }
        let mut map = vec![if answer.bytes == 0 { b'[' } else { b',' }];
        let mut comes_anyway = false;
        for line in event.split(|byte| *byte == b'\n') {
            comes_anyway |= matches!(line, b"event: welcome" | b"event: subscribed");
            if let Some(data) = line.strip_prefix(b"data: ") {
                if map.len() > 1 {
                    map.push(b'\n');
                }
                map.extend_from_slice(data);
            }
        }
        answer.bytes += map.len();
        answer.messages += u64::from(!comes_anyway);
        answer.is_full = answer.messages >= answer.limit || answer.bytes >= ANSWER_BYTES_MAX;
        Some(map)
    }

    /// Whether an answer could end if nothing of the past is still to come, or in any case.
    pub(super) fn has_answer(&self) -> bool {
        let has = |answer: &Answer| !answer.is_complete && (answer.messages > 0 || answer.is_due);
        matches!(self.stage, Stage::Begun) && self.answer.as_ref().is_some_and(has)
    }

    pub(super) fn is_full(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.is_full)
    }

    /// It need not wait any longer for something to come.
    pub(super) fn hurry(&mut self) {
        self.answer.iter_mut().for_each(|answer| answer.is_due = true);
    }

    pub(super) fn complete(&mut self) {
        self.answer.iter_mut().for_each(|answer| answer.is_complete = true);
        self.wake();
    }

    pub(super) fn poll_complete(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.answer.as_ref().is_none_or(|answer| answer.is_complete) {
            return Poll::Ready(());
        }
        self.waiter = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(places: &Places) -> String {
        let mut out = Vec::new();
        places.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_break_of_a_map_begins_another_line_of_data() {
        let mut out = Vec::new();
        data(b"[1,\r\n2,\r3,\n4]", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "data: [1,\ndata: 2,\ndata: 3,\ndata: 4]\n\n");
    }

    #[test]
    fn an_id_names_the_latest_topics_last() {
        let mut places = Places::default();
        for (topic, position) in [("a", "7:1"), ("b", "7:1"), ("a", "7:2"), ("a", "7:3")] {
            places.note(topic, position);
        }
        assert_eq!(told(&places), "b 7:1 a 7:3");
        let mut out = Vec::new();
        places.readdress(b"id: b 7:2 c 7:9\nevent: gap\ndata: {}\n\n", &mut out);
        let event = "id: a 7:3 b 7:2 c 7:9\nevent: gap\ndata: {}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), event);
    }

    #[test]
    fn of_too_many_topics_the_latest_stay_in_an_id() {
        let mut places = Places::default();
        (0..150).for_each(|number| places.note(&format!("t{number}"), "7:1"));
        let text = told(&places);
        assert!(text.starts_with("t50 7:1 t51 ") && text.ends_with(" t149 7:1"), "{text}");
        (0..100).for_each(|number| places.note(&format!("{}{number}", "long".repeat(50)), "7:1"));
        let text = told(&places);
        assert!(text.len() <= EVENT_ID_BYTES_MAX && text.len() > 3800, "{}", text.len());
        assert!(text.parse::<topichub_protocol::event_id::EventId>().is_ok(), "{text}");
    }
}
