//! Whether everything arrives: 10,000 connections subscribed to one topic, over both subprotocols mixed, and 1,000
//! messages. Each connection must get every message, in order, once, and nothing else: each byte that arrives is
//! compared with the byte that must arrive. It exits with an error if one differs or is missing.
//!
//! ```sh
//! cargo bench --bench delivery
//! cargo bench --bench delivery -- --quick
//! ```

mod support;

use std::io;

use support::peer::Peer;
use support::process::{self, Server};
use support::subscribers::{Expected, Subscribers};
use topichub::protocol::websocket::encode_frame;
use topichub::protocol::{Codec, Command, CommandId, Operation, Reply};

const CODECS: [Codec; 2] = [Codec::Json, Codec::MsgPack];

fn main() -> io::Result<()> {
    let (connections, messages) = if support::is_quick() { (1_000, 200) } else { (10_000, 1_000) };
    process::leave_the_first_core()?;
    let server = Server::hub()?;
    let mut subscribers =
        Subscribers::of_hub(&server, connections, &CODECS, Some(&support::topic()?.into()))?;
    println!("{connections} connections are subscribed, every other one over {}", CODECS[1].subprotocol());

    // The publisher waits for nothing, so that messages join in turns of all sizes and sockets fill up.
    let mut publisher = Peer::connect(&server, Codec::Json)?;
    let numbers = support::PUBLISHED + 1..=support::PUBLISHED + messages;
    publisher.send(&numbers.clone().map(support::publish).collect::<io::Result<Vec<_>>>()?)?;
    let mut expected = Expected::default();
    for number in numbers {
        support::append_delivery(Codec::Json, number, &mut expected.json)?;
        support::append_delivery(Codec::MsgPack, number, &mut expected.msgpack)?;
    }
    subscribers.receive(&expected)?;

    // Whatever else was on its way would come before the answer to this.
    let id = Some(CommandId::Integer(2));
    subscribers.ask_all(&Command { id: id.clone(), operation: Operation::Ping })?;
    let pong = Reply::Pong { id };
    subscribers
        .receive(&Expected { json: frame(Codec::Json, &pong), msgpack: frame(Codec::MsgPack, &pong) })?;

    let deliveries = messages as usize * subscribers.len();
    println!(
        "{messages} messages, {deliveries} deliveries: all in order, none lost, none twice, none altered"
    );
    Ok(())
}

fn frame(codec: Codec, reply: &Reply) -> Vec<u8> {
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    codec.encode_reply(reply, &mut payload);
    encode_frame(&mut out, support::opcode(codec), &payload, None);
    out
}
