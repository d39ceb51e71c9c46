//! `topichub bench` as people and scripts use it: each scenario, small, with a server that it starts itself; what it
//! says of a server that does something wrong; and what it says to bad input.

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::broken_server::{BrokenServer, Mischief};
use crate::cli::{Run, Server, snapshot, snapshots, topichub};

fn bench(arguments: &str) -> Run {
    Run::start(&[&["bench"], arguments.split_whitespace().collect::<Vec<_>>().as_slice()].concat())
}

/// The one object that a sound run prints.
#[track_caller]
fn figures(arguments: &str) -> Value {
    let ended = bench(&format!("{arguments} --json")).end();
    assert_eq!((ended.code, ended.output.len()), (0, 1), "{arguments}: {}", ended.told());
    let figures: Value = serde_json::from_str(&ended.output[0]).unwrap();
    assert_eq!((&figures["ok"], &figures["faults"]), (&true.into(), &Value::Array(vec![])), "{figures}");
    figures
}

#[track_caller]
fn check(figures: &Value, expected: &[(&str, u64)]) {
    for (key, value) in expected {
        assert_eq!(figures[key].as_u64(), Some(*value), "{key} in {figures}");
    }
}

/// Fails unless these are numbers above 0.
#[track_caller]
fn check_measured(figures: &Value, keys: &[&str]) {
    for key in keys {
        assert!(figures[key].as_f64().is_some_and(|value| value > 0.0), "{key} in {figures}");
    }
}

const COST: [&str; 2] = ["server_cpu_s_per_million_deliveries", "server_memory_after_bytes"];
const LATENCY: [&str; 4] = ["latency_p50_us", "latency_p99_us", "latency_p99_9_us", "latency_max_us"];

#[test]
fn help_says_what_each_scenario_can_be_told() {
    snapshot("help_bench", &bench("--help").end().told());
    for scenario in ["fanout", "burst", "many-topics", "latency", "idle", "storm", "recover", "slow"] {
        let told = bench(&format!("{scenario} --help")).end().told();
        snapshot(&format!("help_bench_{}", scenario.replace('-', "_")), &told);
    }
}

#[test]
fn fanout_delivers_one_by_one() {
    let figures = figures("fanout --subscribers 20 --messages 30");
    check(&figures, &[("messages", 30), ("deliveries", 600), ("latency_count", 600), ("subscribers", 20)]);
    check_measured(&figures, &["deliveries_per_s", "received_bytes", "duration_s"]);
    check_measured(&figures, &LATENCY);
    if cfg!(target_os = "linux") {
        check_measured(&figures, &COST);
    }
}

#[test]
fn fanout_ends_after_its_time() {
    let figures = figures("fanout --subscribers 5 --duration 300ms --protocol msgpack --payload-bytes 1000");
    assert!(figures["duration_s"].as_f64().unwrap() >= 0.3, "{figures}");
    assert_eq!(figures["deliveries"].as_u64(), figures["messages"].as_u64().map(|messages| messages * 5));
}

#[test]
fn burst_writes_many_at_once_over_all_protocols() {
    let figures = figures("burst --subscribers 20 --messages 50 --protocol mixed --workers 2");
    check(&figures, &[("messages", 50), ("deliveries", 1000), ("burst_messages", 16), ("server_workers", 2)]);
}

#[test]
fn latency_keeps_to_its_rate() {
    let figures = figures("latency --subscribers 10 --messages 40 --rate 200");
    check(&figures, &[("messages", 40), ("deliveries", 400)]);
    check_measured(&figures, &LATENCY);
    // The first is due at once, the last 39 periods later.
    assert!(figures["duration_s"].as_f64().unwrap() >= 39.0 / 200.0, "{figures}");
}

#[test]
fn latency_counts_from_when_a_message_was_due() {
    // A server that does nothing from the 4th to the 44th of 60 messages makes most of them late, not one.
    let server = BrokenServer::start(Mischief::Stall(20, 400), false);
    let figures = figures(&format!("latency {} --subscribers 1 --messages 60 --rate 100", server.url()));
    assert!(figures["latency_p50_us"].as_f64().unwrap() > 50_000.0, "{figures}");
    assert!(figures["latency_max_us"].as_f64().unwrap() > 390_000.0, "{figures}");
}

#[test]
fn many_topics_reach_their_1_to_5_subscribers() {
    // Each publisher has 10 topics and a hundred messages for them in turn, however they divide the total.
    let figures = figures(
        "many-topics --topics 30 --subscribers 20 --publishers 3 --messages 300 --window 4 --protocol mixed",
    );
    check(&figures, &[("topics", 30), ("subscriptions", 90), ("publishers", 3), ("messages", 300)]);
    check(&figures, &[("publish_reply_count", 300)]);
    check_measured(&figures, &["deliveries", "messages_per_s", "publish_reply_p50_us", "latency_p50_us"]);
}

