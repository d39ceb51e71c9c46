"""Opening handshakes, good and bad (RFC 6455 section 4.2, SPEC.md section 3)."""

import socket

import pytest
from websockets.exceptions import InvalidStatus

from conftest import Connect, ConnectRaw, StartServer
from peer import JSON, MSGPACK, Peer
from raw import TEXT, RawPeer, frame
from server import DEADLINE, Server

# Short enough to wait for, long enough for a busy machine to shake hands in.
HANDSHAKE_TIMEOUT = 1.0


@pytest.fixture
def hasty(start_server: StartServer) -> Server:
    """A server that gives a handshake one second."""
    return start_server(handshake_timeout="1s")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([JSON, MSGPACK], JSON),
        ([MSGPACK, JSON], MSGPACK),
        (["mqtt", MSGPACK, "wamp.2.json"], MSGPACK),
    ],
)
def test_the_clients_order_of_preference_decides(server: Server, offered: list[str], chosen: str) -> None:
    with Peer(server, chosen, additional_headers={}) as peer:
        assert peer.socket.subprotocol == chosen
    with RawPeer(server) as raw:
        raw.send(raw.request([", ".join(offered)]))
        assert raw.accepted().headers["sec-websocket-protocol"] == [chosen]


@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        (["mqtt", MSGPACK, JSON], MSGPACK),
        (["mqtt", f"wamp.2.json, {JSON}", MSGPACK], JSON),
        ([f" {JSON} ,", MSGPACK], JSON),
    ],
)
def test_several_header_lines_are_one_list(connect_raw: ConnectRaw, lines: list[str], chosen: str) -> None:
    raw = connect_raw()
    raw.send(raw.request(lines))
    assert raw.accepted().headers["sec-websocket-protocol"] == [chosen]


def test_without_a_subprotocol_it_is_json_and_none_is_named(connect: Connect, topic: str) -> None:
    peer = connect(None)
    assert peer.socket.subprotocol is None
    peer.subscribe(topic)
    peer.publish(topic, 1)
    assert peer.push()["data"] == 1


def test_a_server_may_insist_on_a_subprotocol(start_server: StartServer) -> None:
    server = start_server(subprotocol_required=True)
    with pytest.raises(InvalidStatus) as refused:
        Peer(server, None)
    assert refused.value.response.status_code == 400
    with Peer(server, MSGPACK) as peer:
        assert peer.ask("ping") == {"op": "pong"}


@pytest.mark.parametrize("offered", ["mqtt", "PUBSUB.JSON", "pubsub", "pubsub.jsonx", "json"])
def test_unknown_subprotocols_are_told_ours(connect_raw: ConnectRaw, offered: str) -> None:
    raw = connect_raw()
    raw.send(raw.request([offered]))
    head = raw.read_head()
    assert head.status == 400
    assert head.headers["content-type"] == ["application/problem+json"]
    body = raw.read_body(head).decode()
    assert JSON in body
    assert MSGPACK in body
    raw.read_end()


def test_a_get_without_an_upgrade_is_told_to_upgrade(server: Server) -> None:
    answer = server.request("GET", "/ws")
    assert answer.status == 426
    assert answer.headers["upgrade"].lower() == "websocket"
    assert answer.headers["sec-websocket-version"] == "13"
    assert answer.problem()["code"] == "bad_request"


def test_another_version_is_told_the_right_one(connect_raw: ConnectRaw) -> None:
    raw = connect_raw()
    raw.send(raw.request(version="8"))
    head = raw.read_head()
    assert (head.status, head.headers["sec-websocket-version"]) == (426, ["13"])


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"key": None}, 400),
        ({"key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
        ({"key": "c2hvcnQ="}, 400),
        ({"version": None}, 426),
        ({"start": "POST /ws HTTP/1.1"}, 400),
        ({"start": "GET /elsewhere HTTP/1.1"}, 404),
    ],
)
def test_a_bad_handshake_gets_an_http_error_and_the_end(
    connect_raw: ConnectRaw, wrong: dict[str, str | None], status: int
) -> None:
    raw = connect_raw()
    raw.send(raw.request(**wrong))  # type: ignore[arg-type]
    head = raw.read_head()
    assert head.status == status
    assert head.headers["content-type"] == ["application/problem+json"]
    raw.read_body(head)


def test_header_names_and_values_come_in_any_case(connect_raw: ConnectRaw) -> None:
    raw = connect_raw()
    raw.send(raw.request(upgrade="WebSocket", connection="keep-alive, UPGRADE"))
    raw.accepted()


