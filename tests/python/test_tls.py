"""TLS as OpenSSL speaks it: another implementation than the server's."""

import asyncio
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import connect as connect_websocket
from websockets.typing import Subprotocol

from conftest import stop_sound
from peer import JSON, MSGPACK
from server import CERTIFICATE, DEADLINE, Server, wait_until

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("tls"), {"handshakes_max": 64, "handshake_timeout": "1s"}, tls=True)
    yield server
    stop_sound(server)


def trusting(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.minimum_version = context.maximum_version = version
    return context


def connect(server: Server, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection((server.host, server.port), timeout=DEADLINE)
    return context.wrap_socket(plain, server_hostname="localhost", session=session)


def ask_health(secured: ssl.SSLSocket) -> bytes:
    """The whole answer; an end without close_notify would raise."""
    secured.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = b""
    while data := secured.recv(4096):
        answer += data
    return answer


async def exchange(server: Server, context: ssl.SSLContext, subprotocol: str, lengths: Sequence[int]) -> None:
    """Publishes texts of these lengths, and hears them. By asyncio: the client for threads reads in one of them and
    writes in another, and OpenSSL can then lose what is written."""
    encode, decode = (json.dumps, json.loads) if subprotocol == JSON else (msgpack.packb, msgpack.unpackb)
    names = [Subprotocol(subprotocol)]
    opening = connect_websocket(
        server.websocket_url, subprotocols=names, ssl=context, open_timeout=DEADLINE, proxy=None
    )
    async with opening as websocket:

        async def hear(op: str) -> Any:
            while True:
                said = decode(await asyncio.wait_for(websocket.recv(), DEADLINE))
                if said["op"] == op:
                    return said

        await websocket.send(encode({"op": "subscribe", "id": 1, "topic": "tls"}))
        await hear("subscribed")
        for length in lengths:
            await websocket.send(encode({"op": "publish", "topic": "tls", "data": "x" * length}))
            assert (await hear("message"))["data"] == "x" * length


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
def test_messages_of_any_length_pass_in_both_directions(
    secure: Server, version: ssl.TLSVersion, subprotocol: str
) -> None:
    lengths = [0, 1, 125, 16_000, 16_384, 33_000, 60_000]
    asyncio.run(exchange(secure, trusting(version), subprotocol, lengths))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_end_is_said_and_a_ticket_brings_one_back(secure: Server, version: ssl.TLSVersion) -> None:
    context = trusting(version)
    with connect(secure, context) as first:
        assert ask_health(first).endswith(b"ok\n")
        session = first.session
    with connect(secure, context, session) as second:
        assert ask_health(second).endswith(b"ok\n")
        assert second.session_reused


def test_browsers_that_offer_more_get_http_1_1(secure: Server) -> None:
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(secure, context) as secured:
        assert secured.selected_alpn_protocol() == "http/1.1"
    connection = http.client.HTTPSConnection("localhost", secure.port, timeout=DEADLINE, context=trusting())
    connection.request("POST", "/topics/tls.http", "1")
    assert connection.getresponse().status == 200
    connection.close()


def test_who_speaks_plain_or_too_old_a_version_is_hung_up_on_and_nobody_else_notices(secure: Server) -> None:
    for sent in [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x00\x02\x01\x00", bytes(70_000)]:
        with socket.create_connection((secure.host, secure.port), timeout=DEADLINE) as plain:
            answer = b""
            try:
                plain.sendall(sent)
                while data := plain.recv(4096):
                    answer += data
            except ConnectionError:
                pass
            assert not answer.startswith(b"HTTP")
    asyncio.run(exchange(secure, trusting(), JSON, [1]))


def test_a_thousand_who_never_shake_hands_leave_nothing_behind(secure: Server) -> None:
    for _ in range(20):
        silent = [socket.create_connection((secure.host, secure.port), timeout=DEADLINE) for _ in range(50)]
        for plain in silent:
            plain.close()

    def is_free() -> bool:
        try:
            with connect(secure, trusting()) as secured:
                return ask_health(secured).endswith(b"ok\n")
        except OSError:
            return False

    wait_until(is_free, "a place is free")
