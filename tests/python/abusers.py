"""Those who mean a server ill: each a round of one kind of abuse, which tells what became of it. They run in a process
of their own, so that whoever is slow beside them is so by the server."""

import json
import os
import select
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache
from itertools import count
from typing import Any, TypeAlias

from raw import CLOSE, TEXT, RawPeer, close_frame, frame
from server import Address
from tokens import hs256, in_an_hour, unsigned

SECRET = b"what the issuer of tokens and this server share"

# What became of an abuse, and how often: a status of HTTP, a close code, the code of an error.
Tally: TypeAlias = Counter[str]
Header: TypeAlias = tuple[str, str]

_NUMBERS = count(1)

# So slow is the slow loris; and so long is a flood of connections held.
_DROP, _HOLD = 0.02, 0.3


def token(user: str, *roles: str, **more: Any) -> str:
    return hs256(SECRET, {"sub": user, "exp": in_an_hour(), "roles": list(roles)} | more)


def bearer(text: str) -> Header:
    return ("Authorization", f"Bearer {text}")


def guest() -> Header:
    """What somebody new shows: each is a user of their own."""
    return bearer(token(f"guest{next(_NUMBERS)}", "guest"))


def text(**command: Any) -> bytes:
    return frame(TEXT, json.dumps(command).encode())


def get(path: str, *headers: Header) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes, *headers: Header) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers), "", ""]).encode() + body


class RefusedError(Exception):
    """A handshake that was not accepted."""


def opened(raw: RawPeer, *headers: Header) -> RawPeer:
    """Shakes hands as a guest, unless other headers are given, and reads the welcome."""
    raw.send(raw.request(more=headers or (guest(),)))
    head = raw.read_head()
    if head.status != 101:
        raise RefusedError(f"HTTP {head.status}")
    assert raw.read_frame().opcode == TEXT
    return raw


def pour(raw: RawPeer, data: bytes) -> None:
    """Sends what may be cut off."""
    with suppress(ConnectionError):
        raw.send(data)


def status(raw: RawPeer) -> str:
    try:
        return f"HTTP {raw.read_head().status}"
    except (ConnectionError, AssertionError):
        return "cut off"


def ending(raw: RawPeer, tally: Tally) -> None:
    """Reads to the end: the errors on the way count, and the close code."""
    try:
        while (said := raw.read_frame()).opcode != CLOSE:
            if said.opcode == TEXT:
                told = json.loads(said.payload)
                tally[told.get("code", told["op"]) if told["op"] == "error" else told["op"]] += 1
        tally[f"closed {said.close_code}"] += 1
    except (ConnectionError, AssertionError):
        tally["cut off"] += 1


def replies(raw: RawPeer, last: int, tally: Tally) -> None:
    """Reads up to the reply to the last command."""
    id_ = None
    while id_ != last:
        said = raw.read_frame()
        if said.opcode == CLOSE:
            tally[f"closed {said.close_code}"] += 1
            return
        if said.opcode == TEXT:
            told = json.loads(said.payload)
            id_ = told.get("id")
            tally[str(told["code"] if told["op"] == "error" else told["op"])] += 1


def reset(raw: RawPeer) -> None:
    """Hangs up without a word."""
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.socket.close()


# --- before a request ---


def silent_connections(server: Address, tally: Tally) -> None:
    """Connections of which half say a word, more than there may be handshakes, and that is all."""
    with ExitStack() as stack:
        poll, peers = select.poll(), {}
        for index in range(600):
            raw = stack.enter_context(RawPeer(server))
            if index % 2:
                pour(raw, b"GET ")
            peers[raw.socket.fileno()] = raw
            poll.register(raw.socket, select.POLLIN)
        threading.Event().wait(_HOLD)
        answered = [peers[descriptor] for descriptor, _ in poll.poll(0)]
        tally.update(status(raw) for raw in answered)
        tally["unanswered"] += len(peers) - len(answered)
    # The others are to have their turn.
    threading.Event().wait(2 * _HOLD)


