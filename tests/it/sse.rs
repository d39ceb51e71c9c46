//! Server-Sent Events by hand: a reader of what comes on a socket, by the letter of WHATWG HTML §9.2.6, whichever way the
//! answer is framed.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use serde_json::Value;

use crate::raw_http::{Answer, answer, send};
use crate::support::{Server, read_head};

/// One event that was dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
    /// The last id there was when it was dispatched.
    pub id: String,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("{}", self.data))
    }
}

/// What a browser does with an answer.
pub struct Stream {
    pub head: String,
    socket: BufReader<Body>,
    pub last_id: String,
    pub retry: Option<u64>,
    pub comments: usize,
}

impl Stream {
    /// Asks for a stream; the answer must be one.
    pub fn open(server: &Server, path: &str, headers: &str) -> Self {
        Self::of(send(server, "GET", path, headers, b""))
    }

    pub fn post(server: &Server, path: &str, headers: &str, commands: &Value) -> Self {
        let body = commands.to_string();
        let headers =
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n{headers}", body.len());
        Self::of(send(server, "POST", path, &headers, body.as_bytes()))
    }

    fn of(mut socket: TcpStream) -> Self {
        let head = read_head(&mut socket).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
        let chunk = head.contains("transfer-encoding: chunked").then_some(0);
        let socket = BufReader::new(Body { socket, chunk, left: usize::MAX });
        Self { head, socket, last_id: String::new(), retry: None, comments: 0 }
    }

    /// Opens a stream and reads its `welcome` and so many `subscribed`, which are returned.
    pub fn begun(server: &Server, path: &str, headers: &str) -> (Self, Event) {
        let mut stream = Self::open(server, path, headers);
        assert_eq!(stream.next().unwrap().name, "welcome");
        let subscribed = stream.next().unwrap();
        assert_eq!(subscribed.name, "subscribed", "{subscribed:?}");
        (stream, subscribed)
    }

    /// The next event; none at the end of the stream, where what is not whole is thrown away.
    pub fn next(&mut self) -> Option<Event> {
        let (mut name, mut data, mut id) = (String::new(), Vec::new(), self.last_id.clone());
        loop {
            let mut line = Vec::new();
            let read = self.socket.read_until(b'\n', &mut line);
            let in_time = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
            assert!(read.as_ref().err().is_none_or(in_time), "nothing came in time: {read:?}");
            if read.ok()? == 0 || !line.ends_with(b"\n") {
                return None;
            }
            let line = String::from_utf8(line).unwrap();
            let line = line.trim_end_matches('\n');
            assert!(!line.contains('\r'), "a line ends with a line feed here: {line:?}");
            if line.is_empty() {
                self.last_id = id.clone();
                if !data.is_empty() {
                    let name = if name.is_empty() { "message".to_owned() } else { name };
                    return Some(Event { name, data: data.join("\n"), id });
                }
                name.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.comments += 1,
                "event" => name = value.to_owned(),
                "data" => data.push(value.to_owned()),
                "id" => id = value.to_owned(),
                "retry" => self.retry = value.parse().ok(),
                other => panic!("there is no field {other}"),
            }
        }
    }

    /// The next message's data.
    pub fn message(&mut self) -> Value {
        let event = self.next().expect("the stream has ended");
        assert_eq!(event.name, "message", "{event:?}");
        event.json()["data"].clone()
    }

    /// All that comes up to the end.
    pub fn rest(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// No more than so many bytes come from here on, wherever in an event that is.
    pub fn cut_after(&mut self, bytes: usize) {
        self.socket.get_mut().left = bytes;
    }
}

/// What an answer holds, without the framing of HTTP.
struct Body {
    socket: TcpStream,
    /// What is left of the chunk, if there are any.
    chunk: Option<usize>,
    /// What may still be read before the line is cut.
    left: usize,
}

impl Body {
    fn line(&mut self) -> std::io::Result<String> {
        let (mut line, mut byte) = (String::new(), [0]);
        while !line.ends_with("\r\n") {
            if self.socket.read(&mut byte)? == 0 {
                break;
            }
            line.push(byte[0].into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.chunk == Some(0) {
            let mut line = self.line()?;
            if line.is_empty() {
                line = self.line()?;
            }
            let length = usize::from_str_radix(&line, 16).unwrap_or(0);
            if length == 0 {
                return Ok(0);
            }
            self.chunk = Some(length);
        }
        let most = self.chunk.unwrap_or(into.len()).min(into.len()).min(self.left);
        let count = self.socket.read(&mut into[..most])?;
        self.left -= count;
        if let Some(left) = &mut self.chunk {
            *left -= count;
        }
        Ok(count)
    }
}

/// A long poll and its answer.
pub fn poll(server: &Server, path: &str, headers: &str) -> Answer {
    answer(send(server, "GET", path, &format!("Accept: application/json\r\n{headers}"), b""))
}

/// The maps of an answer, which are `welcome`, one `subscribed`, and then what is returned.
pub fn maps(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let maps = answer.json().as_array().unwrap().clone();
    assert_eq!((&maps[0]["op"], &maps[1]["op"]), (&"welcome".into(), &"subscribed".into()), "{maps:?}");
    maps[2..].to_vec()
}
