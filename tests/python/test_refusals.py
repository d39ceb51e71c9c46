"""What cannot be asked for: each has its code, names its field, and the connection lives on."""

from typing import Any

import pytest

from conftest import Connect
from peer import Map

LATE = 2**53
LONG = "x" * 129
NOT_A_SESSION = "67e55044"


def position(offset: Any, epoch: Any = "k3v9") -> Map:
    return {"epoch": epoch, "offset": offset}


BAD: list[tuple[str, Map, str, str]] = [
    ("subscribe", {"replay": {"after": position(-1)}}, "bad_request", "offset"),
    ("subscribe", {"replay": {"after": position(LATE)}}, "bad_request", "offset"),
    ("subscribe", {"replay": {"after": position(1.5)}}, "bad_request", "offset"),
    ("subscribe", {"replay": {"after": position(1, "K3V9")}}, "bad_request", "epoch"),
    ("subscribe", {"replay": {"after": position(1, 7)}}, "bad_request", "epoch"),
    ("subscribe", {"replay": {"after": {"epoch": "k3v9"}}}, "bad_request", "offset"),
    ("subscribe", {"replay": {"after": {"a..b": position(1)}}}, "invalid_topic", "a..b"),
    ("subscribe", {"replay": {"after": {"a.*": position(1)}}}, "invalid_topic", "a.*"),
    ("subscribe", {"replay": {"last": 1_000_000}}, "bad_request", "10000"),
    ("subscribe", {"replay": {"last": 10_001}}, "bad_request", "10001"),
    ("subscribe", {"replay": {"last": -1}}, "bad_request", "-1"),
    ("subscribe", {"replay": {"seconds": 0}}, "bad_request", "seconds"),
    ("subscribe", {"replay": {"seconds": LATE}}, "bad_request", "seconds"),
    ("subscribe", {"replay": {}}, "bad_request", "replay"),
    ("subscribe", {"replay": {"last": 1, "seconds": 1}}, "bad_request", "replay"),
    ("subscribe", {"replay": 5}, "bad_request", "replay"),
    ("subscribe", {"slow": "patient"}, "bad_request", "patient"),
    ("subscribe", {"slow": 1}, "bad_request", "slow"),
    ("subscribe", {"max_rate": 0}, "bad_request", "max_rate"),
    ("subscribe", {"max_rate": 1e9}, "bad_request", "max_rate"),
    ("subscribe", {"max_rate": 0.09}, "bad_request", "0.09"),
    ("subscribe", {"max_rate": "fast"}, "bad_request", "max_rate"),
    ("subscribe", {"presence": {"data": "x" * 1023}}, "too_large", "1024"),
    ("subscribe", {"presence": "yes"}, "bad_request", "presence"),
    ("subscribe", {"group": ""}, "bad_request", "group"),
    ("subscribe", {"group": LONG}, "bad_request", "129"),
    ("subscribe", {"group": "g", "replay": {"last": 1}}, "bad_request", "replay"),
    ("subscribe", {"group": "g", "slow": "drop"}, "bad_request", "slow"),
    ("subscribe", {"group": "g", "max_rate": 1}, "bad_request", "max_rate"),
    ("subscribe", {"group": "g", "presence": True}, "bad_request", "presence"),
    ("subscribe", {"key": "k"}, "bad_request", "key"),
    ("publish", {"data": 1, "key": LONG}, "bad_request", "128"),
    ("publish", {"data": 1, "key": ""}, "bad_request", "key"),
    ("publish", {"data": 1, "key": "a\nb"}, "bad_request", "key"),
    ("publish", {"data": 1, "dedup": "ü" * 65}, "bad_request", "130"),
    ("publish", {"data": 1, "ttl_ms": 0}, "bad_request", "ttl_ms"),
    ("publish", {"data": 1, "if_offset": -1}, "bad_request", "if_offset"),
    ("publish", {"data": 1, "if_offset": LATE}, "bad_request", "if_offset"),
    ("publish", {"data": 1, "meta": {str(number): "" for number in range(17)}}, "bad_request", "16"),
    ("publish", {"data": 1, "meta": {"a": "x" * 1024}}, "too_large", "1024"),
    ("publish", {"data": 1, "meta": {"a": 1}}, "bad_request", "meta"),
    ("publish", {"data": 1, "meta": "a"}, "bad_request", "meta"),
    ("publish", {"data": 1, "exclude": [NOT_A_SESSION]}, "bad_request", NOT_A_SESSION),
    ("publish", {"data": 1, "exclude": [f"67e55044-10b1-426f-9247-{n:012}" for n in range(101)]}, "bad_request", "100"),
    ("publish", {"data": 1, "reply_to": "1"}, "bad_request", "reply"),
    ("history", {"limit": 0}, "bad_request", "limit"),
    ("history", {"limit": 1001}, "bad_request", "1000"),
    ("history", {"after": position(1), "before": position(2)}, "bad_request", "before"),
    ("history", {"after": position(-1)}, "bad_request", "offset"),
    ("history", {"before": position(LATE)}, "bad_request", "offset"),
    ("history", {"after": position(0)}, "unrecoverable", "k3v9"),
    ("history", {"before": position(1)}, "unrecoverable", "k3v9"),
    ("authenticate", {}, "bad_request", "user"),
    ("authenticate", {"user": LONG}, "bad_request", "129"),
    ("authenticate", {"user": "ann", "data": "x" * 1023}, "too_large", "1024"),
    ("authenticate", {"token": ""}, "bad_request", "8192"),
    ("authenticate", {"token": "t" * 8193}, "bad_request", "8193"),
    ("authenticate", {"token": "t", "user": "ann"}, "bad_request", "user"),
    ("request", {"data": 1, "timeout_ms": 0}, "bad_request", "timeout_ms"),
    ("request", {"data": 1, "timeout_ms": 600_001}, "bad_request", "600000"),
    ("request", {}, "bad_request", "data"),
    ("reply", {"data": 1}, "bad_request", "reply_to"),
    ("reply", {"data": 1, "reply_to": "NO"}, "bad_request", "reply_to"),
]


