"""What was published before: replays of every kind, resuming where one left off, and readers slower than history."""

import base64
import os
import zlib
from typing import Any

import msgpack
import pytest

from conftest import Connect
from peer import Map
from server import Server, wait_until


def fill(peer: Any, topic: str, count: int) -> Map:
    """Publishes so many messages; the position of the last one."""
    for _ in range(count):
        published = peer.publish(topic, "filled")
    return {"epoch": published["epoch"], "offset": published["offset"]}


def offsets(pushes: list[Map]) -> list[int]:
    """The offsets of messages, and only of messages."""
    assert {said["op"] for said in pushes} <= {"message"}, pushes
    return [said["offset"] for said in pushes]


@pytest.mark.parametrize(("last", "expected"), [(0, []), (1, [5]), (3, [3, 4, 5]), (10_000, [1, 2, 3, 4, 5])])
def test_the_last_messages_come_first(
    visit: Connect, topic: str, subprotocol: str, last: int, expected: list[int]
) -> None:
    writer, reader = visit(), visit(subprotocol)
    end = fill(writer, topic, 5)
    subscribed = reader.subscribe(topic, replay={"last": last})
    assert (subscribed["epoch"], subscribed["offset"]) == (end["epoch"], 5)
    assert (subscribed["replayed"], subscribed["recovered"]) == (len(expected), True)
    writer.publish(topic, 6)
    assert offsets(reader.pushes(len(expected) + 1)) == [*expected, 6]
    assert reader.kept() == []


def test_without_a_replay_nothing_is_said_of_one(visit: Connect, topic: str) -> None:
    writer, reader = visit(), visit()
    fill(writer, topic, 2)
    assert reader.subscribe(topic).keys() == {"op", "topic", "epoch", "offset"}
    writer.publish(topic, 3)
    assert offsets(reader.pushes(1)) == [3]


