//! HTTP by hand: one request on one socket, and its answer as it came.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::Server;

/// The answer to one request.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        let found = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("there is no {name} in {}", self.head))
    }

    pub fn offsets(&self) -> Vec<u64> {
        let messages = self.json()["messages"].as_array().unwrap().clone();
        messages.iter().map(|message| message["offset"].as_u64().unwrap()).collect()
    }
}

pub fn request(server: &Server, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
    let content_type =
        if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    answer(send(server, method, path, &format!("{content_type}Content-Length: {}\r\n", body.len()), body))
}

/// Sends a request with these header lines, and waits for nothing.
pub fn send(server: &Server, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    let mut socket = server.request_raw(&head);
    let _ = socket.write_all(body);
    socket
}

pub fn answer(mut socket: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: bytes[end + 4..].to_vec() }
}

pub fn get(server: &Server, path: &str) -> Answer {
    get_with(server, path, "")
}

pub fn get_with(server: &Server, path: &str, headers: &str) -> Answer {
    answer(send(server, "GET", path, headers, b""))
}

pub fn post(server: &Server, path: &str, content_type: &str, body: &[u8]) -> Answer {
    request(server, "POST", path, content_type, body)
}