def test_a_handshake_may_come_byte_by_byte(connect_raw: ConnectRaw) -> None:
    raw = connect_raw()
    for byte in raw.request():
        raw.send(bytes([byte]))
    raw.accepted()
    assert raw.read_frame().opcode == TEXT


def test_a_command_may_come_along_with_the_handshake(connect_raw: ConnectRaw) -> None:
    raw = connect_raw()
    raw.send(raw.request() + frame(TEXT, b'{"op":"ping","id":1}'))
    raw.accepted()
    assert b'"welcome"' in raw.read_frame().payload
    assert raw.read_frame().payload == b'{"op":"pong","id":1}'


@pytest.mark.parametrize("begun", [b"", b"GET /ws HT", b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: webs"])
def test_a_handshake_that_does_not_go_on_is_cut(hasty: Server, begun: bytes) -> None:
    with RawPeer(hasty) as raw:
        raw.send(begun)
        assert raw.wait_for_end().split(b"\r\n")[0] in (b"", b"HTTP/1.1 408 Request Timeout")


def test_a_handshake_that_drips_is_cut_all_the_same(hasty: Server) -> None:
    """Each byte comes well within the time, the whole never would."""
    with RawPeer(hasty) as raw:
        raw.send(b"GET /ws HTTP/1.1\r\nX-Slow: ")
        raw.socket.settimeout(HANDSHAKE_TIMEOUT / 20)
        for _ in range(int(DEADLINE / HANDSHAKE_TIMEOUT * 20)):
            try:
                raw.wait_for_end()
                return
            except TimeoutError:
                try:
                    raw.send(b"x")
                except ConnectionError:
                    return
        raise AssertionError("the server waits for ever")


def test_a_handshake_in_time_is_not_cut_later(hasty: Server, topic: str) -> None:
    with RawPeer(hasty) as raw, RawPeer(hasty) as silent:
        raw.open()
        silent.wait_for_end()  # the time of a handshake is over
        raw.send(frame(TEXT, b'{"op":"ping","id":1}'))
        assert raw.read_frame().payload == b'{"op":"pong","id":1}'


def test_a_megabyte_of_headers_is_an_error_and_not_a_hang(server: Server) -> None:
    before = server.resident_kib
    with RawPeer(server) as raw:
        try:
            raw.send(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n")
            for number in range(1024):
                raw.send(b"X-%d: " % number + b"x" * 1016 + b"\r\n")
            raw.send(b"\r\n")
        except ConnectionError:
            pass  # the server need not read it all
        answer = raw.wait_for_end()
    assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 431"))
    assert server.resident_kib - before < 4096


@pytest.mark.parametrize("begun", [b"", b"GET /ws HTTP/1.1\r\nHost: localhost\r\n"])
def test_half_a_handshake_and_the_end_of_the_stream(connect_raw: ConnectRaw, begun: bytes) -> None:
    raw = connect_raw()
    raw.send(begun)
    raw.socket.shutdown(socket.SHUT_WR)
    assert not raw.wait_for_end().startswith(b"HTTP/1.1 101")


def test_what_is_not_http_gets_an_http_error(connect_raw: ConnectRaw) -> None:
    raw = connect_raw()
    raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n")  # the beginning of TLS
    assert raw.wait_for_end().startswith(b"HTTP/1.1 400")


def test_a_connection_may_publish_before_it_upgrades(connect_raw: ConnectRaw, topic: str) -> None:
    raw = connect_raw()
    raw.send(f"POST /topics/{topic} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1".encode())
    head = raw.read_head()
    assert head.status == 200
    raw.read_body(head)
    raw.open()


def test_a_request_sent_just_before_the_handshake_is_answered_first(connect_raw: ConnectRaw, topic: str) -> None:
    raw = connect_raw()
    post = f"POST /topics/{topic} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1".encode()
    raw.send(post + raw.request())
    assert raw.read_head().status == 200


@pytest.mark.parametrize(
    ("more", "body"),
    [
        (("Content-Length", "5"), b"hello"),
        (("Transfer-Encoding", "chunked"), b"5\r\nhello\r\n0\r\n\r\n"),
        (("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), b""),
    ],
)
def test_a_handshake_with_too_much_is_refused(connect_raw: ConnectRaw, more: tuple[str, str], body: bytes) -> None:
    raw = connect_raw()
    raw.send(raw.request(more=[more]) + body)
    assert raw.read_head().status == 400


def test_an_offer_of_http_2_is_passed_over(connect_raw: ConnectRaw) -> None:
    """Some HTTP clients offer h2c with every request."""
    raw = connect_raw()
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA"
    raw.send(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{offer}\r\n\r\n".encode())
    assert raw.read_head().status == 200
