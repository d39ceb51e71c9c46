//! The servers that are measured: how each is started with settings fit for production, what it speaks, and what is to
//! be said about it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::dialect::Dialect;
use super::load::Endpoint;
use crate::support::process::{Server, cpu_time_of, resident_bytes_of};

/// Where `install.sh` puts what it installs.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/.installed");
const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/node");

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
    /// Somebody's server, at `--url`.
    Url,
}

impl Target {
    pub(crate) const ALL: [Self; 11] = [
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
            Self::Url => "at --url",
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
            Self::Url => {
                "Whatever it is: what a client sends in a text frame must go to all clients as it is. It \
                 chose its core itself; without `--pid` nothing is known of its processor time and memory."
            }
        }
    }

    /// Starts it, with its files in `directory`.
    ///
    /// # Errors
    /// If it does not listen in time, with its last words.
    pub(crate) fn start(self, directory: &Path, outside: &Outside) -> io::Result<Running> {
        fs::create_dir_all(directory)?;
        let port = free_port()?;
        let (command, path, dialect) = match self {
            Self::Limit => {
                let server = Server::limit()?;
                let address = server.address;
                return Ok(Running::of(
                    server,
                    Endpoint { address, path: "/".into(), dialect: Dialect::Limit },
                ));
            }
            Self::Topichub => {
                let server = Server::hub()?;
                let address = server.address;
                return Ok(Running::of(
                    server,
                    Endpoint { address, path: "/ws".into(), dialect: Dialect::Hub },
                ));
            }
            Self::Url => return outside.running(),
            Self::Nats => (nats(directory, port)?, "/", Dialect::Nats),
            Self::Mosquitto => (mosquitto(directory, port)?, "/mqtt", Dialect::Mqtt),
            Self::Rumqttd => (rumqttd(directory, port)?, "/", Dialect::Mqtt),
            Self::Nchan => (nginx(directory, port)?, "/subscribe", Dialect::Nchan),
            Self::Redis => (redis(directory, port), "", Dialect::Resp),
            Self::Ws => (node("ws.mjs", port), "/", Dialect::Broadcast),
            Self::SocketIo => {
                (node("socket.io.mjs", port), "/socket.io/?EIO=4&transport=websocket", Dialect::SocketIo)
            }
            Self::Actix => (with(installed("naive"), &[&port.to_string()]), "/", Dialect::Broadcast),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = Server::listening(command, address, &directory.join("log"))?;
        Ok(Running::of(server, Endpoint { address, path: path.into(), dialect }))
    }
}

/// A server that is running.
pub(crate) struct Running {
    server: Option<Server>,
    pid: Option<u32>,
    pub(crate) endpoint: Endpoint,
}

impl Running {
    fn of(server: Server, endpoint: Endpoint) -> Self {
        Self { pid: Some(server.pid()), server: Some(server), endpoint }
    }

    /// Its processor time so far, if its process is known.
    pub(crate) fn cpu_time(&self) -> io::Result<Option<Duration>> {
        self.pid.map(cpu_time_of).transpose()
    }

    /// Its resident memory, if its process is known.
    pub(crate) fn resident_bytes(&self) -> io::Result<Option<u64>> {
        self.pid.map(resident_bytes_of).transpose()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.server.as_mut().and_then(Server::ended).map(|status| status.to_string())
    }
}

/// A server that somebody else started.
#[derive(Clone, Default)]
pub(crate) struct Outside {
    /// `ws://host:port/path`.
    pub(crate) url: Option<String>,
    pub(crate) pid: Option<u32>,
}

impl Outside {
    fn running(&self) -> io::Result<Running> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let url = self.url.as_deref().ok_or_else(|| invalid("--url is missing".into()))?;
        let rest =
            url.strip_prefix("ws://").ok_or_else(|| invalid(format!("{url} does not begin with ws://")))?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let address = host.to_socket_addrs().map_err(|error| invalid(format!("{host}: {error}")))?.next();
        let address = address.ok_or_else(|| invalid(format!("{host} has no address")))?;
        let endpoint = Endpoint { address, path: path.into(), dialect: Dialect::Broadcast };
        Ok(Running { server: None, pid: self.pid, endpoint })
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

fn installed(name: &str) -> Command {
    Command::new(PathBuf::from(INSTALLED).join("bin").join(name))
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

fn node(program: &str, port: u16) -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new(NODE).join(program)).arg(port.to_string()).env("NODE_ENV", "production");
    command
}

fn nats(directory: &Path, port: u16) -> io::Result<Command> {
    let config = directory.join("nats.conf");
    let text = format!(
        r#"listen: "127.0.0.1:{}"
websocket {{ listen: "127.0.0.1:{port}", no_tls: true, compression: false }}
max_connections: 65536
ping_interval: "1h"
logfile: "/dev/null"
"#,
        free_port()?
    );
    fs::write(&config, text)?;
    let mut command = installed("nats-server");
    command.arg("--config").arg(config);
    Ok(command)
}

fn mosquitto(directory: &Path, port: u16) -> io::Result<Command> {
    let config = directory.join("mosquitto.conf");
    let text = format!(
        "allow_anonymous true\npersistence false\nlog_dest none\nsys_interval 0\nset_tcp_nodelay true\n\
         max_queued_messages 0\nlistener {} 127.0.0.1\nlistener {port} 127.0.0.1\nprotocol websockets\n",
        free_port()?
    );
    fs::write(&config, text)?;
    let mut command = installed("mosquitto");
    command.arg("-c").arg(config);
    Ok(command)
}

fn rumqttd(directory: &Path, port: u16) -> io::Result<Command> {
    let config = directory.join("rumqttd.toml");
    let text = format!(
        r#"id = 0
[router]
id = 0
max_connections = 65536
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[ws.1]
name = "ws"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 0
[ws.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = 500
"#
    );
    fs::write(&config, text)?;
    let mut command = installed("rumqttd");
    command.arg("--quiet").arg("--config").arg(config);
    Ok(command)
}

fn nginx(directory: &Path, port: u16) -> io::Result<Command> {
    let config = directory.join("nginx.conf");
    let module = Path::new(INSTALLED).join("nchan.so");
    let text = format!(
        r#"load_module {};
daemon off;
worker_processes 1;
error_log stderr crit;
pid nginx.pid;
events {{ worker_connections 65536; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    nchan_shared_memory_size 256M;
    server {{
        nchan_channel_id bench;
        listen 127.0.0.1:{port} backlog=4096;
        location = /subscribe {{
            nchan_subscriber websocket;
            nchan_subscriber_first_message newest;
        }}
        location = /publish {{
            nchan_publisher http;
            nchan_store_messages off;
        }}
    }}
}}
"#,
        module.display()
    );
    fs::write(&config, text)?;
    let mut command = installed("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(config).args(["-e", "stderr"]);
    Ok(command)
}

fn redis(directory: &Path, port: u16) -> Command {
    let mut command = installed("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    command.args(["--maxclients", "65000", "--client-output-buffer-limit", "pubsub 0 0 0"]);
    command.args(["--loglevel", "warning", "--tcp-backlog", "4096", "--dir"]).arg(directory);
    command
}

/// A port that is free now; the server takes it a moment later.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
