//! The examples of SPEC.md, read by this crate and written again.
#![allow(clippy::unwrap_used, reason = "a test may fail by unwrap, and so may what only tests call")]

use serde_json::Value;
use topichub_protocol::{Codec, ServerMessage};

/// The lines of examples that show what goes this way; a letter before the arrow says whose connection it is.
fn examples(arrow: &str) -> Vec<&'static str> {
    let lines = include_str!("../SPEC.md").lines().filter(|line| line.contains(&format!("{arrow} {{")));
    lines.map(|line| line.split_once(arrow).unwrap().1.trim()).collect()
}

#[test]
fn commands_in_the_examples_are_commands() {
    let examples = examples("→");
    assert!(examples.len() > 10, "the examples are not found: {examples:?}");
    for example in examples {
        let command = Codec::Json.decode_command(example.as_bytes());
        let command = command.unwrap_or_else(|error| panic!("{error}: {example}"));
        let mut out = Vec::new();
        Codec::Json.encode_command(&command, &mut out);
        let [written, read] =
            [&out, example.as_bytes()].map(|text| serde_json::from_slice::<Value>(text).unwrap());
        assert_eq!(written, read);
    }
}

#[test]
fn what_the_server_says_in_the_examples_is_what_it_writes() {
    let examples = examples("←");
    assert!(examples.len() > 10, "the examples are not found: {examples:?}");
    for example in examples {
        let said = Codec::Json.decode_server(example.as_bytes());
        let said = said.unwrap_or_else(|error| panic!("{error}: {example}"));
        let mut out = Vec::new();
        match said {
            ServerMessage::Reply(reply) => Codec::Json.encode_reply(&reply, &mut out),
            ServerMessage::Push(push) => Codec::Json.encode_push(&push, &mut out),
        }
        assert_eq!(String::from_utf8(out).unwrap(), example);
    }
}
