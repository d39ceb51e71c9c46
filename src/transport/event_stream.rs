//! One session where it has no WebSocket: how far its stream or answer has come (SPEC.md §21). Its events, and where its
//! reader stands, have files of their own. How the bytes leave is the link's business.

mod answer;
pub(crate) mod event;
mod places;
pub(super) mod readdressed;
#[cfg(test)]
mod vectors;

use std::collections::HashSet;
use std::task::{Context, Poll, Waker};

use topichub_protocol::code::{CloseCode, ErrorCode};
use topichub_protocol::codec::Codec;
use topichub_protocol::command::{Command, CommandError, Operation, Replay};
use topichub_protocol::event_id::EscapedTopic;
use topichub_protocol::message::Position;
use topichub_protocol::push::{Goodbye, Push};
use topichub_protocol::reply::{self, Reply};
use topichub_protocol::topic::{Filter, Topic};

use self::answer::Answer;
use self::places::Places;
use super::admission::Ticket;
use crate::hub::published::Class;

/// How far a stream has come that was asked for.
#[derive(Debug)]
enum Stage {
    /// So many commands have no answer yet.
    Asked(usize),
    /// Nothing comes of it.
    Refused(CommandError),
    Begun,
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
        Self { class: Class::Poll, answer: Some(Answer::new(limit)), ..Self::new(commands) }
    }

    fn resume(&mut self, topic: &Topic, position: Position) {
        let (name, position) = (EscapedTopic(topic).to_string(), position.to_string());
        self.places.note(name.as_bytes(), position.as_bytes());
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
        let mut map = Vec::with_capacity(128);
        encode(&mut map);
        event::named(self.class, op, places, &map)
    }

    /// What `subscribe` would be answered if the server closed a connection with this instead of answering.
    pub(super) fn close(&mut self, code: CloseCode, goodbye: &Goodbye) {
        self.answer.iter_mut().for_each(Answer::complete);
        if let Stage::Asked(_) = self.stage {
            let code = match code {
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
        self.answer.iter_mut().for_each(Answer::complete);
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

    /// Where the reader stands.
    pub(super) fn places(&mut self) -> &mut Places {
        &mut self.places
    }

    /// The map in one of our events, with what stands before it in an answer; none of what an answer does not hold
    /// (any more).
    pub(super) fn collect(&mut self, event: &[u8]) -> Option<Vec<u8>> {
        let answer = self.answer.as_mut().filter(|answer| answer.is_open())?;
        self.places.follow(event);
        Some(answer.add(event))
    }

    /// Whether an answer could end if nothing of the past is still to come, or in any case.
    pub(super) fn has_answer(&self) -> bool {
        matches!(self.stage, Stage::Begun) && self.answer.as_ref().is_some_and(Answer::may_end)
    }

    pub(super) fn is_full(&self) -> bool {
        self.answer.as_ref().is_some_and(Answer::is_full)
    }

    /// It need not wait any longer for something to come.
    pub(super) fn hurry(&mut self) {
        self.answer.iter_mut().for_each(Answer::hurry);
    }

    pub(super) fn complete(&mut self) {
        self.answer.iter_mut().for_each(Answer::complete);
        self.wake();
    }

    pub(super) fn poll_complete(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.answer.as_ref().is_none_or(Answer::is_complete) {
            return Poll::Ready(());
        }
        self.waiter = Some(cx.waker().clone());
        Poll::Pending
    }
}
