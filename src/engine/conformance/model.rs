//! Topics as one would write them without a thought for speed, and anything that can happen to them: the engine must
//! show the same after each step.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use topichub_protocol::topic::{Pattern, Topic};

use super::story::{Story, payload, rules, topic, user};
use super::{ALL, Make, Setup};
use crate::engine::{Appended, PageLimits};
use crate::hub::input::PublicationOptions;
use crate::rules::{HistoryRule, Rules};

const TOPICS: [&str; 6] = ["a", "a.b", "a.b.c", "b.c", "brief.x", "none.x"];
const PATTERNS: [&str; 7] = [">", "*", "a.>", "*.*", "a.*", "*.b.>", "brief.*"];
const LINGER: Duration = Duration::from_secs(10);
const DEDUP_WINDOW: Duration = Duration::from_secs(15);

fn some_rules() -> Rules {
    rules(&[
        ("a.>", HistoryRule::last(4).up_to_bytes(30)),
        ("brief.>", HistoryRule::last(9).for_age(Duration::from_secs(3))),
        ("none.>", HistoryRule::last(0)),
        (">", HistoryRule::last(6).for_age(Duration::from_secs(20))),
    ])
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Say {
        name: &'static str,
        text: String,
        ttl: Option<u64>,
        dedup: Option<u8>,
        if_offset: Option<u64>,
    },
    Read {
        name: &'static str,
        from: u64,
        limits: PageLimits,
        is_back: bool,
    },
    Extent(&'static str),
    Behind {
        name: &'static str,
        ago: u64,
    },
    Matching(&'static str),
    SetInUse(&'static str, bool),
    Join(&'static str, u64),
    Leave(&'static str, u64),
    /// In milliseconds; without a tick if they are few.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || select(&TOPICS[..]);
    let say =
        (name(), "[xyz]{0,20}", weighted(0.2, 1..9000_u64), weighted(0.3, 0..3_u8), weighted(0.1, 0..4_u64));
    let limits = (0..8_usize, 0..60_usize).prop_map(|(messages, bytes)| PageLimits { messages, bytes });
    prop_oneof![
        8 => say.prop_map(|(name, text, ttl, dedup, if_offset)| Step::Say { name, text, ttl, dedup, if_offset }),
        5 => (name(), 0..30_u64, limits, any::<bool>())
            .prop_map(|(name, from, limits, is_back)| Step::Read { name, from, limits, is_back }),
        1 => name().prop_map(Step::Extent),
        1 => (name(), 0..30_000_u64).prop_map(|(name, ago)| Step::Behind { name, ago }),
        1 => select(&PATTERNS[..]).prop_map(Step::Matching),
        2 => (name(), any::<bool>()).prop_map(|(name, in_use)| Step::SetInUse(name, in_use)),
        1 => (name(), 0..3_u64).prop_map(|(name, session)| Step::Join(name, session)),
        1 => (name(), 0..3_u64).prop_map(|(name, session)| Step::Leave(name, session)),
        3 => prop_oneof![0..100_u64, 100..12_000_u64].prop_map(Step::Wait),
    ]
}

#[derive(Debug)]
struct Said {
    offset: u64,
    text: String,
    at: Duration,
    expires: Option<Duration>,
}

#[derive(Debug)]
struct PlainTopic {
    number: u64,
    rule: HistoryRule,
    last: u64,
    said: Vec<Said>,
    names: Vec<(u8, String, u64, Duration)>,
    is_subscribed: bool,
    present: Vec<u64>,
    used_at: Duration,
    used: u64,
}

impl PlainTopic {
    fn is_unused(&self) -> bool {
        !self.is_subscribed && self.present.is_empty()
    }

    fn let_age(&mut self, now: Duration) {
        let age = self.rule.age;
        self.said.retain(|said| said.at + age > now);
        self.names.retain(|(_, _, _, at)| *at + DEDUP_WINDOW > now);
    }

    fn oldest(&self) -> u64 {
        self.said.first().map_or(self.last + 1, |said| said.offset)
    }
}

#[derive(Debug, Default)]
struct Plain {
    topics: BTreeMap<&'static str, PlainTopic>,
    unused_topics_max: usize,
    made: u64,
    uses: u64,
}

impl Plain {
    fn use_topic(&mut self, name: &'static str, now: Duration) -> &mut PlainTopic {
        let made = &mut self.made;
        let plain = self.topics.entry(name).or_insert_with(|| {
            *made += 1;
            PlainTopic {
                number: *made,
                rule: some_rules().history(&topic(name)),
                last: 0,
                said: Vec::new(),
                names: Vec::new(),
                is_subscribed: false,
                present: Vec::new(),
                used_at: now,
                used: 0,
            }
        });
        self.uses += 1;
        plain.let_age(now);
        (plain.used_at, plain.used) = (now, self.uses);
        plain
    }

    fn forget_beyond_limit(&mut self) {
        loop {
            let unused = || self.topics.iter().filter(|(_, plain)| plain.is_unused());
            let Some((&longest, _)) = unused().min_by_key(|(_, plain)| plain.used) else { return };
            if unused().count() <= self.unused_topics_max {
                return;
            }
            self.topics.remove(longest);
        }
    }

    fn tick(&mut self, now: Duration) {
        self.topics.retain(|_, plain| {
            plain.let_age(now);
            let holds = !plain.said.is_empty() || !plain.names.is_empty();
            holds || !plain.is_unused() || plain.used_at + LINGER > now
        });
    }

    /// What is told of a publish: its place, or why it has none.
    fn say(
        &mut self,
        name: &'static str,
        text: &str,
        (ttl, dedup, if_offset): (Option<u64>, Option<u8>, Option<u64>),
        now: Duration,
    ) -> String {
        let mut stands = 0;
        if let Some(plain) = self.topics.get_mut(name) {
            plain.let_age(now);
            stands = plain.last;
            let known = plain.names.iter().find(|(known, ..)| Some(*known) == dedup);
            if let Some((_, known, offset, _)) = known {
                return if known == text { format!("repeat {offset}") } else { "refused".to_owned() };
            }
        }
        if if_offset.is_some_and(|expected| expected != stands) {
            return "refused".to_owned();
        }
        let plain = self.use_topic(name, now);
        plain.last += 1;
        let offset = plain.last;
        if let Some(dedup) = dedup {
            plain.names.push((dedup, text.to_owned(), offset, now));
        }
        let expires = ttl.map(|ttl| now + Duration::from_millis(ttl));
        plain.said.push(Said { offset, text: text.to_owned(), at: now, expires });
        // A text has two quotes in JSON.
        let bytes = |said: &[Said]| said.iter().map(|said| said.text.len() + 2).sum::<usize>();
        while plain.said.len() > plain.rule.messages || bytes(&plain.said) > plain.rule.bytes {
            plain.said.remove(0);
        }
        format!("stored {offset}")
    }

    fn read(&self, name: &str, from: u64, limits: PageLimits, is_back: bool, now: Duration) -> (String, u64) {
        let Some(plain) = self.topics.get(name) else {
            return (String::new(), if is_back { from.min(1) } else { from });
        };
        let mut said: Vec<_> = plain.said.iter().filter(|said| said.at + plain.rule.age > now).collect();
        said.retain(|said| if is_back { said.offset < from } else { said.offset > from });
        said.retain(|said| said.expires.is_none_or(|expires| expires > now));
        if is_back {
            said.reverse();
        }
        let (mut bytes, mut count) = (0, 0);
        let fits = |said: &&&Said| {
            count += 1;
            bytes += said.text.len() + 2;
            count <= limits.messages && (count == 1 || bytes <= limits.bytes)
        };
        let mut page: Vec<_> =
            said.iter().take_while(fits).map(|said| format!("{}:{}", said.offset, said.text)).collect();
        let read = match (said.get(page.len()), is_back) {
            (Some(next), false) => next.offset - 1,
            (Some(next), true) => next.offset + 1,
            (None, false) => from.max(plain.last),
            (None, true) => from.min(1),
        };
        if is_back {
            page.reverse();
        }
        (page.join(" "), read)
    }
}

/// Does the same to both and compares what is told.
fn check(story: &mut Story, plain: &mut Plain, epochs: &mut BTreeMap<u64, u64>, step: Step) {
    match step {
        Step::Say { name, text, ttl, dedup, if_offset } => {
            let options = PublicationOptions {
                ttl: ttl.map(Duration::from_millis),
                dedup: dedup.map(|dedup| dedup.to_string().into()),
                if_offset,
                ..Default::default()
            };
            let told = match story.append(name, payload(&text), options) {
                Appended::Stored { published, .. } => format!("stored {}", published.offset()),
                Appended::Duplicate { position, .. } => format!("repeat {}", position.offset),
                Appended::Refused { .. } => "refused".to_owned(),
            };
            assert_eq!(told, plain.say(name, &text, (ttl, dedup, if_offset), story.now));
        }
        Step::Read { name, from, limits, is_back } => {
            let read = match is_back {
                true => story.read_back(name, from, limits),
                false => story.read(name, from, limits),
            };
            assert_eq!(read, plain.read(name, from, limits, is_back, story.now));
        }
        Step::Extent(name) => {
            let extent = story.extent(name);
            let expected = plain.use_topic(name, story.now);
            assert_eq!((extent.end.offset, extent.oldest), (expected.last, expected.oldest()));
            // The same epoch for the same incarnation, another for another.
            let epoch = *epochs.entry(expected.number).or_insert(extent.end.epoch.0);
            assert_eq!(epoch, extent.end.epoch.0);
            assert_eq!(epochs.values().filter(|other| **other == epoch).count(), 1);
        }
        Step::Behind { name, ago } => {
            let since = story.now.saturating_sub(Duration::from_millis(ago));
            let behind = story.engine.behind(&topic(name), since, story.now);
            let expected = plain.topics.get_mut(name).map_or(0, |plain| {
                plain.let_age(story.now);
                plain.said.iter().find(|said| said.at >= since).map_or(plain.last, |said| said.offset - 1)
            });
            assert_eq!(behind, expected);
        }
        Step::Matching(pattern) => compare_topics(story, plain, pattern),
        Step::SetInUse(name, in_use) => {
            story.set_in_use(name, in_use);
            if in_use || plain.topics.contains_key(name) {
                plain.use_topic(name, story.now).is_subscribed = in_use;
            }
        }
        Step::Join(name, session) => {
            story.join(name, session, user("ann"), None);
            let present = &mut plain.use_topic(name, story.now).present;
            present.retain(|other| *other != session);
            present.push(session);
        }
        Step::Leave(name, session) => {
            story.leave(name, session);
            if plain.topics.get(name).is_some_and(|plain| !plain.present.is_empty()) {
                plain.use_topic(name, story.now).present.retain(|other| *other != session);
            }
        }
        Step::Wait(milliseconds) if milliseconds < 100 => story.now += Duration::from_millis(milliseconds),
        Step::Wait(milliseconds) => {
            story.wait(Duration::from_millis(milliseconds));
            plain.tick(story.now);
        }
    }
    plain.forget_beyond_limit();
}

fn compare_topics(story: &mut Story, plain: &Plain, pattern: &str) {
    let parsed = Pattern::parse(pattern).unwrap();
    let matching = plain.topics.keys().filter(|name| parsed.matches(&Topic::parse(name).unwrap()));
    let mut expected: Vec<_> = matching.copied().collect();
    expected.sort_unstable();
    assert_eq!(story.matching(pattern, TOPICS.len()), Ok(expected.join(" ")));
}

pub(crate) fn any_history_reads_as_in_a_plain_model(make: Make) {
    proptest!(|(steps in prop::collection::vec(step(), 0..150), unused_topics_max in 1..8_usize)| {
        let setup = Setup { rules: some_rules(), linger: LINGER, dedup_window: DEDUP_WINDOW, unused_topics_max, ..Setup::default() };
        let mut story = Story::new(make, setup);
        let mut plain = Plain { unused_topics_max, ..Plain::default() };
        let mut epochs = BTreeMap::new();
        for step in steps {
            check(&mut story, &mut plain, &mut epochs, step);
        }
        compare_topics(&mut story, &plain, ">");
        for name in TOPICS {
            prop_assert_eq!(story.read(name, 0, ALL), plain.read(name, 0, ALL, false, story.now));
        }
        for name in TOPICS {
            (0..3).for_each(|session| _ = story.leave(name, session));
            story.set_in_use(name, false);
        }
        // As long as anything is kept.
        story.wait(Duration::from_secs(3600));
        story.wait(LINGER);
        prop_assert_eq!(story.engine.history_bytes(), 0);
    });
}