def slow_lorises(server: Address, tally: Tally) -> None:
    """Heads of requests that come byte by byte and have no end."""
    with ExitStack() as stack:
        herd = [stack.enter_context(RawPeer(server)) for _ in range(20)]
        head = get("/topics/noise/messages")[:-2] + b"X-More: and more\r\n" * 100
        for at in range(len(head)):
            for raw in list(herd):
                poll = select.poll()
                poll.register(raw.socket, select.POLLIN)
                if poll.poll(0):
                    tally[status(raw)] += 1
                    herd.remove(raw)
                else:
                    pour(raw, head[at : at + 1])
            if not herd:
                return
            threading.Event().wait(_DROP)
        tally["let in"] += len(herd)


@cache
def _client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake with nobody")


def tls_where_there_is_none(server: Address, tally: Tally) -> None:
    for garbage in (
        _client_hello(),
        b"\x16\x03\x01\xff\xff" + os.urandom(4096),
        b"\x80" + os.urandom(64) + b"\r\n\r\n",
    ):
        with RawPeer(server) as raw:
            pour(raw, garbage)
            tally[status(raw)] += 1


# --- requests ---


def bad_tokens(now: int) -> list[str]:
    claims = {"sub": "reader", "exp": now + 3600, "roles": ["member", "operator"]}
    sound = hs256(SECRET, claims)
    return [
        *(unsigned({"alg": algorithm}, claims) + "." for algorithm in ("none", "None", "", "RS256")),
        hs256(SECRET, claims | {"exp": now - 3600}),
        hs256(SECRET, claims | {"nbf": now + 3600}),
        hs256(SECRET, claims | {"aud": "somebody else"}),
        hs256(b"another secret that somebody has made up for this", claims),
        hs256(SECRET, claims, alg="HS512"),
        sound[:-4],
        sound + "." + sound,
        "a" * 7_000,
        "..",
        "thk_" + "A" * 43,
    ]


def wrong_tokens(server: Address, tally: Tally) -> None:
    """By the header of a handshake and of a request, and within a session, to its end."""
    tokens = bad_tokens(int(time.time()))
    for wrong in tokens:
        with RawPeer(server) as raw:
            raw.send(raw.request(more=[bearer(wrong)]))
            tally[status(raw)] += 1
        with RawPeer(server) as raw:
            raw.send(post("/topics/news.1", b"0", bearer(wrong)))
            tally[status(raw)] += 1
    with RawPeer(server) as raw:
        pour(raw, get("/topics/news.1/messages", bearer("a" * 100_000)))
        tally[status(raw)] += 1
    with RawPeer(server) as raw:
        raw.send(raw.request())
        assert raw.accepted()
        for _ in range(100):
            pour(raw, b"".join(text(op="authenticate", id=1, token=wrong) for wrong in tokens))
        ending(raw, tally)


def foreign_origins(server: Address, tally: Tally) -> None:
    for origin in (
        "https://evil.example",
        "null",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1:1",
        "file://",
        "x",
    ):
        with RawPeer(server) as raw:
            raw.send(raw.request(more=[guest(), ("Origin", origin)]))
            tally[status(raw)] += 1
        with RawPeer(server) as raw:
            raw.send(post("/topics/noise.origin", b"0", guest(), ("Origin", origin)))
            tally[status(raw)] += 1


# With what would be believed, so that each gets as far as it can.
_MEMBER = bearer(token("smuggler", "member"))
_START = f"POST /topics/news.1 HTTP/1.1\r\n{_MEMBER[0]}: {_MEMBER[1]}\r\n".encode()
_HOST = b"Host: 127.0.0.1\r\n"

