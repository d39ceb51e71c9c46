//! A payload that one codec has accepted can always be written in the other, which accepts it; and once it has been in
//! both, it stays the same.
//!
//! Input: 0 for JSON or 1 for MessagePack in the lowest bit of a byte, then the payload.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use topichub_fuzz::Input;
use topichub_protocol::Payload;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let is_msgpack = input.byte() & 1 == 1;
    let bytes = Bytes::copy_from_slice(input.0);
    match is_msgpack {
        false => Payload::from_json(bytes).map_or((), |payload| check_json(&payload)),
        true => Payload::from_msgpack(bytes).map_or((), |payload| check_msgpack(&payload)),
    }
});

fn check_json(payload: &Payload) {
    let text = payload.as_bytes();
    let there = to_msgpack(payload);
    assert!(there.as_bytes().len() <= 5 * text.len(), "{text:?} grows to {:?}", there.as_bytes());
    let back = to_json(&there);
    assert_eq!(to_json(&to_msgpack(&back)), back);
    // What serde_json understands too (it refuses 1e400, and 128 levels) means the same.
    if let Ok(value) = serde_json::from_slice::<Value>(text) {
        let seen: Value = serde_json::from_slice(back.as_bytes()).expect("we wrote JSON");
        assert_eq!(seen, value);
    }
    let mut line = Vec::new();
    payload.write_json_line(&mut line);
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    let line = Payload::from_json(line.into()).expect("a line is JSON as well");
    assert_eq!(to_msgpack(&line), there);
}

fn check_msgpack(payload: &Payload) {
    let there = to_json(payload);
    if !payload.is_binary() {
        let (before, after) = (payload.as_bytes().len(), there.as_bytes().len());
        assert!(after <= 16 * before, "{payload:?} grows to {there:?}");
    }
    serde_json::from_slice::<Value>(there.as_bytes()).expect("we wrote JSON");
    let back = to_msgpack(&there);
    assert_eq!(to_json(&back), there);
}

fn to_msgpack(payload: &Payload) -> Payload {
    let mut out = Vec::new();
    payload.write_msgpack(&mut out);
    Payload::from_msgpack(out.into()).expect("what we write as MessagePack is a payload")
}

/// As JSON; of a binary payload the text that stands for it.
fn to_json(payload: &Payload) -> Payload {
    let mut out = Vec::new();
    payload.write_json(&mut out);
    Payload::from_json(out.into()).expect("what we write as JSON is a payload")
}
