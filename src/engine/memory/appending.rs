//! How a publication gets its place, or why it gets none.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::CommandError;
use topichub_protocol::message::{Message, Payload, Position};

use super::super::Appended;
use super::dedup::Seen;
use super::{MemoryEngine, log};
use crate::hub::input::{Asker, Publication, PublicationOptions};
use crate::hub::published::Published;

impl MemoryEngine {
    /// What a name stands for: two publishes with it are one if this is the same.
    pub(super) fn fingerprint(&self, payload: &Payload, options: &PublicationOptions) -> u64 {
        let key = options.extras.as_ref().and_then(|extras| extras.key.as_deref());
        let mut hasher = DefaultHasher::new();
        (self.settings.seed, payload.kind(), payload.as_bytes(), key).hash(&mut hasher);
        hasher.finish()
    }

    /// Why a publication has no place in its topic, if it has none: it is a repeat, or what it takes for granted is not so.
    pub(super) fn objection(
        &mut self,
        publication: &Publication,
        options: &PublicationOptions,
        now: Duration,
    ) -> Option<Appended> {
        let (topic, asker) = (&publication.topic, &publication.asker);
        let conflict = |message: String| {
            let error = CommandError::new(ErrorCode::Conflict, message);
            Some(Appended::Refused { asker: asker.clone(), error })
        };
        let key = self.topics.find(topic);
        let end = key.map(|key| self.topics[key].log.end());
        if let (Some(key), Some(end), Some(name)) = (key, end, &options.dedup) {
            if let Some(until) = now.checked_sub(self.settings.dedup_window) {
                self.names.forget(&mut self.topics[key].dedup, until);
            }
            if let Some(seen) = self.topics[key].dedup.as_ref().and_then(|dedup| dedup.get(name)) {
                let Seen { offset, subscribers, fingerprint } = seen;
                if fingerprint != self.fingerprint(&publication.payload, options) {
                    return conflict(format!(
                        "dedup {name:?} is another message of {topic}, at offset {offset}"
                    ));
                }
                let position = Position { epoch: end.epoch, offset };
                let (topic, asker) = (topic.clone(), asker.clone());
                return Some(Appended::Duplicate { topic, position, subscribers, asker });
            }
        }
        let stands = end.map_or(0, |end| end.offset);
        match options.if_offset {
            Some(expected) if expected != stands => {
                conflict(format!("{topic} stands at offset {stands}, not {expected}"))
            }
            _ => None,
        }
    }

    /// Gives a publication its place in its topic.
    pub(super) fn store(
        &mut self,
        publication: Publication,
        options: PublicationOptions,
        now: Duration,
    ) -> Appended {
        let Publication { topic, payload, asker, subscribers, permit, .. } = publication;
        let name = options.dedup.as_ref().map(|name| (name, self.fingerprint(&payload, &options)));
        let key = self.obtain(&topic, now);
        let entry = &mut self.topics[key];

        let Position { epoch, offset } = entry.log.end();
        let position = Position { epoch, offset: offset + 1 };
        let has_room = entry.log.retains(payload.as_bytes().len());
        if let Some((name, fingerprint)) = name {
            let seen = Seen { fingerprint, offset: position.offset, subscribers };
            self.names.put(key, &mut entry.dedup, name, seen, now);
        }
        // A caller's payload may be a part of something larger, such as the room for a body over HTTP; of a session it is
        // a copy already.
        let is_shared = has_room && matches!(asker, Asker::Caller(_));
        let payload = if is_shared { payload.detached() } else { payload };
        // The topic's own name, so that a thousand messages do not hold a thousand copies of it.
        let message = Message { topic: entry.topic.clone(), position, payload, extras: options.extras };
        let mut published = Published::new(message, asker.session(), now);
        published.exclude = options.exclude;
        published.expires = options.ttl.map(|ttl| now.saturating_add(ttl));

        let is_retained = has_room && log::retained_bytes(&published) <= self.settings.history_bytes_max;
        let published = Arc::new(if is_retained { published.metered(&self.meter) } else { published });
        match is_retained {
            true => entry.log.push(Arc::clone(&published)),
            false => entry.log.pass(),
        }
        self.touch(key, now);
        self.settle(key);
        Appended::Stored { published, asker, subscribers, permit }
    }
}
