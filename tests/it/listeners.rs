//! Where a server can be reached: several listeners at a time, unix sockets among them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use topichub::{Listener, Settings};

use crate::support::{DEADLINE, Server, upgrade, wait_until};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.sock"))
}

fn serve(name: &str) -> Server {
    let path = path(name);
    Server::listening(Settings::default(), move |tcp| vec![tcp.into(), Listener::unix(&path, 0o600).unwrap()])
}

/// Asks for `/healthz` on a connection that the answer ends.
fn is_healthy(mut socket: impl Read + Write) -> bool {
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n")
}

fn connect(path: &Path) -> UnixStream {
    let socket = UnixStream::connect(path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

#[actix_web::test]
async fn a_unix_socket_is_as_good_as_a_port() {
    let _ = std::fs::remove_file(path("both"));
    let server = serve("both");
    assert!(is_healthy(TcpStream::connect(server.address).unwrap()));
    assert!(is_healthy(connect(&path("both"))));
    assert_eq!(path("both").metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let mut socket = connect(&path("both"));
    socket.write_all(upgrade("").as_bytes()).unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(r#""op":"welcome""#) {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    assert_eq!(server.hub.sessions(), 1);
    drop(socket);
    wait_until("the session has ended", || server.hub.sessions() == 0);
}

#[actix_web::test]
async fn a_listener_for_operators_shows_how_the_server_does_and_nothing_else() {
    let path = path("operators");
    let _ = std::fs::remove_file(&path);
    let at = path.clone();
    let _server = Server::listening(Settings::default(), move |tcp| {
        vec![tcp.into(), Listener::unix(&at, 0o600).unwrap().for_operators()]
    });
    assert!(is_healthy(connect(&path)));
    let status = |request: &str| {
        let mut socket = connect(&path);
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let get =
        |path: &str| status(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    assert_eq!((get("/metrics"), get("/readyz")), ("200".into(), "200".into()));
    for hidden in ["/topics", "/sessions", "/topics/a/messages", "/ws", "/"] {
        assert_eq!(get(hidden), "404", "{hidden}");
    }
    assert_eq!(status(&upgrade("")), "404");
}

#[actix_web::test]
async fn a_socket_that_a_server_left_behind_is_replaced_and_one_in_use_is_not() {
    let path = path("left");
    let _ = std::fs::remove_file(&path);
    drop(serve("left"));
    assert!(path.exists());
    let server = serve("left");
    let error = Listener::unix(&path, 0o600).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(is_healthy(connect(&path)));
    drop(server);

    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "somebody's letter").unwrap();
    assert_eq!(Listener::unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's letter");
}

/// Ends with the test.
struct Binary(Child);

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_command_listens_on_a_unix_socket_and_says_so() {
    let path = path("command");
    let _ = std::fs::remove_file(&path);
    let listen = format!("unix:{}", path.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_topichub"));
    command.args(["serve", "--workers", "1", "--log", "info", "--listen", &listen]);
    let mut binary = Binary(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(binary.0.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains(&format!("serves {listen} with"))));
    assert!(is_healthy(connect(&path)));
}
