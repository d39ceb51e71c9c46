"""A client on bare TCP, for what no decent client would send. It knows the frames of RFC 6455 and nothing more."""

import base64
import hashlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from peer import JSON
from server import DEADLINE, Address, Server

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes
    first_byte: int

    @property
    def close_code(self) -> int:
        assert self.opcode == CLOSE, self
        return int(struct.unpack("!H", self.payload[:2])[0])


@dataclass(frozen=True)
class Head:
    """The head of a response. Of a header that comes twice both values count."""

    status: int
    headers: dict[str, list[str]]


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One frame as a client sends it, unless told otherwise."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    if not masked:
        return head + payload
    key = os.urandom(4)
    whole = key * (len(payload) // 4 + 1)
    return head + key + bytes(a ^ b for a, b in zip(payload, whole, strict=False))


def close_frame(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


class RawPeer:
    """One TCP connection. `receive_bytes` makes the kernel's receive buffer small."""

    def __init__(self, server: Server | Address, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(DEADLINE)
        self.socket.connect((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._key = base64.b64encode(os.urandom(16)).decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(
        self,
        subprotocols: Iterable[str] = (JSON,),
        *,
        start: str = "GET /ws HTTP/1.1",
        version: str | None = "13",
        key: str | None = "",
        connection: str | None = "Upgrade",
        upgrade: str | None = "websocket",
        more: Iterable[tuple[str, str]] = (),
    ) -> bytes:
        """The head of a handshake; each of `subprotocols` is a header line of its own."""
        fields = [
            ("Host", "127.0.0.1"),
            ("Upgrade", upgrade),
            ("Connection", connection),
            ("Sec-WebSocket-Key", self._key if key == "" else key),
            ("Sec-WebSocket-Version", version),
            *(("Sec-WebSocket-Protocol", line) for line in subprotocols),
            *more,
        ]
        lines = [f"{name}: {value}" for name, value in fields if value is not None]
        return "\r\n".join([start, *lines, "", ""]).encode()

    def open(self, subprotocol: str = JSON) -> Self:
        """Shakes hands and reads the welcome."""
        self.send(self.request((subprotocol,)))
        self.accepted()
        assert self.read_frame().opcode == (TEXT if subprotocol == JSON else BINARY)
        return self

    def accepted(self) -> Head:
        """The head of an answer that accepts the handshake."""
        head = self.read_head()
        assert head.status == 101, head
        digest = hashlib.sha1(self._key.encode() + _GUID).digest()
        assert head.headers["sec-websocket-accept"] == [base64.b64encode(digest).decode()]
        return head

    def _fill(self) -> bool:
        """Reads some more; False at the end."""
        data = self.socket.recv(65536)
        self._buffer += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            assert self._fill(), f"the end came after {bytes(self._buffer)!r}, expected {count} bytes"
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def read_head(self) -> Head:
        while b"\r\n\r\n" not in self._buffer:
            assert self._fill(), f"the end came within the head: {bytes(self._buffer)!r}"
        start, *lines = self._take(self._buffer.index(b"\r\n\r\n") + 4).decode().rstrip().split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name.lower(), []).append(value.strip())
        return Head(int(start.split(" ")[1]), headers)

    def read_body(self, head: Head) -> bytes:
        return self._take(int(head.headers["content-length"][0]))

    def read_frame(self) -> Frame:
        first, second = self._take(2)
        assert second < 0x80, "a server's frame is not masked"
        length = second
        if second == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif second == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return Frame(first & 0x0F, self._take(length), first)

    def read_until_close(self) -> list[Frame]:
        """All frames up to the close frame, which is the last."""
        frames = [self.read_frame()]
        while frames[-1].opcode != CLOSE:
            frames.append(self.read_frame())
        return frames

    def read_end(self) -> float:
        """Waits for the end of the connection, with nothing before it; how many seconds that took."""
        start = time.monotonic()
        assert not self._buffer, bytes(self._buffer)
        assert not self._fill(), f"more came instead of the end: {bytes(self._buffer)!r}"
        return time.monotonic() - start

    def wait_for_end(self) -> bytes:
        """Waits for the end of the connection, a reset included; what came before it."""
        try:
            while self._fill():
                pass
        except ConnectionError:
            pass
        return bytes(self._buffer)

    def has_been_reset(self) -> bool:
        """Whether the server has ended the connection for good, found out without reading from it."""
        poll = select.poll()
        poll.register(self.socket, 0)
        return bool(poll.poll(0))
