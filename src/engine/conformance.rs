//! What any engine must do: checks that each of them passes unchanged. `conformance!(make)` makes a test of each check.

mod model;
mod story;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use topichub_protocol::message::{Extras, Payload, Position};
use topichub_protocol::reply::{MemberId, Presence};
use topichub_protocol::topic::{Pattern, Topic};

pub(crate) use self::model::any_history_reads_as_in_a_plain_model;
use self::story::{Story, joined, page, payload, rules, session, told, topic, user};
use super::{Appended, Change, Engine, Extent, PageLimits};
use crate::hub::input::{Asker, Publication, PublicationOptions, Ticket};
use crate::rules::{HistoryRule, Rules};

/// What an engine is made with for a check.
pub(crate) struct Setup {
    pub(crate) rules: Rules,
    pub(crate) linger: Duration,
    pub(crate) unused_topics_max: usize,
    pub(crate) history_bytes_max: usize,
    pub(crate) dedup_window: Duration,
}

impl Default for Setup {
    /// Of everything the last 100 messages, for a minute.
    fn default() -> Self {
        Self {
            rules: rules(&[(">", HistoryRule::last(100).for_age(MINUTE))]),
            linger: 10 * SECOND,
            unused_topics_max: 1000,
            history_bytes_max: 1 << 30,
            dedup_window: 2 * MINUTE,
        }
    }
}

pub(crate) type Make = fn(Setup) -> Box<dyn Engine>;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALL: PageLimits = PageLimits { messages: usize::MAX, bytes: usize::MAX };

/// Makes a test of each check for one engine.
macro_rules! conformance {
    ($make:path) => {
        $crate::engine::conformance::conformance! { $make =>
            offsets_rise_by_one_from_one,
            topics_have_epochs_of_their_own,
            reading_goes_on_behind_any_offset,
            reading_stops_at_the_limits_of_a_page,
            reading_back_stops_at_the_limits_of_a_page,
            a_topic_that_is_not_there_reads_as_empty,
            what_is_over_its_time_is_not_read,
            a_page_is_read_on_past_what_is_over_its_time,
            history_keeps_as_many_messages_as_the_rule_says,
            history_keeps_as_many_bytes_as_the_rule_says,
            history_keeps_messages_as_long_as_the_rule_says,
            messages_over_age_are_let_go_without_a_reader,
            a_rule_of_no_messages_keeps_none_and_counts_on,
            the_first_rule_that_matches_counts,
            a_time_leads_to_an_offset,
            a_condition_on_the_offset_is_kept,
            a_repeat_is_known_by_its_name,
            a_repeat_of_a_condition_that_held_is_a_repeat,
            a_name_for_another_message_is_refused,
            names_are_forgotten_after_their_window,
            names_belong_to_one_topic,
            patterns_match_what_there_is,
            more_topics_than_asked_for_are_an_error,
            topics_are_listed_page_by_page,
            what_is_purged_is_gone_and_offsets_go_on,
            a_topic_in_use_keeps_its_epoch,
            a_topic_out_of_use_is_forgotten_after_a_while,
            a_topic_with_messages_is_not_forgotten,
            a_topic_with_names_is_not_forgotten,
            unused_topics_beyond_the_limit_go_the_longest_unused_first,
            users_are_there_until_their_last_session_goes,
            members_are_named_up_to_a_number,
            a_session_can_take_another_name,
            a_topic_with_somebody_present_is_in_use,
            what_is_published_says_who_and_for_whom_not,
            what_is_retained_holds_on_to_nothing_larger,
            history_stays_within_its_memory,
            one_noisy_topic_does_not_cost_the_quiet_ones_their_last_message,
            topics_that_hold_as_much_as_others_lose_as_much,
            a_message_larger_than_all_history_is_delivered,
            everything_is_free_in_the_end,
            any_history_reads_as_in_a_plain_model,
        }
    };
    ($make:path => $($check:ident),* $(,)?) => {
        $(
            #[test]
            fn $check() {
                $crate::engine::conformance::$check($make);
            }
        )*
    };
}
pub(crate) use conformance;

pub(crate) fn offsets_rise_by_one_from_one(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let before = story.extent("a").end;
    assert_eq!(before.offset, 0);
    for offset in 1..=250 {
        assert_eq!(story.say("a", "x"), Position { offset, ..before });
    }
    assert_eq!(story.extent("a"), Extent { end: Position { offset: 250, ..before }, oldest: 151 });
}

