"""permessage-deflate (RFC 7692, SPEC.md section 3): what is agreed on, what is compressed, and what a bomb does."""

import hashlib
import json
import zlib
from typing import Any

import msgpack
import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate

from conftest import Connect, ConnectRaw
from peer import JSON, MSGPACK
from raw import BINARY, TEXT, Frame, RawPeer, frame
from server import Server

ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
COMPRESSED, PLAIN = 0xC0, 0x80
TAIL = b"\x00\x00\xff\xff"


def offering(connect_raw: ConnectRaw, *offers: str, subprotocol: str = JSON) -> tuple[RawPeer, list[str]]:
    """A connection that has offered, and what it was answered."""
    raw = connect_raw()
    raw.send(raw.request([subprotocol], more=[("Sec-WebSocket-Extensions", offer) for offer in offers]))
    head = raw.accepted()
    assert raw.read_frame().opcode == (TEXT if subprotocol == JSON else BINARY)
    return raw, head.headers.get("sec-websocket-extensions", [])


def subscribed(raw: RawPeer, topic: str, subprotocol: str = JSON) -> RawPeer:
    command = {"op": "subscribe", "id": 1, "topic": topic}
    if subprotocol == JSON:
        raw.send(frame(TEXT, json.dumps(command).encode()))
    else:
        packed = msgpack.packb(command)
        assert isinstance(packed, bytes)
        raw.send(frame(BINARY, packed))
    raw.read_frame()
    return raw


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    whole = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return whole.removesuffix(TAIL)


def inflated(message: Frame) -> bytes:
    """What a compressed message says, without regard to any message before it."""
    assert message.first_byte & 0xF0 == COMPRESSED, message
    return zlib.decompressobj(-15).decompress(message.payload + TAIL)


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        (["permessage-deflate"], ANSWER),
        (["permessage-deflate; client_max_window_bits"], ANSWER),
        (["permessage-deflate; client_max_window_bits=10"], ANSWER),
        (["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], ANSWER),
        (["permessage-deflate; server_max_window_bits=15"], f"{ANSWER}; server_max_window_bits=15"),
        (["x-webkit-deflate-frame, permessage-deflate"], ANSWER),
        (["permessage-deflate; server_max_window_bits=9, permessage-deflate"], ANSWER),
        (["permessage-deflate; unknown", "permessage-deflate; client_max_window_bits"], ANSWER),
    ],
)
def test_an_offer_that_can_be_taken_is_taken(connect_raw: ConnectRaw, offers: list[str], answer: str) -> None:
    assert offering(connect_raw, *offers)[1] == [answer]


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=010",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; surprise",
        "permessage-bzip2",
        ";;,=,",
    ],
)
def test_other_offers_are_declined_and_the_connection_is_plain(connect_raw: ConnectRaw, topic: str, offer: str) -> None:
    raw, answer = offering(connect_raw, offer)
    assert answer == []
    subscribed(raw, topic)
    raw.send(frame(TEXT, json.dumps({"op": "publish", "topic": topic, "data": "x" * 5_000}).encode()))
    assert raw.read_frame().first_byte == PLAIN | TEXT


def test_every_message_stands_by_itself_and_all_who_agreed_get_the_same_bytes(
    connect: Connect, connect_raw: ConnectRaw, topic: str, subprotocol: str
) -> None:
    offer = "permessage-deflate; client_max_window_bits"
    readers = [
        subscribed(offering(connect_raw, offer, subprotocol=subprotocol)[0], topic, subprotocol) for _ in range(2)
    ]
    plain = subscribed(offering(connect_raw, subprotocol=subprotocol)[0], topic, subprotocol)
    publisher = connect(subprotocol)
    prices: Any = [{"symbol": "AAPL", "price": at / 4} for at in range(100)]
    for _ in range(3):
        publisher.publish(topic, prices)
        one, other, whole = (reader.read_frame() for reader in (*readers, plain))
        assert one == other
        assert whole.first_byte & 0xF0 == PLAIN
        assert inflated(one) == whole.payload
        assert publisher.decode(whole.payload.decode() if publisher.text else whole.payload)["data"] == prices
        assert len(one.payload) * 3 < len(whole.payload)


