"""Peers that send what they must not, all at once, beside one who behaves: each gets its code, nobody else notices."""

import struct
import threading
import zlib
from collections.abc import Callable

import pytest

from peer import JSON, Peer
from raw import PING, TEXT, RawPeer, close_frame, frame
from server import Server

MEBIBYTE = 1024  # in KiB, as memory is counted here
LIMIT = 65_536
ONE_BYTE = frame(0, b"x", fin=False)


def expect(raw: RawPeer, code: int) -> None:
    assert raw.read_until_close()[-1].close_code == code


def huge_header(raw: RawPeer) -> None:
    raw.send(struct.pack("!BBQ4s", 0x81, 0xFF, 2**63 - 1, b"mask"))
    expect(raw, 1009)


def header_with_the_top_bit(raw: RawPeer) -> None:
    raw.send(struct.pack("!BBQ4s", 0x81, 0xFF, 2**63, b"mask"))
    expect(raw, 1002)


def endless_fragments(raw: RawPeer) -> None:
    raw.send(frame(TEXT, b"x", fin=False) + ONE_BYTE * LIMIT)
    expect(raw, 1009)


def endless_fragments_with_controls_between(raw: RawPeer) -> None:
    raw.send(frame(TEXT, b"x", fin=False))
    batch = (ONE_BYTE * 64 + frame(PING, b"?")) * 64
    for _ in range(LIMIT // 64 // 64 - 1):
        raw.send(batch)
        for _ in range(64):
            assert raw.read_frame().payload == b"?"
    raw.send(ONE_BYTE * 64 * 64)
    expect(raw, 1009)


def ping_flood(raw: RawPeer) -> None:
    flood = frame(PING, b"x" * 125) * 50
    for _ in range(40):
        raw.send(flood)
        for _ in range(50):
            assert len(raw.read_frame().payload) == 125
    raw.send(close_frame())
    expect(raw, 1000)


def bomb(raw: RawPeer) -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    whole = compressor.compress(bytes(16 << 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    raw.send(frame(TEXT, whole[:-4], reserved=4))
    expect(raw, 1009)


def close_race(raw: RawPeer) -> None:
    """A close frame, and more behind it, which is not answered."""
    raw.send(close_frame() + frame(PING, b"late") + frame(TEXT, b'{"op":"ping","id":1}') + close_frame(1001))
    assert [said.close_code for said in raw.read_until_close()] == [1000]


HOSTILE = [
    huge_header,
    header_with_the_top_bit,
    endless_fragments,
    endless_fragments_with_controls_between,
    ping_flood,
    bomb,
    close_race,
]


@pytest.mark.parametrize("attack", HOSTILE)
def test_each_attack_gets_its_code(server: Server, attack: Callable[[RawPeer], None]) -> None:
    with RawPeer(server) as raw:
        attack(opened(raw))


def opened(raw: RawPeer) -> RawPeer:
    raw.send(raw.request((JSON,), more=[("Sec-WebSocket-Extensions", "permessage-deflate")]))
    raw.accepted()
    assert raw.read_frame().opcode == TEXT
    return raw


def test_all_of_them_at_once_disturb_nobody(server: Server, topic: str) -> None:
    failures: list[BaseException] = []

    def attack_again_and_again(attack: Callable[[RawPeer], None]) -> None:
        try:
            for _ in range(10):
                with RawPeer(server) as raw:
                    attack(opened(raw))
        except BaseException as failure:
            failures.append(failure)

    with Peer(server) as healthy:
        healthy.subscribe(topic)
        before = server.resident_kib
        attackers = [threading.Thread(target=attack_again_and_again, args=(attack,)) for attack in HOSTILE]
        for attacker in attackers:
            attacker.start()
        number = 0
        while any(attacker.is_alive() for attacker in attackers):
            number += 1
            assert healthy.publish(topic, number)["offset"] == number
            assert healthy.push()["data"] == number
        for attacker in attackers:
            attacker.join()
        assert not failures, failures
        assert number > 10
        assert server.resident_kib - before < 16 * MEBIBYTE
