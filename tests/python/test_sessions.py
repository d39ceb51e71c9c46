"""What a session can do, in both codecs, as SPEC.md sections 4 to 6 and 9 promise it."""

import re
from typing import Any

import pytest

from conftest import Connect
from peer import JSON, MSGPACK, Peer
from server import Server

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
EPOCH = re.compile(r"0|[1-9a-z][0-9a-z]{0,12}")


def test_the_first_message_is_a_welcome_with_the_limits(connect: Connect, subprotocol: str) -> None:
    welcome = connect(subprotocol).welcome
    assert UUID.fullmatch(welcome["session"])
    assert welcome["server"].startswith("topichub/")
    assert welcome["protocol"] == 1
    assert welcome["ping_ms"] == 25_000
    assert welcome["limits"] == {"message_bytes": 65_536, "topics_per_session": 128, "topic_bytes": 255, "depth": 64}


def test_every_session_has_a_name_of_its_own(connect: Connect) -> None:
    assert len({connect().welcome["session"] for _ in range(4)}) == 4


@pytest.mark.parametrize("publisher", [JSON, MSGPACK])
def test_a_subscriber_gets_what_is_published(connect: Connect, topic: str, subprotocol: str, publisher: str) -> None:
    reader, writer = connect(subprotocol), connect(publisher)
    subscribed = reader.subscribe(topic)
    assert subscribed["topic"] == topic
    assert subscribed["offset"] == 0
    assert EPOCH.fullmatch(subscribed["epoch"])

    published = writer.publish(topic, {"price": 190.2, "tags": ["a", None, True]})
    epoch = subscribed["epoch"]
    assert published == {"op": "published", "topic": topic, "epoch": epoch, "offset": 1, "subscribers": 1}
    data = {"price": 190.2, "tags": ["a", None, True]}
    assert reader.push() == {"op": "message", "topic": topic, "offset": 1, "epoch": epoch, "data": data}
    # The first message of an epoch names it, the others do not.
    writer.publish(topic, None)
    assert reader.push() == {"op": "message", "topic": topic, "offset": 2, "data": None}


@pytest.mark.parametrize(
    "data", [None, False, 0, -1, 2**53, 0.5, "", "grüße, 世界 🎉", [], {}, [[1], {"a": {"b": []}}]]
)
def test_data_of_every_shape_arrives_as_it_was(connect: Connect, topic: str, subprotocol: str, data: Any) -> None:
    readers = [connect(JSON), connect(MSGPACK)]
    for reader in readers:
        reader.subscribe(topic)
    connect(subprotocol).publish(topic, data)
    assert [reader.push()["data"] for reader in readers] == [data, data]


def test_bytes_are_base64_in_json_and_bin_in_messagepack(connect: Connect, topic: str) -> None:
    json, msgpack = connect(JSON), connect(MSGPACK)
    json.publish(topic, "first")
    json.subscribe(topic)
    msgpack.subscribe(topic)

    assert json.ask("publish", topic=topic, data_base64="AAH/")["op"] == "published"
    assert json.push() == {"op": "message", "topic": topic, "offset": 2, "data_base64": "AAH/"}
    assert msgpack.push() == {"op": "message", "topic": topic, "offset": 2, "data": b"\x00\x01\xff"}

    msgpack.publish(topic, bytes(range(256)))
    assert msgpack.push()["data"] == bytes(range(256))
    pushed = json.push()
    assert "data" not in pushed
    assert pushed["data_base64"].startswith("AAECAwQF")


def test_bytes_inside_of_a_structure_become_a_string(connect: Connect, topic: str) -> None:
    json, msgpack = connect(JSON), connect(MSGPACK)
    json.subscribe(topic)
    msgpack.publish(topic, {"picture": b"\x01", 7: [float("nan")]})
    assert json.push()["data"] == {"picture": "AQ==", "7": [None]}


def test_without_an_id_success_is_silent(connect: Connect, topic: str, subprotocol: str) -> None:
    peer = connect(subprotocol)
    peer.send(op="subscribe", topic=topic)
    peer.send(op="publish", topic=topic, data=1)
    peer.send(op="unsubscribe", topic=topic)
    peer.send(op="publish", topic=topic, data=2)
    assert [(said["op"], said["data"]) for said in peer.kept()] == [("message", 1)]


