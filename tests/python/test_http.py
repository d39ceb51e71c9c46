"""The twin over HTTP: the same topics, limits and positions as on WebSockets (SPEC.md section 11)."""

import json
import threading
import urllib.parse
from typing import Any

import msgpack
import pytest

from conftest import Connect
from peer import JSON, MSGPACK, Map
from server import Server

TEXT_LIMIT = 65_536


def heard(connect: Connect, topic: str, subprotocol: str = JSON) -> Any:
    """A subscriber of this topic."""
    peer = connect(subprotocol)
    peer.subscribe(topic)
    return peer


def entry(message: Map) -> Map:
    return {key: value for key, value in message.items() if key.startswith("data")}


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "application/cloudevents+json",
     "application/x-www-form-urlencoded", None],
)  # fmt: skip
def test_a_json_body_is_the_data(server: Server, connect: Connect, topic: str, content_type: str | None) -> None:
    json_reader, msgpack_reader = heard(connect, topic), heard(connect, topic, MSGPACK)
    headers = {"content-type": content_type} if content_type else {}
    answer = server.request("POST", f"/topics/{topic}", '{"home":3}', headers)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json.keys() == {"topic", "epoch", "offset", "subscribers"}
    assert (answer.json["topic"], answer.json["offset"], answer.json["subscribers"]) == (topic, 1, 2)
    assert json_reader.push()["data"] == {"home": 3}
    assert msgpack_reader.push()["data"] == {"home": 3}


@pytest.mark.parametrize("content_type", ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"])
def test_a_messagepack_body_is_the_data(server: Server, connect: Connect, topic: str, content_type: str) -> None:
    reader = heard(connect, topic)
    body = msgpack.packb({"home": 3, "logo": b"\x01"})
    assert server.request("POST", f"/topics/{topic}", body, {"content-type": content_type}).status == 200
    assert reader.push()["data"] == {"home": 3, "logo": "AQ=="}


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "text/plain", "nonsense"])
def test_any_other_body_is_bytes(server: Server, connect: Connect, topic: str, content_type: str) -> None:
    json_reader, msgpack_reader = heard(connect, topic), heard(connect, topic, MSGPACK)
    answer = server.request("POST", f"/topics/{topic}", b"\x00\x01\xff", {"content-type": content_type})
    assert answer.status == 200
    assert entry(json_reader.push()) == {"data_base64": "AAH/"}
    assert entry(msgpack_reader.push()) == {"data": b"\x00\x01\xff"}


def test_offsets_go_on_where_websockets_left_them(server: Server, connect: Connect, topic: str) -> None:
    peer = heard(connect, topic)
    first = peer.publish(topic, 1)
    second = server.request("POST", f"/topics/{topic}", "2").json
    assert (second["epoch"], second["offset"]) == (first["epoch"], 2)
    assert peer.publish(topic, 3)["offset"] == 3
    assert [peer.push()["data"] for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("name", ["größe", "a/b", "50%", "50%41", "a?b#c", "a+b", '"quoted"', "🎉"])
def test_the_topic_is_percent_encoded(server: Server, connect: Connect, topic: str, name: str) -> None:
    whole = f"{topic}.{name}"
    reader = heard(connect, whole)
    path = "/topics/" + urllib.parse.quote(whole, safe="")
    assert server.request("POST", path, "1").json["topic"] == whole
    assert reader.push()["topic"] == whole


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/topics/a..b", "1", 400, "invalid_topic"),
        ("/topics/a.*", "1", 400, "invalid_topic"),
        ("/topics/" + "x" * 256, "1", 400, "invalid_topic"),
        ("/topics/a%FFb", "1", 400, "invalid_topic"),
        ("/topics/a%20b", "1", 400, "invalid_topic"),
        ("/topics/$sys.a", "1", 403, "forbidden"),
        ("/topics/a", "", 400, "bad_request"),
        ("/topics/a", "{", 400, "bad_request"),
        ("/topics/a", "1 2", 400, "bad_request"),
        ("/topics/a", "home=3&away=2", 400, "bad_request"),
        ("/topics/a", "[" * 65 + "]" * 65, 400, "bad_request"),
        ("/topics/a", b'"\xff"', 400, "bad_request"),
        ("/topics/a", " " * TEXT_LIMIT + "1", 413, "too_large"),
        ("/publish", "{}", 400, "bad_request"),
        ("/publish", "", 400, "bad_request"),
    ],
)
def test_an_error_is_a_problem_document(server: Server, path: str, body: str | bytes, status: int, code: str) -> None:
    answer = server.request("POST", path, body)
    assert answer.status == status
    assert answer.problem()["code"] == code


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/topics/a", 405),
        ("DELETE", "/publish", 405),
        ("GET", "/publish", 405),
        ("GET", "/no/such/page", 404),
        ("POST", "/topics/", 404),
        ("POST", "/topics/a/b", 404),
    ],
)
def test_a_wrong_address_or_method_is_a_problem_too(server: Server, method: str, path: str, status: int) -> None:
    answer = server.request(method, path, "1" if method != "GET" else None)
    assert answer.status == status
    assert answer.problem()


def test_a_body_of_the_limit_passes(server: Server, topic: str) -> None:
    body = b"\x00" * TEXT_LIMIT
    headers = {"content-type": "application/octet-stream"}
    assert server.request("POST", f"/topics/{topic}", body, headers).status == 200
    assert server.request("POST", f"/topics/{topic}", body + b"\x00", headers).status == 413


