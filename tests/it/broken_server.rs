//! A server that does one thing wrong, for whoever must notice. It speaks JSON, and knows no topics: whoever has
//! subscribed to anything gets everything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use topichub::protocol::websocket::deflate::{Deflater, Settings, negotiate};
use topichub::protocol::websocket::handshake::accept_key;
use topichub::protocol::websocket::{
    Config, Connection, Event, Opcode, Received, encode_close, encode_frame,
};

/// What it does wrong with the message of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    None,
    Lose(u64),
    Double(u64),
    /// It comes after the next.
    Delay(u64),
    /// Its data are others.
    Alter(u64),
    /// Its offset is another.
    Misplace(u64),
    /// The connection of who gets it is closed instead.
    Close(u64),
    /// It is not accepted.
    Refuse(u64),
    /// For so many milliseconds nothing is done before it.
    Stall(u64, u64),
    /// Nobody's handshake is accepted.
    Busy,
    /// This handshake is not accepted.
    BusyAtFirst(usize),
    /// No handshake from this one on is accepted.
    BusyFrom(usize),
}

/// A running one; it lives as long as the test program.
pub(crate) struct BrokenServer {
    pub(crate) address: SocketAddr,
}

struct Room {
    mischief: Mischief,
    deflates: bool,
    offset: u64,
    handshakes: usize,
    delayed: Option<String>,
    readers: Vec<Arc<Mutex<Writer>>>,
}

struct Writer {
    stream: TcpStream,
    deflater: Option<Deflater>,
}

impl BrokenServer {
    /// One that also compresses, for those who offer it, if it `deflates`.
    pub(crate) fn start(mischief: Mischief, deflates: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let room = Room { mischief, deflates, offset: 0, handshakes: 0, delayed: None, readers: Vec::new() };
        let room = Arc::new(Mutex::new(room));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let room = Arc::clone(&room);
                thread::spawn(move || converse(stream, &room));
            }
        });
        Self { address }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

/// One connection, to its end, which is when the other side goes.
fn converse(mut stream: TcpStream, room: &Mutex<Room>) -> Option<()> {
    let head = head(&mut stream)?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let deflates = {
        let mut room = room.lock().unwrap();
        room.handshakes += 1;
        let is_busy = match room.mischief {
            Mischief::Busy => true,
            Mischief::BusyAtFirst(number) => room.handshakes == number,
            Mischief::BusyFrom(number) => room.handshakes >= number,
            _ => false,
        };
        if is_busy {
            let body = r#"{"detail":"too many at once"}"#;
            let head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length";
            stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).ok()?;
            return None;
        }
        room.deflates
    };
    let offer = header("Sec-WebSocket-Extensions").filter(|_| deflates);
    let agreed = negotiate(offer.as_deref().into_iter(), &Settings::default());
    let accept = accept_key(&header("Sec-WebSocket-Key")?);
    let extensions = agreed.map(|it| format!("Sec-WebSocket-Extensions: {it}\r\n")).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: pubsub.json\r\n{extensions}\r\n"
    );
    stream.write_all(answer.as_bytes()).ok()?;
    let deflater = agreed.map(|agreed| Deflater::new(6, agreed.server_window_bits()));
    let writer = Arc::new(Mutex::new(Writer { stream: stream.try_clone().unwrap(), deflater }));
    let limits = json!({"message_bytes": 65536, "topics_per_session": 128, "topic_bytes": 255, "depth": 64});
    writer
        .lock()
        .unwrap()
        .send(&json!({"op": "welcome", "session": "s", "server": "broken/1", "protocol": 1,
        "ping_ms": 25000, "limits": limits}));

    let mut websocket = Connection::new(Config::server(1 << 20));
    let mut bytes = [0; 65_536];
    loop {
        let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        let mut input = &mut bytes[..count];
        while !input.is_empty() {
            let Received { consumed, event } = websocket.receive(input, &mut Vec::new());
            if let Some(Event::Message { bytes, .. }) = event {
                obey(&serde_json::from_slice(&bytes).unwrap(), &writer, &mut room.lock().unwrap());
            }
            input = &mut input[consumed..];
        }
    }
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).ok()
}

fn obey(command: &Value, writer: &Arc<Mutex<Writer>>, room: &mut Room) {
    let (id, topic) = (&command["id"], &command["topic"]);
    match command["op"].as_str().unwrap() {
        "subscribe" => {
            room.readers.push(Arc::clone(writer));
            let answer = json!({"op": "subscribed", "id": id, "topic": topic, "epoch": "a", "offset": 0});
            writer.lock().unwrap().send(&answer);
        }
        "ping" => writer.lock().unwrap().send(&json!({"op": "pong", "id": id})),
        "publish" => room.publish(topic, &command["data"], writer),
        other => panic!("{other}"),
    }
}

impl Room {
    fn publish(&mut self, topic: &Value, data: &Value, publisher: &Mutex<Writer>) {
        self.offset += 1;
        let number = self.offset;
        let message = |offset: u64, data: &Value| {
            json!({"op": "message", "topic": topic, "offset": offset, "data": data}).to_string()
        };
        let sound = message(number, data);
        if let Mischief::Stall(at, milliseconds) = self.mischief
            && at == number
        {
            thread::sleep(Duration::from_millis(milliseconds));
        }
        match self.mischief {
            Mischief::Lose(at) if at == number => {}
            Mischief::Double(at) if at == number => self.send(&[&sound, &sound]),
            Mischief::Delay(at) if at == number => self.delayed = Some(sound),
            Mischief::Alter(at) if at == number => {
                let other = data.as_str().unwrap().replace("bid", "ask");
                self.send(&[&message(number, &other.into())]);
            }
            Mischief::Misplace(at) if at == number => self.send(&[&message(number + 1, data)]),
            Mischief::Close(at) if at == number => {
                self.readers.iter().for_each(|reader| reader.lock().unwrap().close());
            }
            Mischief::Refuse(at) if at == number => publisher.lock().unwrap().send(&json!({"op": "error",
                "code": "forbidden", "message": "may not publish here", "retry": false})),
            _ => {
                self.send(&[&sound]);
                if let Some(delayed) = self.delayed.take() {
                    self.send(&[&delayed]);
                }
            }
        }
    }

    fn send(&self, messages: &[&str]) {
        for reader in &self.readers {
            messages.iter().for_each(|message| reader.lock().unwrap().send_text(message));
        }
    }
}

impl Writer {
    fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string());
    }

    /// Whoever has gone is not missed.
    fn send_text(&mut self, text: &str) {
        let mut out = Vec::new();
        match &mut self.deflater {
            Some(deflater) => deflater.encode_frame(&mut out, Opcode::Text, text.as_bytes(), None),
            None => encode_frame(&mut out, Opcode::Text, text.as_bytes(), None),
        }
        let _ = self.stream.write_all(&out);
    }

    fn close(&mut self) {
        let mut out = Vec::new();
        encode_close(&mut out, 4104, "too slow", None);
        let _ = self.stream.write_all(&out);
    }
}
