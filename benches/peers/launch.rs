//! How each server is started, with settings fit for production: its command line and its configuration file. And what
//! is known of one while it runs.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::load::Endpoint;
use super::target::Target;
use crate::support::process::{Server, cpu_time_of, resident_bytes_of};

/// Where `install.sh` puts what it installs.
pub(crate) const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/.installed");
const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/node");

/// A server that is running.
pub(crate) struct Running {
    server: Option<Server>,
    pid: Option<u32>,
    pub(crate) endpoint: Endpoint,
}

impl Running {
    /// Starts a target, with its files in `directory`.
    ///
    /// # Errors
    /// If it does not listen in time, with its last words.
    pub(crate) fn start(target: Target, directory: &Path, outside: &Outside) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let port = free_port()?;
        let of_started = |server: Server, path: &str| {
            let endpoint = Endpoint { address: server.address, path: path.into(), dialect: target.dialect() };
            Self { pid: Some(server.pid()), server: Some(server), endpoint }
        };
        let (command, path) = match target {
            Target::Limit => return Ok(of_started(Server::limit()?, "/")),
            Target::Topichub => return Ok(of_started(Server::hub()?, "/ws")),
            Target::Url => return outside.running(),
            Target::Nats => (nats(directory, port)?, "/"),
            Target::Mosquitto => (mosquitto(directory, port)?, "/mqtt"),
            Target::Rumqttd => (rumqttd(directory, port)?, "/"),
            Target::Nchan => (nginx(directory, port)?, "/subscribe"),
            Target::Redis => (redis(directory, port), ""),
            Target::Ws => (node("ws.mjs", port), "/"),
            Target::SocketIo => (node("socket.io.mjs", port), "/socket.io/?EIO=4&transport=websocket"),
            Target::Actix => (with(installed("naive"), &[&port.to_string()]), "/"),
            Target::UWebSockets => (with(installed("uwebsockets"), &[&port.to_string()]), "/"),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = Server::listening(command, address, &directory.join("log"))?;
        Ok(of_started(server, path))
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
        let endpoint = Endpoint { address, path: path.into(), dialect: Target::Url.dialect() };
        Ok(Running { server: None, pid: self.pid, endpoint })
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
