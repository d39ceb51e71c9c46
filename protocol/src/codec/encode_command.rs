//! Commands into their bytes: the keys of each `op`, written once for both codecs.
//! What is as if it were not said is not written.

use std::time::Duration;

use super::Codec;
use super::fields::Key;
use super::map_writer::MapWriter;
use crate::command::{
    Command, Credential, HISTORY_LIMIT, HistoryRange, Operation, PresenceOptions, PublishOptions,
    REQUEST_TIMEOUT, Replay, SubscribeOptions,
};

pub(crate) fn command(codec: Codec, command: &Command, out: &mut Vec<u8>) {
    let mut map = MapWriter::of_op(codec, op(&command.operation), command.id.as_ref(), out);
    match &command.operation {
        Operation::Subscribe(subscribe) => {
            map.filters(&subscribe.filters);
            subscribe_options(&mut map, &subscribe.options);
        }
        Operation::Unsubscribe(unsubscribe) => map.filters(&unsubscribe.filters),
        Operation::Publish(publish) => {
            map.text(Key::Topic, publish.topic.as_str());
            map.payload(&publish.payload);
            if let Some(options) = &publish.options {
                publish_options(&mut map, options);
            }
        }
        Operation::History(history) => {
            map.text(Key::Topic, history.topic.as_str());
            match history.range {
                HistoryRange::After(position) => map.position_map(Key::After, position),
                HistoryRange::Before(position) => map.position_map(Key::Before, position),
                HistoryRange::Newest => {}
            }
            if history.limit != HISTORY_LIMIT {
                map.count(Key::Limit, history.limit);
            }
        }
        Operation::Presence(topic) => map.text(Key::Topic, topic.as_str()),
        Operation::Authenticate(authenticate) => {
            match &authenticate.credential {
                Credential::Token(token) => map.text(Key::Token, token),
                Credential::User(user) => map.text(Key::User, user),
            }
            if let Some(data) = &authenticate.data {
                map.payload(data);
            }
        }
        Operation::Request(request) => {
            map.text(Key::Topic, request.topic.as_str());
            map.payload(&request.payload);
            if request.timeout != REQUEST_TIMEOUT {
                map.millis(Key::TimeoutMs, request.timeout);
            }
        }
        Operation::Answer(answer) => {
            map.reply_to(answer.reply_to);
            map.payload(&answer.payload);
        }
        Operation::Ping => {}
    }
    map.finish();
}

fn op(operation: &Operation) -> &'static str {
    match operation {
        Operation::Subscribe(_) => "subscribe",
        Operation::Unsubscribe(_) => "unsubscribe",
        Operation::Publish(_) => "publish",
        Operation::History(_) => "history",
        Operation::Presence(_) => "presence",
        Operation::Authenticate(_) => "authenticate",
        Operation::Request(_) => "request",
        Operation::Answer(_) => "reply",
        Operation::Ping => "ping",
    }
}

fn subscribe_options(map: &mut MapWriter<'_>, options: &SubscribeOptions) {
    if !options.echo {
        map.boolean(Key::Echo, false);
    }
    if let Some(replay) = &options.replay {
        map.map(Key::Replay, |map| match replay {
            Replay::Last(messages) => map.count(Key::Last, *messages),
            Replay::Seconds(seconds) => map.count(Key::Seconds, *seconds),
            Replay::After(position) => map.position_map(Key::After, *position),
            Replay::AfterEach(positions) => {
                map.positions(Key::After, positions.iter().map(|(topic, position)| (topic, *position)));
            }
        });
    }
    if let Some(slow) = options.slow {
        map.text(Key::Slow, slow.as_str());
    }
    if let Some(interval) = options.interval {
        map.number(Key::MaxRate, max_rate(interval));
    }
    match &options.presence {
        None => {}
        Some(PresenceOptions { join: true, watch: true, data: None }) => map.boolean(Key::Presence, true),
        Some(presence) => map.map(Key::Presence, |map| {
            if !presence.join {
                map.boolean(Key::Join, false);
            }
            if !presence.watch {
                map.boolean(Key::Watch, false);
            }
            if let Some(data) = &presence.data {
                map.payload(data);
            }
        }),
    }
    if let Some(group) = &options.group {
        map.text(Key::Group, group);
    }
}

fn publish_options(map: &mut MapWriter<'_>, options: &PublishOptions) {
    if let Some(key) = &options.key {
        map.text(Key::Name, key);
    }
    if let Some(meta) = &options.meta {
        map.meta(meta);
    }
    if let Some(ttl) = options.ttl {
        map.millis(Key::TtlMs, ttl);
    }
    if let Some(dedup) = &options.dedup {
        map.text(Key::Dedup, dedup);
    }
    if let Some(offset) = options.if_offset {
        map.count(Key::IfOffset, offset);
    }
    if !options.exclude.is_empty() {
        map.sessions(Key::Exclude, &options.exclude);
    }
}

/// The rate that is read as this interval; of those in thousandths if there is one, as people write them.
fn max_rate(interval: Duration) -> f64 {
    let exact = 1.0 / interval.as_secs_f64();
    let round = (exact * 1000.0).round() / 1000.0;
    if Duration::try_from_secs_f64(1.0 / round) == Ok(interval) { round } else { exact }
}
