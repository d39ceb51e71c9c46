"""Sessions without a WebSocket: event streams and long polls, read by a parser of our own and `http.client`."""

import http.client
import itertools
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from conftest import Connect, StartServer
from server import CERTIFICATE, DEADLINE, Answer, Rule, Server
from sse import Event, Stream


def publish(server: Server, topic: str, *numbers: int) -> str:
    """Publishes numbers, and returns the position of the last."""
    last: dict[str, Any] = {}
    for number in numbers:
        last = server.request("POST", f"/topics/{quote(topic, safe='')}", str(number)).json
    return f"{last['epoch']}:{last['offset']}"


def poll(server: Server, query: str, last_id: str = "") -> Answer:
    headers = {"Accept": "application/json"} | ({"Last-Event-ID": last_id} if last_id else {})
    return server.request("GET", f"/events?{query}", headers=headers)


def take(stream: Stream, count: int) -> list[Event]:
    return list(itertools.islice(stream, count))


def test_what_an_event_source_gets(server: Server, topic: str) -> None:
    with Stream(server, f"/events?topic={topic}") as stream:
        assert stream.answer.status == 200
        assert stream.answer.headers["content-type"] == "text/event-stream"
        welcome, subscribed = take(stream, 2)
        assert (welcome.type, subscribed.type, stream.retry_ms) == ("welcome", "subscribed", 1000)
        position = publish(server, topic, 7)
        (message,) = take(stream, 1)
        assert (message.type, message.json["data"], message.last_id) == ("message", 7, position)


def test_line_breaks_in_data_come_through(server: Server, topic: str) -> None:
    bodies = ['{"a":\n[1,\r\n2],\r"b": "\\n"}', "[\n\n\n]", '"\u2028 ü \U0001f600"', "[1,\r\r2]"]
    with Stream(server, f"/events?topic={topic}") as stream:
        take(stream, 2)
        for body in bodies:
            assert server.request("POST", f"/topics/{topic}", body.encode()).status == 200
        for body, event in zip(bodies, take(stream, len(bodies)), strict=True):
            assert event.json["data"] == json.loads(body)


@pytest.mark.parametrize("name", ["größe.€", "a:b", "100%", "%41", "quote\"'&=+#", "\U0001f600.x", "a/b?c"])
def test_topics_of_any_letters_come_back_in_ids(archive: Server, topic: str, name: str) -> None:
    other, name = f"{topic}.other", f"{topic}.{name}"
    path = f"/events?topic={quote(name, safe='')}&topic={other}"
    with Stream(archive, path) as stream:
        take(stream, 2)
        publish(archive, name, 1)
        assert take(stream, 1)[0].json["topic"] == name
        last_id = stream.last_id
    assert last_id.isascii()
    publish(archive, name, 2)
    publish(archive, other, 1)
    for come_back in (Stream(archive, path, last_id=last_id), Stream(archive, f"{path}&after={quote(last_id)}")):
        with come_back as stream:
            missed = {(event.json["topic"], event.json["data"]) for event in take(stream, 4)[2:]}
            assert missed == {(name, 2), (other, 1)}
    # And as UTF-8, as it is, by hand.
    if "%" not in name:
        epoch = last_id.split()[1].split(":")[0]
        with Stream(archive, f"{path}&after={quote(f'{name} {epoch}:1')}") as stream:
            assert take(stream, 2)[1].json["topics"][0]["topic"] == name


def test_of_more_topics_than_an_id_holds_nothing_is_lost(start_server: StartServer, topic: str) -> None:
    server = start_server(Rule(">", messages=10_000), topics_per_session_max=1_000)
    names = [f"{topic}.{number}" for number in range(150)]
    with Stream(server, f"/events?topic={topic}.*") as stream:
        take(stream, 2)
        for name in names:
            publish(server, name, 1)
        take(stream, len(names))
        last_id = stream.last_id
    assert len(last_id.split()) == 200
    assert len(last_id) <= 4096
    for name in names:
        publish(server, name, 2)
    with Stream(server, f"/events?topic={topic}.*", last_id=last_id) as stream:
        came = [event.json for event in take(stream, 2 + 150 + 50)[2:]]
    assert {(event["topic"], event["data"]) for event in came if event["data"] == 2} == {(name, 2) for name in names}
    # Of those that the id had no room for, what was known comes once more.
    assert {event["topic"] for event in came if event["data"] == 1} == set(names[:50])


def test_commands_in_a_body_are_answered_by_number(archive: Server, visit: Connect, topic: str) -> None:
    publish(archive, f"{topic}.a", 1, 2, 3)
    commands: list[dict[str, object]] = [
        {"topic": f"{topic}.*", "replay": {"last": 2}},
        {"op": "subscribe", "id": "mine", "topic": f"{topic}-room", "presence": True},
    ]
    with Stream(archive, "/events", body=commands) as stream:
        events = take(stream, 6)
        assert {event.json["id"] for event in events if event.type == "subscribed"} == {1, "mine"}
        assert [event.json["data"] for event in events if event.type == "message"] == [2, 3]
        visitor = visit()
        visitor.ask("subscribe", topic=f"{topic}-room", presence=True)
        changes = (event for event in stream if event.type == "presence")
        assert next(changes).json["count"] == 2


def test_polls_bring_everything_once_whatever_the_limit(archive: Server, topic: str) -> None:
    last_id, read = "", list[int]()
    expected = list(range(1, 31))
    publish(archive, topic, *expected)
    for limit in itertools.cycle([1, 4, 7]):
        answer = poll(archive, f"topic={topic}&last=100&wait=0&limit={limit}", last_id)
        maps = answer.json
        assert [found["op"] for found in maps[:2]] == ["welcome", "subscribed"]
        assert len(maps) <= limit + 2
        last_id = answer.headers["last-event-id"]
        if len(maps) == 2:
            break
        read += [found["data"] for found in maps[2:]]
    assert read == expected


def test_a_poll_keeps_its_connection(server: Server, topic: str) -> None:
    answer = poll(server, f"topic={topic}&wait=0")
    assert (answer.status, answer.headers.get("connection")) == (200, None)
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_a_position_too_old_is_a_gap(archive: Server, topic: str) -> None:
    name = f"brief.{topic}"
    epoch = publish(archive, name, *range(1, 21)).split(":")[0]
    with Stream(archive, f"/events?topic={name}", last_id=f"{epoch}:3") as stream:
        _, subscribed, gap, *messages = take(stream, 8)
        assert subscribed.json["recovered"] is False
        assert (gap.type, gap.json["from"], gap.json["to"], gap.last_id) == ("gap", 4, 15, f"{epoch}:15")
        assert [event.json["data"] for event in messages] == [16, 17, 18, 19, 20]
    (_, _, polled, *rest) = poll(archive, f"topic={name}&wait=0", f"{epoch}:3").json
    assert (polled, len(rest)) == (gap.json, 5)


def test_over_tls_a_stream_is_the_same(tmp_path: Path) -> None:
    server = Server(tmp_path, tls=True)
    try:
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
        connection = http.client.HTTPSConnection(server.host, server.port, timeout=DEADLINE, context=context)
        connection.request("GET", "/events?topic=a")
        answer = connection.getresponse()
        lines = [answer.readline() for _ in range(3)]
        assert lines[:2] == [b"retry: 1000\n", b"event: welcome\n"]
        server.ask_to_stop()
        # The end is said, and nothing is missing.
        assert b"event: goodbye\n" in answer.read()
        connection.close()
    finally:
        assert server.stop() == 0, "".join(server.log)
