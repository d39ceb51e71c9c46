"""Servers that misbehave: on the package websockets, as far as they speak WebSocket at all, else on bare TCP."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

Talk = Callable[["Visit"], Awaitable[None]]

WELCOME = {"op": "welcome", "session": "0f8b7a52-9d1c-4f6e-8a53-1c2d3e4f5a6b", "protocol": 1, "ping_ms": 25_000}


class Visit:
    """A client's connection, from the server's side. `number` counts them from 1."""

    def __init__(self, connection: ServerConnection, number: int) -> None:
        self.connection = connection
        self.number = number

    async def say(self, *maps: dict[str, Any]) -> None:
        for map_ in maps:
            await self.connection.send(json.dumps(map_))

    async def hear(self) -> dict[str, Any]:
        """The next command."""
        heard = json.loads(await self.connection.recv())
        assert isinstance(heard, dict)
        return heard

    async def welcome(self, *, subscribed: int = 0, **position: Any) -> None:
        """Says `welcome`, and answers so many `subscribe`."""
        await self.say(WELCOME)
        for _ in range(subscribed):
            command = await self.hear()
            answer = {"epoch": "k", "offset": 0, "replayed": 0, "recovered": True} | position
            await self.say({"op": "subscribed", "id": command["id"], "topic": command["topic"]} | answer)

    async def linger(self) -> None:
        """Until the client goes."""
        await self.connection.wait_closed()


@asynccontextmanager
async def talking(talk: Talk, subprotocol: str | None = "pubsub.json") -> AsyncIterator[str]:
    """A server that talks so to everybody who comes; its address."""
    visits = 0

    async def visited(connection: ServerConnection) -> None:
        nonlocal visits
        visits += 1
        with suppress(ConnectionClosed):
            await talk(Visit(connection, visits))

    def chosen(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return Subprotocol(subprotocol) if subprotocol else None

    options: dict[str, Any] = {"ping_interval": None, "close_timeout": 0.2, "compression": None}
    async with serve(visited, "127.0.0.1", 0, select_subprotocol=chosen, **options) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


class _Answering(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if b"\r\n\r\n" in self._heard:
            self._transport.write(self._answer)
            self._transport.close()


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """A server that answers every request with these bytes, and hangs up."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Answering(answer), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()


def response(status: str, body: str = "", **headers: str) -> bytes:
    """An HTTP response, as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()