pub(crate) fn topics_have_epochs_of_their_own(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let [first, second] = ["a", "b"].map(|name| story.epoch(name));
    assert_ne!(first, second);
    assert_eq!(story.say("a", "x").epoch.0, first);
    assert_eq!((story.epoch("a"), story.epoch("b")), (first, second));
}

pub(crate) fn reading_goes_on_behind_any_offset(make: Make) {
    let mut story = Story::with_rule(make, HistoryRule::last(3));
    for text in ["v", "w", "x", "y", "z"] {
        story.say("a", text);
    }
    assert_eq!(story.reach("a"), (5, 3));
    for behind in [0, 1, 2] {
        assert_eq!(story.read("a", behind, ALL), ("3:x 4:y 5:z".to_owned(), 5));
    }
    assert_eq!(story.read("a", 3, ALL), ("4:y 5:z".to_owned(), 5));
    assert_eq!(story.read("a", 5, ALL), (String::new(), 5));
    assert_eq!(story.read("a", 1 << 53, ALL), (String::new(), 1 << 53));

    for before in [6, 7, 1 << 53] {
        assert_eq!(story.read_back("a", before, ALL), ("3:x 4:y 5:z".to_owned(), 1));
    }
    assert_eq!(story.read_back("a", 5, ALL), ("3:x 4:y".to_owned(), 1));
    for before in [3, 2, 1] {
        assert_eq!(story.read_back("a", before, ALL), (String::new(), 1));
    }
    assert_eq!(story.read_back("a", 0, ALL), (String::new(), 0));
}

pub(crate) fn topics_are_listed_page_by_page(make: Make) {
    let mut story = Story::new(make, Setup::default());
    for name in ["b.x", "a", "c", "b.z", "b.y", "b"] {
        story.say(name, "x");
    }
    let list = |pattern: Option<&str>, after: Option<&str>, limit| {
        let pattern = pattern.map(|pattern| Pattern::parse(pattern).unwrap());
        let (page, next) = story.engine.list(pattern.as_ref(), after.map(topic).as_ref(), limit);
        let names = page.iter().map(Topic::as_str).collect::<Vec<_>>().join(" ");
        (names, next.map(|next| next.as_str().to_owned()))
    };
    assert_eq!(list(None, None, 9), ("a b b.x b.y b.z c".to_owned(), None));
    assert_eq!(list(None, None, 2), ("a b".to_owned(), Some("b".to_owned())));
    assert_eq!(list(None, Some("b"), 3), ("b.x b.y b.z".to_owned(), Some("b.z".to_owned())));
    assert_eq!(list(None, Some("b.z"), 3), ("c".to_owned(), None));
    assert_eq!(list(None, Some("zzz"), 3), (String::new(), None));
    assert_eq!(list(Some("b.*"), None, 9), ("b.x b.y b.z".to_owned(), None));
    assert_eq!(list(Some("b.*"), Some("a"), 2), ("b.x b.y".to_owned(), Some("b.y".to_owned())));
    assert_eq!(list(Some("b.*"), Some("b.y"), 2), ("b.z".to_owned(), None));
    assert_eq!(list(Some("d.>"), None, 2), (String::new(), None));
    assert_eq!(story.engine.topics(), 6);
}

pub(crate) fn what_is_purged_is_gone_and_offsets_go_on(make: Make) {
    let mut story = Story::new(make, Setup::default());
    for text in ["x", "y", "z"] {
        story.say("a", text);
    }
    story.say("b", "kept");
    let before = story.extent("a").end;
    assert_eq!(story.engine.purge(&topic("a"), story.now), 3);
    assert_eq!(story.extent("a"), Extent { end: before, oldest: 4 });
    assert_eq!(story.read("a", 0, ALL), (String::new(), 3));
    assert_eq!(story.say("a", "new"), Position { offset: 4, ..before });
    assert_eq!(story.read("a", 0, ALL), ("4:new".to_owned(), 4));
    assert_eq!(story.read("b", 0, ALL), ("1:kept".to_owned(), 1));
    assert_eq!(story.engine.purge(&topic("nothing"), story.now), 0);
}

