//! Replies and pushes into their bytes, and the answers of HTTP: the keys of each, written once for both codecs.
//! When they are sent, and to whom, is decided elsewhere.

use super::Codec;
use super::fields::Key;
use super::map_writer::{MapWriter, list};
use crate::code::Reconnect;
use crate::command::{CommandError, OneOrMany};
use crate::message::{Extras, Message, Payload};
use crate::position::{Epoch, EpochText, Position};
use crate::push::{Gap, Goodbye, PresenceChange, Push, Welcome};
use crate::reply::{HistoryPage, Member, MemberId, Presence, Published, Reply, Subscribed};
use crate::topic::Topic;

pub(crate) fn reply(codec: Codec, reply: &Reply, out: &mut Vec<u8>) {
    let mut map = MapWriter::of_op(codec, reply.op(), reply.id(), out);
    match reply {
        Reply::Subscribed { topics: OneOrMany::One(one), .. } => write_subscribed(&mut map, one),
        Reply::Subscribed { topics: OneOrMany::Many(many), .. } => {
            map.maps(Key::Topics, many, write_subscribed);
        }
        Reply::Unsubscribed { topics, .. } => map.filters(topics),
        Reply::Published { topic, position, subscribers, duplicate, .. } => {
            write_published(&mut map, topic, *position, *subscribers, *duplicate);
        }
        Reply::History { page, .. } => write_history(&mut map, page),
        Reply::Presence { presence, .. } => write_presence(&mut map, presence),
        Reply::Authenticated { user, expires, .. } => {
            if let Some(user) = user {
                map.text(Key::User, user);
            }
            if let Some(expires) = expires {
                map.millis(Key::ExpiresMs, *expires);
            }
        }
        Reply::Answer { payload, .. } => map.payload(payload),
        Reply::Replied { .. } | Reply::Pong { .. } => {}
        Reply::Error(error) => write_error(&mut map, error),
    }
    map.finish();
}

pub(crate) fn push(codec: Codec, push: &Push, out: &mut Vec<u8>) {
    if let Push::Message { topic, offset, epoch, payload, extras } = push {
        return message(codec, topic, (*offset, *epoch), payload, extras.as_deref(), out);
    }
    let mut map = MapWriter::of_op(codec, push.op(), None, out);
    match push {
        Push::Message { .. } => {}
        Push::Welcome(welcome) => write_welcome(&mut map, welcome),
        Push::Gap(gap) => write_gap(&mut map, gap),
        Push::Presence(presence) => write_presence(&mut map, presence),
        Push::PresenceChange(change) => write_presence_change(&mut map, change),
        Push::Unsubscribed { filter, code } => {
            map.text(Key::Topic, filter.as_str());
            map.text(Key::Code, code.as_str());
        }
        Push::Expiring { within } => map.millis(Key::InMs, *within),
        Push::Goodbye(goodbye) => write_goodbye(&mut map, goodbye),
    }
    map.finish();
}

/// The `message` push. Its epoch is said with the first message of one.
pub(crate) fn message(
    codec: Codec,
    topic: &Topic,
    (offset, epoch): (u64, Option<Epoch>),
    payload: &Payload,
    extras: Option<&Extras>,
    out: &mut Vec<u8>,
) {
    let mut map = MapWriter::of_op(codec, "message", None, out);
    map.text(Key::Topic, topic.as_str());
    map.count(Key::Offset, offset);
    if let Some(epoch) = epoch {
        map.text(Key::Epoch, EpochText::of(epoch).as_str());
    }
    map.payload(payload);
    if let Some(extras) = extras {
        write_key_and_meta(&mut map, extras);
        if let Some(reply_to) = extras.reply_to {
            map.reply_to(reply_to);
        }
    }
    map.finish();
}

/// The answer of `POST /topics/{topic}`.
pub(crate) fn published(codec: Codec, published: &Published, out: &mut Vec<u8>) {
    let Published { topic, position, subscribers, duplicate } = published;
    let mut map = MapWriter::begin(codec, out);
    write_published(&mut map, topic, *position, *subscribers, *duplicate);
    map.finish();
}

/// The answer of `POST /publish`.
pub(crate) fn batch(codec: Codec, entries: &[Result<Published, CommandError>], out: &mut Vec<u8>) {
    list(codec, entries, out, |out, entry| match entry {
        Ok(entry) => published(codec, entry, out),
        Err(error) => {
            let mut map = MapWriter::begin(codec, out);
            map.map(Key::Error, |map| write_error(map, error));
            map.finish();
        }
    });
}

/// The answer of `GET /topics/{topic}/messages`.
pub(crate) fn history(codec: Codec, page: &HistoryPage, out: &mut Vec<u8>) {
    let mut map = MapWriter::begin(codec, out);
    write_history(&mut map, page);
    map.finish();
}

