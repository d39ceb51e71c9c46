//! The walls of the architecture: what must not know about the world outside does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn rust_files(below: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Whether `line` has `word`, and not as the end of a longer one.
fn names(line: &str, word: &str) -> bool {
    let is_part = |before: char| before.is_alphanumeric() || before == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_part))
}

/// Fails with every line below `room` that names one of `banned`.
fn room_is_free_of(room: &str, banned: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(room);
    let files = if root.is_file() { vec![root] } else { rust_files(&root) };
    assert!(!files.is_empty(), "{room} has moved");
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in
            text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            if let Some(word) = banned.iter().find(|word| names(line, word)) {
                found.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{room} must not use these:\n{}", found.join("\n"));
}

const WORLD: [&str; 12] = [
    "tokio",
    "actix",
    "std::net",
    "std::io",
    "std::fs",
    "std::thread",
    "std::env",
    "Instant",
    "SystemTime",
    "Mutex",
    "log::",
    "println!",
];

#[test]
fn the_hub_core_touches_nothing_outside() {
    room_is_free_of(
        "src/hub",
        &WORLD.map(|word| word).iter().copied().filter(|word| *word != "println!").collect::<Vec<_>>(),
    );
    room_is_free_of("src/hub", &["websocket", "Frame", "Http"]);
}

#[test]
fn the_protocol_touches_nothing_outside() {
    room_is_free_of(
        "protocol/src",
        &["tokio", "actix", "std::net", "std::fs", "std::thread", "Instant", "SystemTime", "Mutex", "log::"],
    );
}

#[test]
fn the_protocol_depends_on_nothing_that_does_input_or_output() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "topichub-protocol",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("serde_json"), "{tree}");
    for name in ["tokio ", "actix", "mio ", "log ", "tracing ", "socket2 ", "rand "] {
        assert!(!tree.lines().any(|line| line.starts_with(name)), "{name} is in\n{tree}");
    }
}

#[test]
fn what_the_client_decides_is_free_of_input_output_and_clocks() {
    let world = ["tokio::", "std::net", "std::fs", "std::thread", "Instant", "SystemTime", "Mutex", "log::"];
    for file in ["mod", "asking", "identity", "life", "named", "positions", "receiving"] {
        room_is_free_of(&format!("clients/rust/src/session/{file}.rs"), &world);
    }
}

#[test]
fn only_actors_know_actors_and_only_transport_knows_http() {
    for room in ["src/hub", "src/engine", "src/transport"] {
        room_is_free_of(room, &["actix::", "Addr<", "do_send"]);
    }
    for room in ["src/hub", "src/engine", "src/actors"] {
        room_is_free_of(room, &["actix_web", "actix_http", "HttpRe", "StatusCode"]);
    }
}
