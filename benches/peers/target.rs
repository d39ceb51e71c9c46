//! The servers that are measured: their names, what is to be said about each, and whether it is there. How they are
//! started is the matter of `launch`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::dialect::Dialect;
use super::launch::{INSTALLED, Outside};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    Limit,
    Topichub,
    Nats,
    Mosquitto,
    Rumqttd,
    Nchan,
    Redis,
    Ws,
    #[value(name = "socket.io")]
    SocketIo,
    Actix,
    #[value(name = "uwebsockets")]
    UWebSockets,
    /// Somebody's server, at `--url`.
    Url,
}

impl Target {
    pub(crate) const ALL: [Self; 12] = [
        Self::Limit,
        Self::Topichub,
        Self::Nats,
        Self::Mosquitto,
        Self::Rumqttd,
        Self::Nchan,
        Self::Redis,
        Self::Ws,
        Self::SocketIo,
        Self::Actix,
        Self::UWebSockets,
        Self::Url,
    ];

    /// As it is chosen on the command line and named in the report of the installation.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Topichub => "topichub",
            Self::Nats => "nats",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
            Self::Nchan => "nchan",
            Self::Redis => "redis",
            Self::Ws => "ws",
            Self::SocketIo => "socket.io",
            Self::Actix => "actix",
            Self::UWebSockets => "uwebsockets",
            Self::Url => "url",
        }
    }

    /// As the table names it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Limit => "bare limit",
            Self::Topichub => "TopicHub",
            Self::Nats => "nats-server",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
            Self::Nchan => "nginx + nchan",
            Self::Redis => "redis-server",
            Self::Ws => "ws (Node)",
            Self::SocketIo => "Socket.IO (Node)",
            Self::Actix => "actix-web-actors",
            Self::UWebSockets => "uWebSockets",
            Self::Url => "at --url",
        }
    }

    /// What it speaks.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Limit => Dialect::Limit,
            Self::Topichub => Dialect::Hub,
            Self::Nats => Dialect::Nats,
            Self::Mosquitto | Self::Rumqttd => Dialect::Mqtt,
            Self::Nchan => Dialect::Nchan,
            Self::Redis => Dialect::Resp,
            Self::SocketIo => Dialect::SocketIo,
            Self::Ws | Self::Actix | Self::UWebSockets | Self::Url => Dialect::Broadcast,
        }
    }

    /// What it does differently, and how it is set.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Limit => {
                "An epoll loop of ours that knows nothing: ready-made text frames with the payload alone, \
                 over TCP without a handshake, one blocking `write` for each subscriber and each burst. It \
                 joins nothing that is published apart, so it is a limit for processor time, not for latency."
            }
            Self::Topichub => {
                "`topichub serve --workers 1`, pings an hour apart, otherwise as shipped. JSON in text \
                 frames: each message bears its topic and offset. Messages of one turn are joined into one \
                 write. No history, no acknowledgement of deliveries."
            }
            Self::Nats => {
                "Core NATS over its WebSocket listener, without TLS and compression; pings an hour apart, no \
                 log, no JetStream, so no history. `MSG` lines with topic, subscription and length in binary \
                 frames. It joins what is pending for a client into one write. Publisher with `verbose: \
                 false`, so nothing is acknowledged."
            }
            Self::Mosquitto => {
                "MQTT 3.1.1 over its WebSocket listener (beside a plain one: it starts with no other), QoS 0, \
                 clean sessions, `set_tcp_nodelay`, no persistence, no log, no `$SYS` topics, no limit on \
                 queued messages. Binary frames through libwebsockets, a frame and a write for each message."
            }
            Self::Rumqttd => {
                "MQTT 3.1.1 over its WebSocket listener, QoS 0, log level warn, no console, no delay between \
                 connections. A message passes through its commit log in memory, which it keeps whatever the \
                 QoS. It does not set TCP_NODELAY and has no setting for that; handshakes are done one after \
                 another."
            }
            Self::Nchan => {
                "WebSocket subscribers; the publisher POSTs over one kept-alive HTTP connection, pipelined in \
                 bursts, and each POST is answered. One worker process and its master (both counted), no \
                 access log, `tcp_nodelay`, no message buffer (`nchan_store_messages off`). Text frames with \
                 the payload alone, a write for each message."
            }
            Self::Redis => {
                "RESP2 `SUBSCRIBE` over TCP: Redis has no WebSocket, so no frames, no masks, no upgrade. No \
                 persistence, log level warning, output buffers of subscribers without limit. It joins what \
                 is pending for a client into one write. `PUBLISH` is answered with the number of receivers."
            }
            Self::Ws => {
                "The documented broadcast: `client.send` for each of `server.clients`. permessage-deflate \
                 off, text frames with the payload alone, a write for each message. The publisher gets its \
                 messages too."
            }
            Self::SocketIo => {
                "`io.emit` on the WebSocket transport alone, in-memory adapter, permessage-deflate off, pings \
                 an hour apart. Socket.IO's own envelope in text frames; it frames a message once for all. It \
                 watches heartbeats for each connection."
            }
            Self::Actix => {
                "The naive design, ours: an actor for each connection on actix-web-actors, a registry that \
                 sends a message to each, and each encodes the JSON for itself; the payload alone in text \
                 frames. Release build, one worker thread."
            }
            Self::UWebSockets => {
                "The native library within the PyPI package socketify: Python is called once for each message that is \
                 published, and publishes it natively. Its memory is not that of a server in C++. It joins what one \
                 turn of its loop brings; text frames with the payload alone."
            }
            Self::Url => {
                "Whatever it is: what a client sends in a text frame must go to all clients as it is. It \
                 chose its core itself; without `--pid` nothing is known of its processor time and memory."
            }
        }
    }
}

/// What `install.sh` reports: the version of each peer, or why it is absent.
pub(crate) struct Installation(HashMap<String, Result<String, String>>);

impl Installation {
    pub(crate) fn read() -> Self {
        let report = fs::read_to_string(Path::new(INSTALLED).join("report")).unwrap_or_default();
        let entry = |line: &str| {
            let mut fields = line.split('\t');
            let (name, state, text) = (fields.next()?, fields.next()?, fields.next()?.to_owned());
            Some((name.to_owned(), if state == "present" { Ok(text) } else { Err(text) }))
        };
        Self(report.lines().filter_map(entry).collect())
    }

    /// The version of a target that can be measured.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn version(&self, target: Target, outside: &Outside) -> Result<String, String> {
        match target {
            Target::Limit => Ok("this benchmark".into()),
            Target::Topichub => Ok(format!("topichub {}", env!("CARGO_PKG_VERSION"))),
            Target::Url => outside.url.clone().ok_or_else(|| "no --url given".into()),
            peer => self.0.get(peer.name()).cloned().unwrap_or_else(|| {
                Err("not installed: `make bench-peers` does that, or benches/peers/install.sh".into())
            }),
        }
    }
}
