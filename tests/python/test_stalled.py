"""Readers that stall by the hundred: what they cost all together, and what the others feel of it."""

import json
import resource
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from conftest import StartServer
from peer import Peer
from raw import TEXT, RawPeer, frame
from server import DEADLINE, Server, wait_until

MEBIBYTE = 1024  # in KiB, as memory is counted here
BIG = "x" * 60_000


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def stalled(stack: ExitStack, server: Server, topic: str) -> RawPeer:
    """A subscriber that reads the answer to its subscription and nothing more."""
    raw = stack.enter_context(RawPeer(server, receive_bytes=4096)).open()
    raw.send(frame(TEXT, json.dumps({"op": "subscribe", "id": 1, "topic": topic}).encode()))
    assert json.loads(raw.read_frame().payload)["op"] == "subscribed"
    return raw


def test_a_thousand_who_stall_on_one_topic_cost_little_more_than_one(start_server: StartServer, topic: str) -> None:
    server = start_server(close_timeout="300ms")
    with ExitStack() as stack, Peer(server) as healthy, Peer(server) as writer:
        crowd = [stalled(stack, server, topic) for _ in range(1_000)]
        healthy.subscribe(topic)
        before = server.resident_kib
        for offset in range(1, 61):
            writer.publish(topic, BIG)
            assert healthy.push()["offset"] == offset
            # What waits is there once for all, and each is allowed 1 MiB of it.
            assert server.resident_kib - before < 16 * MEBIBYTE
        wait_until(lambda: all(raw.has_been_reset() for raw in crowd), "all of them are cut off", DEADLINE)
        assert healthy.ask("ping") == {"op": "pong"}


def test_those_who_stall_on_topics_of_their_own_stay_within_the_limit_for_all(
    start_server: StartServer, topic: str
) -> None:
    limit = 32 * MEBIBYTE
    server = start_server(close_timeout="300ms", outbox_bytes_max=8 << 20, outboxes_bytes_max=limit << 10)
    with ExitStack() as stack, Peer(server) as healthy, Peer(server) as writer:
        crowd = [stalled(stack, server, f"{topic}.{number}") for number in range(100)]
        healthy.subscribe(topic)
        before = server.resident_kib
        for turn in range(1, 31):
            for number in range(len(crowd)):
                writer.send(op="publish", topic=f"{topic}.{number}", data=BIG)
            writer.publish(topic, turn)
            assert healthy.push()["data"] == turn
            assert server.resident_kib - before < limit + 24 * MEBIBYTE
        cut = sum(raw.has_been_reset() for raw in crowd)
        assert cut > 0, "180 MB are waiting and nobody was cut off"