/// The answer of `GET /topics/{topic}/presence`.
pub(crate) fn presence(codec: Codec, presence: &Presence, out: &mut Vec<u8>) {
    let mut map = MapWriter::begin(codec, out);
    write_presence(&mut map, presence);
    map.finish();
}

fn write_subscribed(map: &mut MapWriter<'_>, subscribed: &Subscribed) {
    map.text(Key::Topic, subscribed.filter.as_str());
    if let Some(position) = subscribed.position {
        map.position(position);
    }
    if let Some(replay) = &subscribed.replay {
        map.count(Key::Replayed, replay.messages);
        map.boolean(Key::Recovered, replay.recovered);
        if let Some(positions) = &replay.positions {
            map.positions(Key::Positions, positions.iter().map(|(topic, position)| (topic, *position)));
        }
    }
}

fn write_published(
    map: &mut MapWriter<'_>,
    topic: &Topic,
    position: Position,
    subscribers: u64,
    duplicate: bool,
) {
    map.placed(topic, position);
    map.count(Key::Subscribers, subscribers);
    if duplicate {
        map.boolean(Key::Duplicate, true);
    }
}

fn write_history(map: &mut MapWriter<'_>, page: &HistoryPage) {
    map.placed(&page.topic, page.position);
    map.boolean(Key::Recovered, page.recovered);
    map.boolean(Key::More, page.more);
    map.maps(Key::Messages, &page.messages, |map, Message { position, payload, extras, .. }| {
        map.count(Key::Offset, position.offset);
        map.payload(payload);
        if let Some(extras) = extras {
            write_key_and_meta(map, extras);
        }
    });
}

fn write_key_and_meta(map: &mut MapWriter<'_>, extras: &Extras) {
    if let Some(key) = &extras.key {
        map.text(Key::Name, key);
    }
    if let Some(meta) = &extras.meta {
        map.meta(meta);
    }
}

fn write_presence(map: &mut MapWriter<'_>, presence: &Presence) {
    map.text(Key::Topic, presence.topic.as_str());
    map.count(Key::Count, presence.count);
    map.count(Key::Sessions, presence.sessions);
    if let Some(members) = &presence.members {
        map.maps(Key::Members, members, write_member);
    }
}

fn write_presence_change(map: &mut MapWriter<'_>, change: &PresenceChange) {
    map.text(Key::Topic, change.topic.as_str());
    map.boolean(Key::Change, true);
    map.count(Key::Count, change.count);
    map.count(Key::Sessions, change.sessions);
    if let Some((joined, left)) = &change.members {
        map.maps(Key::Joined, joined, write_member);
        map.maps(Key::Left, left, write_member_id);
    }
}

fn write_member(map: &mut MapWriter<'_>, member: &Member) {
    write_member_id(map, &member.id);
    if let Some(data) = &member.data {
        map.payload(data);
    }
}

fn write_member_id(map: &mut MapWriter<'_>, id: &MemberId) {
    match id {
        MemberId::User(user) => map.text(Key::User, user),
        MemberId::Session(session) => map.session(*session),
    }
}

fn write_gap(map: &mut MapWriter<'_>, gap: &Gap) {
    map.text(Key::Topic, gap.topic.as_str());
    map.text(Key::Epoch, EpochText::of(gap.epoch).as_str());
    map.count(Key::From, gap.from);
    map.count(Key::To, gap.to);
    map.text(Key::Why, gap.why.as_str());
}

fn write_error(map: &mut MapWriter<'_>, error: &CommandError) {
    map.text(Key::Code, error.code.as_str());
    map.text(Key::Message, &error.message);
    map.boolean(Key::Retry, error.code.retry());
    if let Some(after) = error.after {
        map.millis(Key::AfterMs, after);
    }
}

fn write_welcome(map: &mut MapWriter<'_>, welcome: &Welcome) {
    map.text(Key::Session, &welcome.session);
    map.text(Key::Server, &welcome.server);
    map.count(Key::Protocol, welcome.protocol);
    map.millis(Key::PingMs, welcome.ping);
    map.map(Key::Limits, |map| {
        map.count(Key::MessageBytes, welcome.limits.message_bytes);
        map.count(Key::TopicsPerSession, welcome.limits.topics_per_session);
        map.count(Key::TopicBytes, welcome.limits.topic_bytes);
        map.count(Key::Depth, welcome.limits.depth);
    });
}

fn write_goodbye(map: &mut MapWriter<'_>, goodbye: &Goodbye) {
    map.count(Key::Code, goodbye.code.into());
    map.text(Key::Reason, &goodbye.reason);
    map.text(Key::Reconnect, Reconnect::after_close(goodbye.code).as_str());
    if let Some(after) = goodbye.after {
        map.millis(Key::AfterMs, after);
    }
}
