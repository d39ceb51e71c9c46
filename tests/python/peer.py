"""A client on the PyPI package websockets: it speaks either codec and keeps replies and pushes apart."""

import itertools
import json
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import msgpack
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server import DEADLINE, Server

JSON = "pubsub.json"
MSGPACK = "pubsub.msgpack"

Map = dict[str, Any]

_PUSHES = frozenset({"welcome", "message", "goodbye"})


class Peer:
    """One connection. Whatever the server says that a story did not wait for is kept for its next question."""

    def __init__(self, server: Server, subprotocol: str | None = JSON, **options: Any) -> None:
        self.text = subprotocol != MSGPACK
        names: Sequence[Subprotocol] | None = [Subprotocol(subprotocol)] if subprotocol else None
        self._connection = connect(
            server.websocket_url,
            subprotocols=names,
            max_size=None,
            ping_interval=None,
            open_timeout=DEADLINE,
            close_timeout=DEADLINE,
            proxy=None,
            **options,
        )
        self.socket: ClientConnection = self._connection.__enter__()
        self._ids = itertools.count(1)
        self._kept: deque[Map] = deque()
        self.welcome = self.push("welcome")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.__exit__(kind, error, trace)

    def leave(self) -> None:
        """Closes the connection as one should."""
        self.socket.close()

    def encode(self, command: Any) -> str | bytes:
        if self.text:
            return json.dumps(command, ensure_ascii=False)
        packed = msgpack.packb(command)
        assert isinstance(packed, bytes)
        return packed

    def decode(self, frame: str | bytes) -> Map:
        """What a frame says. A frame of the other type than the subprotocol's is a failure."""
        assert isinstance(frame, str) == self.text, f"the wrong frame type: {frame!r}"
        said = json.loads(frame) if self.text else msgpack.unpackb(frame, strict_map_key=False)
        assert isinstance(said, dict)
        return said

    def send(self, **command: Any) -> None:
        """Sends a command and waits for nothing."""
        self.socket.send(self.encode(command))

    def send_raw(self, frame: str | bytes) -> None:
        """Sends these bytes in a frame of the subprotocol's type."""
        self.socket.send(frame, text=self.text)

    def _next(self, wanted: Callable[[Map], bool]) -> Map:
        for said in self._kept:
            if wanted(said):
                self._kept.remove(said)
                return said
        while True:
            said = self.decode(self.socket.recv(timeout=DEADLINE))
            if wanted(said):
                return said
            self._kept.append(said)

    def reply(self, id_: int | str) -> Map:
        """The reply that bears an id."""
        return self._next(lambda said: said.get("id") == id_ and said["op"] not in _PUSHES)

    def ask(self, op: str, **fields: Any) -> Map:
        """Sends a command with an id of its own; its reply, without the id."""
        id_ = next(self._ids)
        self.send(op=op, id=id_, **fields)
        reply = self.reply(id_)
        del reply["id"]
        return reply

    def error(self, op: str, **fields: Any) -> str:
        """Sends a command that must fail; the error's code."""
        reply = self.ask(op, **fields)
        assert reply["op"] == "error", reply
        return str(reply["code"])

    def push(self, op: str = "message") -> Map:
        """The next push of this kind."""
        return self._next(lambda said: said["op"] == op and "id" not in said)

    def subscribe(self, topic: str, **options: Any) -> Map:
        reply = self.ask("subscribe", topic=topic, **options)
        assert reply["op"] == "subscribed", reply
        return reply

    def publish(self, topic: str, data: Any, **options: Any) -> Map:
        reply = self.ask("publish", topic=topic, data=data, **options)
        assert reply["op"] == "published", reply
        return reply

    def pushes(self, count: int) -> list[Map]:
        """The next pushes, whatever they say, in the order in which they came."""
        return [self._next(lambda said: "id" not in said) for _ in range(count)]

    def kept(self) -> list[Map]:
        """All that was said before this moment and not waited for: the server has carried out every earlier command."""
        reply = self.ask("subscribe", topic="fence")
        assert reply["op"] == "subscribed", reply
        assert self.ask("unsubscribe", topic="fence")["op"] == "unsubscribed"
        return self.unheard()

    def unheard(self) -> list[Map]:
        """What was read and not waited for."""
        unheard = list(self._kept)
        self._kept.clear()
        return unheard

    def closed(self) -> tuple[int, str]:
        """Reads until the server closes; the code and the reason of its close frame."""
        close = None
        try:
            while True:
                self._kept.append(self.decode(self.socket.recv(timeout=DEADLINE)))
        except ConnectionClosed as end:
            close = end.rcvd
        assert close is not None, "the connection ended without a close frame"
        return close.code, close.reason