#[test]
fn idle_connections_are_weighed() {
    let figures = figures("idle --subscribers 300 --protocol mixed");
    if cfg!(target_os = "linux") {
        let connections = ["server_memory_before_bytes", "server_memory_connected_bytes"];
        check_measured(&figures, &connections);
        check_measured(&figures, &["memory_per_connection_1_subscriptions_kib"]);
    }
}

#[test]
fn everybody_comes_back_after_a_storm() {
    let figures = figures("storm --subscribers 50");
    check(&figures, &[("came_back_connections", 50), ("came_back_count", 50), ("refused_attempts", 0)]);
    check_measured(&figures, &["came_back_s", "came_back_p99_us"]);
}

#[test]
fn who_is_refused_in_a_storm_waits_and_is_counted() {
    // Five subscribers and a publisher come first; the next is the first to come back.
    let server = BrokenServer::start(Mischief::BusyAtFirst(7), false);
    let figures = figures(&format!("storm {} --subscribers 5", server.url()));
    check(&figures, &[("came_back_connections", 5), ("refused_attempts", 1), ("failed_attempts", 0)]);
}

#[test]
fn a_server_that_is_busy_for_the_moment_is_asked_again() {
    let server = BrokenServer::start(Mischief::BusyAtFirst(2), false);
    let figures = figures(&format!("fanout {} --subscribers 4 --messages 5", server.url()));
    check(&figures, &[("connect_refused_attempts", 1), ("deliveries", 20)]);
}

#[test]
fn who_never_comes_back_from_a_storm_fails_the_run() {
    let server = BrokenServer::start(Mischief::BusyFrom(8), false);
    let ended = bench(&format!("storm {} --subscribers 3 --patience 300ms --json", server.url())).end();
    let figures: Value = serde_json::from_str(&ended.output[0]).unwrap();
    // Three and a publisher came; three of the next come back, and nobody after them.
    assert_eq!((ended.code, &figures["ok"]), (0, &true.into()), "{figures}");
    let server = BrokenServer::start(Mischief::BusyFrom(7), false);
    let ended = bench(&format!("storm {} --subscribers 3 --patience 300ms --json", server.url())).end();
    let figures: Value = serde_json::from_str(&ended.output[0]).unwrap();
    check(&figures, &[("came_back_connections", 2), ("disconnected_connections", 1)]);
    assert_eq!(ended.code, 1);
    check_measured(&figures, &["refused_attempts"]);
}

#[test]
fn everybody_recovers_what_was_missed() {
    let figures = figures(
        "recover --subscribers 60 --topics 4 --missed 30 --healthy 5 --healthy-rate 100 --quiet 300ms --protocol mixed",
    );
    check(&figures, &[("recovered_connections", 60), ("came_back_connections", 60), ("recovered_count", 60)]);
    check(&figures, &[("missed_messages", 30), ("replayed_deliveries", 1800), ("history_messages", 30)]);
    check_measured(&figures, &["recovered_s", "recovered_p99_us", "healthy_quiet_p99_us"]);
    assert!(figures["healthy_quiet_s"].as_f64().unwrap() >= 0.3, "{figures}");
    if cfg!(target_os = "linux") {
        check_measured(&figures, &["server_memory_peak_bytes", "server_cpu_s", "healthy_quiet_cpu_s"]);
    }
}

#[test]
fn who_comes_back_at_a_rate_is_spread_over_time() {
    let figures = figures(
        "recover --subscribers 21 --topics 3 --missed 5 --at 50 --healthy 2 --healthy-rate 100 --quiet 100ms",
    );
    check(&figures, &[("recovered_connections", 21), ("replayed_deliveries", 105)]);
    // The last sets out 20 periods after the first.
    assert!(figures["recovered_s"].as_f64().unwrap() >= 0.4, "{figures}");
    check_measured(&figures, &["healthy_storm_p99_us", "healthy_p99_ratio"]);
}

#[test]
fn a_server_that_remembers_too_little_fails_a_recovery() {
    // The last message is all that it keeps.
    let server = Server::start(&[]);
    let ended = bench(&format!(
        "recover {} --subscribers 4 --topics 2 --missed 3 --healthy 1 --quiet 100ms --timeout 500ms --json",
        server.url()
    ))
    .end();
    let figures: Value = serde_json::from_str(&ended.output[0]).unwrap();
    assert_eq!((ended.code, &figures["ok"]), (1, &false.into()), "{figures}");
    // Each is told that it did not recover, and of the gap.
    check(
        &figures,
        &[("recovered_connections", 0), ("came_back_connections", 4), ("unexpected_messages", 8)],
    );
    let told = figures["faults"].to_string();
    assert!(told.contains("recovered: false") && told.contains("Gap"), "{told}");
}

