//! What one session must have seen, by plain rules: every message that it was subscribed to once and in order, but for
//! those that its own choice lets go, and these announced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use topichub_protocol::command::SlowPolicy;
use topichub_protocol::message::Position;
use topichub_protocol::topic::{Filter, Topic};

use super::TOPICS;
use crate::hub::lane::Mode;

/// A subscription as the model knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) echo: bool,
    pub(super) mode: Mode,
}

/// One message that a session is to get.
#[derive(Clone, Debug)]
struct Owed {
    position: Position,
    line: String,
    mode: Mode,
}

/// The time during which a session is subscribed to a topic without a break.
#[derive(Debug, Default)]
struct Segment {
    owed: Vec<Owed>,
    /// It began, or went on, with messages of the past.
    replayed: bool,
    closed: bool,
}

#[derive(Default)]
pub(super) struct Expected {
    pub(super) wishes: BTreeMap<String, Wish>,
    segments: HashMap<String, Vec<Segment>>,
    pub(super) replies: Vec<String>,
}

/// What became of all messages, for gaps to be checked against.
#[derive(Default)]
pub(super) struct Fates {
    /// Where each topic's log begins at the end, by epoch.
    pub(super) oldest: HashMap<(String, String), u64>,
    /// When messages with a time to live expire.
    pub(super) expires: HashMap<(String, String, u64), Duration>,
    pub(super) now: Duration,
}

fn matching<'a>(wishes: &'a BTreeMap<String, Wish>, topic: &'a Topic) -> impl Iterator<Item = &'a Wish> {
    let matches = |name: &str| Filter::parse(name).unwrap().matches(topic);
    wishes.iter().filter(move |(name, _)| matches(name)).map(|(_, wish)| wish)
}

impl Expected {
    pub(super) fn gets(&self, topic: &Topic) -> bool {
        matching(&self.wishes, topic).next().is_some()
    }

    /// Whether the session's own messages of this topic come back to it.
    pub(super) fn echoes(&self, topic: &Topic) -> bool {
        matching(&self.wishes, topic).any(|wish| wish.echo)
    }

    /// New subscriptions, in force from here on.
    pub(super) fn subscribe(&mut self, names: &[String], wish: Wish) {
        let before = self.matched();
        names.iter().for_each(|name| _ = self.wishes.insert(name.clone(), wish));
        for topic in self.matched().difference(&before) {
            self.segments.entry(topic.clone()).or_default().push(Segment::default());
        }
    }

    pub(super) fn unsubscribe(&mut self, names: &[String]) {
        let before = self.matched();
        names.iter().for_each(|name| _ = self.wishes.remove(name));
        for topic in before.difference(&self.matched()) {
            if let Some(segment) = self.segments.get_mut(topic).and_then(|segments| segments.last_mut()) {
                segment.closed = true;
            }
        }
    }

    /// The topics that it gets.
    fn matched(&self) -> BTreeSet<String> {
        let topics = TOPICS.iter().filter(|topic| self.gets(&Topic::parse(topic).unwrap()));
        topics.map(|topic| (*topic).to_owned()).collect()
    }

    /// A message is published, or is to be replayed, and this session is to get it.
    pub(super) fn owe(&mut self, topic: &Topic, position: Position, line: String, replayed: bool) {
        let Some(mode) = matching(&self.wishes, topic).map(|wish| wish.mode).reduce(Mode::completer) else {
            return;
        };
        let segment = self.segments.get_mut(topic.as_str()).and_then(|segments| segments.last_mut());
        let segment = segment.expect("whoever gets a topic has a segment");
        segment.owed.push(Owed { position, line, mode });
        segment.replayed |= replayed;
    }

    /// A replay was asked for, even if there was nothing to replay.
    pub(super) fn mark_replayed(&mut self, topic: &Topic) {
        let segment = self.segments.get_mut(topic.as_str()).and_then(|segments| segments.last_mut());
        segment.expect("it has been subscribed to").replayed = true;
    }

    /// What was read is what was expected: all of it for those who stayed, a beginning of it for the others.
    pub(super) fn check(&self, text: &str, partial: bool, fates: &Fates) {
        let whole_lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let mut replies = Vec::new();
        let mut subscribed = Self::default();
        let mut streams: HashMap<(String, usize), Vec<&str>> = HashMap::new();
        for line in whole_lines.lines() {
            if let Some(reply) = line.strip_prefix("reply ") {
                replies.push(reply);
                let words: Vec<_> = reply.split(' ').collect();
                let names = |names: &str| names.split(',').map(str::to_owned).collect::<Vec<_>>();
                let wish = Wish { echo: true, mode: Mode::PLAIN };
                match words.as_slice() {
                    [_, "subscribed", list, _] => subscribed.subscribe(&names(list), wish),
                    [_, "unsubscribed", list] => subscribed.unsubscribe(&names(list)),
                    _ => {}
                }
                continue;
            }
            let topic = line.split(' ').nth(1).unwrap();
            assert!(
                subscribed.gets(&Topic::parse(topic).unwrap()),
                "{line} came before the reply that announces it, or after the one that ends it"
            );
            let number = subscribed.segments[topic].len() - 1;
            streams.entry((topic.to_owned(), number)).or_default().push(line);
        }
        compare("replies", &replies, &self.replies, partial);
        for (topic, segments) in &self.segments {
            for (number, segment) in segments.iter().enumerate() {
                let stream = streams.remove(&(topic.clone(), number)).unwrap_or_default();
                segment.check(topic, &stream, partial, fates);
            }
        }
        assert!(streams.is_empty(), "nobody expected {streams:?}");
    }
}

