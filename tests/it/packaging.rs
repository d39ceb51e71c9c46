//! What `packaging/` brings along fits the binary: units and images name commands, flags and files that there are.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cli::{Run, directory, topichub};

const BINARY: &str = "/usr/bin/topichub";
const CONFIG: &str = "/etc/topichub/topichub.toml";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Fails unless the binary understands a command line, to which `--help` is added.
fn understands(arguments: &[&str]) {
    let ended = Run::of(topichub(&[arguments, &["--help"]].concat())).end();
    assert_eq!(ended.code, 0, "{arguments:?}: {:?}", ended.errors);
}

#[test]
fn the_commands_of_the_unit_are_understood() {
    let unit = read("packaging/topichub.service");
    let commands: Vec<_> = unit
        .lines()
        .filter(|line| line.starts_with("Exec"))
        .filter_map(|line| line.split_once('=')?.1.strip_prefix(BINARY))
        .collect();
    assert_eq!(commands.len(), 3, "before the start, at the start, before a reload: {commands:?}");
    for command in commands {
        understands(&command.split_whitespace().collect::<Vec<_>>());
        assert!(command.ends_with(CONFIG), "{command}");
    }
    for line in ["Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "DynamicUser=yes"] {
        assert!(unit.lines().any(|written| written == line), "{line}");
    }
}

#[test]
fn systemd_understands_the_unit() {
    let directory = directory("unit");
    let unit = read("packaging/topichub.service").replace(BINARY, env!("CARGO_BIN_EXE_topichub"));
    let file = directory.join("topichub.service");
    fs::write(&file, unit).unwrap();
    let mut verify = Command::new("systemd-analyze");
    let Ok(verified) = verify.args(["verify", "--man=no"]).arg(&file).output() else {
        eprintln!("there is no systemd-analyze here");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    // It tells of other units of the machine too.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("topichub")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn the_image_is_made_of_what_there_is() {
    let image = read("packaging/Dockerfile");
    let instructions = |name: &'static str| image.lines().filter_map(move |line| line.strip_prefix(name));
    let json = |name| -> Vec<String> { serde_json::from_str(instructions(name).next().unwrap()).unwrap() };
    assert_eq!(json("ENTRYPOINT "), [BINARY]);
    let command = json("CMD ");
    understands(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(command.last().unwrap(), CONFIG);

    let copied: Vec<_> = instructions("COPY ").map(|copy| copy.split(' ').collect::<Vec<_>>()).collect();
    assert!(copied.contains(&vec!["topichub.example.toml", CONFIG]), "{copied:?}");
    assert!(copied.contains(&vec!["--from=build", "/src/target/release/topichub", BINARY]), "{copied:?}");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("topichub.example.toml").exists());
    assert!(instructions("USER ").any(|user| user == "nonroot"));

    let rust = format!("rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(
        instructions("FROM ").next().unwrap().starts_with(&rust),
        "it is built by the oldest Rust that can"
    );
    // A misspelt variable would be passed over with a warning.
    let variables: Vec<_> = instructions("ENV ").map(|variable| variable.split_once('=').unwrap()).collect();
    let mut check = topichub(&["config"]);
    check.envs(variables.iter().copied());
    let ended = Run::of(check).end();
    assert_eq!((ended.code, ended.errors), (0, vec![]));
    for (name, _) in variables {
        assert!(ended.output.iter().any(|line| line.ends_with(&format!("# from {name}"))), "{name}");
    }
}