#[test]
fn stalled_readers_that_want_the_newest_get_it_and_hear_of_the_rest() {
    for policy in ["drop", "latest", "latest-per-key"] {
        let figures = figures(&format!(
            "slow --subscribers 2 --stalled 2 --messages 150 --rate 150 --payload-bytes 20000 --policy {policy}"
        ));
        check(&figures, &[("stalled_told_of_gaps", 2), ("stalled_disconnected", 0), ("stalled_pending", 0)]);
        let count = |key: &str| figures[key].as_u64().unwrap();
        let (delivered, withheld) = (count("stalled_delivered_messages"), count("stalled_withheld_messages"));
        assert_eq!((delivered + withheld, figures["policy"].as_str()), (300, Some(policy)), "{figures}");
        // Of each of ten keys the newest waits.
        let least = if policy == "latest-per-key" { 20 } else { 2 };
        assert!(delivered >= least && withheld > 0, "{figures}");
    }
}

#[test]
fn a_topic_may_be_remembered_or_not_while_it_is_measured() {
    for (history, kept) in [("--history 0", 0), ("--history 100", 100)] {
        let figures = figures(&format!("fanout --subscribers 3 --messages 20 {history}"));
        check(&figures, &[("deliveries", 60), ("history_messages", kept)]);
    }
}

#[test]
fn readers_that_do_not_read_are_looked_after_at_the_end() {
    let figures = figures("slow --subscribers 5 --stalled 2 --messages 20 --rate 200 --payload-bytes 1000");
    // So little fits into the kernel's buffers: it waits for them there.
    check(&figures, &[("stalled", 2), ("stalled_caught_up", 2), ("stalled_disconnected", 0)]);
    check_measured(&figures, &["latency_without_p99_us", "latency_beside_p99_us", "latency_p99_ratio"]);
}

#[test]
fn readers_that_do_not_read_are_disconnected_when_too_much_waits() {
    let figures = figures("slow --subscribers 2 --stalled 1 --messages 300 --rate 150 --payload-bytes 20000");
    check(&figures, &[("stalled", 1), ("stalled_disconnected", 1)]);
}

#[test]
fn compression_is_used_where_the_server_agrees() {
    let server = BrokenServer::start(Mischief::None, true);
    let squeezed = figures(&format!(
        "fanout {} --subscribers 4 --messages 20 --deflate mixed --payload-bytes 2000",
        server.url()
    ));
    check(&squeezed, &[("deflate_offered_connections", 2), ("deflate_accepted_connections", 2)]);
    assert_eq!(squeezed["deflate"], "accepted");
    let plain =
        figures(&format!("fanout {} --subscribers 4 --messages 20 --payload-bytes 2000", server.url()));
    assert_eq!(plain["deflate"], "off");
    let bytes = |figures: &Value| figures["received_bytes"].as_u64().unwrap();
    assert!(bytes(&squeezed) < bytes(&plain) * 3 / 4, "{squeezed} {plain}");
}

#[test]
fn a_server_that_does_not_compress_is_measured_plain() {
    let server = BrokenServer::start(Mischief::None, false);
    let figures = figures(&format!("fanout {} --subscribers 2 --messages 5 --deflate on", server.url()));
    assert_eq!(figures["deflate"], "declined");
    check(&figures, &[("deflate_offered_connections", 2), ("deflate_accepted_connections", 0)]);
}

/// What is said from the line on that says what was found.
fn verdict(run: Run) -> String {
    let mut ended = run.end();
    let start = ended.output.iter().position(|line| line.starts_with("checked")).unwrap_or(0);
    ended.output.drain(..start);
    ended.told()
}

#[test]
fn whatever_a_server_does_wrong_is_noticed() {
    // 16 messages come before those that are measured.
    let run = |mischief| {
        let server = BrokenServer::start(mischief, false);
        bench(&format!("burst {} --subscribers 1 --messages 8 --burst 8 --timeout 1s", server.url()))
    };
    let mischiefs = [
        Mischief::Lose(20),
        Mischief::Lose(24),
        Mischief::Double(20),
        Mischief::Double(24),
        Mischief::Delay(20),
        Mischief::Alter(20),
        Mischief::Misplace(20),
        Mischief::Close(20),
        Mischief::Refuse(20),
    ];
    let runs: Vec<_> = mischiefs.map(|mischief| (mischief, run(mischief))).into_iter().collect();
    let told = runs.into_iter().map(|(mischief, run)| format!("=== {mischief:?}\n{}\n\n", verdict(run)));
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"bench([-.])[0-9a-f]{8}", "bench$1[run]");
    settings.add_filter(r"\.[0-9a-f]{12} ", ".[time] ");
    settings.bind(|| snapshot("bench_mischief", &told.collect::<String>()));
}

