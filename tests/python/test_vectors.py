"""The vectors that every implementation shares, against the running server. What is left to the Rust tests: the exact
bytes of replies nobody can provoke, and the WebSocket cases from a client's side."""

import json
from typing import Any
from urllib.parse import quote

import msgpack
import pytest
from jsonschema import Draft202012Validator

import vectors
from conftest import StartServer
from peer import JSON, MSGPACK, Map, Peer
from raw import BINARY, CLOSE, TEXT, RawPeer, frame
from server import Answer, Server
from vectors import Vector

CODES = vectors.load("codes")
RETRY = {entry["code"]: entry["retry"] for entry in CODES["errors"]}
HTTP_STATUS = {entry["code"]: entry["http_status"] for entry in CODES["errors"]}
CONTENT_TYPE = {JSON: "application/json", MSGPACK: "application/msgpack"}


@pytest.fixture
def roomy(start_server: StartServer) -> Server:
    """A server that takes the largest vector: two million bytes."""
    return start_server(
        message_bytes_max=4 << 20, outbox_bytes_max=32 << 20, batch_bytes_max=4 << 20, session_flight_bytes_max=16 << 20
    )


def forms(cases: list[Vector]) -> list[Any]:
    """Each vector once for each codec in which it is written."""
    found = []
    for vector in cases:
        for subprotocol, encoded in ((JSON, vectors.json_bytes(vector)), (MSGPACK, vectors.msgpack_bytes(vector))):
            if encoded is not None:
                found.append(pytest.param(vector, subprotocol, encoded, id=f"{vector['name']}-{subprotocol[7:]}"))
    return found


