//! Any bytes come to the same however they are cut, at either end, with and without compression, whether or not we
//! close on the way.
//!
//! Input: flags (1 client, 2 compression, 4 we close), a limit's number, a seed for the cuts, where we close (2 bytes),
//! then what the peer sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use topichub_fuzz::wire::{agreed, receive};
use topichub_fuzz::{Input, Random};
use topichub_protocol::websocket::Config;

const LIMITS: [usize; 8] = [0, 1, 5, 125, 400, 1024, 65_536, 1 << 20];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (flags, limit) = (input.byte(), LIMITS[usize::from(input.byte()) % LIMITS.len()]);
    let mut random = Random(u64::from(input.byte()));
    let close = input.below(usize::from(u16::MAX));
    let bytes = input.0;
    let mut config = if flags & 1 == 0 { Config::server(limit) } else { Config::client(limit, 7) };
    config.deflate = (flags & 2 != 0).then(agreed);
    let we_close = (flags & 4 != 0).then_some(close % (bytes.len() + 1));

    let whole = receive(config, bytes, || usize::MAX, we_close);
    let longest = 1 << random.below(8);
    let cut = receive(config, bytes, || 1 + random.below(longest), we_close);
    assert_eq!(whole, cut, "whole and in pieces of at most {longest} bytes");
    if bytes.len() < 256 {
        assert_eq!(whole, receive(config, bytes, || 1, we_close), "whole and byte by byte");
    }
});
