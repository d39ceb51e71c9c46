"""Frames and messages on an open connection (RFC 6455 sections 5 and 8, SPEC.md section 3)."""

import json
import os
import struct

import pytest

from conftest import Connect, ConnectRaw
from peer import JSON, MSGPACK
from raw import BINARY, CLOSE, PING, PONG, TEXT, frame
from server import Server

LIMIT = 65_536


def test_a_message_may_come_in_fragments(connect: Connect, topic: str, subprotocol: str) -> None:
    peer = connect(subprotocol)
    peer.subscribe(topic)
    whole = peer.encode({"op": "publish", "topic": topic, "data": "grüße 🎉" * 100})
    peer.socket.send([whole[at : at + 7] for at in range(0, len(whole), 7)])
    assert peer.push()["data"] == "grüße 🎉" * 100


def test_fragments_may_cut_a_character_and_let_a_ping_pass(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    command = '{"op":"ping","id":"é🎉"}'.encode()
    raw.send(frame(TEXT, b"", fin=False))
    for byte in command:
        raw.send(frame(0, bytes([byte]), fin=False))
    raw.send(frame(PING, b"are you there?"))
    raw.send(frame(0))
    pong, reply = raw.read_frame(), raw.read_frame()
    assert (pong.opcode, pong.payload) == (PONG, b"are you there?")
    assert json.loads(reply.payload) == {"op": "pong", "id": "é🎉"}


def test_a_message_of_exactly_the_limit_passes(connect: Connect, topic: str, subprotocol: str) -> None:
    peer = connect(subprotocol)
    peer.subscribe(topic)
    empty = len(peer.encode({"op": "publish", "topic": topic, "data": "x" * 60_000})) - 60_000
    data = "x" * (LIMIT - empty)
    whole = peer.encode({"op": "publish", "topic": topic, "data": data})
    assert len(whole) == LIMIT
    peer.send_raw(whole)
    assert peer.push()["data"] == data
    third = LIMIT // 3
    peer.socket.send([whole[:third], whole[third : 2 * third], whole[2 * third :]])
    assert peer.push()["data"] == data


def test_a_message_over_the_limit_closes_with_1009(connect: Connect, subprotocol: str) -> None:
    peer = connect(subprotocol)
    peer.send_raw(" " * (LIMIT + 1) if peer.text else b"\x00" * (LIMIT + 1))
    assert peer.closed()[0] == 1009


def test_fragments_over_the_limit_close_with_1009(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    raw.send(frame(TEXT, b" " * LIMIT, fin=False) + frame(0, b" "))
    assert raw.read_until_close()[-1].close_code == 1009


@pytest.mark.parametrize("length", [LIMIT + 1, 2**30, 2**63 - 1])
def test_an_oversize_message_is_refused_at_its_header(server: Server, connect_raw: ConnectRaw, length: int) -> None:
    raw = connect_raw().open()
    before = server.resident_kib
    raw.send(struct.pack("!BBQ", 0x81, 0x80 | 127, length) + os.urandom(4))
    assert raw.read_until_close()[-1].close_code == 1009
    assert raw.read_end() < 0.5
    chunk = b" " * LIMIT
    try:
        for _ in range(64):
            raw.send(chunk)
    except ConnectionError:
        pass  # the server need not read it
    assert server.resident_kib - before < 1024


@pytest.mark.parametrize(("subprotocol", "opcode", "payload"), [(JSON, BINARY, b"{}"), (MSGPACK, TEXT, b"{}")])
def test_the_wrong_frame_type_closes_with_1003(
    connect_raw: ConnectRaw, subprotocol: str, opcode: int, payload: bytes
) -> None:
    raw = connect_raw().open(subprotocol)
    raw.send(frame(opcode, payload))
    goodbye, close = raw.read_until_close()
    assert close.close_code == 1003
    assert subprotocol.encode() in close.payload
    assert b"goodbye" in goodbye.payload


def test_a_goodbye_says_why_and_whether_to_come_back(connect: Connect, subprotocol: str) -> None:
    peer = connect(subprotocol)
    peer.socket.send(b"binary" if peer.text else "text")
    code, reason = peer.closed()
    assert code == 1003
    assert peer.push("goodbye") == {"op": "goodbye", "code": 1003, "reason": reason, "reconnect": "never"}


@pytest.mark.parametrize(
    "bad",
    [
        frame(TEXT, b'{"op":"ping"}', masked=False),
        frame(TEXT, b'{"op":"ping"}', reserved=4),
        frame(TEXT, b'{"op":"ping"}', reserved=2),
        frame(TEXT, b'{"op":"ping"}', reserved=1),
        frame(3),
        frame(7, b"x"),
        frame(11),
        frame(15, b"x"),
        frame(PING, b"x", fin=False),
        frame(PING, b"x" * 126),
        frame(CLOSE, b"x" * 126),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, struct.pack("!H", 1005)),
        frame(CLOSE, struct.pack("!H", 999)),
        frame(0, b"a continuation of nothing"),
        frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
        struct.pack("!BBH", 0x81, 0x80 | 126, 5) + bytes(9),
        struct.pack("!BBQ", 0x81, 0x80 | 127, 126) + bytes(130),
        struct.pack("!BBQ", 0x81, 0x80 | 127, 2**63) + bytes(4),
    ],
    ids=[
        "unmasked", "rsv1", "rsv2", "rsv3", "opcode-3", "opcode-7", "opcode-11", "opcode-15", "fragmented-ping",
        "long-ping", "long-close", "one-byte-close", "close-1005", "close-999", "lone-continuation", "interleaved",
        "length-16-not-minimal", "length-64-not-minimal", "length-top-bit",
    ],
)  # fmt: skip
def test_bad_frames_close_with_1002_and_the_end(connect_raw: ConnectRaw, bad: bytes) -> None:
    raw = connect_raw().open()
    raw.send(bad)
    assert raw.read_until_close()[-1].close_code == 1002
    assert raw.read_end() < 0.5


@pytest.mark.parametrize(
    "bad",
    [
        frame(TEXT, b'"\xff"'),
        frame(TEXT, b'"\xc0\xaf"'),
        frame(TEXT, b'"\xed\xa0\x80"'),
        frame(TEXT, b'"\xf4\x90\x80\x80"'),
        frame(TEXT, b'"\xe2\x82'),
        frame(TEXT, b'"\xe2', fin=False) + frame(0, b'"'),
        frame(CLOSE, struct.pack("!H", 1000) + b"\xff"),
    ],
    ids=["0xff", "overlong", "surrogate", "beyond-unicode", "cut-off", "cut-by-a-fragment", "close-reason"],
)
def test_text_that_is_not_utf8_closes_with_1007(connect_raw: ConnectRaw, bad: bytes) -> None:
    raw = connect_raw().open()
    raw.send(bad)
    assert raw.read_until_close()[-1].close_code == 1007
    assert raw.read_end() < 0.5


def test_wrong_utf8_is_refused_before_the_message_ends(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    raw.send(struct.pack("!BBH", 0x81, 0x80 | 126, 60_000) + bytes(4) + b"abc\xff")
    assert raw.read_until_close()[-1].close_code == 1007


def test_a_ping_is_answered_with_its_payload(connect: Connect, subprotocol: str) -> None:
    peer = connect(subprotocol)
    waiter = peer.socket.ping(b"x" * 125)
    assert peer.ask("ping") == {"op": "pong"}
    assert waiter.wait(0), "the pong came before the reply to the next command"


def test_an_unasked_pong_is_ignored(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    raw.send(frame(PONG, b"nobody asked") + frame(TEXT, b'{"op":"ping"}'))
    assert raw.read_frame().payload == b'{"op":"pong"}'


def test_a_thousand_commands_in_one_go_are_answered_in_order(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    raw.send(b"".join(frame(TEXT, b'{"op":"ping","id":%d}' % number) for number in range(1000)))
    assert [json.loads(raw.read_frame().payload)["id"] for _ in range(1000)] == list(range(1000))


def test_a_frame_may_come_byte_by_byte(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    for byte in frame(TEXT, b'{"op":"ping","id":"' + b"x" * 120 + b'"}'):
        raw.send(bytes([byte]))
    assert json.loads(raw.read_frame().payload) == {"op": "pong", "id": "x" * 120}


def test_what_the_server_sends_is_not_fragmented_and_has_no_reserved_bits(connect_raw: ConnectRaw, topic: str) -> None:
    raw = connect_raw().open()
    raw.send(frame(TEXT, json.dumps({"op": "subscribe", "topic": topic}).encode()))
    raw.send(frame(TEXT, json.dumps({"op": "publish", "topic": topic, "data": "x" * 60_000}).encode()))
    message = raw.read_frame()
    assert message.first_byte == 0x81
    assert len(message.payload) > 60_000
