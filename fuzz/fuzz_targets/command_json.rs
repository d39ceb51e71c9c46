//! Any bytes as a command, a batch, a reply or a push: no panic, and what can be read is the same when it is written and
//! read again.
//!
//! Input: what the peer sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use topichub_protocol::Codec;

fuzz_target!(|data: &[u8]| topichub_fuzz::codec::check(Codec::Json, data));
