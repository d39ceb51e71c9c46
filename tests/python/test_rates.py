"""Subscriptions that want no more than so many messages a second: the newest, and no word of the others."""

import time

import pytest

from conftest import Connect
from peer import Map, Peer


def publish_for(writer: Peer, topic: str, seconds: float) -> int:
    """Publishes as fast as it is answered; the last offset."""
    end, offset = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        offset = writer.publish(topic, "tick")["offset"]
    return int(offset)


def up_to(reader: Peer, offset: int) -> list[int]:
    """The offsets of messages, and of nothing else, up to this one."""
    found = [0]
    while found[-1] < offset:
        said = reader.pushes(1)[0]
        assert said["op"] == "message", said
        assert said["offset"] > found[-1]
        found.append(said["offset"])
    return found[1:]


def test_no_more_come_than_were_asked_for_and_the_newest_in_the_end(
    connect: Connect, topic: str, subprotocol: str
) -> None:
    writer, every, reader = connect(), connect(max_queue=None), connect(subprotocol, max_queue=None)
    every.subscribe(topic)
    reader.subscribe(topic, max_rate=10)
    begin = time.monotonic()
    end = publish_for(writer, topic, 1.0)
    got = up_to(reader, end)
    elapsed = time.monotonic() - begin
    assert up_to(every, end) == list(range(1, end + 1))
    assert got[0] == 1, "the first comes at once"
    # The server's timer may be late, and by that the next message early; never two at a time.
    assert 3 <= len(got) <= 10 * elapsed * 1.2 + 2
    assert reader.kept() == []


def test_a_rate_can_be_raised_while_messages_come(connect: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = connect(), connect(subprotocol)
    reader.subscribe(topic, max_rate=0.1)
    assert writer.publish(topic, "at once")["offset"] == 1
    assert up_to(reader, 1) == [1]
    for _ in range(20):
        writer.publish(topic, "skipped, all but the last")
    assert reader.kept() == []
    # What was held for ten seconds comes at the new rate, and so does what follows.
    begin = time.monotonic()
    reader.subscribe(topic, max_rate=1000)
    assert up_to(reader, 21) == [21]
    for offset in range(22, 32):
        writer.publish(topic, "one by one")
        assert up_to(reader, offset) == [offset]
    assert time.monotonic() - begin < 8


def test_a_rate_can_be_taken_off_and_put_on(connect: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = connect(), connect(subprotocol)
    reader.subscribe(topic, max_rate=0.1)
    for _ in range(20):
        writer.publish(topic, "skipped, all but the first and the last")
    assert [said["offset"] for said in reader.kept()] == [1]
    reader.subscribe(topic)
    assert up_to(reader, 20) == [20]
    for _ in range(20):
        writer.publish(topic, "all of them")
    assert up_to(reader, 40) == list(range(21, 41))

    reader.subscribe(topic, max_rate=0.1)
    for _ in range(20):
        writer.publish(topic, "the first at most")
    assert len(reader.kept()) <= 1


def test_with_keys_the_newest_of_each_comes(connect: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = connect(), connect(subprotocol)
    reader.subscribe(topic, max_rate=2, slow="latest-per-key")
    for number in range(1, 101):
        writer.publish(topic, number, key=f"k{number % 4}")
    newest: dict[str, int] = {}
    pushes: list[Map] = []
    while sorted(newest.values()) != [97, 98, 99, 100]:
        [said] = reader.pushes(1)
        assert said["op"] == "message", said
        pushes.append(said)
        newest[said["key"]] = said["data"]
    assert [said["offset"] for said in pushes] == sorted(said["offset"] for said in pushes)
    assert len(pushes) < 100, "nothing was skipped: this shows nothing"
    assert reader.kept() == []


@pytest.mark.parametrize("rate", [0.1, 1, 1.5, 1000])
def test_rates_may_be_whole_or_broken_numbers(connect: Connect, topic: str, subprotocol: str, rate: float) -> None:
    assert connect(subprotocol).subscribe(topic, max_rate=rate)["topic"] == topic
