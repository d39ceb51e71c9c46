"""The shared vectors: what a server says is read to the same in both codecs, what a client says can be read back."""

import json
import math
from typing import Any

import pytest
import vectors

from topichub import DecodeError
from topichub.backoff import verdict_of
from topichub.codec import JsonCodec, MsgpackCodec
from topichub.messages import payload, read_history, read_presence, read_published, read_subscribed
from topichub.topics import is_pattern, matches

JSON, MSGPACK = JsonCodec(), MsgpackCodec()
REPLIES = vectors.load("replies")
READERS = {
    "subscribed": read_subscribed,
    "published": read_published,
    "history": read_history,
    "presence": read_presence,
    "reply": payload,
}


def named(cases: list[Any]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


def both(case: Any) -> bool:
    return vectors.json_bytes(case) is not None and vectors.msgpack_bytes(case) is not None


def plain(value: Any) -> Any:
    """Without the difference that JSON writes bytes as text."""
    if isinstance(value, dict):
        filled = {key: plain(entry) for key, entry in value.items() if key != "data_base64"}
        return filled | ({"data": payload(value)} if "data_base64" in value else {})
    return [plain(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", named([case for case in REPLIES["replies"] + REPLIES["pushes"] if both(case)]))
def test_what_a_server_says_is_the_same_in_both_codecs(case: Any) -> None:
    text, binary = vectors.json_bytes(case), vectors.msgpack_bytes(case)
    assert text is not None
    assert binary is not None
    read = JSON.decode(text.decode()), MSGPACK.decode(binary)
    assert plain(read[0]) == plain(read[1])
    reader: Any = READERS.get(read[0]["op"])
    if reader is not None and "topics" not in read[0]:
        assert reader(read[0]) == reader(read[1])


@pytest.mark.parametrize("case", named(REPLIES["lenient"]))
def test_what_is_not_known_is_passed_over(case: Any) -> None:
    said, same = JSON.decode(case["json"]), JSON.decode(case["same_as"])
    reader: Any = READERS.get(said["op"])
    if reader is not None:
        found, expected = reader(said), reader(same)
        assert found == expected or said["op"] == "presence"  # nobody left, and nobody was said to have left


@pytest.mark.parametrize("case", named(vectors.load("commands")["commands"]))
def test_a_command_can_be_read_back(case: Any) -> None:
    command = dict(case["command"])
    for codec in (JSON, MSGPACK):
        back = codec.decode(codec.encode(command))
        assert plain(back) == plain(command)


@pytest.mark.parametrize("data", [b"", b"\x00\xff", bytearray(b"ab"), memoryview(b"cd")])
def test_bytes_are_published_as_bytes(data: Any) -> None:
    assert payload(JSON.decode(JSON.encode({"op": "publish", "data": data}))) == bytes(data)
    assert MSGPACK.decode(MSGPACK.encode({"op": "publish", "data": data}))["data"] == bytes(data)


@pytest.mark.parametrize("value", named(vectors.load("conversion")["values"]))
def test_every_payload_can_be_read(value: Any) -> None:
    for key, codec in (("json", JSON), ("msgpack", MSGPACK)):
        if key not in value:
            continue
        if key == "json":
            name = "data_base64" if value["way"] == "binary" else "data"
            frame: str | bytes = f'{{"op":"message","{name}":{vectors.text(value["json"])}}}'
        else:
            frame = b"\x82\xa2op\xa7message\xa4data" + vectors.octets(value["msgpack"])
        assert codec.decode(frame)["op"] == "message"


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case['filter']}-{case['topic']}") for case in vectors.load("topics")["matches"]]
)
def test_a_name_matches_what_the_server_says_it_does(case: Any) -> None:
    assert matches(case["filter"], case["topic"]) is case["matches"]


@pytest.mark.parametrize("case", named(vectors.load("topics")["names"]))
def test_a_name_is_a_topic_or_a_pattern(case: Any) -> None:
    assert is_pattern(vectors.text(case["text"])) is (case["kind"] == "pattern")


CODES = vectors.load("codes")


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=str(case["code"])) for case in CODES["closes"] + CODES["other_closes"]]
)
def test_a_close_code_says_whether_to_come_back(case: Any) -> None:
    assert verdict_of(case["code"]) == case["reconnect"]


def test_the_subprotocols_are_those_of_the_vectors() -> None:
    assert [case["name"] for case in CODES["subprotocols"]] == [JSON.subprotocol, MSGPACK.subprotocol]


def test_what_is_no_frame_of_the_codec_is_refused() -> None:
    for frame in (b"{}", "", "{", "[]", "{}{}", "nul", "[" * 100_000):
        with pytest.raises(DecodeError):
            JSON.decode(frame)
    for packed in ("{}", b"", b"\x81", b"\x90", b"\x80\x80", b"\xc1", b"\x81\xa1a" + b"\x91" * 5_000 + b"\x01"):
        with pytest.raises(DecodeError):
            MSGPACK.decode(packed)


def test_numbers_that_are_no_numbers_are_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        JSON.encode({"op": "publish", "data": math.nan})
    assert json.loads(JSON.encode({"op": "publish", "data": 1.5}))["data"] == 1.5
