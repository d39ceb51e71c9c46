//! What is asked of the registry without publishing or subscribing: history, and answers to requests.

use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{Answer, CommandError, CommandId, History, HistoryRange};
use topichub_protocol::message::{Extras, Message, Position};
use topichub_protocol::reply::{HistoryPage, Reply};

use super::{Registry, answer};
use crate::engine::{Extent, PageLimits};
use crate::hub::input::{Asker, Effect, Publication};

/// The most bytes of payloads in one page of history; one message is shown whatever its length.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// The most requests that wait for an answer at a time: those who ask may be gone long before their time is over.
const REQUESTS_MAX: usize = 100_000;

/// The id for the reply; who gave none gets none.
pub(super) fn id_of(asker: &Asker) -> CommandId {
    match asker {
        Asker::Session { id: Some(id), .. } => id.clone(),
        Asker::Session { id: None, .. } | Asker::Caller(_) => CommandId::Integer(0),
    }
}

impl Registry {
    pub(super) fn history(&mut self, asker: &Asker, history: History, now: Duration) -> Reply {
        let History { topic, range, limit } = history;
        let Extent { end, oldest } = self.engine.extent(&topic, now);
        let limits = PageLimits { messages: limit as usize, bytes: PAGE_BYTES_MAX };
        let unrecoverable = |position: Position| {
            let message = if position.epoch == end.epoch {
                format!("{topic} stands at offset {}, not yet at {}", end.offset, position.offset)
            } else {
                format!("epoch {} of {topic} is lost, the present one is {}", position.epoch, end.epoch)
            };
            Reply::Error(CommandError::new(ErrorCode::Unrecoverable, message))
        };
        let mut page = Vec::new();
        let (recovered, more) = match range {
            HistoryRange::After(position) => {
                if position.epoch != end.epoch || position.offset > end.offset {
                    return unrecoverable(position);
                }
                let through = self.engine.read(&topic, position.offset, limits, now, &mut page);
                (position.offset + 1 >= oldest, through < end.offset)
            }
            HistoryRange::Before(position) => {
                if position.epoch != end.epoch || position.offset > end.offset + 1 {
                    return unrecoverable(position);
                }
                let back = self.engine.read_back(&topic, position.offset, limits, now, &mut page);
                (true, back > oldest)
            }
            HistoryRange::Newest => {
                let back = self.engine.read_back(&topic, end.offset + 1, limits, now, &mut page);
                (true, back > oldest)
            }
        };
        let messages = page.iter().map(|published| published.message.clone()).collect::<Vec<Message>>();
        let page = HistoryPage { topic, position: end, messages, recovered, more };
        Reply::History { id: id_of(asker), page }
    }

    /// Publishes a message that waits for an answer.
    pub(super) fn request(
        &mut self,
        mut publication: Publication,
        timeout: Duration,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let asker = publication.asker.clone();
        if self.subscriptions(&publication.topic) == 0 {
            let message = format!("nobody is subscribed to {}", publication.topic);
            let error = CommandError::new(ErrorCode::NoResponders, message);
            return answer(asker, Reply::Error(error), effects);
        }
        if self.requests.len() >= REQUESTS_MAX {
            let message = format!("{REQUESTS_MAX} requests wait for an answer, which is the limit");
            let error = CommandError::new(ErrorCode::Unavailable, message);
            return answer(asker, Reply::Error(error), effects);
        }
        let reply_to = self.requests.open(asker, timeout, publication.permit.take(), now);
        let options = publication.options.get_or_insert_default();
        let mut extras = options.extras.as_deref().cloned().unwrap_or_default();
        extras.reply_to = Some(reply_to);
        options.extras = Some(Arc::<Extras>::new(extras));
        self.publish(publication, now, effects);
    }

    /// Passes an answer on to who asked.
    pub(super) fn answer(&mut self, asker: Asker, answer: Answer, effects: &mut Vec<Effect>) {
        let Answer { reply_to, payload } = answer;
        let Some((requester, permit)) = self.requests.answer(reply_to) else {
            let message = "nobody waits for this reply: it was given before, or came too late";
            let error = CommandError::new(ErrorCode::Conflict, message);
            return super::answer(asker, Reply::Error(error), effects);
        };
        drop(permit);
        let reply = Reply::Answer { id: id_of(&requester), payload };
        super::answer(requester, reply, effects);
        let reply = Reply::Replied { id: id_of(&asker) };
        super::answer(asker, reply, effects);
    }

    /// The time for an answer is over.
    pub(super) fn no_answer(&mut self, asker: Asker, effects: &mut Vec<Effect>) {
        let error = CommandError::new(ErrorCode::Timeout, "no answer came in time");
        answer(asker, Reply::Error(error), effects);
    }
}