def test_without_an_id_failure_is_an_error_without_an_id(connect: Connect, subprotocol: str) -> None:
    peer = connect(subprotocol)
    peer.send(op="publish", topic="a..b", data=1)
    error = peer.push("error")
    assert (error["code"], error["retry"]) == ("invalid_topic", False)
    assert "id" not in error


@pytest.mark.parametrize("id_", [0, -1, 2**53 - 1, -(2**53) + 1, "", "an id", "ü" * 64, '"\\\n'])
def test_a_reply_bears_the_id_of_its_command(connect: Connect, topic: str, subprotocol: str, id_: int | str) -> None:
    peer = connect(subprotocol)
    for command in ({"op": "ping"}, {"op": "subscribe", "topic": topic}, {"op": "nonsense"}):
        peer.send(id=id_, **command)
        peer.reply(id_)


def test_an_error_keeps_the_id_of_its_command(connect: Connect, subprotocol: str) -> None:
    peer = connect(subprotocol)
    assert peer.error("publish", topic="a.*", data=1) == "invalid_topic"
    assert peer.error("publish", topic="a") == "bad_request"
    assert peer.error("publish", data=1) == "bad_request"
    assert peer.error("subscribe", topic=5) == "bad_request"
    assert peer.error("subscribe") == "bad_request"
    assert peer.error("unsubscribe", topic="nothing.of.the.kind") == "not_subscribed"
    assert peer.error("dance") == "unknown_op"
    assert peer.error("history") == "bad_request"
    assert peer.error("subscribe", topic="a", replay={"last": -1}) == "bad_request"
    assert peer.error("publish", topic="$sys.clock", data=1) == "forbidden"


def test_an_error_names_the_field_and_the_limit(connect: Connect, subprotocol: str) -> None:
    peer = connect(subprotocol)
    assert '"topic"' in peer.ask("subscribe", topic=5)["message"]
    too_long = peer.ask("subscribe", topic="x" * 256)["message"]
    assert "255" in too_long
    assert "256" in too_long


def test_ping_is_answered_with_and_without_an_id(connect: Connect, subprotocol: str) -> None:
    peer = connect(subprotocol)
    assert peer.ask("ping") == {"op": "pong"}
    peer.send(op="ping")
    assert peer.push("pong") == {"op": "pong"}


def test_several_topics_are_answered_in_their_order(connect: Connect, topic: str, subprotocol: str) -> None:
    peer = connect(subprotocol)
    peer.publish(f"{topic}.b", 1)
    names = [f"{topic}.b", f"{topic}.*", f"{topic}.a", f"{topic}.b"]
    reply = peer.ask("subscribe", topics=names)
    assert [entry["topic"] for entry in reply["topics"]] == names[:3]
    assert [entry.get("offset") for entry in reply["topics"]] == [1, None, 0]
    assert ["epoch" in entry for entry in reply["topics"]] == [True, False, True]
    assert peer.ask("unsubscribe", topics=names) == {"op": "unsubscribed", "topics": names[:3]}


def test_several_topics_are_all_or_nothing(connect: Connect, topic: str, subprotocol: str) -> None:
    peer = connect(subprotocol)
    assert peer.error("subscribe", topics=[topic, "a..b"]) == "invalid_topic"
    peer.publish(topic, 1)
    assert peer.kept() == []
    peer.subscribe(topic)
    assert peer.error("unsubscribe", topics=[topic, "nothing.of.the.kind"]) == "not_subscribed"
    peer.publish(topic, 2)
    assert peer.push()["data"] == 2


def test_subscribing_again_changes_the_options(connect: Connect, topic: str, subprotocol: str) -> None:
    peer = connect(subprotocol)
    peer.subscribe(topic, echo=False)
    peer.publish(topic, "withheld")
    peer.subscribe(topic)
    peer.publish(topic, "heard")
    assert [said["data"] for said in peer.kept()] == ["heard"]


def test_echo_false_withholds_only_ones_own(connect: Connect, topic: str, subprotocol: str) -> None:
    peer, other = connect(subprotocol), connect()
    peer.subscribe(topic, echo=False)
    other.subscribe(topic)
    peer.publish(topic, "mine")
    other.publish(topic, "theirs")
    assert [peer.push()["data"]] == ["theirs"]
    assert [other.push()["data"], other.push()["data"]] == ["mine", "theirs"]
    assert peer.kept() == []