BAD_REQUESTS = [
    _START + _HOST + b"Host: evil.example\r\nContent-Length: 0\r\n\r\n",
    _START + b"Content-Length: 0\r\n\r\n",
    _START + _HOST + b"Content-Length: 0\r\nContent-Length: 75\r\n\r\n",
    _START + _HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _START + _HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    _START + _HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    _START + _HOST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    _START + _HOST + b"Content-Length: -1\r\n\r\n",
    _START + _HOST + b"Content-Length: +1\r\n\r\n0",
    _START + _HOST + b"Content-Length: 18446744073709551616\r\n\r\n",
    _START + _HOST + b"Content-Length : 0\r\n\r\n",
    _START + _HOST + b"X-A: 1\r\n folded: Content-Length\r\nContent-Length: 0\r\n\r\n",
    _START + _HOST + b"X-A: \x00\r\nContent-Length: 0\r\n\r\n",
    _START + _HOST + b"X-A: " + b"a" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
    _START + _HOST + b"X-A: 1\r\n" * 500 + b"Content-Length: 0\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/9.9\r\n" + _HOST + b"\r\n",
    b"\x00\x01\x02\x03\r\n\r\n",
]


def bad_requests(server: Address, tally: Tally) -> None:
    """What could be understood in two ways, each with a publish behind it that would be allowed."""
    smuggled = post("/topics/news.1", b"0", _MEMBER)
    for request in BAD_REQUESTS:
        with RawPeer(server) as raw:
            pour(raw, request + smuggled)
            tally[status(raw)] += 1


def long_polls_that_hang_up(server: Address, tally: Tally) -> None:
    asker, path = guest(), "/topics/noise.poll/messages"
    with RawPeer(server) as raw:
        raw.send(get(path, asker))
        head = raw.read_head()
        if head.status != 200:
            raise RefusedError(f"HTTP {head.status}")
        page = json.loads(raw.read_body(head))
    after = f"{page['epoch']}:{page['offset']}"
    with ExitStack() as stack:
        for index in range(30):
            raw = stack.enter_context(RawPeer(server))
            raw.send(get(f"{path}?after={after}&wait=60", asker))
            if index % 2:
                stack.callback(reset, raw)
        threading.Event().wait(_HOLD)
        tally["hung up"] += 30


# --- sessions ---


def floods(server: Address, tally: Tally) -> None:
    """Beyond each of the rates: commands and bytes of a session, publishes of a user."""
    for flood in (text(op="ping") * 3_000, text(op="publish", topic="noise.flood", data="x" * 60_000) * 200):
        with RawPeer(server) as raw:
            pour(opened(raw), flood + close_frame())
            ending(raw, tally)
    with RawPeer(server) as raw:
        batch = json.dumps([{"topic": "noise.flood", "data": number} for number in range(500)]).encode()
        raw.send(post("/publish", batch, guest()))
        head = raw.read_head()
        if head.status != 200:
            raise RefusedError(f"HTTP {head.status}")
        tally.update(entry.get("error", {"code": "published"})["code"] for entry in json.loads(raw.read_body(head)))


def readers_that_never_read(server: Address, tally: Tally) -> None:
    """Five who ask for much and take nothing, until the server has had enough of them."""
    with ExitStack() as stack:
        idlers = [opened(stack.enter_context(RawPeer(server, receive_bytes=4096))) for _ in range(5)]
        for raw in idlers:
            raw.send(text(op="subscribe", topic="noise.>"))
            raw.send(text(op="history", topic="noise.big", limit=1000) * 20)
        author = guest()
        for _ in range(250):
            with RawPeer(server) as raw:
                raw.send(post("/topics/noise.big", json.dumps("x" * 60_000).encode(), author))
                tally[status(raw)] += 1
            gone = [raw for raw in idlers if raw.has_been_reset()]
            tally["disconnected"] += len(gone)
            idlers = [raw for raw in idlers if raw not in gone]
            if not idlers:
                return
        tally["left"] += len(idlers)


def churn_of_patterns(server: Address, tally: Tally) -> None:
    """A subscription comes and goes as fast as the rate lets it, and more than there may be are asked for."""
    with RawPeer(server) as raw:
        opened(raw)
        commands = []
        for index in range(40):
            names = [f"noise.*.x{index}.{other}.>" for other in range(5)]
            commands.append({"op": "subscribe", "topics": names, "replay": {"last": 10}})
            commands.append({"op": "unsubscribe", "topics": names})
        many = [[f"noise.{index}.{other}.*" for other in range(60)] for index in range(5)]
        commands += [{"op": "subscribe", "topics": names} for names in many]
        pour(raw, b"".join(text(id=index, **command) for index, command in enumerate(commands)))
        replies(raw, len(commands) - 1, tally)


