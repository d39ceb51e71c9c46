"""Readers that stop reading for a while: what each policy leaves out is announced, offset by offset."""

import pytest

from conftest import Connect
from peer import Map, Peer

# Three times what the kernel and the outbox hold between them.
ROUNDS = 400
BIG = "x" * 30_000
KEYS = 3


def publish_more_than_fits(writer: Peer, healthy: Peer, topics: list[str], first: int) -> int:
    """Publishes to each topic in turn while the healthy one hears all of it; the last offset."""
    for offset in range(first, first + ROUNDS):
        for topic in topics:
            published = writer.publish(topic, [offset, BIG], key=f"k{offset % KEYS}")
            assert published["offset"] == offset
            heard = healthy.push()
            assert (heard["topic"], heard["offset"], heard["data"][0]) == (topic, offset, offset)
    return first + ROUNDS - 1


def read_on(reader: Peer, topics: list[str], end: int) -> dict[str, list[Map]]:
    """What each topic's readers are told up to its newest message, and that nothing follows."""
    told: dict[str, list[Map]] = {topic: [] for topic in topics}
    while not all(pushes and pushes[-1].get("offset") == end for pushes in told.values()):
        [said] = reader.pushes(1)
        assert said["op"] in ("message", "gap"), said
        told[said["topic"]].append(said)
    assert reader.kept() == []
    return told


def walk(pushes: list[Map], last: int, why: str) -> list[int]:
    """Goes through messages and gaps, which must follow each other offset by offset; the offsets of the messages."""
    delivered = []
    for said in pushes:
        if said["op"] == "gap":
            assert (said["from"], said["why"]) == (last + 1, why), said
            assert said["to"] >= said["from"], said
            last = said["to"]
        else:
            assert (said["offset"], said["data"][0]) == (last + 1, last + 1)
            last = said["offset"]
            delivered.append(last)
    return delivered


@pytest.mark.parametrize(
    ("slow", "why"), [("drop", "dropped"), ("latest", "conflated"), ("latest-per-key", "conflated")]
)
def test_who_reads_on_is_told_exactly_what_does_not_come(
    connect: Connect, topic: str, subprotocol: str, slow: str, why: str
) -> None:
    writer, healthy = connect(), connect()
    reader = connect(subprotocol, max_queue=1, compression=None)
    topics = [f"{topic}.a", f"{topic}.b"]
    assert healthy.ask("subscribe", topics=topics)["op"] == "subscribed"
    epochs = {entry["topic"]: entry["epoch"] for entry in reader.ask("subscribe", topics=topics, slow=slow)["topics"]}

    end = 0
    for _ in range(2):
        begin, end = end, publish_more_than_fits(writer, healthy, topics, end + 1)
        for name, pushes in read_on(reader, topics, end).items():
            assert all(said["epoch"] == epochs[name] for said in pushes if said["op"] == "gap")
            delivered = walk(pushes, begin, why)
            assert len(delivered) < ROUNDS, "the reader was never behind: this shows nothing"
            newest = range(end - KEYS + 1, end + 1) if slow == "latest-per-key" else [end]
            assert set(newest) <= set(delivered)
    # Who reads again misses nothing more.
    writer.publish(topics[0], [end + 1])
    assert reader.push()["offset"] == end + 1


def test_of_two_subscriptions_the_one_that_loses_least_decides(connect: Connect, topic: str) -> None:
    writer, healthy = connect(), connect()
    reader = connect(max_queue=1, compression=None)
    healthy.subscribe(topic)
    reader.subscribe(topic, slow="latest")
    reader.subscribe("story.>", slow="drop")
    end = publish_more_than_fits(writer, healthy, [topic], 1)
    end = publish_more_than_fits(writer, healthy, [topic], end + 1)
    pushes = read_on(reader, [topic], end)[topic]
    assert len(walk(pushes, 0, "dropped")) < end
