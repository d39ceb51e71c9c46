//! Topics, patterns and filters against the rules of SPEC.md written down in the plainest way.
//!
//! Input: the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use topichub_protocol::{Filter, Pattern, Topic, TopicError};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let tokens: Vec<&str> = text.split('.').collect();
    let sound = (1..=255).contains(&text.len())
        && tokens.iter().all(|token| !token.is_empty())
        && !text.chars().any(|char| char.is_control() || char.is_whitespace());
    let has_wildcards = text.contains(['*', '>']);
    let wildcards_stand_right = tokens.iter().enumerate().all(|(at, token)| {
        !token.contains(['*', '>']) || *token == "*" || (*token == ">" && at == tokens.len() - 1)
    });
    let is_filter = sound && wildcards_stand_right;

    let (topic, pattern, filter) = (Topic::parse(text), Pattern::parse(text), Filter::parse(text));
    assert_eq!(topic.is_ok(), sound && !has_wildcards, "{topic:?}");
    assert_eq!(pattern.is_ok(), is_filter && has_wildcards, "{pattern:?}");
    assert_eq!(filter.is_ok(), is_filter, "{filter:?}");
    for error in [topic.as_ref().err(), pattern.as_ref().err(), filter.as_ref().err()].into_iter().flatten() {
        check_place(error, text);
    }
    if let Ok(topic) = topic {
        assert_eq!((topic.as_str(), topic.tokens().collect::<Vec<_>>()), (text, tokens.clone()));
        assert_eq!(topic.is_system(), tokens[0] == "$sys");
        assert!(Filter::Topic(topic.clone()).matches(&topic));
    }
    if let Ok(filter) = filter {
        assert_eq!((filter.as_str(), filter.is_system()), (text, tokens[0] == "$sys"));
        assert_eq!(matches!(filter, Filter::Pattern(_)), has_wildcards);
    }
});

/// What the error says stands where it says.
fn check_place(error: &TopicError, text: &str) {
    assert!(!error.to_string().is_empty());
    match *error {
        TopicError::Empty => assert!(text.is_empty()),
        TopicError::TooLong { len, max } => assert!(len == text.len() && len > max),
        TopicError::EmptyToken { at } => assert!(text[at..].is_empty() || text[at..].starts_with('.')),
        TopicError::BadCharacter { at, character } => assert!(text[at..].starts_with(character)),
        TopicError::Wildcard { at, wildcard } | TopicError::PartialWildcard { at, wildcard } => {
            assert!(text[at..].starts_with(wildcard));
        }
        TopicError::RestNotLast { at } => assert!(text[at..].starts_with(">.")),
        TopicError::NoWildcard => assert!(!text.contains(['*', '>'])),
    }
}
