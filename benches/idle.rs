//! What an idle connection costs in memory: 15,000 connections at `topichub serve`, half with MessagePack, subscribed to
//! nothing or to one topic; and 2,000 over TLS. It prints resident memory of the server before and after, divided by the connections.
//! Memory of the kernel (sockets) is not in it.
//!
//! ```sh
//! cargo bench --bench idle
//! cargo bench --bench idle -- --quick
//! ```

mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::process::{self, Server};
use support::subscribers::Subscribers;
use topichub::Filter;
use topichub::protocol::Codec;

/// How many connections with TLS: the client's memory for them is the limit.
const SECURE: usize = 2_000;

const CODECS: [Codec; 2] = [Codec::Json, Codec::MsgPack];

fn main() -> io::Result<()> {
    let count = if support::is_quick() { 3_000 } else { 15_000 };
    process::leave_the_first_core()?;
    println!("Resident memory of the server for each of {count} idle connections");
    print("subscribed to nothing", count, None)?;
    print("subscribed to one topic", count, Some(&support::topic()?.into()))?;
    secure()
}

fn print(what: &str, count: usize, filter: Option<&Filter>) -> io::Result<()> {
    let server = Server::hub()?;
    let before = server.resident_bytes()?;
    let connections = Subscribers::of_hub(&server, count, &CODECS, filter)?;
    let after = server.resident_bytes()?;
    let kib = (after - before) as f64 / 1024.0 / connections.len() as f64;
    println!("{what:<24} {kib:.2} KiB ({} KiB before, {} KiB after)", before / 1024, after / 1024);
    Ok(())
}

fn secure() -> io::Result<()> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (certificate, key) = (directory.join("idle-certificate.pem"), directory.join("idle-key.pem"));
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    std::fs::write(&certificate, signed.cert.pem())?;
    std::fs::write(&key, signed.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(signed.cert.der().clone()).map_err(io::Error::other)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;

    let server = Server::hub_with(&format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n"))?;
    let connect = |count| {
        let one = |_| {
            let session =
                ClientConnection::new(Arc::clone(&config), name.clone()).map_err(io::Error::other)?;
            let mut client = StreamOwned::new(session, TcpStream::connect(server.address)?);
            client.write_all(
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )?;
            let (mut said, mut read) = (Vec::new(), [0; 4096]);
            while !said.windows(7).any(|bytes| bytes == b"welcome") {
                match client.read(&mut read)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => said.extend_from_slice(&read[..count]),
                }
            }
            Ok(client)
        };
        (0..count).map(one).collect::<io::Result<Vec<_>>>()
    };
    let before = server.resident_bytes()?;
    let connections = connect(SECURE)?;
    let after = server.resident_bytes()?;
    let kib = (after - before) as f64 / 1024.0 / connections.len() as f64;
    println!(
        "over TLS, {SECURE}          {kib:.2} KiB ({} KiB before, {} KiB after)",
        before / 1024,
        after / 1024
    );
    Ok(())
}
