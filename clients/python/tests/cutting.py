"""A way to the server that a story can cut."""

import asyncio
from contextlib import suppress
from types import TracebackType

from server import Address


class Cable:
    """Forwards TCP connections to a server, until it is cut. While it is `unplugged`, connections are refused."""

    def __init__(self, upstream: Address) -> None:
        self.upstream = upstream
        self._listener: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.unplugged = False
        self.connections = 0

    async def __aenter__(self) -> "Cable":
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self.unplugged = True  # for whoever was let in and not yet looked at
        self._listener.close()
        await self.cut()

    async def cut(self) -> None:
        """Resets every connection."""
        lines = tuple(self._lines)
        for line in lines:
            line.cancel()
        if lines:
            await asyncio.wait(lines)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.unplugged:
            writer.transport.abort()
            return
        self.connections += 1
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        ways: list[asyncio.Future[None]] = []
        ends = [writer]
        try:
            there = await asyncio.open_connection(self.upstream.host, self.upstream.port)
            ends.append(there[1])
            ways = [
                asyncio.ensure_future(_forward(reader, there[1])),
                asyncio.ensure_future(_forward(there[0], writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass
        finally:
            for way in ways:
                way.cancel()
            for end in ends:
                end.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)
            self._lines.discard(line)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while read := await reader.read(65_536):
            writer.write(read)
            await writer.drain()