def named(cases: list[Vector]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in vectors.files()])
def test_a_file_of_vectors_obeys_its_schema(path: Any) -> None:
    content = vectors.load(path.stem)
    schema = json.loads((vectors.DIRECTORY / content["$schema"]).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(content)
    for key, cases in content.items():
        names = [case["name"] for case in cases if "name" in case] if isinstance(cases, list) else []
        assert len(names) == len(set(names)), f"a name comes twice in {key}"


def test_every_file_of_vectors_is_known_here() -> None:
    known = {"codes", "commands", "conversion", "events", "replies", "sessions", "topics", "websocket"}
    # No compression is negotiated over the wire: its cases are for the Rust tests alone.
    assert {path.stem for path in vectors.files()} - {"websocket-deflate"} == known


# What becomes of a good command: its reply, or the code of its error where nobody is there to answer.
OUTCOMES = {
    "subscribe": "subscribed",
    "unsubscribe": "unsubscribed",
    "publish": "published",
    "history": "history",
    "presence": "presence",
    "authenticate": "authenticated",
    "request": "no_responders",
    "reply": "conflict",
    "ping": "pong",
}


def outcomes(command: Map) -> set[str]:
    """What the server may answer. What `if_offset` and `dedup` lead to depends on what was published before."""
    if command.get("topic", "").startswith("$sys"):
        return {"forbidden"}
    if {"after", "before"} & command.keys():
        return {"unrecoverable"}  # the epoch is the vector's, not the server's
    expected = {OUTCOMES[command["op"]]}
    return expected | {"conflict"} if {"if_offset", "dedup"} & command.keys() else expected


def outcome(said: Map) -> str:
    return str(said["code"] if said["op"] == "error" else said["op"])


@pytest.mark.parametrize(("vector", "subprotocol", "encoded"), forms(vectors.load("commands")["commands"]))
def test_a_good_command_is_carried_out(roomy: Server, vector: Vector, subprotocol: str, encoded: bytes) -> None:
    command = vector["command"]
    with Peer(roomy, subprotocol) as peer:
        if command["op"] == "unsubscribe":
            names = command.get("topics", [command.get("topic")])
            assert peer.ask("subscribe", topics=names)["op"] == "subscribed"
        peer.socket.send(encoded, text=peer.text)
        if "id" in command:
            reply = peer.reply(command["id"])
        elif command["op"] == "ping":
            reply = peer.push("pong")
        else:
            errors = {said["code"] for said in peer.kept() if said["op"] == "error"}
            assert errors <= outcomes(command)
            return
        assert outcome(reply) in outcomes(command), reply
        for key in ("topic", "topics"):
            if key in command and key in reply and command["op"] != "publish":
                answered = reply[key]
                names = [entry["topic"] if isinstance(entry, dict) else entry for entry in answered]
                assert (names if key == "topics" else answered) == command[key]


@pytest.mark.parametrize(("vector", "subprotocol", "encoded"), forms(vectors.load("commands")["errors"]))
def test_a_bad_command_is_refused(roomy: Server, vector: Vector, subprotocol: str, encoded: bytes) -> None:
    with Peer(roomy, subprotocol) as peer:
        peer.socket.send(encoded, text=peer.text)
        if peer.text and not is_utf8(encoded):
            assert peer.closed()[0] == 1007
            return
        error = peer.reply(vector["id"]) if "id" in vector else peer.push("error")
        assert (error["op"], error["code"], error.get("id")) == ("error", vector["code"], vector.get("id"))
        assert vector["message_contains"] in error["message"]
        assert error["retry"] is RETRY[vector["code"]]
        assert peer.ask("ping") == {"op": "pong"}


def is_utf8(encoded: bytes) -> bool:
    try:
        encoded.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(("vector", "subprotocol", "encoded"), forms(vectors.load("commands")["batches"]))
def test_a_batch_is_published(roomy: Server, vector: Vector, subprotocol: str, encoded: bytes) -> None:
    answer = roomy.request("POST", "/publish", encoded, {"content-type": CONTENT_TYPE[subprotocol]})
    assert answer.status == 200
    entries = answer.json if subprotocol == JSON else msgpack.unpackb(answer.body)
    assert len(entries) == len(vector["entries"])
    for entry, expected in zip(entries, vector["entries"], strict=True):
        if "publish" in expected and "error" in entry:
            assert entry["error"]["code"] in outcomes({"op": "publish", **expected["publish"]})
        elif "publish" in expected:
            assert entry.keys() - {"duplicate"} == {"topic", "epoch", "offset", "subscribers"}
            assert entry["topic"] == expected["publish"]["topic"]
        else:
            assert entry["error"]["code"] == expected["error"]["code"]
            assert entry["error"]["retry"] is RETRY[expected["error"]["code"]]
            assert expected["error"]["message_contains"] in entry["error"]["message"]


@pytest.mark.parametrize(("vector", "subprotocol", "encoded"), forms(vectors.load("commands")["batch_errors"]))
def test_a_bad_batch_is_refused(roomy: Server, vector: Vector, subprotocol: str, encoded: bytes) -> None:
    answer = roomy.request("POST", "/publish", encoded, {"content-type": CONTENT_TYPE[subprotocol]})
    problem = answer.problem()
    assert (answer.status, problem["code"]) == (HTTP_STATUS[vector["code"]], vector["code"])
    assert vector["message_contains"] in problem["detail"]


@pytest.mark.parametrize("vector", named(vectors.load("topics")["names"]))
def test_a_name_is_a_topic_or_a_pattern(roomy: Server, vector: Vector, subprotocol: str) -> None:
    name = vectors.text(vector["text"])
    with Peer(roomy, subprotocol) as peer:
        subscribed = peer.ask("subscribe", topic=name)
        if vector.get("system", False):
            assert (subscribed["op"], subscribed["code"]) == ("error", "forbidden")
        else:
            assert (subscribed["op"], subscribed["topic"]) == ("subscribed", name)
            assert ("epoch" in subscribed) == (vector["kind"] == "topic")
        reply = peer.ask("publish", topic=name, data=1)
        if vector["kind"] == "pattern":
            assert (reply["op"], reply["code"]) == ("error", "invalid_topic")
        elif vector.get("system", False):
            assert (reply["op"], reply["code"]) == ("error", "forbidden")
        else:
            assert (reply["op"], reply["topic"]) == ("published", name)
            assert peer.push()["topic"] == name


@pytest.mark.parametrize("vector", named(vectors.load("topics")["errors"]))
def test_a_name_that_breaks_the_rules_is_refused(roomy: Server, vector: Vector, subprotocol: str) -> None:
    name = vectors.text(vector["text"])
    with Peer(roomy, subprotocol) as peer:
        assert peer.error("publish", topic=name, data=1) == "invalid_topic"
        reply = peer.ask("subscribe", topic=name)
        assert (reply["op"], reply["code"]) == ("error", "invalid_topic")
        assert vector["message_contains"] in reply["message"]


MATCHES = [
    pytest.param(entry, id=f"{entry['filter']}-{entry['topic']}")
    for entry in vectors.load("topics")["matches"]
    if not entry["topic"].startswith("$sys")
]


@pytest.mark.parametrize("entry", MATCHES)
def test_a_subscription_hears_what_it_matches_and_nothing_else(roomy: Server, entry: Vector) -> None:
    with Peer(roomy) as peer:
        peer.subscribe(entry["filter"])
        peer.publish(entry["topic"], 1)
        assert peer.ask("unsubscribe", topic=entry["filter"])["op"] == "unsubscribed"
        assert [said["topic"] for said in peer.kept()] == ([entry["topic"]] if entry["matches"] else [])


def message_frame(peer: Peer, topic: str, offset: int, key: str, data: bytes) -> bytes:
    """The `message` push with this data, byte for byte."""
    if peer.text:
        return f'{{"op":"message","topic":"{topic}","offset":{offset},"{key}":'.encode() + data + b"}"
    packed = b"".join(msgpack.packb(value) for value in ("op", "message", "topic", topic, "offset", offset, "data"))
    return b"\x84" + packed + data


def converted(values: list[Vector], ways: set[str]) -> list[Any]:
    return named([vector for vector in values if vector["way"] in ways])


CONVERSION = vectors.load("conversion")


def assert_converted(server: Server, vector: Vector, source: str, target: str, topic: str) -> None:
    """Data published by one codec reaches the subscribers of both, byte for byte."""
    key = "data_base64" if vector["way"] == "binary" else "data"
    # Blanks around a value are not part of it.
    forms = {JSON: vectors.text(vector["json"]).strip(" \t\r\n").encode(), MSGPACK: vectors.octets(vector["msgpack"])}
    with Peer(server, source) as writer, Peer(server, source) as same, Peer(server, target) as other:
        # The first message of a topic names its epoch; those behind it are the plainest.
        writer.publish(topic, "first")
        offset = same.subscribe(topic)["offset"]
        other.subscribe(topic)
        if source == JSON:
            command = f'{{"op":"publish","topic":"{topic}","{key}":'.encode() + forms[JSON] + b"}"
        else:
            packed = b"".join(msgpack.packb(value) for value in ("op", "publish", "topic", topic, "data"))
            command = b"\x83" + packed + forms[MSGPACK]
        writer.socket.send(command, text=writer.text)
        for peer, name in ((same, source), (other, target)):
            got = peer.socket.recv(timeout=10)
            expected = message_frame(peer, topic, offset + 1, key, forms[name])
            assert (got.encode() if isinstance(got, str) else got) == expected


@pytest.mark.parametrize("vector", converted(CONVERSION["values"], {"both", "to_msgpack", "binary"}))
def test_json_becomes_messagepack(roomy: Server, vector: Vector, topic: str) -> None:
    assert_converted(roomy, vector, JSON, MSGPACK, topic)


@pytest.mark.parametrize("vector", converted(CONVERSION["values"], {"both", "to_json", "binary"}))
def test_messagepack_becomes_json(roomy: Server, vector: Vector, topic: str) -> None:
    assert_converted(roomy, vector, MSGPACK, JSON, topic)


@pytest.mark.parametrize(
    ("vector", "subprotocol", "encoded"), forms(CONVERSION["bad_json"]) + forms(CONVERSION["bad_msgpack"])
)
def test_bad_data_is_refused(roomy: Server, vector: Vector, subprotocol: str, encoded: bytes, topic: str) -> None:
    answer = roomy.request("POST", f"/topics/{topic}", encoded, {"content-type": CONTENT_TYPE[subprotocol]})
    problem = answer.problem()
    assert (answer.status, problem["code"]) == (400, "bad_request")
    assert vector["message_contains"] in problem["detail"]


EVENTS = vectors.load("events")


def poll_behind(server: Server, event_id: str) -> Answer:
    """What a long poll behind this id is answered."""
    query = f"topic=events.vectors&wait=0&after={quote(event_id, safe='')}"
    return server.request("GET", f"/events?{query}", headers={"accept": "application/json"})


@pytest.mark.parametrize("vector", named(EVENTS["ids"]))
def test_an_event_id_is_understood(roomy: Server, vector: Vector) -> None:
    answer = poll_behind(roomy, vectors.text(vector["text"]))
    assert answer.status == 200
    # The epoch is the vector's, and so is the topic where one is named.
    subscribed = next(said for said in answer.json if said["op"] == "subscribed")
    assert "position" not in vector or subscribed["recovered"] is False


@pytest.mark.parametrize("vector", named(EVENTS["errors"]))
def test_what_is_no_event_id_is_refused(roomy: Server, vector: Vector) -> None:
    answer = poll_behind(roomy, vectors.text(vector["text"]))
    problem = answer.problem()
    assert (answer.status, problem["code"]) == (400, "bad_request")
    assert vector["message_contains"] in problem["detail"]


def test_the_limits_are_those_of_the_vectors(server: Server) -> None:
    with Peer(server) as peer:
        limits: Map = peer.welcome["limits"]
    assert limits == {key: CODES["limits"][key] for key in limits}


def served(cases: list[Vector]) -> list[Any]:
    """The cases of a server that closes by itself, with the limit the server has, and messages of one kind."""
    found = []
    for case in cases:
        kinds = {event["kind"] for event in case["events"]} & {"text", "binary"}
        fits = case["role"] == "server" and case["message_bytes_max"] == 65_536 and "we_close" not in case
        if fits and "close" in case and len(kinds) < 2:
            found.append(pytest.param(case, MSGPACK if "binary" in kinds else JSON, id=case["name"]))
    return found


@pytest.mark.parametrize(("case", "subprotocol"), served(vectors.load("websocket")["cases"]))
def test_frames_end_as_the_vectors_say(server: Server, case: Vector, subprotocol: str) -> None:
    with RawPeer(server) as raw:
        raw.open(subprotocol)
        raw.send(vectors.octets(case["input"]))
        frames = raw.read_until_close()
        # Messages that are no commands are answered by errors; the vectors know of frames only.
        control = [said for said in frames if said.opcode not in (TEXT, BINARY)]
        assert len(frames) - len(control) == sum(event["kind"] in ("text", "binary") for event in case["events"])
        said = b"".join(frame(one.opcode, one.payload, masked=False) for one in control)
        if case["close"]["by"] == "violation":
            assert control[-1].close_code == case["close"]["code"]
            assert said[: -len(frame(CLOSE, control[-1].payload, masked=False))] == vectors.octets(case["output"])
        else:
            assert said == vectors.octets(case["output"])
        assert raw.read_end() < 0.5