def test_messages_of_the_last_seconds_come_first(visit: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = visit(), visit(subprotocol)
    fill(writer, topic, 3)

    def replayed(seconds: int) -> int:
        subscribed = reader.subscribe(topic, replay={"seconds": seconds})
        assert subscribed["recovered"] is True
        assert len(offsets(reader.pushes(subscribed["replayed"]))) == subscribed["replayed"]
        assert reader.ask("unsubscribe", topic=topic)["op"] == "unsubscribed"
        return int(subscribed["replayed"])

    assert replayed(3600) == 3
    wait_until(lambda: replayed(1) == 0, "the messages are older than a second")
    assert replayed(3600) == 3


def test_who_comes_back_gets_what_was_missed(visit: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = visit(), visit(subprotocol)
    reader.subscribe(topic)
    seen = fill(writer, topic, 3)
    assert offsets(reader.pushes(3)) == [1, 2, 3]
    reader.leave()

    fill(writer, topic, 4)
    back = visit(subprotocol)
    subscribed = back.subscribe(topic, replay={"after": seen})
    assert (subscribed["offset"], subscribed["replayed"], subscribed["recovered"]) == (7, 4, True)
    writer.publish(topic, 8)
    assert offsets(back.pushes(5)) == [4, 5, 6, 7, 8]


def test_who_has_missed_nothing_is_told_so(visit: Connect, topic: str, subprotocol: str) -> None:
    end = fill(visit(), topic, 3)
    subscribed = visit(subprotocol).subscribe(topic, replay={"after": end})
    assert (subscribed["offset"], subscribed["replayed"], subscribed["recovered"]) == (3, 0, True)


@pytest.mark.parametrize("lost", ["the future", "another epoch"])
def test_a_position_that_is_none_brings_all_there_is(visit: Connect, topic: str, subprotocol: str, lost: str) -> None:
    end = fill(visit(), topic, 3)
    after = end | ({"offset": 4} if lost == "the future" else {"epoch": "1"})
    reader = visit(subprotocol)
    subscribed = reader.subscribe(topic, replay={"after": after})
    assert (subscribed["epoch"], subscribed["offset"]) == (end["epoch"], 3)
    assert (subscribed["replayed"], subscribed["recovered"]) == (3, False)
    assert offsets(reader.pushes(3)) == [1, 2, 3]
    assert reader.kept() == []


def test_what_history_no_longer_holds_is_a_gap(visit: Connect, topic: str, subprotocol: str) -> None:
    topic = f"brief.{topic}"
    writer, reader = visit(), visit(subprotocol)
    epoch = fill(writer, topic, 12)["epoch"]
    subscribed = reader.subscribe(topic, replay={"after": {"epoch": epoch, "offset": 3}})
    assert (subscribed["offset"], subscribed["replayed"], subscribed["recovered"]) == (12, 5, False)
    writer.publish(topic, 13)
    gap, *messages = reader.pushes(7)
    assert gap == {"op": "gap", "topic": topic, "epoch": epoch, "from": 4, "to": 7, "why": "history"}
    assert offsets(messages) == [8, 9, 10, 11, 12, 13]


def test_a_replay_is_for_new_subscriptions(visit: Connect, topic: str, subprotocol: str) -> None:
    peer = visit(subprotocol)
    fill(peer, topic, 2)
    peer.subscribe(topic)
    assert peer.error("subscribe", topic=topic, replay={"last": 1}) == "already_subscribed"
    assert peer.kept() == []
    peer.publish(topic, 3)
    assert offsets(peer.pushes(1)) == [3]


def by_topic(pushes: list[Map]) -> dict[str, list[int]]:
    """The offsets of each topic in the order in which they came."""
    found: dict[str, list[int]] = {}
    for said in pushes:
        assert said["op"] == "message", said
        found.setdefault(said["topic"], []).append(said["offset"])
    return found


def test_a_pattern_tells_where_its_topics_stand_and_goes_on_from_there(
    visit: Connect, topic: str, subprotocol: str
) -> None:
    writer, reader = visit(), visit(subprotocol)
    a, b, c = f"{topic}.a", f"{topic}.b", f"{topic}.c"
    first = {a: fill(writer, a, 3), b: fill(writer, b, 1)}
    subscribed = reader.subscribe(f"{topic}.*", replay={"last": 2})
    assert (subscribed["replayed"], subscribed["recovered"], subscribed["positions"]) == (3, True, first)
    assert "offset" not in subscribed
    assert by_topic(reader.pushes(3)) == {a: [2, 3], b: [1]}
    reader.leave()

    second = {a: fill(writer, a, 2), b: first[b], c: fill(writer, c, 2)}
    back = visit(subprotocol)
    subscribed = back.subscribe(f"{topic}.*", replay={"after": first})
    assert (subscribed["replayed"], subscribed["recovered"], subscribed["positions"]) == (4, True, second)
    fill(writer, b, 1)
    assert by_topic(back.pushes(5)) == {a: [4, 5], b: [2], c: [1, 2]}
    assert back.kept() == []


def test_an_empty_map_of_positions_brings_all_there_is(visit: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = visit(), visit(subprotocol)
    for name in ("a", "b"):
        fill(writer, f"{topic}.{name}", 2)
    names = [f"{topic}.a", f"{topic}.b", f"{topic}.c"]
    subscribed = reader.ask("subscribe", topics=names, replay={"after": {}})
    assert [(entry["replayed"], entry["recovered"]) for entry in subscribed["topics"]] == [
        (2, True),
        (2, True),
        (0, True),
    ]
    assert by_topic(reader.pushes(4)) == {names[0]: [1, 2], names[1]: [1, 2]}


def test_a_topic_that_is_heard_already_is_left_out(visit: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = visit(), visit(subprotocol)
    a, b = f"{topic}.a", f"{topic}.b"
    fill(writer, a, 2)
    fill(writer, b, 2)
    reader.subscribe(a)
    reader.subscribe(f"{topic}.*", replay={"last": 10})
    fill(writer, a, 1)
    assert by_topic(reader.pushes(3)) == {a: [3], b: [1, 2]}
    assert reader.kept() == []


LARGE = 5_000


def test_a_replay_larger_than_any_outbox_waits_for_its_reader(
    archive: Server, visit: Connect, topic: str, subprotocol: str
) -> None:
    """20 MB that nothing makes shorter, where 1 MiB may wait."""
    sums = []
    for _ in range(0, LARGE, 100):
        some = [os.urandom(4096) for _ in range(100)]
        sums += [zlib.crc32(one) for one in some]
        batch = msgpack.packb([{"topic": topic, "data": one} for one in some])
        assert archive.request("POST", "/publish", batch, {"content-type": "application/msgpack"}).status == 200

    writer, healthy, reader = visit(), visit(), visit(subprotocol, max_queue=1)
    healthy.subscribe(topic)
    assert reader.subscribe(topic, replay={"last": LARGE})["replayed"] == LARGE
    # More comes while the reader takes nothing, and others are not kept waiting.
    for number in range(1, 101):
        assert writer.publish(topic, number)["offset"] == LARGE + number
        assert healthy.push()["data"] == number
    for offset, expected in enumerate(sums, start=1):
        said = reader.pushes(1)[0]
        data = base64.b64decode(said["data_base64"]) if reader.text else said["data"]
        assert (said["offset"], zlib.crc32(data)) == (offset, expected)
    assert [said["data"] for said in reader.pushes(100)] == list(range(1, 101))
    assert reader.ask("ping") == {"op": "pong"}


def test_what_is_forgotten_while_the_reader_takes_its_time_is_a_gap(
    archive: Server, visit: Connect, topic: str, subprotocol: str
) -> None:
    topic = f"narrow.{topic}"
    body = os.urandom(16_384)
    for _ in range(1_000):
        answer = archive.request("POST", f"/topics/{topic}", body, {"content-type": "application/octet-stream"})
        assert answer.status == 200
    reader, writer = visit(subprotocol, max_queue=1, compression=None), visit()
    assert reader.subscribe(topic, replay={"last": 1_000})["replayed"] == 1_000
    fill(writer, topic, 1_500)

    last, lost = 0, 0
    while last < 2_500:
        [said] = reader.pushes(1)
        if said["op"] == "gap":
            assert (said["from"], said["why"]) == (last + 1, "history"), said
            lost += said["to"] - last
            last = said["to"]
        else:
            assert (said["op"], said["offset"]) == ("message", last + 1), said
            last = said["offset"]
    assert lost > 0, "nothing was forgotten: this shows nothing"
    assert reader.kept() == []
