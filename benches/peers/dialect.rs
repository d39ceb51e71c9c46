//! What is said on the wires: how one subscribes, how one publishes, and the bytes that every subscriber must get then,
//! for each protocol. No socket is touched here.

use std::io;
use std::ops::RangeInclusive;

use topichub::protocol::websocket::{Opcode, encode_frame};
use topichub::protocol::{Codec, Command, CommandId, OneOrMany, Operation, Subscribe, SubscribeOptions};

use crate::support::{self, TOPIC, limit};

/// A protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Frames that are ready to be sent, over TCP: the bare limit.
    Limit,
    /// `pubsub.json`.
    Hub,
    /// The NATS protocol in binary frames.
    Nats,
    /// MQTT 3.1.1 in binary frames, QoS 0.
    Mqtt,
    /// RESP2, over TCP.
    Resp,
    /// Socket.IO 5 over Engine.IO 4, in text frames.
    SocketIo,
    /// Text frames that a client sends go to all clients as they are.
    Broadcast,
    /// The same for subscribers; publishers send requests of HTTP.
    Nchan,
}

/// One exchange at the beginning of a connection.
pub(crate) enum Step {
    /// The opening handshake of RFC 6455.
    Upgrade { path: String, subprotocol: Option<&'static str> },
    /// A message, or nothing, and what must be in the answer.
    Talk { say: Vec<u8>, hear: &'static [u8] },
}

/// A word that a server may say between messages to see whether its peer is alive, and the answer.
pub(crate) struct Pulse {
    pub(crate) word: &'static [u8],
    pub(crate) answer: &'static [u8],
}

/// Seconds after which an MQTT server may give up a silent client: longer than any measurement. One refuses "never".
const KEEP_ALIVE: u16 = 3_600;

impl Dialect {
    /// Whether there are WebSocket frames around what is said.
    pub(crate) fn is_websocket(self) -> bool {
        !matches!(self, Self::Limit | Self::Resp)
    }

    /// Whether a subscriber knows from an answer that it is subscribed.
    pub(crate) fn acknowledges(self) -> bool {
        !matches!(self, Self::Broadcast | Self::Nchan)
    }

    /// The kind of frames that a client sends.
    pub(crate) fn opcode(self) -> Opcode {
        if matches!(self, Self::Nats | Self::Mqtt) { Opcode::Binary } else { Opcode::Text }
    }

    /// How connection `number` becomes a subscriber; `path` is the server's.
    pub(crate) fn subscriber(self, number: usize, path: &str) -> Vec<Step> {
        let mut steps = self.entrance(number, path);
        match self {
            // As much talk as a handshake and a subscription take: TCP remembers it.
            Self::Limit => steps.extend([0, 1].map(|_| talk([b'?'; 200], &limit::ANSWER))),
            Self::Hub => steps.push(talk(hub_subscribe(), b"\"op\":\"subscribed\"")),
            Self::Nats => steps.push(talk(format!("SUB {TOPIC} 1\r\nPING\r\n"), b"PONG\r\n")),
            Self::Mqtt => steps.push(talk(mqtt_subscribe(), &[0x90, 3, 0, 1, 0])),
            Self::Resp => steps.push(talk(resp(&["SUBSCRIBE", TOPIC]), b":1\r\n")),
            Self::SocketIo | Self::Broadcast | Self::Nchan => {}
        }
        steps
    }

    /// How a connection becomes a publisher.
    pub(crate) fn publisher(self, path: &str) -> Vec<Step> {
        match self {
            Self::Limit | Self::Nchan => Vec::new(),
            _ => self.entrance(usize::MAX, path),
        }
    }

    fn entrance(self, number: usize, path: &str) -> Vec<Step> {
        let upgrade = |subprotocol| Step::Upgrade { path: path.to_owned(), subprotocol };
        match self {
            Self::Limit | Self::Resp => Vec::new(),
            Self::Hub => vec![upgrade(Some("pubsub.json")), talk("", b"\"op\":\"welcome\"")],
            Self::Nats => {
                let connect = r#"CONNECT {"verbose":false,"pedantic":false,"lang":"rust","version":"1"}"#;
                vec![upgrade(None), talk("", b"INFO {"), talk(format!("{connect}\r\nPING\r\n"), b"PONG\r\n")]
            }
            Self::Mqtt => vec![upgrade(Some("mqtt")), talk(mqtt_connect(number), &[0x20, 2, 0, 0])],
            Self::SocketIo => vec![upgrade(None), talk("", b"0{"), talk("40", b"40{")],
            Self::Broadcast | Self::Nchan => vec![upgrade(None)],
        }
    }

    /// Appends, to be written at once, what publishes the messages of these numbers.
    pub(crate) fn publish(self, numbers: RangeInclusive<u64>, out: &mut Vec<u8>) -> io::Result<()> {
        // The limit is handed the frames, and before them their length.
        if self == Self::Limit {
            let mut frames = Vec::new();
            numbers.into_iter().try_for_each(|number| self.deliver(number, &mut frames))?;
            out.extend((frames.len() as u32).to_le_bytes());
            out.extend(frames);
            return Ok(());
        }
        for number in numbers {
            let payload = support::text(number);
            let bytes = match self {
                Self::Limit | Self::Broadcast => payload.into_bytes(),
                Self::Hub => {
                    let mut bytes = Vec::new();
                    Codec::Json.encode_command(&support::publish(number)?, &mut bytes);
                    bytes
                }
                Self::Nats => format!("PUB {TOPIC} {}\r\n{payload}\r\n", payload.len()).into_bytes(),
                Self::Mqtt => mqtt_publish(payload.as_bytes()),
                Self::Resp => resp(&["PUBLISH", TOPIC, &payload]),
                Self::SocketIo => format!("42[\"publish\",{payload}]").into_bytes(),
                Self::Nchan => format!(
                    "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{payload}",
                    payload.len()
                )
                .into_bytes(),
            };
            if self.is_websocket() && self != Self::Nchan {
                encode_frame(out, self.opcode(), &bytes, Some(MASK));
            } else {
                out.extend(bytes);
            }
        }
        Ok(())
    }

    /// Appends what every subscriber must get for message `number`, without the frames around it.
    pub(crate) fn deliver(self, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let payload = support::text(number);
        let payload = payload.as_bytes();
        match self {
            Self::Limit => encode_frame(out, Opcode::Text, payload, None),
            Self::Hub => support::append_message(Codec::Json, number, out)?,
            Self::Nats => {
                out.extend(format!("MSG {TOPIC} 1 {}\r\n", payload.len()).bytes());
                out.extend(payload);
                out.extend(b"\r\n");
            }
            Self::Mqtt => out.extend(mqtt_publish(payload)),
            Self::Resp => out.extend(resp(&["message", TOPIC, &String::from_utf8_lossy(payload)])),
            Self::SocketIo => {
                out.extend(b"42[\"message\",");
                out.extend(payload);
                out.extend(b"]");
            }
            Self::Broadcast | Self::Nchan => out.extend(payload),
        }
        Ok(())
    }

    /// How long a delivery is, with a frame of its own around it where there are any.
    pub(crate) fn delivery_bytes(self) -> io::Result<usize> {
        let (mut bytes, mut frame) = (Vec::new(), Vec::new());
        self.deliver(1_000, &mut bytes)?;
        encode_frame(&mut frame, self.opcode(), &bytes, None);
        Ok(if self.is_websocket() { frame.len() } else { bytes.len() })
    }

    /// What a server may ask at any time, inside its messages' stream.
    pub(crate) fn pulse(self) -> Option<Pulse> {
        match self {
            Self::Nats => Some(Pulse { word: b"PING\r\n", answer: b"PONG\r\n" }),
            Self::SocketIo => Some(Pulse { word: b"2", answer: b"3" }),
            _ => None,
        }
    }
}

/// Any mask is as good as another for a server that we trust.
pub(crate) const MASK: [u8; 4] = [1, 2, 3, 4];

fn talk(say: impl AsRef<[u8]>, hear: &'static [u8]) -> Step {
    Step::Talk { say: say.as_ref().to_vec(), hear }
}

fn hub_subscribe() -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(topic) = support::topic() {
        let subscribe =
            Subscribe { filters: OneOrMany::One(topic.into()), options: SubscribeOptions::default() };
        let operation = Operation::Subscribe(subscribe);
        Codec::Json.encode_command(&Command { id: Some(CommandId::Integer(1)), operation }, &mut out);
    }
    out
}

/// MQTT 3.1.1 §3.1: a clean session, and an id that no other connection has.
fn mqtt_connect(number: usize) -> Vec<u8> {
    let id = format!("{number:020}");
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b10];
    body.extend(KEEP_ALIVE.to_be_bytes());
    body.extend([0, id.len() as u8]);
    body.extend(id.bytes());
    mqtt_packet(0x10, &body)
}

/// §3.8: packet 1, at QoS 0.
fn mqtt_subscribe() -> Vec<u8> {
    let mut body = vec![0, 1, 0, TOPIC.len() as u8];
    body.extend(TOPIC.bytes());
    body.push(0);
    mqtt_packet(0x82, &body)
}

/// §3.3: QoS 0, not retained; the same to the server and from it.
fn mqtt_publish(payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0, TOPIC.len() as u8];
    body.extend(TOPIC.bytes());
    body.extend(payload);
    mqtt_packet(0x30, &body)
}

/// §2.2.3: the length in groups of seven bits, the lowest first.
fn mqtt_packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut left = body.len();
    while left > 127 {
        out.push((left % 128) as u8 | 0x80);
        left /= 128;
    }
    out.push(left as u8);
    out.extend(body);
    out
}

fn resp(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    out.into_bytes()
}