pub(crate) fn reading_stops_at_the_limits_of_a_page(make: Make) {
    let mut story = Story::new(make, Setup::default());
    // In JSON each is as long as its text and two quotes.
    for text in ["aa", "bb", "a long one", "cc"] {
        story.say("a", text);
    }
    assert_eq!(story.read("a", 0, page(2, 100)), ("1:aa 2:bb".to_owned(), 2));
    assert_eq!(story.read("a", 2, page(2, 100)), ("3:a long one 4:cc".to_owned(), 4));
    assert_eq!(story.read("a", 0, page(9, 8)), ("1:aa 2:bb".to_owned(), 2));
    assert_eq!(story.read("a", 0, page(9, 7)), ("1:aa".to_owned(), 1));
    assert_eq!(story.read("a", 2, page(9, 1)), ("3:a long one".to_owned(), 3));
    // The page may hold something already.
    let mut page = Vec::new();
    for behind in [2, 0] {
        story.engine.read(
            &topic("a"),
            behind,
            super::PageLimits { messages: 1, bytes: 1 },
            story.now,
            &mut page,
        );
    }
    assert_eq!(told(&page), "3:a long one 1:aa");
}

pub(crate) fn reading_back_stops_at_the_limits_of_a_page(make: Make) {
    let mut story = Story::new(make, Setup::default());
    for text in ["aa", "a long one", "bb", "cc"] {
        story.say("a", text);
    }
    assert_eq!(story.read_back("a", 5, page(2, 100)), ("3:bb 4:cc".to_owned(), 3));
    assert_eq!(story.read_back("a", 3, page(9, 100)), ("1:aa 2:a long one".to_owned(), 1));
    assert_eq!(story.read_back("a", 5, page(9, 8)), ("3:bb 4:cc".to_owned(), 3));
    assert_eq!(story.read_back("a", 3, page(9, 1)), ("2:a long one".to_owned(), 2));
    let mut page = Vec::new();
    for before in [5, 3] {
        let limits = PageLimits { messages: 2, bytes: 100 };
        story.engine.read_back(&topic("a"), before, limits, story.now, &mut page);
    }
    assert_eq!(told(&page), "3:bb 4:cc 1:aa 2:a long one");
}

pub(crate) fn a_topic_that_is_not_there_reads_as_empty(make: Make) {
    let mut story = Story::new(make, Setup::default());
    assert_eq!(story.read("a", 7, ALL), (String::new(), 7));
    assert_eq!(story.read_back("a", 7, ALL), (String::new(), 1));
    assert_eq!(story.engine.behind(&topic("a"), SECOND, story.now), 0);
    assert_eq!(story.presence("a", 10).members, Some(Vec::new()));
    assert_eq!(story.leave("a", 1), Change::None);
    story.set_in_use("a", false);
    assert!(!story.exists("a"));
}

fn for_a_second() -> PublicationOptions {
    PublicationOptions { ttl: Some(SECOND), ..Default::default() }
}

pub(crate) fn what_is_over_its_time_is_not_read(make: Make) {
    let mut story = Story::new(make, Setup::default());
    story.say("a", "x");
    let published = story.say_with("a", "brief", for_a_second());
    assert_eq!(published.expires, Some(SECOND));
    story.say("a", "y");
    story.wait(SECOND - Duration::from_millis(1));
    assert_eq!(story.all("a"), "1:x 2:brief 3:y");
    story.wait(Duration::from_millis(1));
    assert_eq!(story.read("a", 0, ALL), ("1:x 3:y".to_owned(), 3));
    assert_eq!(story.read_back("a", 4, ALL), ("1:x 3:y".to_owned(), 1));
    // It still has its place: history reaches back as far as before.
    assert_eq!(story.reach("a"), (3, 1));
}

pub(crate) fn a_page_is_read_on_past_what_is_over_its_time(make: Make) {
    let mut story = Story::new(make, Setup::default());
    story.say_with("a", "brief", for_a_second());
    story.say("a", "x");
    story.say("a", "y");
    story.say_with("a", "brief", for_a_second());
    story.wait(SECOND);
    assert_eq!(story.read("a", 0, page(1, 100)), ("2:x".to_owned(), 2));
    assert_eq!(story.read("a", 2, page(1, 100)), ("3:y".to_owned(), 4));
    assert_eq!(story.read_back("a", 5, page(1, 100)), ("3:y".to_owned(), 3));
    assert_eq!(story.read_back("a", 3, page(1, 100)), ("2:x".to_owned(), 1));
}

pub(crate) fn history_keeps_as_many_messages_as_the_rule_says(make: Make) {
    for messages in [1_u64, 2, 7] {
        let mut story = Story::with_rule(make, HistoryRule::last(messages as usize));
        for offset in 1_u64..=20 {
            story.say("a", "x");
            assert_eq!(story.reach("a"), (offset, (offset + 1).saturating_sub(messages).max(1)));
        }
    }
}

