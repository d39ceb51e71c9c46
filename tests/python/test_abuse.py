"""Thirteen kinds of abusers at once beside subscribers and a publisher, who notice nothing.

Twelve seconds among the tests; `make abuse` does it for a minute and shows all figures.
"""

import http.client
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from abusers import KINDS, SECRET, Tally, abuse, token
from conftest import stop_sound
from peer import JSON, MSGPACK, Map, Peer
from server import DEADLINE, Rule, Server, wait_until

SECONDS = float(os.environ.get("TOPICHUB_ABUSE_SECONDS", "12"))
TOPICS = ["news.1", "news.2", "news.3"]

# What history and outboxes may hold together: they may fill at any time. All else is to be there from the first.
SLACK_KIB = (8 + 8) * 1024

LIMITS: dict[str, str | int | bool] = {
    "commands_per_second_max": 200,
    "bytes_per_second_max": 256 << 10,
    "publishes_per_second_per_user_max": 100,
    # All come from one address here.
    "connections_per_address_max": 0,
    "handshakes_max": 256,
    "handshake_timeout": "2s",
    "stall_timeout": "3s",
    "close_timeout": "1s",
    "outbox_bytes_max": 512 << 10,
    "outboxes_bytes_max": 8 << 20,
    "history_bytes_max": 8 << 20,
    "topic_linger": "1s",
    "unused_topics_max": 1_000,
}

TABLES = f"""
[auth]

[[auth.keys]]
algorithm = "HS256"
secret = "{SECRET.decode()}"

[[auth.roles]]
name = "member"
subscribe = ["news.>"]
publish = ["news.>"]

[[auth.roles]]
name = "guest"
subscribe = ["noise.>", "room.*"]
publish = ["noise.>"]

[[auth.roles]]
name = "operator"
admin = true
"""


@pytest.fixture
def open_to_all(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, LIMITS, [Rule("noise.>", messages=100)], more=TABLES)
    yield server
    stop_sound(server)


class Bystander:
    """A subscriber who checks that nothing is missing and nothing strange comes."""

    def __init__(self, server: Server, name: str, topic: str, subprotocol: str) -> None:
        self.peer = Peer(server, subprotocol, additional_headers={"Authorization": f"Bearer {token(name, 'member')}"})
        self.peer.subscribe(topic)
        self.heard = dict.fromkeys(TOPICS if topic == "news.>" else [topic], 0)
        self.waits: list[tuple[float, float]] = []

    def read(self) -> int:
        """Reads to the last message of each topic; how many came."""
        unfinished = set(self.heard)
        while unfinished:
            said = self.peer.push()
            number = self.heard[said["topic"]] = self.heard[said["topic"]] + 1
            data: Map = said["data"]
            assert (said["offset"], data["number"]) == (number, number)
            self.waits.append((data["at"], time.monotonic() - data["at"]))
            if data["last"]:
                unfinished.remove(said["topic"])
        return sum(self.heard.values())


def publish(peer: Peer, stop: threading.Event) -> int:
    """Some fifty messages a second, each when the one before has been answered; how many for each topic."""
    number, pause, last = 0, threading.Event(), False
    while not last:
        number, last = number + 1, stop.is_set()
        for topic in TOPICS:
            told = peer.publish(topic, {"number": number, "at": time.monotonic(), "last": last})
            assert told["offset"] == number
            pause.wait(0.02)
    return number


def probe(server: Server, stop: threading.Event) -> list[tuple[float, float, int]]:
    """Asks /readyz ten times a second, as a load balancer does: when, how long it took, and the memory by then."""
    connection, pause, found = (
        http.client.HTTPConnection(server.host, server.port, timeout=DEADLINE),
        threading.Event(),
        [],
    )
    try:
        while not stop.is_set():
            at = time.monotonic()
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
            found.append((at, time.monotonic() - at, server.resident_kib))
            pause.wait(0.1)
    finally:
        connection.close()
    return found


def counted(server: Server) -> dict[str, float]:
    """The metrics, each with its labels as they are written."""
    answer = server.request("GET", "/metrics", headers={"Authorization": f"Bearer {token('eve', 'operator')}"})
    assert answer.status == 200, answer.body
    families = list(text_string_to_metric_families(answer.body.decode()))  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples]
    return {" ".join([one.name, *(f"{key}={text}" for key, text in one.labels.items())]): one.value for one in samples}


def in_ms(waits: list[float]) -> str:
    return f"median {median(waits) * 1000:.1f} ms, 99 of 100 within {quantiles(waits, n=100)[98] * 1000:.1f} ms"


