//! What an idle connection costs in memory: 15,000 connections at `topichub serve`, half with MessagePack, subscribed to
//! nothing or to one topic. It prints resident memory of the server before and after, divided by the connections.
//! Memory of the kernel (sockets) is not in it.
//!
//! ```sh
//! cargo bench --bench idle
//! cargo bench --bench idle -- --quick
//! ```

mod support;

use std::io;

use support::process::{self, Server};
use support::subscribers::Subscribers;
use topichub::Filter;
use topichub::protocol::Codec;

const CODECS: [Codec; 2] = [Codec::Json, Codec::MsgPack];

fn main() -> io::Result<()> {
    let count = if support::is_quick() { 3_000 } else { 15_000 };
    process::leave_the_first_core()?;
    println!("Resident memory of the server for each of {count} idle connections");
    print("subscribed to nothing", count, None)?;
    print("subscribed to one topic", count, Some(&support::topic()?.into()))
}

fn print(what: &str, count: usize, filter: Option<&Filter>) -> io::Result<()> {
    let server = Server::hub()?;
    let before = server.resident_bytes()?;
    let connections = Subscribers::of_hub(server.address, count, &CODECS, filter)?;
    let after = server.resident_bytes()?;
    let kib = (after - before) as f64 / 1024.0 / connections.len() as f64;
    println!("{what:<24} {kib:.2} KiB ({} KiB before, {} KiB after)", before / 1024, after / 1024);
    Ok(())
}