pub(crate) fn history_keeps_as_many_bytes_as_the_rule_says(make: Make) {
    let mut story = Story::with_rule(make, HistoryRule::last(100).up_to_bytes(12));
    for text in ["aa", "bb", "cc"] {
        story.say("a", text);
    }
    assert_eq!(story.reach("a"), (3, 1));
    story.say("a", "d");
    assert_eq!(story.all("a"), "2:bb 3:cc 4:d");
    story.say("a", "12345678");
    assert_eq!(story.all("a"), "5:12345678");
    // Longer than all history may be: delivered, not retained, and nothing before it either, for history has no holes.
    assert_eq!(story.say("a", "12345678901").offset, 6);
    assert_eq!(story.reach("a"), (6, 7));
    story.say("a", "e");
    assert_eq!(story.all("a"), "7:e");
}

pub(crate) fn history_keeps_messages_as_long_as_the_rule_says(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let epoch = story.say("a", "x").epoch.0;
    story.wait(30 * SECOND);
    story.say("a", "y");
    // Reading does not wait for the next tick.
    story.now += 30 * SECOND - Duration::from_millis(1);
    assert_eq!(story.all("a"), "1:x 2:y");
    story.now += Duration::from_millis(1);
    assert_eq!(story.read_back("a", 9, ALL).0, "2:y");
    assert_eq!(story.reach("a"), (2, 2));
    story.now += 30 * SECOND;
    assert_eq!(story.engine.behind(&topic("a"), SECOND, story.now), 2);
    assert_eq!((story.reach("a"), story.epoch("a")), ((2, 3), epoch));
    assert_eq!(story.say("a", "z").offset, 3);
}

pub(crate) fn messages_over_age_are_let_go_without_a_reader(make: Make) {
    let mut story = Story::new(make, Setup::default());
    story.set_in_use("a", true);
    let empty = story.engine.history_bytes();
    for _ in 0..50 {
        story.say("a", &"x".repeat(1000));
    }
    assert!(story.engine.history_bytes() > empty + 50_000);
    story.wait(MINUTE - SECOND);
    assert!(story.engine.history_bytes() > empty + 50_000);
    story.wait(SECOND);
    assert_eq!(story.engine.history_bytes(), empty);
}

pub(crate) fn a_rule_of_no_messages_keeps_none_and_counts_on(make: Make) {
    let mut story = Story::with_rule(make, HistoryRule::last(0));
    story.set_in_use("a", true);
    let empty = story.engine.history_bytes();
    for offset in 1..=3 {
        assert_eq!(story.say("a", "x").offset, offset);
        assert_eq!(story.reach("a"), (offset, offset + 1));
    }
    assert_eq!(story.all("a"), "");
    assert_eq!(story.engine.history_bytes(), empty);
}

pub(crate) fn the_first_rule_that_matches_counts(make: Make) {
    let rules = rules(&[
        ("chat.lobby", HistoryRule::last(3)),
        ("chat.>", HistoryRule::last(2)),
        ("chat.lobby", HistoryRule::last(9)),
    ]);
    let mut story = Story::new(make, Setup { rules, ..Setup::default() });
    for name in ["chat.lobby", "chat.x.y", "ticker"] {
        (0..5).for_each(|_| _ = story.say(name, "x"));
    }
    assert_eq!(["chat.lobby", "chat.x.y", "ticker"].map(|name| story.reach(name).1), [3, 4, 5]);
}

pub(crate) fn a_time_leads_to_an_offset(make: Make) {
    let mut story = Story::with_rule(make, HistoryRule::last(3));
    for text in ["v", "w", "x", "y"] {
        story.say("a", text);
        story.now += 10 * SECOND;
    }
    let mut behind = |seconds| story.engine.behind(&topic("a"), seconds * SECOND, story.now);
    // 2:w is of second 10, 4:y of second 30.
    assert_eq!([0, 10, 11, 20, 29, 30, 31, 40].map(&mut behind), [1, 1, 2, 2, 3, 3, 4, 4]);
}