def churn_of_members(server: Address, tally: Tally) -> None:
    """Members come to a room and are gone, some without a word, while all of them watch."""
    with ExitStack() as stack:
        members = [opened(stack.enter_context(RawPeer(server))) for _ in range(15)]
        for index, raw in enumerate(members):
            for round_ in range(5):
                raw.send(text(op="subscribe", id=round_, topic="room.1", presence={"data": "x" * 200}))
                raw.send(text(op="unsubscribe", id=10 + round_, topic="room.1"))
            raw.send(text(op="subscribe", id=20, topic="room.1", presence=True))
            if index % 2:
                reset(raw)
                tally["hung up"] += 1
            else:
                replies(raw, 20, tally)


def storm_of_returns(server: Address, tally: Tally) -> None:
    """Sessions that open, subscribe, publish, and are cut off at once to come back as somebody else."""
    with ExitStack() as stack:
        returning = [stack.enter_context(RawPeer(server)) for _ in range(30)]
        for raw in returning:
            subscribe = text(op="subscribe", topic="noise.>", replay={"last": 10})
            raw.send(raw.request(more=[guest()]) + subscribe + text(op="publish", topic="noise.storm", data=1))
        for raw in returning:
            tally[status(raw)] += 1
            reset(raw)


@cache
def _bomb() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    whole = compressor.compress(bytes(64 << 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(TEXT, whole[:-4], reserved=4)


@cache
def _outsized() -> list[bytes]:
    return [
        struct.pack("!BBQ4s", 0x81, 0xFF, 2**63 - 1, b"mask"),
        struct.pack("!BBQ4s", 0x81, 0xFF, 2**63, b"mask"),
        frame(TEXT, b"x" * 65_537),
        frame(TEXT, b"x", fin=False) + frame(0, b"x", fin=False) * 65_536,
        frame(TEXT, b"x" * 60_000, fin=False) + frame(0, b"x" * 6_000),
        frame(TEXT, b'{"op":"ping","deep":' + b"[" * 50_000),
    ]


def bombs_and_outsized_messages(server: Address, tally: Tally) -> None:
    for data in _outsized():
        with RawPeer(server) as raw:
            pour(opened(raw), data + close_frame())
            ending(raw, tally)
    with RawPeer(server) as raw:
        opened(raw, guest(), ("Sec-WebSocket-Extensions", "permessage-deflate"))
        pour(raw, _bomb())
        ending(raw, tally)


KINDS: list[Callable[[Address, Tally], None]] = [
    silent_connections,
    slow_lorises,
    tls_where_there_is_none,
    wrong_tokens,
    foreign_origins,
    bad_requests,
    long_polls_that_hang_up,
    floods,
    readers_that_never_read,
    churn_of_patterns,
    churn_of_members,
    storm_of_returns,
    bombs_and_outsized_messages,
]


def abuse(server: Address, seconds: float, names: Iterable[str] = ()) -> dict[str, Tally]:
    """All kinds at once, or those that are named, again and again for so long. What became of each kind."""
    end = time.monotonic() + seconds
    kinds = [kind for kind in KINDS if not names or kind.__name__ in names]

    def again_and_again(kind: Callable[[Address, Tally], None]) -> Tally:
        tally: Tally = Counter()
        while time.monotonic() < end:
            try:
                kind(server, tally)
            except RefusedError as refused:
                tally[str(refused)] += 1
            except (ConnectionError, AssertionError):
                tally["cut off"] += 1
            except TimeoutError:
                tally["nothing came"] += 1
            tally["rounds"] += 1
        return tally

    with ThreadPoolExecutor(len(kinds)) as pool:
        return dict(zip([kind.__name__ for kind in kinds], pool.map(again_and_again, kinds), strict=True))