def test_a_message_comes_once_if_several_subscriptions_match(connect: Connect, topic: str, subprotocol: str) -> None:
    peer = connect(subprotocol)
    for name in (topic, f"{topic}.>", "story.>", "story.*"):
        peer.subscribe(name)
    peer.publish(topic, 1)
    assert [said["topic"] for said in peer.kept()] == [topic]


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [("{}.*", ["{}.a", "{}.b"]), ("{}.>", ["{}.a", "{}.b", "{}.a.b"]), ("{}.*.b", ["{}.a.b"]), ("{}", ["{}"])],
)
def test_a_pattern_hears_what_it_matches(connect: Connect, topic: str, pattern: str, heard: list[str]) -> None:
    reader, writer = connect(MSGPACK), connect(JSON)
    reader.subscribe(pattern.format(topic))
    for name in ("{}", "{}.a", "{}.b", "{}.a.b"):
        writer.publish(name.format(topic), name)
    # Between topics no order is promised.
    assert sorted(said["topic"] for said in reader.kept()) == sorted(name.format(topic) for name in heard)


def test_nothing_comes_after_unsubscribing(connect: Connect, topic: str, subprotocol: str) -> None:
    peer, writer = connect(subprotocol), connect()
    peer.subscribe(topic)
    writer.publish(topic, 1)
    assert peer.ask("unsubscribe", topic=topic) == {"op": "unsubscribed", "topic": topic}
    writer.publish(topic, 2)
    assert [said["data"] for said in peer.kept()] == [1]


def test_a_pattern_is_unsubscribed_by_its_own_text_only(connect: Connect, topic: str) -> None:
    peer = connect()
    peer.subscribe(f"{topic}.*")
    assert peer.error("unsubscribe", topic=f"{topic}.a") == "not_subscribed"
    peer.publish(f"{topic}.a", 1)
    assert peer.push()["data"] == 1


def test_a_session_has_at_most_128_subscriptions(connect: Connect, topic: str) -> None:
    peer = connect()
    names = [f"{topic}.{number}" for number in range(128)]
    assert peer.ask("subscribe", topics=names)["op"] == "subscribed"
    assert peer.error("subscribe", topic=topic) == "limit_reached"
    peer.subscribe(names[0])
    assert peer.ask("unsubscribe", topic=names[0])["op"] == "unsubscribed"
    peer.subscribe(topic)


def test_a_thousand_messages_arrive_in_order_at_everybody(connect: Connect, topic: str) -> None:
    readers = [connect(JSON), connect(MSGPACK), connect(JSON), connect(MSGPACK)]
    for reader in readers:
        reader.subscribe(topic)
    writer = connect(MSGPACK)
    for number in range(1000):
        writer.send(op="publish", topic=topic, data=number)
    for reader in readers:
        got = [reader.push() for _ in range(1000)]
        assert [(said["offset"], said["data"]) for said in got] == [(n + 1, n) for n in range(1000)]


def test_a_topic_is_compared_byte_by_byte(connect: Connect, topic: str) -> None:
    peer = connect()
    peer.subscribe(f"{topic}.Größe")
    peer.publish(f"{topic}.größe", 1)
    peer.publish(f"{topic}.Größe", 2)
    peer.publish(f"{topic}.Gro\u0308ße", 3)
    assert [said["data"] for said in peer.kept()] == [2]


def test_bad_commands_leave_the_connection_alive(connect: Connect, subprotocol: str) -> None:
    peer = connect(subprotocol)
    rubbish = (
        ["", "{", "[]", "null", '{"op":1}', '{"op":"ping"}}']
        if peer.text
        else [b"", b"\x81", b"\x90", b"\xc0\xc0", b"\xc1"]
    )
    for frame in rubbish:
        peer.send_raw(frame)
        assert peer.push("error")["code"] == "bad_request"
    assert peer.ask("ping") == {"op": "pong"}


def test_a_session_that_goes_away_leaves_nothing_behind(server: Server, connect: Connect, topic: str) -> None:
    with Peer(server) as gone:
        gone.subscribe(topic)
    reader = connect()
    reader.subscribe(topic)
    connect().publish(topic, 1)
    assert reader.push()["data"] == 1