pub(crate) fn a_condition_on_the_offset_is_kept(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let at = |offset| PublicationOptions { if_offset: Some(offset), ..Default::default() };
    assert_eq!(story.refusal("ticker.AAPL", "x", at(1)), "ticker.AAPL stands at offset 0, not 1");
    assert_eq!(story.say_with("ticker.AAPL", "x", at(0)).offset(), 1);
    assert_eq!(story.refusal("ticker.AAPL", "y", at(0)), "ticker.AAPL stands at offset 1, not 0");
    assert_eq!(story.say_with("ticker.AAPL", "y", at(1)).offset(), 2);
    assert_eq!(story.all("ticker.AAPL"), "1:x 2:y");
}

pub(crate) fn a_repeat_is_known_by_its_name(make: Make) {
    let mut story = Story::new(make, Setup::default());
    assert_eq!(story.say_once("a", "x", "one"), (1, false));
    assert_eq!(story.say_once("a", "x", "two"), (2, false));
    let options = PublicationOptions { dedup: Some("one".into()), ..Default::default() };
    match story.append("a", payload("x"), options) {
        Appended::Duplicate { topic, position, subscribers, asker } => {
            assert_eq!((topic.as_str(), position.offset, subscribers), ("a", 1, 3));
            assert_eq!(
                (position, asker),
                (Position { offset: 1, ..story.extent("a").end }, Asker::Caller(Ticket(1)))
            );
        }
        other => panic!("not a repeat: {other:?}"),
    }
    assert_eq!(story.all("a"), "1:x 2:x");
}

pub(crate) fn a_repeat_of_a_condition_that_held_is_a_repeat(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let options =
        || PublicationOptions { dedup: Some("one".into()), if_offset: Some(0), ..Default::default() };
    story.say_with("a", "x", options());
    let again = story.append("a", payload("x"), options());
    assert!(matches!(again, Appended::Duplicate { position: Position { offset: 1, .. }, .. }), "{again:?}");
    // A name whose publish was refused was not used up.
    let options =
        || PublicationOptions { dedup: Some("two".into()), if_offset: Some(7), ..Default::default() };
    story.refusal("a", "y", options());
    assert_eq!(story.say_once("a", "y", "two"), (2, false));
}

pub(crate) fn a_name_for_another_message_is_refused(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let options = |key: Option<&str>| {
        let key = key.map(Into::into);
        let extras = key.is_some().then(|| Arc::new(Extras { key, ..Extras::default() }));
        PublicationOptions { dedup: Some("one".into()), extras, ..Default::default() }
    };
    story.say_with("a", "x", options(Some("k")));
    let told = "dedup \"one\" is another message of a, at offset 1";
    assert_eq!(story.refusal("a", "y", options(Some("k"))), told);
    assert_eq!(story.refusal("a", "x", options(None)), told);
    let again = story.append("a", payload("x"), options(Some("k")));
    assert!(matches!(again, Appended::Duplicate { .. }), "{again:?}");
    // The same bytes can be another value.
    let bytes = Payload::from_binary(payload("x").as_bytes().clone());
    let again = story.append("a", bytes, options(Some("k")));
    assert!(matches!(again, Appended::Refused { .. }), "{again:?}");
}

pub(crate) fn names_are_forgotten_after_their_window(make: Make) {
    let mut story = Story::new(make, Setup::default());
    story.set_in_use("a", true);
    let empty = story.engine.history_bytes();
    story.say_once("a", "x", "one");
    story.wait(2 * MINUTE - SECOND);
    assert_eq!(story.say_once("a", "x", "one"), (1, true));
    // A repeat does not make it last longer, and nobody waits for the next tick.
    story.now += SECOND;
    assert_eq!(story.say_once("a", "x", "one"), (2, false));
    story.wait(2 * MINUTE);
    assert_eq!(story.engine.history_bytes(), empty);
}

pub(crate) fn names_belong_to_one_topic(make: Make) {
    let mut story = Story::new(make, Setup::default());
    assert_eq!(story.say_once("a", "x", "one"), (1, false));
    assert_eq!(story.say_once("b", "y", "one"), (1, false));
    assert_eq!(story.say_once("a", "x", "one"), (1, true));
}

pub(crate) fn patterns_match_what_there_is(make: Make) {
    let mut story = Story::new(make, Setup::default());
    for name in ["a", "a.b", "a.b.c", "a.bb.c", "a!b.c", "ab.c", "b", "$sys.stats", "$sys.a.b"] {
        story.say(name, "x");
    }
    let mut check = |pattern, expected: &str| assert_eq!(story.matching(pattern, 9), Ok(expected.to_owned()));
    check(">", "a a!b.c a.b a.b.c a.bb.c ab.c b");
    check("*", "a b");
    check("*.c", "a!b.c ab.c");
    check("a.>", "a.b a.b.c a.bb.c");
    check("a.*", "a.b");
    check("a.*.c", "a.b.c a.bb.c");
    check("a.b.>", "a.b.c");
    check("*.b.>", "a.b.c");
    check("$sys.>", "$sys.a.b $sys.stats");
    check("$sys.*", "$sys.stats");
    check("c.>", "");
}

