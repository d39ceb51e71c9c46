//! The `topichub` command as people and scripts use it: the real binary, its output and its exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::DEADLINE;

/// A run of the command. Killed when dropped.
pub(crate) struct Run {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    output: Option<Receiver<String>>,
    errors: Receiver<String>,
}

/// How a run has ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: Vec<String>,
    pub(crate) errors: Vec<String>,
}

impl Run {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(topichub(arguments))
    }

    pub(crate) fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = Some(lines_of(child.stdout.take().unwrap()));
        let errors = lines_of(child.stderr.take().unwrap());
        Self { child, input, output, errors }
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next line on standard output.
    pub(crate) fn output(&self) -> String {
        self.output.as_ref().unwrap().recv_timeout(DEADLINE).expect("a line of output")
    }

    /// The next line on standard error that holds this text.
    pub(crate) fn error_with(&self, text: &str) -> String {
        loop {
            let line =
                self.errors.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no error line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end, with nothing more on standard input.
    pub(crate) fn end(mut self) -> Ended {
        self.input.take();
        let drain = |lines: &Receiver<String>| {
            let mut all = Vec::new();
            loop {
                match lines.recv_timeout(DEADLINE) {
                    Ok(line) => all.push(line),
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return all,
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("does not end; so far {all:?}"),
                }
            }
        };
        let errors = drain(&self.errors);
        let output = self.output.as_ref().map(drain).unwrap_or_default();
        let code = self.child.wait().unwrap().code().expect("an exit code, not a signal");
        Ended { code, output, errors }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Everything that was said, for snapshots.
    pub(crate) fn told(&self) -> String {
        let Self { code, output, errors } = self;
        let section = |name: &str, lines: &[String]| {
            let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
            if lines.is_empty() { lines } else { format!("--- {name}\n{lines}") }
        };
        format!("{}{}--- exit code {code}", section("output", output), section("errors", errors))
    }
}

/// The binary, untouched by the environment of the tests.
pub(crate) fn topichub(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topichub"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    let ours = ours.filter(|name| name.to_string_lossy().starts_with("TOPICHUB_"));
    for name in ours.chain(["RUST_LOG".into(), "COLUMNS".into(), "NOTIFY_SOCKET".into()]) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").env("TOPICHUB_DRAIN", "0s").args(arguments);
    command
}

fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return; // drops the pipe: the reader has gone
            }
        }
    });
    lines
}