def test_the_healthy_notice_nothing_of_abusers_and_memory_stays(open_to_all: Server) -> None:
    server, stop = open_to_all, threading.Event()
    with ExitStack() as stack:
        names = [
            ("json", "news.1", JSON),
            ("msgpack", "news.2", MSGPACK),
            ("all", "news.>", JSON),
            ("both", "news.>", MSGPACK),
        ]
        bystanders = [Bystander(server, *name) for name in names]
        for bystander in bystanders:
            stack.enter_context(bystander.peer)
        header = {"Authorization": f"Bearer {token('publisher', 'member')}"}
        publisher = stack.enter_context(Peer(server, additional_headers=header))
        threads = stack.enter_context(ThreadPoolExecutor(8))
        process = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        stack.callback(stop.set)
        reading = [threads.submit(bystander.read) for bystander in bystanders]
        publishing = threads.submit(publish, publisher, stop)
        probing = threads.submit(probe, server, stop)

        began_calm = time.monotonic()
        all_is_well(publishing, probing, *reading, until=began_calm + 1)
        files_before, began = server.open_files, time.monotonic()
        abusing: Future[dict[str, Tally]] = process.submit(abuse, server.address, SECONDS)
        all_is_well(publishing, probing, *reading, until=began + SECONDS)
        ended = time.monotonic()
        tallies = abusing.result(SECONDS + 6 * DEADLINE)
        wait_until(lambda: server.open_files <= files_before, "all that abusers had open is closed", 3 * DEADLINE)
        metrics = counted(server)
        stop.set()

        published, probes = publishing.result(DEADLINE), probing.result(DEADLINE)
        heard = [told.result(DEADLINE) for told in reading]
        files_after = server.open_files
    assert heard == [published, published, 3 * published, 3 * published]

    def quarter(number: int) -> float:
        begin, end = (began + (ended - began) * part / 4 for part in (number, number + 1))
        return median(kib for at, _, kib in probes if begin <= at <= end)

    print(f"\n{SECONDS:g} s; {3 * published} messages published, {sum(heard)} heard, none missing")
    print(f"memory in each quarter: {', '.join(f'{quarter(number) / 1024:.1f} MiB' for number in range(4))}")
    print(f"open files: {files_before} before, {files_after} after")
    waits = [one for bystander in bystanders for one in bystander.waits]
    for when, begin, end in (("without", began_calm, began), ("with", began, ended)):
        print(f"{when} abusers: deliveries {in_ms([wait for at, wait in waits if begin <= at < end])}")
        print(f"{when} abusers: /readyz {in_ms([wait for at, wait, _ in probes if begin <= at < end])}")
    for name, tally in tallies.items():
        print(f"{name}: {', '.join(f'{what} {number}' for what, number in sorted(tally.items()))}")
    for name, number in metrics.items():
        if number and name.startswith(("topichub_connections", "topichub_command_errors_", "topichub_sessions_closed")):
            print(f"{name}: {number:g}")

    assert quarter(3) - quarter(1) < SLACK_KIB
    each_kind_gets_what_it_deserves(tallies)
    for name in REFUSED:
        assert metrics[name] > 0, name


def all_is_well(*running: Future[Any], until: float) -> None:
    """Waits, unless one of these has ended, which they do only to fail."""
    while time.monotonic() < until:
        for one in running:
            if one.done():
                raise AssertionError("a bystander was disturbed") from one.exception()
        threading.Event().wait(0.1)


# What each kind meets at least once.
DESERVED = {
    "silent_connections": {"HTTP 503"},
    "slow_lorises": {"HTTP 408"},
    "tls_where_there_is_none": {"HTTP 400"},
    "wrong_tokens": {"HTTP 401", "unauthorized", "closed 4102"},
    "foreign_origins": {"HTTP 403"},
    "bad_requests": {"HTTP 400", "HTTP 431"},
    "long_polls_that_hang_up": {"hung up"},
    "floods": {"rate_limited", "closed 4102"},
    "readers_that_never_read": {"disconnected"},
    "churn_of_patterns": {"subscribed", "unsubscribed", "limit_reached"},
    "churn_of_members": {"subscribed", "presence", "hung up"},
    "storm_of_returns": {"HTTP 101"},
    "bombs_and_outsized_messages": {"closed 1002", "closed 1009"},
}

# What of it the server counts.
REFUSED = [
    "topichub_connections_refused_total reason=handshakes",
    "topichub_command_errors_total code=rate_limited",
    "topichub_command_errors_total code=unauthorized",
    "topichub_command_errors_total code=limit_reached",
    "topichub_sessions_closed_total code=1009 by=server",
    "topichub_sessions_closed_total code=4102 by=server",
    "topichub_sessions_closed_total code=4104 by=server",
]


def each_kind_gets_what_it_deserves(tallies: dict[str, Tally]) -> None:
    assert tallies.keys() == DESERVED.keys() == {kind.__name__ for kind in KINDS}
    for name, expected in DESERVED.items():
        assert expected <= tallies[name].keys(), (name, tallies[name])
        assert "let in" not in tallies[name], name
    assert "closed 1000" not in tallies["floods"], "a flood was heard to its end"
    for name in ("tls_where_there_is_none", "wrong_tokens", "foreign_origins", "bad_requests"):
        assert not {"HTTP 101", "HTTP 200", "authenticated"} & tallies[name].keys(), (name, tallies[name])