pub(crate) fn more_topics_than_asked_for_are_an_error(make: Make) {
    let mut story = Story::new(make, Setup::default());
    for number in 0..5 {
        story.say(&format!("a.{number}"), "x");
    }
    assert_eq!(story.matching("a.*", 5), Ok("a.0 a.1 a.2 a.3 a.4".to_owned()));
    assert_eq!(story.matching("a.*", 4), Err(5));
    assert!(story.matching("a.*", 0).is_err());
    assert_eq!(story.matching("b.*", 0), Ok(String::new()));
}

pub(crate) fn a_topic_in_use_keeps_its_epoch(make: Make) {
    let mut story = Story::new(make, Setup { unused_topics_max: 1, ..Setup::default() });
    story.set_in_use("a", true);
    let epoch = story.say("a", "x").epoch.0;
    for round in 0..100 {
        story.say(&format!("other.{round}"), "x");
        story.wait(MINUTE);
    }
    assert_eq!((story.reach("a"), story.epoch("a")), ((1, 2), epoch));
}

pub(crate) fn a_topic_out_of_use_is_forgotten_after_a_while(make: Make) {
    let mut story = Story::with_rule(make, HistoryRule::last(0));
    story.set_in_use("a", true);
    let epoch = story.say("a", "x").epoch.0;
    story.wait(MINUTE);
    story.set_in_use("a", false);
    story.wait(10 * SECOND - Duration::from_millis(1));
    // Whoever is told a position has as long to come back to it.
    assert_eq!((story.reach("a"), story.epoch("a")), ((1, 2), epoch));
    story.wait(10 * SECOND - Duration::from_millis(1));
    assert_eq!(story.say("a", "x").epoch.0, epoch);
    story.wait(10 * SECOND - Duration::from_millis(1));
    assert!(story.exists("a"));
    story.wait(Duration::from_millis(1));
    assert!(!story.exists("a"));
    assert_eq!(story.reach("a"), (0, 1));
    assert_ne!(story.epoch("a"), epoch);
}

pub(crate) fn a_topic_with_messages_is_not_forgotten(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let epoch = story.say("a", "x").epoch.0;
    story.wait(MINUTE - SECOND);
    assert_eq!(story.all("a"), "1:x");
    assert!(story.exists("a"));
    story.wait(SECOND);
    assert!(!story.exists("a"));
    assert_ne!(story.epoch("a"), epoch);
}

pub(crate) fn a_topic_with_names_is_not_forgotten(make: Make) {
    let mut story = Story::with_rule(make, HistoryRule::last(0));
    story.say_once("a", "x", "one");
    story.wait(2 * MINUTE - SECOND);
    assert_eq!(story.say_once("a", "x", "one"), (1, true));
    story.wait(SECOND);
    assert!(!story.exists("a"));
}

pub(crate) fn unused_topics_beyond_the_limit_go_the_longest_unused_first(make: Make) {
    let mut story = Story::new(make, Setup { unused_topics_max: 3, ..Setup::default() });
    for name in ["a", "b", "c", "in_use"] {
        story.say(name, "x");
        story.now += Duration::from_millis(1);
        if name == "in_use" {
            story.set_in_use(name, true);
        }
    }
    assert_eq!(story.matching(">", 9), Ok("b c in_use".to_owned()), "for a moment there were four");
    story.say("a", "x");
    story.say("b", "x");
    story.say("d", "x");
    assert_eq!(story.matching(">", 9), Ok("a b d in_use".to_owned()));
    story.set_in_use("a", true);
    story.say("e", "x");
    assert_eq!(story.matching(">", 9), Ok("a b d e in_use".to_owned()));
    story.set_in_use("in_use", false);
    assert_eq!(story.matching(">", 9), Ok("a d e in_use".to_owned()));
    assert_eq!(story.all("in_use"), "1:x");
}

