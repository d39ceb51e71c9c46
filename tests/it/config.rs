//! The configuration as people meet it: mistakes where they stand, who wins over whom, what is shown of it.

use std::path::Path;

use crate::cli::{Ended, Run, Server, directory, offsets, snapshot, topichub};

/// What the command says in a directory, with these variables.
fn run_in(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = topichub(arguments);
    command.current_dir(directory).envs(variables.iter().copied());
    Run::of(command).end()
}

/// What `topichub check` says to each of these files.
fn check_configs(name: &str, files: &[(&str, &str)]) {
    let directory = directory(name);
    let mut told = String::new();
    for (title, text) in files {
        std::fs::write(directory.join("topichub.toml"), text).unwrap();
        let told_here = run_in(&directory, &["check", "--config", "topichub.toml"], &[]).told();
        told.push_str(&format!("=== {title}\n{told_here}\n\n"));
    }
    snapshot(name, &told);
}

#[test]
fn a_mistake_in_the_configuration_is_shown_where_it_stands() {
    check_configs(
        "config_mistakes",
        &[
            ("a sound file", "[server]\nlisten = \"[::1]:8080\"\n\n[limits]\nping_interval = \"1m\"\n"),
            ("a sound file for all", "[server]\nlisten = \"0.0.0.0:80\"\nworkers = 1\n"),
            ("an unknown key", "[server]\nlisten = \"127.0.0.1:8080\"\nworkerz = 4\n"),
            ("an unknown table", "[server]\nworkers = 4\n\n[limitz]\nopen = true\n"),
            ("an unknown limit", "[limits]\nmax_bytes = 4\n"),
            ("a wrong type", "[server]\nlisten = 8080\n"),
            ("not a time", "[limits]\nping_interval = \"25 parsecs\"\n"),
            ("not an address", "[server]\nlisten = \"8080\"\n"),
            ("no workers", "[server]\nworkers = 0\n"),
            ("no outbox", "[limits]\noutbox_messages_max = 0\n"),
            ("no pings", "[limits]\nping_interval = \"0s\"\n"),
            ("inverted times", "[limits]\nping_interval = \"5s\" # often\npong_timeout = \"10s\"\n"),
            ("a time against a default", "[limits]\nping_interval = \"5s\"\n"),
            ("no place for anybody", "[limits]\nconnections_max = 0\n"),
            ("a level that is none", "[limits]\ndeflate_level = 11\n"),
            ("less for all than for one", "[limits]\noutboxes_bytes_max = 500_000\n"),
            ("a message larger than an outbox", "[limits]\nmessage_bytes_max = 2_000_000\n"),
            ("no history at all", "[limits]\nhistory_bytes_max = 0\n"),
            ("not a level", "[log]\nlevel = \"loud\"\n"),
            ("an open string", "[server]\nlisten = \"127.0.0.1:8080\n"),
            ("a unit where none is", "[limits]\nmessage_bytes_max = 64KiB\n"),
            ("a value where a table is", "server = 8080\n"),
            ("a negative number", "[limits]\nhandshakes_max = -1\n"),
            ("the same table twice", "[log]\n[log]\n"),
            ("no TOML", "listen on port 80\n"),
            ("the same key twice", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n"),
        ],
    );
}

#[test]
fn a_mistake_in_a_rule_for_topics_is_shown_where_it_stands() {
    let rule = |keys: &str| format!("[[topics]]\npattern = \"chat.>\"\n{keys}\n");
    let file = |rules: &[&str]| rules.iter().map(|keys| rule(keys)).collect::<Vec<_>>().join("\n");
    let sound = "history = { messages = 100, age = \"10m\", bytes = 65536 }\nslow = \"drop\"";
    let files = [
        ("sound rules", file(&[sound, ""])),
        ("no pattern", "[[topics]]\nhistory = { messages = 1 }\n".to_owned()),
        ("a pattern that is none", "[[topics]]\npattern = \"chat..lobby\"\n".to_owned()),
        ("one table alone", "[topics]\npattern = \"chat.>\"\n".to_owned()),
        ("an unknown key", file(&["histroy = { messages = 1 }"])),
        ("an unknown key of a history", file(&["history = { mesages = 1 }"])),
        ("too many messages in the second", file(&[sound, "history = { messages = 2_000_000 }"])),
        ("no age", file(&["history = { age = \"0s\" }"])),
        ("too great an age in a table", file(&["[topics.history]\nage = \"31days\""])),
        ("no bytes", file(&["history = { bytes = 0 }"])),
        ("no policy", file(&["slow = \"lates\""])),
        ("no policy among others", file(&["slow_allowed = [\"drop\", \"lates\"]"])),
        ("a policy that is not allowed", file(&["slow = \"drop\"\nslow_allowed = [\"latest\"]"])),
        ("a default that is not allowed", file(&["slow_allowed = [\"latest\"]"])),
    ];
    check_configs("config_rule_mistakes", &files.each_ref().map(|(title, text)| (*title, text.as_str())));
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    for command in ["check", "serve"] {
        snapshot("config_not_there", &Run::start(&[command, "--config", "not-there.toml"]).end().told());
    }
}

#[test]
fn flags_win_over_the_environment_and_both_over_the_file() {
    let file = directory("precedence").join("topichub.toml");
    std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 1\n").unwrap();
    let start = |environment: &[(&str, &str)], flags: &[&str]| {
        let mut command = topichub(&["serve", "--config", file.to_str().unwrap()]);
        command.args(flags).envs(environment.iter().copied());
        Server::of(command).started
    };
    assert!(start(&[], &[]).contains("with 1 worker,"));
    assert!(start(&[("TOPICHUB_WORKERS", "2")], &[]).contains("with 2 workers,"));
    assert!(start(&[("TOPICHUB_SERVER_WORKERS", "2")], &[]).contains("with 2 workers,"));
    assert!(start(&[("TOPICHUB_WORKERS", "2")], &["--workers", "3"]).contains("with 3 workers,"));
}

#[test]
fn a_mistake_in_a_variable_is_shown_with_its_name() {
    let directory = directory("variables");
    std::fs::write(directory.join("topichub.toml"), "[limits]\noutbox_bytes_max = 70_000\n").unwrap();
    let mut told = String::new();
    for (title, name, value) in [
        ("sound", "TOPICHUB_LIMITS_PING_INTERVAL", "1m"),
        (
            "sound rules",
            "TOPICHUB_TOPICS",
            "[{pattern = \"ticker.>\", history = {messages = 100}}, {pattern = 'b'}]",
        ),
        ("not a number", "TOPICHUB_LIMITS_MESSAGE_BYTES_MAX", "64KiB"),
        ("not true or false", "TOPICHUB_LIMITS_DEFLATE", "on"),
        ("out of range", "TOPICHUB_LIMITS_DEFLATE_LEVEL", "11"),
        ("not a time", "TOPICHUB_LIMITS_PING_INTERVAL", "25"),
        ("not an address", "TOPICHUB_LISTEN", "8080"),
        ("not a level", "RUST_LOG", "loud"),
        ("against the file", "TOPICHUB_LIMITS_MESSAGE_BYTES_MAX", "100_000"),
        ("no list", "TOPICHUB_TOPICS", "[{pattern = \"ticker.>\", "),
        ("no rule", "TOPICHUB_TOPICS", "[{pattern = \"ticker.>\"}, {patern = \"a\"}]"),
        ("unknown", "TOPICHUB_LIMITS_MESSAGE_BYTE_MAX", "1"),
        ("unknown and like nothing", "TOPICHUB_XYZ", "1"),
        ("empty", "TOPICHUB_LIMITS_DEFLATE", ""),
        ("of Kubernetes", "TOPICHUB_SERVICE_HOST", "10.0.0.1"),
    ] {
        let ended = run_in(&directory, &["check", "--config", "topichub.toml"], &[(name, value)]);
        told.push_str(&format!("=== {title}\n{}\n\n", ended.told()));
    }
    snapshot("config_variables", &told);
}

#[test]
fn what_counts_is_shown_with_where_it_comes_from() {
    let directory = directory("effective");
    let file = "[server]\nlisten = \"0.0.0.0:80\"\n[limits]\nping_interval = \"1m\"\npong_timeout = \"8s\"\n\
                [[topics]]\npattern = \"a.>\"\nhistory.messages = 4\n";
    std::fs::write(directory.join("topichub.toml"), file).unwrap();
    let variables = [("TOPICHUB_LOG", "debug"), ("TOPICHUB_LIMITS_DEFLATE", "true"), ("RUST_LOG", "warn")];
    let ended = run_in(&directory, &["config", "--config", "topichub.toml"], &variables);
    snapshot("config_effective", &ended.told());
}

#[test]
fn a_secret_is_shown_neither_where_it_is_wrong_nor_where_it_counts() {
    let directory = directory("secrets");
    let key = |secret: &str| format!("[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = {secret}\n");
    let long = format!("hush{}", "-hush".repeat(9));
    for (file, keys, code) in [
        (key(&format!("\"{long}\"")), "", 0),
        (key("\"hush\""), "", 1),
        (key("\"hush"), "", 1),
        (key("[\"hush\"]"), "", 1),
        (key("'''hush\nhush'''"), "", 1),
        (key(&format!("\"{long}\"\nunknown = 1")), "", 1),
        (format!("[[auth.api_keys]]\nname = \"a\"\nhash = \"{long}\"\n"), "", 1),
        (String::new(), "[{algorithm = \"HS256\", secret = \"hush\"}]", 1),
        (String::new(), "[{algorithm = \"HS256\", secret = \"hush\"", 1),
    ] {
        std::fs::write(directory.join("topichub.toml"), &file).unwrap();
        for command in ["check", "config"] {
            let variables = [("TOPICHUB_AUTH_KEYS", keys)];
            let ended = run_in(&directory, &[command, "--config", "topichub.toml"], &variables);
            let told = ended.told();
            assert!(ended.code == code && !told.contains("hush"), "{file}{keys}\n{told}");
        }
    }
}

/// Publishes three messages to `orders` and returns the offsets of as many as the topic remembers.
fn remembered(server: &Server, count: &str) -> Vec<u64> {
    let mut publisher = server.publish(&["orders"]);
    publisher.write("1\n2\n3\n");
    assert_eq!(publisher.end().code, 0);
    offsets(&server.subscribe(&["orders", "--last", "10", "--count", count]).end().output)
}

#[test]
fn at_a_sighup_what_can_change_does_and_a_mistake_changes_nothing() {
    let file = directory("reload").join("topichub.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let rule = |messages| format!("[[topics]]\npattern = \"orders\"\nhistory.messages = {messages}\n");
    write(&rule(1));
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let again = |text: &str, told: &str| {
        write(text);
        server.run.signal("HUP");
        server.run.error_with("SIGHUP received");
        server.run.error_with(told)
    };
    let watching = server.subscribe(&["orders", "--count", "9"]);
    assert_eq!(remembered(&server, "1"), [3]);

    again(&rule(2), "changed: topics");
    assert_eq!(remembered(&server, "2"), [5, 6]);

    again("[[topics]]\npattern = 5\n", "the configuration stays as it was");
    server.run.error_with("invalid type: integer `5`");
    server.run.error_with("topichub.toml:2:11]");
    server.run.error_with("expected text in quotes");
    assert_eq!(remembered(&server, "2"), [8, 9]);
    assert_eq!(offsets(&watching.end().output), (1..=9).collect::<Vec<_>>(), "nobody is disconnected");

    // The listener given by flag wins over the file before and after.
    let waits = "[limits]\nhandshakes_max = 9\ntopics_per_session_max = 1\nmessage_bytes_max = 400\n\
                 [server]\nlisten = \"0.0.0.0:1\"\n";
    let line = again(&format!("{waits}{}", rule(2)), "changed");
    assert!(line.ends_with("changed: limits.message_bytes_max, limits.topics_per_session_max"), "{line}");
    let line = server.run.error_with("only after a restart");
    assert!(line.ends_with("restart: limits.handshakes_max"), "{line}");
    let (head, _) = server.http_with("POST /topics/a HTTP/1.1\r\nContent-Length: 401", &"1".repeat(401));
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    let subscriber = Run::start(&["subscribe", &server.url(), "a", "b"]).end();
    assert!(subscriber.errors.iter().any(|line| line.contains("limit_reached")), "{:?}", subscriber.errors);
    let line = again(&format!("{waits}{}", rule(2)), "changed");
    assert!(line.ends_with("restart: limits.handshakes_max"), "what waits is told again: {line}");
    again(&waits.replace("handshakes_max = 9", ""), "changed: topics");
    again(&waits.replace("handshakes_max = 9", ""), "nothing has changed");
}

#[test]
fn the_level_of_the_log_changes_live() {
    let file = directory("reload_level").join("topichub.toml");
    let write = |level: &str, limit: usize| {
        let text = format!("log.level = \"{level}\"\nlimits.handshakes_max = {limit}\n");
        std::fs::write(&file, text).unwrap();
    };
    write("info", 1);
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let again = |level: &str, limit: usize| {
        write(level, limit);
        server.run.signal("HUP");
    };
    again("info,topichub=warn", 2);
    server.run.error_with("only after a restart: limits.handshakes_max");
    again("loud", 2);
    let line = server.run.error_with("");
    assert!(line.contains("ERROR") && line.contains("the configuration stays as it was"), "{line}");
    server.run.error_with("impossible value for `level`");
    again("info", 2);
    server.run.error_with("changed: log.level");
}

#[test]
fn what_clients_keep_secret_is_never_logged() {
    let mut command = topichub(&["serve", "--listen", "127.0.0.1:0", "--log", "trace"]);
    command.env("TOPICHUB_SERVER_SECRET", "hush-of-a-variable");
    let server = Server::of(command);
    let headers = "Authorization: Bearer hush-of-a-header\r\nCookie: id=hush-of-a-cookie";
    let (head, _) = server.http(&format!("GET /ws?token=hush-of-a-query HTTP/1.1\r\n{headers}"));
    assert!(head.starts_with("http/1.1 4"), "{head}");
    let body = "hush-of-a-body";
    let post = format!(
        "POST /topics/a HTTP/1.1\r\n{headers}\r\nContent-Type: text/plain\r\nContent-Length: {}",
        body.len()
    );
    let (head, _) = server.http_with(&post, body);
    assert!(head.starts_with("http/1.1 2"), "{head}");
    let subscriber = server.subscribe(&["a", "--count", "1"]);
    assert_eq!(server.publish(&["a", "\"hush-of-a-message\""]).end().code, 0);
    assert_eq!(subscriber.end().code, 0);
    server.run.terminate();
    let lines = server.run.end().errors;
    assert!(lines.iter().any(|line| line.contains("TRACE")), "{lines:?}");
    let told: Vec<_> = lines.iter().filter(|line| line.contains("hush")).collect();
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn log_lines_can_be_json() {
    let file = directory("json_log").join("topichub.toml");
    std::fs::write(&file, "log.format = \"plain\"\n").unwrap();
    let mut command = topichub(&["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    command.env("TOPICHUB_LOG_FORMAT", "json");
    let server = Server::of(command);
    server.run.signal("HUP");
    server.run.error_with("nothing has changed");
    server.run.terminate();
    let lines = server.run.end().errors;
    assert!(lines.len() >= 3, "{lines:?}");
    for line in lines.iter().chain([&server.started]) {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["ts", "level", "target", "message"], "{line}");
        let text = |key: &str| fields[key].as_str().unwrap();
        assert!(humantime::parse_rfc3339(text("ts")).is_ok() && text("ts").len() == 24, "{line}");
        assert!(
            ["INFO", "WARN"].contains(&text("level")) && text("target").starts_with("topichub"),
            "{line}"
        );
    }
}
