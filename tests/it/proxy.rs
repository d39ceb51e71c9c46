//! Servers behind proxies: whose word about the client counts, and whose does not. The limit of connections from one
//! address shows whom the server takes a client for.

use std::io::{Read, Write};
use std::net::TcpStream;

use topichub::{Listener, Settings};

use crate::support::{DEADLINE, Door, Server, read_head, upgrade, wait_until};

fn settings(proxies: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.connections_per_address_max = 1;
    settings.trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
    settings
}

/// The status of a handshake with these headers, and the connection.
fn knock(server: &Server, before: &[u8], headers: &str) -> (u16, TcpStream) {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(&[before, upgrade(headers).as_bytes()].concat()).unwrap();
    let head = read_head(&mut socket);
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), socket)
}

#[actix_web::test]
async fn behind_a_trusted_proxy_a_connection_counts_for_the_client() {
    for door in Door::BOTH {
        let server = Server::with(door, settings(&["127.0.0.0/8"]));
        let (ada, _ada) = knock(&server, b"", "X-Forwarded-For: 203.0.113.1\r\n");
        let (bob, bobs) = knock(&server, b"", "Forwarded: for=203.0.113.2;proto=https\r\n");
        let (forged, _) = knock(&server, b"", "X-Forwarded-For: 198.51.100.77, 203.0.113.1, 127.0.0.9\r\n");
        assert_eq!((ada, bob, forged), (101, 101, 503), "{door:?}: what a client adds on the left is not it");
        let (torn, _) = knock(&server, b"", "X-Forwarded-For: 203.0.113.3\r\nForwarded: for=203.0.113.4\r\n");
        assert_eq!(torn, 400, "{door:?}");
        drop(bobs);
        wait_until("his place is free", || knock(&server, b"", "X-Forwarded-For: 203.0.113.2\r\n").0 == 101);
    }
}

#[actix_web::test]
async fn what_an_untrusted_peer_says_about_its_address_is_not_heard() {
    for door in Door::BOTH {
        let server = Server::with(door, settings(&["10.0.0.0/8"]));
        let (first, _first) = knock(&server, b"", "X-Forwarded-For: 203.0.113.1\r\n");
        let (second, _) =
            knock(&server, b"", "X-Forwarded-For: 203.0.113.2\r\nForwarded: for=203.0.113.3\r\n");
        assert_eq!((first, second), (101, 503), "{door:?}");
    }
}

fn proxied(proxies: &[&str]) -> Server {
    Server::listening(settings(proxies), |tcp| vec![Listener::from(tcp).with_proxy_protocol()])
}

/// A header of version 2 for a client in TCP over IPv4.
fn version_2(client: [u8; 4]) -> Vec<u8> {
    let prefix = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&prefix[..], &client, &[127, 0, 0, 1, 0x12, 0x67, 0, 80]].concat()
}

#[actix_web::test]
async fn a_proxy_header_names_the_client() {
    let server = proxied(&["127.0.0.1"]);
    let (ada, _ada) = knock(&server, &version_2([203, 0, 113, 1]), "");
    let (bob, _bob) = knock(&server, b"PROXY TCP4 203.0.113.2 127.0.0.1 4711 80\r\n", "");
    let (again, _) = knock(&server, &version_2([203, 0, 113, 1]), "");
    assert_eq!((ada, bob, again), (101, 101, 503));
    // The client is no proxy: what it says beyond the header is not heard.
    let (forged, _) = knock(&server, &version_2([203, 0, 113, 1]), "X-Forwarded-For: 203.0.113.9\r\n");
    assert_eq!(forged, 503);
}

#[actix_web::test]
async fn a_bad_proxy_header_or_none_ends_the_connection_and_one_from_an_untrusted_peer_is_not_understood() {
    let server = proxied(&["127.0.0.1"]);
    let mut too_long = version_2([203, 0, 113, 1]);
    too_long[14] = 0xff;
    for header in [&b""[..], b"PROXY TCP4 nobody\r\n", &too_long] {
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(&[header, upgrade("").as_bytes()].concat()).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{header:?}: {:?}", String::from_utf8_lossy(&answer));
    }
    let direct = proxied(&["10.0.0.0/8"]);
    assert_eq!(knock(&direct, &version_2([203, 0, 113, 1]), "").0, 400);
    wait_until("a direct client is one", || knock(&direct, b"", "").0 == 101);
}