pub(crate) fn users_are_there_until_their_last_session_goes(make: Make) {
    let mut story = Story::new(make, Setup::default());
    assert_eq!(story.join("a", 1, user("ann"), Some("away")), [joined(user("ann"), Some("away"))]);
    assert_eq!(story.join("a", 2, user("ann"), Some("away")), [Change::None]);
    assert_eq!(story.join("a", 3, user("ann"), Some("here")), [joined(user("ann"), Some("here"))]);
    assert_eq!(story.join("a", 3, user("ann"), None), [joined(user("ann"), None)]);
    assert_eq!(story.join("a", 3, user("ann"), None), []);
    assert_eq!(story.join("a", 4, MemberId::Session(7), None), [joined(MemberId::Session(7), None)]);

    let Presence { count, sessions, members, .. } = story.presence("a", 10);
    let ids: Vec<_> = members.unwrap().into_iter().map(|member| (member.id, member.data)).collect();
    assert_eq!((count, sessions), (2, 4));
    assert_eq!(ids, [(user("ann"), None), (MemberId::Session(7), None)]);

    assert_eq!(story.leave("a", 4), Change::Left(MemberId::Session(7)));
    assert_eq!(
        [1, 3, 3, 2].map(|number| story.leave("a", number))[..3],
        [Change::None, Change::None, Change::None]
    );
    assert_eq!(story.presence("a", 10).count, 0);
    assert_eq!(story.leave("a", 2), Change::None);
    story.join("a", 1, user("ann"), None);
    assert_eq!(story.leave("a", 1), Change::Left(user("ann")));
}

pub(crate) fn members_are_named_up_to_a_number(make: Make) {
    let mut story = Story::new(make, Setup::default());
    for (number, name) in ["eve", "bob", "ann"].into_iter().enumerate() {
        story.join("a", number as u64, user(name), None);
    }
    let names = |presence: Presence| {
        let names = presence.members?.into_iter().map(|member| member.id);
        Some(names.collect::<Vec<_>>())
    };
    assert_eq!(names(story.presence("a", 3)), Some(vec![user("ann"), user("bob"), user("eve")]));
    assert_eq!(names(story.presence("a", 2)), None);
    assert_eq!((story.presence("a", 2).count, story.presence("a", 2).sessions), (3, 3));
}

pub(crate) fn a_session_can_take_another_name(make: Make) {
    let mut story = Story::new(make, Setup::default());
    story.join("a", 1, MemberId::Session(1), None);
    let changes = story.join("a", 1, user("ann"), None);
    assert_eq!(changes, [Change::Left(MemberId::Session(1)), joined(user("ann"), None)]);
    story.join("a", 2, user("ann"), None);
    assert_eq!(story.join("a", 2, user("bob"), None), [joined(user("bob"), None)]);
    assert_eq!((story.presence("a", 9).count, story.presence("a", 9).sessions), (2, 2));
    assert_eq!(story.leave("a", 1), Change::Left(user("ann")));
}

pub(crate) fn a_topic_with_somebody_present_is_in_use(make: Make) {
    let mut story = Story::new(make, Setup::default());
    story.join("a", 1, user("ann"), None);
    story.join("a", 2, user("bob"), None);
    let epoch = story.epoch("a");
    story.set_in_use("a", true);
    story.set_in_use("a", false);
    story.leave("a", 1);
    story.wait(MINUTE);
    assert_eq!(story.epoch("a"), epoch);
    story.leave("a", 2);
    story.wait(10 * SECOND);
    assert!(!story.exists("a"));
}

pub(crate) fn what_is_published_says_who_and_for_whom_not(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let extras = Some(Arc::new(Extras { key: Some("k".into()), ..Extras::default() }));
    let options = PublicationOptions { extras, exclude: [session(2)].into(), ..Default::default() };
    let publication = Publication {
        topic: topic("a"),
        payload: payload("x"),
        options: Some(Box::new(options)),
        asker: Asker::Session { session: session(1), id: None },
        subscribers: 5,
        permit: None,
    };
    story.now += SECOND;
    let mut appended = Vec::new();
    story.engine.append(publication, story.now, &mut appended);
    let [Appended::Stored { published, asker, subscribers: 5, permit: None }] = &appended[..] else {
        panic!("{appended:?}");
    };
    assert_eq!(asker.session(), Some(session(1)));
    assert_eq!((published.publisher, &*published.exclude), (Some(session(1)), &[session(2)][..]));
    assert_eq!((published.message.key(), published.at, published.expires), (Some("k"), SECOND, None));
    let mut page = Vec::new();
    story.engine.read(&topic("a"), 0, ALL, story.now, &mut page);
    assert!(Arc::ptr_eq(&page[0], published), "delivered and retained are one");
}

