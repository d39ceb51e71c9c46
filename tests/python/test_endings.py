"""How connections end: close handshakes both ways, half-closed sockets, silence, and readers that do not read."""

import base64
import json
import random
import socket
import time
from pathlib import Path

import msgpack
import pytest

from conftest import Connect, ConnectRaw, StartServer
from peer import JSON, MSGPACK, Peer
from raw import BINARY, CLOSE, PING, TEXT, RawPeer, close_frame, frame
from server import DEADLINE, Server, wait_until

# Stock HTTP stacks linger up to a second on a socket that has been upgraded. A connection whose close handshake is
# done ends at once; half of that second tells the two apart on a busy machine.
AT_ONCE = 0.5


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_a_close_is_echoed_and_tcp_ends_at_once(connect_raw: ConnectRaw, code: int, subprotocol: str) -> None:
    raw = connect_raw().open(subprotocol)
    raw.send(close_frame(code, "see you"))
    assert raw.read_frame().close_code == code
    assert raw.read_end() < AT_ONCE


def test_a_close_without_a_code_is_answered_and_tcp_ends_at_once(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    raw.send(close_frame(None))
    assert raw.read_frame().opcode == CLOSE
    assert raw.read_end() < AT_ONCE


def test_a_close_by_the_library_takes_no_second(server: Server, subprotocol: str) -> None:
    with Peer(server, subprotocol) as peer:
        start = time.monotonic()
        peer.socket.close()
        assert time.monotonic() - start < AT_ONCE
        assert peer.closed() == (1000, "")


def test_a_close_of_the_servers_is_followed_by_the_end_at_once(connect_raw: ConnectRaw) -> None:
    raw = connect_raw().open()
    raw.send(frame(BINARY, b"the wrong frame type"))
    close = raw.read_until_close()[-1]
    assert close.close_code == 1003
    raw.send(frame(CLOSE, close.payload))
    assert raw.read_end() < AT_ONCE


def test_commands_before_a_close_are_carried_out(connect: Connect, connect_raw: ConnectRaw, topic: str) -> None:
    reader, raw = connect(), connect_raw().open()
    reader.subscribe(topic)
    publish = json.dumps({"op": "publish", "topic": topic, "data": "last words"}).encode()
    raw.send(frame(TEXT, publish) + close_frame())
    assert raw.read_frame().close_code == 1000
    assert raw.read_end() < AT_ONCE
    assert reader.push()["data"] == "last words"


def test_what_follows_a_close_is_ignored(connect: Connect, connect_raw: ConnectRaw, topic: str) -> None:
    reader, raw = connect(), connect_raw().open()
    reader.subscribe(topic)
    publish = json.dumps({"op": "publish", "topic": topic, "data": "too late"}).encode()
    raw.send(close_frame() + frame(TEXT, publish))
    raw.wait_for_end()
    reader.publish(topic, "a fence")
    assert reader.push()["data"] == "a fence"


def test_a_peer_that_does_not_answer_a_close_is_left(start_server: StartServer) -> None:
    with RawPeer(start_server(close_timeout="300ms")) as raw:
        raw.open()
        raw.send(frame(BINARY, b"the wrong frame type"))
        assert raw.read_until_close()[-1].close_code == 1003
        raw.wait_for_end()


def test_a_peer_that_goes_on_after_a_bad_frame_is_left(start_server: StartServer) -> None:
    with RawPeer(start_server(close_timeout="300ms")) as raw:
        raw.open()
        raw.send(frame(3))
        assert raw.read_until_close()[-1].close_code == 1002

        def refused() -> bool:
            try:
                raw.send(frame(TEXT, b'{"op":"ping"}'))
            except ConnectionError:
                return True
            return False

        wait_until(refused, "the server hangs up on a peer that does not")


def test_half_a_socket_is_closed_whole(connect: Connect, connect_raw: ConnectRaw, topic: str, subprotocol: str) -> None:
    """The peer has sent its last byte without a close frame; it cannot be a session any more."""
    raw = connect_raw().open(subprotocol)
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.read_end() < AT_ONCE


def test_commands_before_half_a_close_are_carried_out(connect: Connect, connect_raw: ConnectRaw, topic: str) -> None:
    reader, raw = connect(), connect_raw().open()
    reader.subscribe(topic)
    raw.send(frame(TEXT, json.dumps({"op": "publish", "topic": topic, "data": 1}).encode()))
    raw.socket.shutdown(socket.SHUT_WR)
    raw.wait_for_end()
    assert reader.push()["data"] == 1


def test_a_message_cut_off_by_the_end_is_not_carried_out(connect: Connect, connect_raw: ConnectRaw, topic: str) -> None:
    reader, raw = connect(), connect_raw().open()
    reader.subscribe(topic)
    raw.send(frame(TEXT, json.dumps({"op": "publish", "topic": topic, "data": 1}).encode())[:-1])
    raw.socket.shutdown(socket.SHUT_WR)
    raw.wait_for_end()
    reader.publish(topic, 2)
    assert reader.push()["data"] == 2


def test_a_peer_that_resets_its_connection_leaves_its_topics(
    connect: Connect, connect_raw: ConnectRaw, topic: str
) -> None:
    raw = connect_raw().open()
    raw.send(frame(TEXT, json.dumps({"op": "subscribe", "id": 1, "topic": topic}).encode()))
    raw.read_frame()
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    raw.socket.close()
    peer = connect()
    peer.subscribe(topic)
    peer.publish(topic, 1)
    assert peer.push()["data"] == 1


def test_a_silent_peer_is_pinged_and_then_left_with_4103(start_server: StartServer) -> None:
    with RawPeer(start_server(ping_interval="400ms", pong_timeout="300ms", close_timeout="300ms")) as raw:
        raw.open()
        frames = raw.read_until_close()
        assert frames[0].opcode == PING
        assert json.loads(frames[-2].payload)["reconnect"] == "later"
        assert frames[-1].close_code == 4103


def test_a_peer_that_answers_pings_stays(start_server: StartServer) -> None:
    server = start_server(ping_interval="400ms", pong_timeout="300ms", close_timeout="300ms")
    with RawPeer(server) as silent, Peer(server) as peer:
        silent.open()
        silent.read_until_close()  # so long that the other would have been left too
        assert peer.ask("ping") == {"op": "pong"}


# Compression does little for it.
BIG = base64.b64encode(random.Random(1).randbytes(45_000)).decode()
# More than the kernel holds for one connection and the outbox beside it.
MORE_THAN_ANY_BUFFER = 16 * 1024 * 1024 // len(BIG)


@pytest.fixture
def impatient(start_server: StartServer) -> Server:
    """A server that waits for the end of a close handshake for a moment only."""
    return start_server(close_timeout="300ms")


@pytest.mark.parametrize(("stalled_as", "healthy_as"), [(JSON, MSGPACK), (MSGPACK, JSON)])
def test_a_peer_that_never_reads_is_cut_and_harms_nobody(
    impatient: Server, topic: str, stalled_as: str, healthy_as: str
) -> None:
    before = impatient.resident_kib
    with (
        RawPeer(impatient, receive_bytes=4096) as stalled,
        Peer(impatient, healthy_as) as healthy,
        Peer(impatient) as writer,
    ):
        command = {"op": "subscribe", "topic": topic}
        stalled.open(stalled_as)
        stalled.send(
            frame(TEXT, json.dumps(command).encode()) if stalled_as == JSON else frame(BINARY, msgpack.packb(command))
        )
        healthy.subscribe(topic)
        count = 0
        while count < MORE_THAN_ANY_BUFFER:
            count += 1
            assert writer.publish(topic, BIG)["offset"] == count
            message = healthy.push()
            assert (message["topic"], message["offset"], message["data"]) == (topic, count, BIG)
        wait_until(stalled.has_been_reset, "the server hangs up on a peer that reads nothing", DEADLINE)
        writer.publish(topic, "after")
        assert healthy.push()["data"] == "after"
        assert impatient.resident_kib - before < 12 * 1024


def test_a_slow_reader_learns_why_and_missed_nothing_before(
    start_server: StartServer, topic: str, subprotocol: str
) -> None:
    """Who reads again in time finds messages without a gap, then the goodbye and the close frame."""
    server = start_server(close_timeout="30s")
    with Peer(server, subprotocol, max_queue=1) as slow, Peer(server) as writer:
        slow.subscribe(topic)
        for _ in range(MORE_THAN_ANY_BUFFER):
            writer.publish(topic, BIG)
        code, reason = slow.closed()
        *messages, goodbye = slow.unheard()
    assert code == 4104
    assert goodbye == {"op": "goodbye", "code": 4104, "reason": reason, "reconnect": "later"}
    assert [said["offset"] for said in messages] == list(range(1, len(messages) + 1))
    assert 0 < len(messages) < MORE_THAN_ANY_BUFFER


def test_a_peer_that_asks_and_never_reads_is_not_read_from(server: Server) -> None:
    """What it asks waits in its own socket, not in the server's memory. Once it reads it gets every answer."""
    before = server.resident_kib
    with RawPeer(server, receive_bytes=4096) as raw:
        raw.open()
        command = frame(TEXT, b'{"op":"ping","id":"%s"}' % (b"x" * 100))
        batch = command * 64
        asked, rest = 0, b""
        raw.socket.settimeout(1.0)
        while asked < 64 << 20:
            try:
                sent = raw.socket.send(rest or batch)
            except TimeoutError:
                break
            asked += sent
            rest = (rest or batch)[sent:]
        assert asked < 64 << 20, "the server reads on and on"
        assert server.resident_kib - before < 8 * 1024
        raw.socket.settimeout(DEADLINE)
        for _ in range(asked // len(command)):
            assert raw.read_frame().payload.startswith(b'{"op":"pong"')


def test_a_server_that_stops_says_when_to_come_back(tmp_path: Path, subprotocol: str) -> None:
    server = Server(tmp_path)
    with Peer(server, subprotocol) as one, Peer(server, subprotocol) as other:
        assert server.stop() == 0
        for peer in (one, other):
            code, reason = peer.closed()
            goodbye = peer.push("goodbye")
            assert (goodbye["code"], goodbye["reason"]) == (code, reason)
            assert code in (1001, 1012, 4201)
            assert goodbye["reconnect"] in ("now", "later")


def test_many_connections_come_and_go(server: Server, connect: Connect, topic: str) -> None:
    reader = connect()
    reader.subscribe(topic)
    for number in range(200):
        with RawPeer(server) as raw:
            raw.open()
            raw.send(frame(TEXT, json.dumps({"op": "publish", "topic": topic, "data": number}).encode()))
            raw.send(close_frame())
            raw.wait_for_end()
    assert [reader.push()["data"] for _ in range(200)] == list(range(200))