#[test]
fn a_fault_is_in_the_json_too() {
    let server = BrokenServer::start(Mischief::Lose(18), false);
    let ended = bench(&format!("burst {} --subscribers 3 --messages 16 --json", server.url())).end();
    assert_eq!(ended.code, 1);
    let figures: Value = serde_json::from_str(&ended.output[0]).unwrap();
    assert_eq!(figures["ok"], false);
    check(&figures, &[("lost_messages", 3), ("doubled_messages", 0), ("deliveries", 45)]);
    assert_eq!(figures["faults"].as_array().unwrap().len(), 3);
}

#[test]
fn a_run_that_is_interrupted_says_what_it_has() {
    let server = Server::start(&[]);
    let watcher = server.subscribe(&["bench.>", "--count", "40"]);
    let run = bench(&format!("fanout {} --subscribers 3 --duration 1h", server.url()));
    assert_eq!(watcher.end().output.len(), 40); // by now it measures
    let kill = format!("kill -INT {}", run.child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let ended = run.end();
    assert_eq!((ended.code, ended.errors.as_slice()), (130, ["error: interrupted".to_owned()].as_slice()));
    let line = |start: &str| ended.output.iter().any(|line| line.starts_with(start));
    assert!(line("deliveries") && line("latency") && line("interrupted"), "{}", ended.told());
}

#[test]
fn a_server_that_goes_away_ends_the_run_with_the_figures_so_far() {
    for scenario in ["fanout", "latency", "many-topics --topics 10 --publishers 2"] {
        let server = Server::start(&[]);
        let watcher = server.subscribe(&["bench.>", "--count", "40"]);
        let run = Run::start(
            &[
                ["bench"].as_slice(),
                scenario.split(' ').collect::<Vec<_>>().as_slice(),
                &[&server.url(), "--subscribers", "3", "--duration", "1h"],
            ]
            .concat(),
        );
        assert_eq!(watcher.end().output.len(), 40);
        server.run.terminate();
        let ended = run.end();
        assert_eq!(ended.code, 1, "{}", ended.told());
        assert!(ended.errors[0].ends_with(" disconnected"), "{}", ended.told());
        let line = |start: &str| ended.output.iter().any(|line| line.starts_with(start));
        assert!(line("deliveries") && line("ended early"), "{}", ended.told());
    }
}

#[test]
fn bad_input_is_explained() {
    let start = |arguments: &'static str| (arguments, bench(arguments));
    snapshots(
        "bench_usage",
        vec![
            start(""),
            start("fanout --subscribers 0"),
            start("fanout --payload-bytes 10"),
            start("fanout --duration 3"),
            start("fanout --messages 5 --duration 3s"),
            start("fanout wss://example.com"),
            start("fanout ws://127.0.0.1:8080 --workers 2"),
            start("fanout --pid 1"),
            start("fanout --rate 0"),
            start("latency --rate 0.1 --duration 1s"),
            start("burst --messages 10"),
            start("idle ws://127.0.0.1:8080"),
            start("many-topics --topics 10"),
            start("recover --subscribers 5"),
            start("recover --missed 0"),
            start("recover --missed 10000 --topics 1000"),
            start("fanout ws://127.0.0.1:8080 --history 5"),
            start("slow --policy newest"),
        ],
    );
}

#[test]
fn what_cannot_be_done_is_explained() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(); // free again now
    let nobody = bench(&format!("fanout ws://127.0.0.1:{port}"));
    let server = Server::start(&[]);
    let elsewhere = bench(&format!("fanout {}/healthz --subscribers 1", server.url()));
    let no_process = bench(&format!("idle {} --pid 4194305", server.url()));
    let busy = BrokenServer::start(Mischief::Busy, false);
    let busy = bench(&format!("fanout {} --subscribers 1 --timeout 300ms", busy.url()));
    let mut few_files = Command::new("sh");
    let program = topichub(&[]).get_program().to_owned();
    few_files.args(["-c", "ulimit -n 100; exec \"$0\" bench fanout --subscribers 200"]).arg(program);
    snapshots(
        "bench_refused",
        vec![
            ("nobody there", nobody),
            ("not the WebSocket", elsewhere),
            ("no such process", no_process),
            ("a busy server", busy),
            ("few files", Run::of(few_files)),
            ("too long a payload", bench("fanout --payload-bytes 70000 --subscribers 1")),
            ("too many subscriptions", bench("many-topics --topics 300 --subscribers 2 --publishers 1")),
        ],
    );
}