pub(crate) fn what_is_retained_holds_on_to_nothing_larger(make: Make) {
    let mut story = Story::new(make, Setup::default());
    let body = Bytes::from(format!("{:>30000}", "\"x\""));
    let part = Payload::from_json(body.clone()).unwrap();
    assert!(body.as_ptr_range().contains(&part.as_bytes().as_ptr()));
    story.append("a", part, PublicationOptions::default());
    let mut page = Vec::new();
    story.engine.read(&topic("a"), 0, ALL, story.now, &mut page);
    let retained = page[0].message.payload.as_bytes();
    assert_eq!(retained, "\"x\"");
    assert!(!body.as_ptr_range().contains(&retained.as_ptr()));
}

pub(crate) fn history_stays_within_its_memory(make: Make) {
    let history_bytes_max = 200_000;
    let mut story = Story::new(make, Setup { history_bytes_max, ..Setup::default() });
    for round in 0..300 {
        story.say(&format!("a.{}", round % 7), &"x".repeat(5000));
        assert!(story.engine.history_bytes() <= history_bytes_max);
    }
    assert!(story.engine.history_bytes() > history_bytes_max - 20_000, "more was let go than need be");
    // With nothing but topics, too: those that nobody uses go.
    for round in 0..900 {
        story.say(&format!("b.{round}"), "x");
        assert!(story.engine.history_bytes() <= history_bytes_max);
    }
    assert_eq!(story.all("b.899"), "1:x");
}

pub(crate) fn one_noisy_topic_does_not_cost_the_quiet_ones_their_last_message(make: Make) {
    let rules = rules(&[(">", HistoryRule::last(1_000_000).up_to_bytes(1 << 30))]);
    let history_bytes_max = 4 << 20;
    let mut story = Story::new(make, Setup { rules, history_bytes_max, ..Setup::default() });
    for number in 0..999 {
        story.say(&format!("quiet.{number}"), "the last value");
    }
    let long = payload(&"x".repeat(65_000));
    for _ in 0..1600 {
        story.append("noisy", long.clone(), PublicationOptions::default());
    }
    assert!(story.engine.history_bytes() <= history_bytes_max);
    for number in 0..999 {
        assert_eq!(story.all(&format!("quiet.{number}")), "1:the last value");
    }
    let (last, oldest) = story.reach("noisy");
    assert_eq!(last, 1600);
    assert!(last - oldest > 40, "the noisy one keeps what there is room for, not {oldest} to {last}");
}

pub(crate) fn topics_that_hold_as_much_as_others_lose_as_much(make: Make) {
    let mut story = Story::new(make, Setup { history_bytes_max: 300_000, ..Setup::default() });
    for round in 0..800 {
        story.say(&format!("a.{}", round % 8), &"x".repeat(2000));
    }
    let held: Vec<_> = (0..8).map(|number| story.reach(&format!("a.{number}")).1).collect();
    let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
    assert!(most - least <= 2, "what is retained begins at {held:?}");
}

pub(crate) fn a_message_larger_than_all_history_is_delivered(make: Make) {
    let mut story = Story::new(make, Setup { history_bytes_max: 10_000, ..Setup::default() });
    story.say("a", "x");
    story.say("b", "y");
    assert_eq!(story.say("a", &"x".repeat(20_000)).offset, 2);
    assert_eq!(story.reach("a"), (2, 3));
    assert_eq!(story.all("b"), "1:y", "nobody else loses anything for it");
    assert_eq!(story.say("a", "z").offset, 3);
    assert_eq!(story.all("a"), "3:z");
}

pub(crate) fn everything_is_free_in_the_end(make: Make) {
    let mut story = Story::new(make, Setup::default());
    for number in 0..50 {
        let name = format!("a.{number}");
        story.set_in_use(&name, number % 2 == 0);
        story.say_once(&name, "x", "one");
        story.say_with(&name, "brief", for_a_second());
        story.join(&name, number, user("ann"), Some("here"));
    }
    assert!(story.engine.history_bytes() > 0);
    for number in 0..50 {
        let name = format!("a.{number}");
        story.leave(&name, number);
        story.set_in_use(&name, false);
    }
    (0..150).for_each(|_| story.wait(SECOND));
    assert_eq!(story.engine.history_bytes(), 0);
    assert_eq!(story.matching(">", 0), Ok(String::new()));
}
