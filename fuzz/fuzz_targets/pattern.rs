//! Whether a filter matches a topic, against the definition written down as a recursion.
//!
//! Input: a byte for each token of the filter, 0xff, and a byte for each token of the topic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use topichub_protocol::{Filter, Topic};

const TOKENS: [&str; 8] = ["a", "b", "ab", "é", "$sys", "$SYS", "*", ">"];

fuzz_target!(|data: &[u8]| {
    let mut halves = data.splitn(2, |byte| *byte == 0xff);
    let mut tokens = || -> Vec<&str> {
        halves
            .next()
            .unwrap_or_default()
            .iter()
            .map(|byte| TOKENS[usize::from(*byte) % TOKENS.len()])
            .collect()
    };
    let (filter, topic) = (tokens(), tokens());
    let (Ok(filter_parsed), Ok(topic_parsed)) =
        (Filter::parse(&filter.join(".")), Topic::parse(&topic.join(".")))
    else {
        return;
    };
    let hidden = topic[0] == "$sys" && filter[0] != "$sys";
    assert_eq!(
        filter_parsed.matches(&topic_parsed),
        !hidden && matches(&filter, &topic),
        "{filter:?} {topic:?}"
    );
});

fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
        ([literal, filter @ ..], [token, topic @ ..]) => literal == token && matches(filter, topic),
        _ => false,
    }
}
