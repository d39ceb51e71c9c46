"""Requests and their answers: who asks waits, whoever hears it may answer, and the first answer counts."""

import pytest

from conftest import Connect
from peer import JSON, MSGPACK, Peer


def ask(peer: Peer, topic: str, id_: str, **fields: object) -> None:
    peer.send(op="request", id=id_, topic=topic, **({"data": {"n": 2}, "timeout_ms": 60_000} | fields))


@pytest.mark.parametrize("answers_as", [JSON, MSGPACK])
def test_an_answer_comes_back_to_who_asked(connect: Connect, topic: str, subprotocol: str, answers_as: str) -> None:
    asker, service = connect(subprotocol), connect(answers_as)
    service.subscribe(topic)
    ask(asker, topic, "q1")
    asked = service.push()
    assert (asked["topic"], asked["data"]) == (topic, {"n": 2})
    assert service.ask("reply", reply_to=asked["reply_to"], data={"square": 4}) == {"op": "replied"}
    assert asker.reply("q1") == {"op": "reply", "id": "q1", "data": {"square": 4}}
    # There is no word of how it was published.
    assert asker.kept() == []


def test_bytes_are_an_answer_too(connect: Connect, topic: str) -> None:
    asker, service = connect(JSON), connect(MSGPACK)
    service.subscribe(topic)
    ask(asker, topic, "q1")
    service.ask("reply", reply_to=service.push()["reply_to"], data=b"\x00\x01\xff")
    assert asker.reply("q1")["data_base64"] == "AAH/"


def test_many_requests_at_a_time_are_told_apart(connect: Connect, topic: str, subprotocol: str) -> None:
    asker, service = connect(subprotocol), connect(subprotocol)
    service.subscribe(topic)
    for number in range(50):
        ask(asker, topic, f"q{number}", data=number)
    asked = service.pushes(50)
    assert len({said["reply_to"] for said in asked}) == 50
    for said in reversed(asked):
        service.send(op="reply", reply_to=said["reply_to"], data=said["data"] ** 2)
    assert [asker.reply(f"q{number}")["data"] for number in range(50)] == [number**2 for number in range(50)]


def test_without_a_subscriber_there_is_no_answer_and_no_message(visit: Connect, topic: str, subprotocol: str) -> None:
    asker = visit(subprotocol)
    assert asker.error("request", topic=topic, data=1) == "no_responders"
    assert asker.ask("history", topic=topic)["offset"] == 0


def test_without_an_answer_in_time_there_is_an_error(connect: Connect, topic: str, subprotocol: str) -> None:
    asker, service = connect(subprotocol), connect()
    service.subscribe(topic)
    reply = asker.ask("request", topic=topic, data=1, timeout_ms=50)
    assert (reply["op"], reply["code"], reply["retry"]) == ("error", "timeout", True)
    assert service.error("reply", reply_to=service.push()["reply_to"], data=1) == "conflict"
    assert asker.kept() == []


def test_the_first_answer_counts(connect: Connect, topic: str, subprotocol: str) -> None:
    asker, quick, slow = connect(subprotocol), connect(), connect()
    quick.subscribe(topic)
    slow.subscribe(topic)
    ask(asker, topic, "q1")
    assert quick.ask("reply", reply_to=quick.push()["reply_to"], data="quick")["op"] == "replied"
    assert slow.error("reply", reply_to=slow.push()["reply_to"], data="slow") == "conflict"
    assert quick.error("reply", reply_to="1", data="nobody asked") == "conflict"
    assert asker.reply("q1")["data"] == "quick"
    assert asker.kept() == []


def test_of_a_group_one_member_is_asked(connect: Connect, topic: str) -> None:
    asker, members = connect(), [connect() for _ in range(3)]
    for member in members:
        member.subscribe(topic, group="service")
    for number in range(9):
        ask(asker, topic, f"q{number}", data=number)
    asked = [(member, said) for member in members for said in member.kept()]
    assert sorted(said["data"] for _, said in asked) == list(range(9))
    for member, said in asked:
        member.send(op="reply", reply_to=said["reply_to"], data=-said["data"])
    assert [asker.reply(f"q{number}")["data"] for number in range(9)] == [-number for number in range(9)]


def test_a_request_needs_an_id(connect: Connect, topic: str) -> None:
    peer = connect()
    peer.subscribe(topic)
    peer.send(op="request", topic=topic, data=1)
    assert peer.push("error")["code"] == "bad_request"
    assert peer.kept() == []