def test_what_would_not_be_shorter_stays_plain(connect: Connect, connect_raw: ConnectRaw, topic: str) -> None:
    raw, _ = offering(connect_raw, "permessage-deflate", subprotocol=MSGPACK)
    subscribed(raw, topic, MSGPACK)
    publisher = connect(MSGPACK)
    for data in ["a score: 3:1", random_bytes(4_000)]:
        publisher.publish(topic, data)
        assert raw.read_frame().first_byte == PLAIN | BINARY


def random_bytes(count: int) -> bytes:
    return b"".join(hashlib.sha256(bytes([at % 256, at // 256])).digest() for at in range(count // 32))


def test_a_client_may_compress_what_it_says(connect_raw: ConnectRaw, topic: str) -> None:
    raw, _ = offering(connect_raw, "permessage-deflate; client_max_window_bits")
    subscribed(raw, topic)
    command = json.dumps({"op": "publish", "topic": topic, "data": "grüße " * 1_000}).encode()
    whole = deflated(command)
    raw.send(frame(TEXT, whole, reserved=4))
    assert json.loads(inflated(raw.read_frame()))["data"] == "grüße " * 1_000
    # In fragments, of which the first alone says that the message is compressed.
    raw.send(frame(TEXT, whole[:10], fin=False, reserved=4) + frame(0, whole[10:11], fin=False) + frame(0, whole[11:]))
    assert json.loads(inflated(raw.read_frame()))["offset"] == 2


def test_a_client_that_keeps_its_context_all_the_same_is_understood(connect_raw: ConnectRaw) -> None:
    """It was told not to (RFC 7692 section 7.1.1.2); every message but the first refers to those before it."""
    raw, _ = offering(connect_raw, "permessage-deflate")
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    for number in range(2_000):
        id_ = f"an id that is long enough to be referred to {number % 7}"
        whole = compressor.compress(json.dumps({"op": "ping", "id": id_}).encode())
        whole += compressor.flush(zlib.Z_SYNC_FLUSH)
        raw.send(frame(TEXT, whole.removesuffix(TAIL), reserved=4))
        assert json.loads(raw.read_frame().payload) == {"op": "pong", "id": id_}
        assert number == 0 or len(whole) < 60


@pytest.mark.parametrize(
    ("bytes_sent", "code"),
    [
        (frame(TEXT, b"\xff" * 20, reserved=4), 1007),
        (frame(TEXT, b"{}", reserved=2), 1002),
        (frame(TEXT, deflated(b"{}"), fin=False, reserved=4) + frame(0, b"", reserved=4), 1002),
        (frame(9, b"", reserved=4), 1002),
    ],
)
def test_compression_gone_wrong_has_its_code(connect_raw: ConnectRaw, bytes_sent: bytes, code: int) -> None:
    raw, _ = offering(connect_raw, "permessage-deflate")
    raw.send(bytes_sent)
    assert raw.read_until_close()[-1].close_code == code


def test_a_compressed_message_where_none_was_agreed_closes_with_1002(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    raw.send(frame(TEXT, deflated(b'{"op":"ping"}'), reserved=4))
    assert raw.read_until_close()[-1].close_code == 1002


def test_bombs_close_with_1009_and_take_no_memory(server: Server, connect_raw: ConnectRaw, connect: Connect) -> None:
    bomb = deflated(b"\x00" * (64 << 20))
    assert len(bomb) * 1000 < 64 << 20
    healthy = connect(JSON, compression="deflate")
    before = server.resident_kib
    for _ in range(50):
        raw, _ = offering(connect_raw, "permessage-deflate")
        raw.send(frame(TEXT, bomb, reserved=4))
        assert raw.read_until_close()[-1].close_code == 1009
    assert server.resident_kib - before < 16 << 10
    assert healthy.ask("ping") == {"op": "pong"}


def test_the_library_and_the_server_agree(connect: Connect, topic: str, subprotocol: str) -> None:
    peer = connect(subprotocol, compression="deflate")
    [extension] = peer.socket.protocol.extensions
    assert isinstance(extension, PerMessageDeflate)
    peer.subscribe(topic)
    for data in ["short", "x" * 10_000, list(range(5_000)), "x" * 10_000]:
        peer.publish(topic, data)
        assert peer.push()["data"] == data
