//! A TCP proxy for the tests of the clients: it cuts connections at any byte, half-closes, delays and silences them, a
//! given number of times, and then forwards faithfully. It reorders and alters nothing. What it does follows from a seed,
//! as far as the timing of the peers allows.
//!
//! The first line on standard output is `listening on ADDRESS`; then comes a line of JSON for each fault, and
//! `{"done":N}` when all have been done. It ends with its standard input.

mod connection;
mod fate;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use clap::Parser;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use crate::fate::Fates;

/// Cuts, delays and silences what passes through it.
#[derive(Parser)]
struct Args {
    /// Where everything goes.
    #[arg(long, value_name = "ADDRESS")]
    upstream: SocketAddr,
    /// What the faults follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many connections are cut before all goes well.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    faults: u32,
    /// After how many bytes a fault comes, on average.
    #[arg(long, value_name = "N", default_value_t = 4_096)]
    mean_bytes: u64,
    /// Or after how long, whichever is first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    mean_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let fates = Rc::new(Fates::new(args.seed, args.faults, args.mean_bytes, args.mean_ms));
    let serving = async {
        loop {
            let (client, _) = listener.accept().await?;
            tokio::task::spawn_local(connection::forward(client, args.upstream, Rc::clone(&fates)));
        }
    };
    LocalSet::new()
        .run_until(async {
            tokio::select! {
                failed = serving => failed,
                () = input_ends() => Ok(()),
            }
        })
        .await
}

/// Whoever started this holds the other end.
async fn input_ends() {
    let mut input = tokio::io::stdin();
    while input.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
}
