"""A server that is drained: nobody who comes back to another one has missed anything, and the log says how it went."""

import asyncio
from pathlib import Path

from drain import restart
from peer import Peer
from server import Server, wait_until


def test_clients_come_back_to_another_server_and_have_missed_nothing(tmp_path: Path) -> None:
    clients, seconds = 200, 2.0
    story = asyncio.run(restart(tmp_path, clients, seconds))
    assert story.exit_code == 0
    assert {reader.code for reader in story.readers} == {4201}
    assert sum(reader.missed for reader in story.readers) == 0
    assert sum(reader.doubled for reader in story.readers) == 0
    assert {reader.recovered for reader in story.readers} == {False}, "epochs are of one server only"
    assert {reader.last for reader in story.readers} == {story.published}
    left = story.left_by_second()
    assert set(left) <= {0, 1, 2}, left
    assert min(left[0], left[1]) > clients / 4, left


def test_the_log_says_how_each_session_ended_and_how_the_drain_went(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        with Peer(server) as peer:
            peer.ask("authenticate", user='ada "of" evil')
            peer.subscribe("a")
            peer.leave()
        wait_until(lambda: any("session ended: " in line for line in server.log), "the end is told")
        line = next(line for line in server.log if "session ended: " in line)
        for part in [
            'code=1000 why="done" by=client',
            f"session={peer.welcome['session']}",
            "address=127.0.0.1",
            r'user="ada \"of\" evil"',
            "protocol=pubsub.json deflate=yes",
            "messages_in=2 ",
            "messages_out=3 ",
            "gaps=0",
        ]:
            assert part in line, line
        with Peer(server):
            assert server.stop() == 0
    finally:
        server.stop()
    log = "".join(server.log)
    assert "sessions told to come back over 0s: 1" in log, log
    assert 'code=4201 why="drain" by=server' in log, log
    assert "sessions that have ended: 1" in log, log


def test_a_second_signal_ends_the_server_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path, drain="10m")
    with Peer(server):
        server.ask_to_stop()
        wait_until(lambda: server.request("GET", "/readyz").status == 503, "it is not ready any more")
        assert server.stop() == 0
    assert any("SIGTERM received; sessions that are cut off: 1" in line for line in server.log), server.log


def test_a_signal_lets_an_administrators_drain_go_on_and_the_next_ends_it(tmp_path: Path) -> None:
    server = Server(tmp_path, environment={"TOPICHUB_OPEN": "true"})
    try:
        with Peer(server) as peer:
            # Long enough that nobody is sent away while this test runs.
            assert server.request("POST", "/drain?over_ms=3600000").status == 202
            server.ask_to_stop()
            wait_until(lambda: any("stops already" in line for line in server.log), "the signal is told")
            peer.ask("ping")
            assert server.stop() == 0
    finally:
        server.stop()
    assert any("SIGTERM received; sessions that are cut off: 1" in line for line in server.log), server.log