def test_a_batch_is_answered_entry_by_entry(server: Server, connect: Connect, topic: str) -> None:
    reader = heard(connect, f"{topic}.>")
    batch = [
        {"topic": f"{topic}.a", "data": 1},
        {"topic": f"{topic}.*", "data": 2},
        {"topic": f"{topic}.b", "data_base64": "AAH/"},
        {"data": 3},
        {"topic": f"{topic}.a", "data": {"x": []}},
    ]
    answer = server.request("POST", "/publish", json.dumps(batch), {"content-type": "application/json"})
    assert answer.status == 200
    first, wildcard, second, missing, third = answer.json
    assert [first["offset"], second["offset"], third["offset"]] == [1, 1, 2]
    assert [wildcard["error"]["code"], missing["error"]["code"]] == ["invalid_topic", "bad_request"]
    assert [wildcard["error"]["retry"], missing["error"]["retry"]] == [False, False]
    # Between topics no order is promised.
    messages = sorted((reader.push() for _ in range(3)), key=lambda message: str(message["topic"]))
    assert [entry(message) for message in messages] == [{"data": 1}, {"data": {"x": []}}, {"data_base64": "AAH/"}]


def test_a_batch_in_messagepack_is_answered_in_messagepack(server: Server, connect: Connect, topic: str) -> None:
    reader = heard(connect, topic)
    body = msgpack.packb([{"topic": topic, "data": b"\x01"}, {"topic": "", "data": 1}])
    answer = server.request("POST", "/publish", body, {"content-type": "application/msgpack"})
    assert answer.headers["content-type"] == "application/msgpack"
    good, bad = msgpack.unpackb(answer.body)
    assert (good["topic"], good["offset"], bad["error"]["code"]) == (topic, 1, "invalid_topic")
    assert reader.push()["data_base64"] == "AQ=="


def test_a_batch_of_bytes_is_refused(server: Server) -> None:
    answer = server.request("POST", "/publish", "[]", {"content-type": "text/plain"})
    assert (answer.status, answer.problem()["code"]) == (400, "bad_request")


def test_healthz_is_ok(server: Server) -> None:
    assert server.request("GET", "/healthz").status == 200


def test_a_body_that_is_not_announced_in_full_may_come_in_chunks(server: Server, connect: Connect, topic: str) -> None:
    reader = heard(connect, topic)
    answer = server.request(
        "POST", f"/topics/{topic}", b'3\r\n{"h\r\n7\r\nome":3}\r\n0\r\n\r\n', {"transfer-encoding": "chunked"}
    )
    assert answer.status == 200
    assert reader.push()["data"] == {"home": 3}


def test_a_query_says_what_a_publish_says_beside_its_data(archive: Server, visit: Connect, topic: str) -> None:
    reader = visit(MSGPACK)
    reader.subscribe(topic)
    query = urllib.parse.urlencode({"key": "r3 14", "dedup": "größe+1", "if_offset": 0, "ttl_ms": 600_000})
    first = archive.request("POST", f"/topics/{topic}?{query}", '"taken"')
    assert first.json["offset"] == 1
    assert reader.push()["key"] == "r3 14"
    assert archive.request("POST", f"/topics/{topic}?{query}", '"taken"').json == first.json | {"duplicate": True}
    answer = archive.request("POST", f"/topics/{topic}?if_offset=0", '"free"')
    assert (answer.status, answer.problem()["code"]) == (409, "conflict")
    assert reader.kept() == []


@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
def test_history_over_http_is_the_history_of_websockets(
    archive: Server, visit: Connect, topic: str, accept: str
) -> None:
    peer = visit(JSON if accept.endswith("json") else MSGPACK)
    for number in range(5):
        epoch = peer.publish(topic, {"number": number}, key=f"k{number}")["epoch"]
    path = f"/topics/{topic}/messages?after={epoch}:1&limit=3"
    answer = archive.request("GET", path, headers={"accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (200, accept)
    page = answer.json if accept.endswith("json") else msgpack.unpackb(answer.body)
    asked = peer.ask("history", topic=topic, after={"epoch": epoch, "offset": 1}, limit=3)
    assert {"op": "history", **page} == asked
    again = archive.request("GET", path, headers={"accept": accept, "if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_who_polls_gets_each_message_once(archive: Server, visit: Connect, topic: str) -> None:
    """One who asks again and again for what comes next, while somebody publishes."""
    count = 200
    got: list[int] = []
    writer = visit()
    epoch = writer.ask("history", topic=topic)["epoch"]

    def publish() -> None:
        for number in range(1, count + 1):
            writer.publish(topic, number)

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        while len(got) < count:
            page = archive.request("GET", f"/topics/{topic}/messages?after={epoch}:{len(got)}&wait=5&limit=7").json
            assert page["recovered"] is True
            got += [message["data"] for message in page["messages"]]
    finally:
        publishing.join()
    assert got == list(range(1, count + 1))


def test_presence_over_http_is_the_presence_of_websockets(archive: Server, visit: Connect, topic: str) -> None:
    peer = visit()
    peer.ask("authenticate", user="ann")
    peer.subscribe(topic, presence={"watch": False})
    answer = archive.request("GET", f"/topics/{topic}/presence")
    assert {"op": "presence", **answer.json} == peer.ask("presence", topic=topic)
    assert answer.json["members"] == [{"user": "ann"}]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/topics/a/messages?after=nonsense", 400, "bad_request"),
        ("/topics/a/messages?after=1:0", 410, "unrecoverable"),
        ("/topics/a/messages?wait=5", 400, "bad_request"),
        ("/topics/a/messages?limit=0", 400, "bad_request"),
        ("/topics/a.*/messages", 400, "invalid_topic"),
        ("/topics/$sys.a/messages", 403, "forbidden"),
        ("/topics/$sys.a/presence", 403, "forbidden"),
    ],
)
def test_what_cannot_be_looked_at_is_a_problem_too(server: Server, path: str, status: int, code: str) -> None:
    answer = server.request("GET", path)
    assert (answer.status, answer.problem()["code"]) == (status, code)