/// A line of the stream: a message, or a gap with its reason.
enum Heard<'a> {
    Message(&'a str),
    Gap { from: u64, to: u64, why: &'a str },
}

impl Segment {
    fn check(&self, topic: &str, stream: &[&str], partial: bool, fates: &Fates) {
        let mut owed = self.owed.iter().peekable();
        let mut last: Option<(&str, u64)> = None;
        for line in stream {
            let words: Vec<_> = line.split(' ').collect();
            let (epoch, heard, end) = match words.as_slice() {
                ["gap", _, epoch, from, to, why] => {
                    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
                    assert!(from <= to, "{line}");
                    (*epoch, Heard::Gap { from, to, why }, to)
                }
                [_, _, epoch, offset] => (*epoch, Heard::Message(line), offset.parse().unwrap()),
                _ => panic!("{line}"),
            };
            let begin = if let Heard::Gap { from, .. } = heard { from } else { end };
            if let Some((before, offset)) = last {
                assert!(before != epoch || offset < begin, "{line} comes behind offset {offset}");
            }
            last = Some((epoch, end));
            let is_of = |owed: &Owed| owed.position.epoch.to_string() == epoch;
            match heard {
                Heard::Message(line) => loop {
                    let Some(next) = owed.next() else { panic!("{line} of {topic} is not owed") };
                    if next.line == line {
                        break;
                    }
                    assert!(
                        !next.mode.interval.is_zero(),
                        "{line} came in place of {}, and no gap said so: {stream:?}",
                        next.line
                    );
                },
                Heard::Gap { from, to, why } => {
                    let mut ends = BTreeSet::from([from, to]);
                    while let Some(next) = owed.next_if(|next| is_of(next) && next.position.offset <= to) {
                        let offset = next.position.offset;
                        if offset < from {
                            assert!(!next.mode.interval.is_zero(), "{} is missing before {line}", next.line);
                            continue;
                        }
                        ends.remove(&offset);
                        self.check_gap(topic, epoch, next, why, fates);
                    }
                    // What history had lost before the replay began is no message that anybody knows of.
                    assert!(
                        ends.is_empty() || why == "history" || why == "expired",
                        "{line} ends at what is not missing: {ends:?}"
                    );
                    if why == "history" {
                        let oldest = fates.oldest.get(&(topic.to_owned(), epoch.to_owned()));
                        assert!(oldest.is_none_or(|oldest| to < *oldest), "{line} is there still");
                    }
                }
            }
        }
        let rest: Vec<_> = owed.collect();
        let Some(newest) = rest.last() else { return };
        let excused = |owed: &&Owed| self.replayed || !owed.mode.is_plain();
        let waited = self.closed && rest.iter().all(excused);
        assert!(partial || waited, "{} never came: {stream:?}", newest.line);
    }

    /// Whether it is right that a message does not come.
    fn check_gap(&self, topic: &str, epoch: &str, owed: &Owed, why: &str, fates: &Fates) {
        let Owed { position, line, mode } = owed;
        // What a rate holds back may be left out in silence, so also within a gap.
        let skippable = !mode.interval.is_zero() && ["dropped", "conflated"].contains(&why);
        let fine = match why {
            _ if skippable => true,
            "history" => self.replayed,
            "expired" => {
                let key = (topic.to_owned(), epoch.to_owned(), position.offset);
                let expired = fates.expires.get(&key).is_some_and(|expires| *expires <= fates.now);
                self.replayed && expired
            }
            "dropped" => mode.policy != SlowPolicy::Disconnect,
            "conflated" => {
                matches!(mode.policy, SlowPolicy::Latest | SlowPolicy::LatestPerKey | SlowPolicy::Drop)
            }
            _ => false,
        };
        assert!(fine, "{line} is said to be missing: {why}, under {mode:?}");
    }
}

fn compare(what: &str, read: &[&str], expected: &[String], partial: bool) {
    let common = read.iter().zip(expected).take_while(|(read, expected)| *read == expected).count();
    assert!(
        common == read.len(),
        "{what}: {:?} came in place of {:?}",
        read.get(common),
        expected.get(common)
    );
    assert!(partial || common == expected.len(), "{what}: {:?} never came", expected.get(common));
}