def test_what_cannot_be_asked_for_has_its_code_and_harms_nothing(
    connect: Connect, topic: str, subprotocol: str
) -> None:
    peer = connect(subprotocol)
    for op, fields, code, word in BAD:
        error = peer.ask(op, **({"topic": topic} | fields))
        assert (error["op"], error.get("code")) == ("error", code), (op, fields, error)
        assert word in error["message"], (op, fields, error)
    # Nothing of it was done, and all can still be.
    assert peer.publish(topic, 1)["subscribers"] == 0
    assert peer.subscribe(topic, replay={"last": 1})["replayed"] == 1
    assert [said["offset"] for said in peer.kept()] == [1]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"presence": True}, "bad_request"),
        ({"replay": {"after": position(1)}}, "bad_request"),
        ({"replay": {"after": {f"a.{number}": position(1) for number in range(1001)}}}, "bad_request"),
    ],
)
def test_what_is_for_topics_is_not_for_patterns(
    connect: Connect, topic: str, subprotocol: str, fields: Map, code: str
) -> None:
    peer = connect(subprotocol)
    assert peer.error("subscribe", topic=f"{topic}.*", **fields) == code
    peer.subscribe(f"{topic}.*")


def test_a_replay_of_too_many_topics_is_refused(visit: Connect, topic: str, subprotocol: str) -> None:
    peer = visit(subprotocol)
    for number in range(1001):
        peer.send(op="publish", topic=f"{topic}.{number}", data=0)
    error = peer.ask("subscribe", topic=f"{topic}.*", replay={"last": 1})
    assert (error.get("code"), "1000" in error["message"]) == ("limit_reached", True)
    peer.subscribe(f"{topic}.*")
    peer.publish(f"{topic}.0", 1)
    assert [said["data"] for said in peer.kept()] == [1]


@pytest.mark.parametrize("op", ["subscribe", "publish", "history", "presence", "request"])
def test_the_topics_of_the_server_are_closed(connect: Connect, subprotocol: str, op: str) -> None:
    assert connect(subprotocol).error(op, topic="$sys.clock", data=1) == "forbidden"