/// A directory of a test's own.
pub(crate) fn directory(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) run: Run,
    pub(crate) address: String,
    pub(crate) started: String,
    /// What it has logged before that.
    pub(crate) before: Vec<String>,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(topichub(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat()))
    }

    pub(crate) fn of(command: Command) -> Self {
        let run = Run::of(command);
        let mut before = Vec::new();
        let started = loop {
            let line = run.error_with("");
            if line.contains("serves http://") {
                break line;
            }
            before.push(line);
        };
        let address = started.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        Self { run, address, started, before }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(crate) fn subscribe(&self, arguments: &[&str]) -> Run {
        let run = Run::start(&[&["subscribe", &self.url()], arguments].concat());
        run.error_with("subscribed to ");
        run
    }

    pub(crate) fn publish(&self, arguments: &[&str]) -> Run {
        Run::start(&[&["publish", &self.url()], arguments].concat())
    }

    /// The head and body of the answer to one HTTP request.
    pub(crate) fn http(&self, request: &str) -> (String, String) {
        self.http_with(request, "")
    }

    /// The same for a request with a body.
    pub(crate) fn http_with(&self, request: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("{request}\r\nHost: {}\r\nConnection: close\r\n\r\n{body}", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }
}

/// Compares with the file of this name in `snapshots/`, but for what differs from run to run.
#[track_caller]
pub(crate) fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:[1-9]\d{4}", "127.0.0.1:[port]");
    settings.add_filter(r"topichub \d+\.\d+\.\d+", "topichub [version]");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// What several runs have said, under a title each.
#[track_caller]
pub(crate) fn snapshots(name: &str, runs: Vec<(&str, Run)>) {
    let tell = |(title, run): (&str, Run)| format!("=== {title}\n{}\n\n", run.end().told());
    snapshot(name, &runs.into_iter().map(tell).collect::<String>());
}

#[track_caller]
fn check_help(name: &str, arguments: &[&str]) {
    let ended = Run::start(arguments).end();
    assert_eq!((ended.code, ended.errors.len()), (0, 0));
    insta::assert_snapshot!(name, ended.output.join("\n"));
}

#[test]
fn help_teaches_by_example() {
    check_help("help", &["--help"]);
    check_help("help_serve", &["serve", "--help"]);
    check_help("help_check", &["check", "--help"]);
    check_help("help_config", &["config", "--help"]);
    check_help("help_publish", &["publish", "--help"]);
    check_help("help_subscribe", &["subscribe", "--help"]);
    let version = Run::start(&["--version"]).end();
    assert_eq!(version.output, [format!("topichub {}", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn what_is_published_in_messagepack_is_read_in_json() {
    let server = Server::start(&[]);
    let json = server.subscribe(&["sports.*", "--count", "3"]);
    let msgpack = server.subscribe(&["sports.demo", "--count", "3", "--protocol", "msgpack"]);

    let mut publisher = server.publish(&["sports.demo", "--protocol", "msgpack"]);
    publisher.write("{\"home\": 3, \"teams\": [\"A\", null]}\n\n1.5\n\"text\"");
    let published = publisher.end();
    assert_eq!(
        (published.code, published.errors.as_slice()),
        (0, ["published 3 messages to sports.demo".to_owned()].as_slice())
    );

    let expected = [
        r#"{"topic":"sports.demo","offset":1,"data":{"home":3,"teams":["A",null]}}"#,
        r#"{"topic":"sports.demo","offset":2,"data":1.5}"#,
        r#"{"topic":"sports.demo","offset":3,"data":"text"}"#,
    ];
    for subscriber in [json, msgpack] {
        let ended = subscriber.end();
        assert_eq!((ended.code, ended.output), (0, expected.map(str::to_owned).to_vec()));
    }
}

#[test]
fn many_lines_arrive_in_order() {
    const LINES: usize = 5000;
    let server = Server::start(&[]);
    let subscriber = server.subscribe(&["numbers", "--count", &LINES.to_string()]);
    let mut publisher = server.publish(&["numbers", "--verbose"]);
    publisher.write(&(1..=LINES).map(|number| format!("{number}\n")).collect::<String>());
    let published = publisher.end();
    assert_eq!((published.code, published.output.len()), (0, LINES));
    assert!(published.output[LINES - 1].contains(&format!("\"offset\":{LINES},")));
    let received = subscriber.end().output;
    let expected: Vec<_> =
        (1..=LINES).map(|n| format!(r#"{{"topic":"numbers","offset":{n},"data":{n}}}"#)).collect();
    assert_eq!(received, expected);
}

#[test]
fn what_is_not_published_is_named_with_its_line() {
    let server = Server::start(&[]);
    let mut publisher = server.publish(&["chat.lobby"]);
    publisher.write(&format!("1\nhello\n\n\"{}\"\n[1,\n2\n", "x".repeat(70_000)));
    snapshots(
        "publish_refused",
        vec![
            ("lines", publisher),
            ("not JSON", server.publish(&["chat.lobby", "hello"])),
            ("text", server.publish(&["chat.lobby", "hello", "--string"])),
            ("the server's own topic", server.publish(&["$sys.stats", "-1"])),
        ],
    );
}

/// A server that remembers the last three messages of each topic, and does not let subscriptions to `orders` lose any.
fn server_that_remembers(name: &str) -> Server {
    let file = directory(name).join("topichub.toml");
    let rules = "[[topics]]\npattern = \"orders\"\nhistory.messages = 3\nslow_allowed = [\"disconnect\"]\n";
    std::fs::write(&file, rules).unwrap();
    Server::start(&["--config", file.to_str().unwrap()])
}

/// The offsets in lines of output.
pub(crate) fn offsets(lines: &[String]) -> Vec<u64> {
    let offset =
        |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].as_u64().unwrap();
    lines.iter().map(offset).collect()
}

#[test]
fn a_subscriber_may_begin_in_the_past() {
    let server = server_that_remembers("past");
    let mut publisher = server.publish(&["orders", "--verbose"]);
    publisher.write("1\n2\n3\n4\n5\n");
    let published = publisher.end().output;
    let first: serde_json::Value = serde_json::from_str(&published[0]).unwrap();
    let after = |offset: u64| format!("{}:{offset}", first["epoch"].as_str().unwrap());

    let read = |how: &[&str], count: &str| {
        let ended = server.subscribe(&[&["orders", "--count", count], how].concat()).end();
        assert_eq!(ended.code, 0, "{:?}", ended.errors);
        (offsets(&ended.output), ended.errors)
    };
    assert_eq!(read(&["--last", "2"], "2"), (vec![4, 5], vec![]));
    assert_eq!(read(&["--seconds", "3600", "--protocol", "msgpack"], "3"), (vec![3, 4, 5], vec![]));
    assert_eq!(read(&["--after", &after(3)], "2"), (vec![4, 5], vec![]));
    let (received, told) = read(&["--after", &after(1)], "3");
    assert_eq!(received, [3, 4, 5]);
    assert_eq!(
        told,
        [
            "orders does not go back to that position: what it still has follows",
            "gap in orders: 2 to 2 (history)",
        ]
    );

    let subscriber = Run::start(&["subscribe", &server.url(), "orders", "a.*"]);
    assert_eq!(
        subscriber.error_with("subscribed to "),
        format!("subscribed to orders at {}, a.*", after(5)),
        "what --after takes is told"
    );
}

#[test]
fn a_subscriber_says_how_it_is_to_be_served() {
    let server = server_that_remembers("served");
    let paced = server.subscribe(&["numbers", "--max-rate", "1", "--slow", "latest", "--count", "2"]);
    let mut publisher = server.publish(&["numbers"]);
    publisher.write(&(1..=500).map(|number| format!("{number}\n")).collect::<String>());
    assert_eq!(publisher.end().code, 0);
    let received = offsets(&paced.end().output);
    assert!(received[0] == 1 && received[1] > 2, "{received:?}");

    let _members = [(); 2].map(|()| server.subscribe(&["work", "--group", "workers"]));
    let published = server.publish(&["work", "1", "--verbose"]).end();
    assert!(published.output[0].ends_with("\"subscribers\":1}"), "{:?}", published.output);

    let refused = Run::start(&["subscribe", &server.url(), "orders", "--slow", "drop"]);
    snapshots("subscribe_refused", vec![("a policy that is not allowed", refused)]);
}

#[test]
fn what_is_said_of_a_message_comes_with_it_or_decides_about_it() {
    let server = server_that_remembers("said");
    let subscriber = server.subscribe(&["orders", "--count", "2"]);
    let publish = |more: &[&str]| server.publish(&[&["orders"], more].concat()).end().told();
    let mut told = publish(&["1", "--key", "k 1", "--meta", "by=web", "--meta", "note=a=\"b\""]);
    for (title, more) in [
        ("the first of a name", ["2", "--dedup", "order-2"].as_slice()),
        ("the same again", &["2", "--dedup", "order-2"]),
        ("another of this name", &["3", "--dedup", "order-2"]),
        ("an offset that is not the last", &["4", "--if-offset", "1"]),
        ("the last offset", &["5", "--if-offset", "2", "--ttl", "1ms"]),
    ] {
        told.push_str(&format!("\n\n=== {title}\n{}", publish(more)));
    }
    told.push_str(&format!("\n\n=== the subscriber\n{}", subscriber.end().told()));
    snapshot("publish_said", &told);

    // By the time another process has connected, that millisecond is over.
    assert_eq!(server.publish(&["orders", "6"]).end().code, 0);
    let ended = server.subscribe(&["orders", "--last", "2", "--count", "2"]).end();
    assert_eq!(offsets(&ended.output), [2, 4]);
    assert_eq!(ended.errors, ["gap in orders: 3 to 3 (expired)"]);
}

#[test]
fn wrong_usage_is_explained() {
    let start = |arguments: &[&'static str]| (arguments[0], Run::start(arguments));
    snapshots(
        "usage",
        vec![
            start(&["publish", "ws://127.0.0.1:8080", "chat.*", "1"]),
            start(&["subscribe", "127.0.0.1:8080", "clock"]),
            start(&["subscribe", "ws://127.0.0.1:8080", "a..b"]),
            start(&["serve", "--listen", "8080"]),
            start(&["serve", "--log", "loud"]),
            start(&["serve", "--demo", "--demo-pace", "0"]),
            start(&["subscribe", "ws://127.0.0.1:8080", "a", "--last", "10001"]),
            start(&["subscribe", "ws://127.0.0.1:8080", "a", "--last", "1", "--seconds", "2"]),
            start(&["subscribe", "ws://127.0.0.1:8080", "a", "--after", "44"]),
            start(&["subscribe", "ws://127.0.0.1:8080", "a.*", "--after", "k3v9:44"]),
            start(&["subscribe", "ws://127.0.0.1:8080", "a", "--slow", "fast"]),
            start(&["subscribe", "ws://127.0.0.1:8080", "a", "--max-rate", "0"]),
            start(&["subscribe", "ws://127.0.0.1:8080", "a", "--group", "g", "--last", "1"]),
            start(&["publish", "ws://127.0.0.1:8080", "a", "1", "--key", ""]),
            start(&["publish", "ws://127.0.0.1:8080", "a", "1", "--ttl", "0s"]),
            start(&["publish", "ws://127.0.0.1:8080", "a", "1", "--meta", "by"]),
            start(&["publish", "ws://127.0.0.1:8080", "a", "1", "--meta", "by=1", "--meta", "by=2"]),
            start(&["publish", "ws://127.0.0.1:8080", "a", "--dedup", "x"]),
        ],
    );
}

#[test]
fn without_a_server_the_client_says_what_to_do() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(); // free again now
    let url = format!("ws://127.0.0.1:{port}");
    let server = Server::start(&[]);
    let elsewhere = format!("http://{}/healthz", server.address);
    let tls = format!("wss://{}", server.address);
    snapshots(
        "no_server",
        vec![
            ("publish to nobody", Run::start(&["publish", &url, "a", "1"])),
            ("subscribe to nobody", Run::start(&["subscribe", &url, "a"])),
            ("not the WebSocket", Run::start(&["subscribe", &elsewhere, "a"])),
            ("no TLS", Run::start(&["subscribe", &tls, "a"])),
        ],
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = Run::start(&["serve", "--listen", &address, "--log", "off"]).end();
    snapshot("port_taken", &ended.told());
}

#[test]
fn sigterm_tells_everybody_to_come_back_and_ends_well() {
    let server = Server::start(&[]);
    let subscriber = server.subscribe(&["a", "--no-reconnect"]);
    let mut publisher = server.publish(&["a"]);
    publisher.write("1\n");
    assert_eq!(subscriber.output(), r#"{"topic":"a","offset":1,"data":1}"#);
    server.run.terminate();
    let Ended { code, errors, .. } = server.run.end();
    assert_eq!(code, 0, "{errors:?}");
    assert!(errors.last().unwrap().ends_with("the server has stopped"), "{errors:?}");
    assert!(!errors.iter().any(|line| line.contains("did not answer")), "{errors:?}");
    snapshots("closed", vec![("the subscriber", subscriber), ("the publisher", publisher)]);
}

#[test]
fn a_subscriber_whose_reader_has_gone_ends_quietly() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe(&["a"]);
    let mut publisher = server.publish(&["a"]);
    publisher.write("1\n");
    subscriber.output();
    subscriber.output.take(); // as `head -1` does
    let deadline = std::time::SystemTime::now() + DEADLINE;
    while subscriber.child.try_wait().unwrap().is_none() {
        assert!(std::time::SystemTime::now() < deadline, "goes on without a reader");
        publisher.write("2\n");
        let _ = publisher.errors.recv_timeout(Duration::from_millis(10));
    }
    let ended = subscriber.end();
    assert_eq!((ended.code, ended.errors), (0, vec![]));
}

#[test]
fn the_demo_feeds_what_the_pages_show() {
    let server = Server::start(&["--demo", "--demo-pace", "20"]);
    assert!(server.started.ends_with("demo on"));
    let feed = |topic: &str| {
        let ended = server.subscribe(&[topic, "--count", "1"]).end();
        let message: serde_json::Value = serde_json::from_str(&ended.output[0]).unwrap();
        message["data"].clone()
    };
    assert!(feed("ticker.AAPL")["price"].is_number());
    assert!(feed("sports.premier-league.arsenal")["home_team"].is_string());
    assert!(feed("sports.live.*")["event"].is_string());
    assert!(feed("clock")["time"].as_str().unwrap().ends_with('Z'));
    if cfg!(target_os = "linux") {
        assert!(feed("system.cpu")["per_core"].is_array());
        assert!(feed("system.memory")["total_bytes"].as_u64() > Some(0));
        assert!(feed("system.network")["rx_bytes_per_s"].is_u64());
    }
}

#[test]
fn the_demo_remembers_for_the_pages_unless_the_configuration_says_otherwise() {
    let file = directory("demo_rules").join("topichub.toml");
    std::fs::write(&file, "[[topics]]\npattern = \"chat.*\"\nhistory.messages = 2\n").unwrap();
    let server = Server::start(&["--demo", "--config", file.to_str().unwrap()]);
    let remembered = |topic: &str, count: &str| {
        let mut publisher = server.publish(&[topic]);
        publisher.write("1\n2\n3\n");
        assert_eq!(publisher.end().code, 0);
        offsets(&server.subscribe(&[topic, "--last", "100", "--count", count]).end().output)
    };
    assert_eq!(remembered("sports.nobody", "3"), [1, 2, 3]);
    assert_eq!(remembered("chat.nobody", "2"), [2, 3]);
}

#[test]
fn the_pages_are_served_as_browsers_want_them() {
    let server = Server::start(&[]);
    let (head, body) = server.http("GET / HTTP/1.1");
    assert!(
        head.starts_with("http/1.1 200 ") && head.contains("content-type: text/html; charset=utf-8"),
        "{head}"
    );
    assert!(
        head.contains("content-security-policy: default-src 'self'") && head.contains("nosniff"),
        "{head}"
    );
    assert!(body.contains("<title>TopicHub"));

    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (head, body) = server.http(&format!("GET /index.html HTTP/1.1\r\nIf-None-Match: {etag}"));
    assert!(head.starts_with("http/1.1 304 ") && body.is_empty(), "{head}");
    let (head, body) = server.http("HEAD /page.js HTTP/1.1");
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: text/javascript"), "{head}");
    assert!(body.is_empty() && !head.contains("content-length: 0"), "{head}");

    for (path, content_type) in [
        ("/vendor/topichub/index.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/vendor/topichub/LICENSE-msgpack", "text/plain; charset=utf-8"),
    ] {
        let (head, _) = server.http(&format!("GET {path} HTTP/1.1"));
        assert!(
            head.starts_with("http/1.1 200 ") && head.contains(&format!("content-type: {content_type}\r\n")),
            "{path}: {head}"
        );
    }
    for request in ["GET /nowhere", "GET /../Cargo.toml", "GET /vendor/", "POST /index.html"] {
        let (head, body) = server.http(&format!("{request} HTTP/1.1"));
        assert!(
            head.starts_with("http/1.1 404 ") && head.contains("application/problem+json"),
            "{request}: {head}"
        );
        assert!(body.contains("\"status\":404"), "{request}: {body}");
    }
}

#[test]
fn a_server_that_is_full_says_when_to_try_again() {
    let file = directory("full").join("topichub.toml");
    std::fs::write(&file, "[limits]\nconnections_max = 1\n").unwrap();
    let mut command = topichub(&["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    command.env_remove("TOPICHUB_CONFIG");
    let server = Server::of(command);
    let _first = server.subscribe(&["sports.*", "--count", "1"]);
    let refused = server.publish(&["sports.demo", "1"]).end();
    let told = refused.errors.join("\n");
    assert_eq!(refused.code, 3, "{told}");
    assert!(told.contains("takes no more connections now"), "{told}");
    assert!(told.contains("the limit of 1 open connections is reached"), "{told}");
    assert!(told.contains("help: try again in "), "{told}");
}
