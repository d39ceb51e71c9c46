"""One WebSocket connection, on the package websockets. Only this file knows that package."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from .codec import Frame

CLOSE_WITHIN_S = 1.0
# A page of history can have a thousand messages of 64 KiB; more than that nobody means.
MESSAGE_BYTES_MAX = 128 << 20
PROBLEM_BYTES_MAX = 8 << 10


@dataclass(frozen=True, slots=True)
class Dialing:
    """How to get through to the server, beside its address."""

    headers: Mapping[str, str] | None = None
    ssl: tls.SSLContext | None = None
    proxy: str | Literal[True] | None = True
    compression: bool = True


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """The handshake was answered by an HTTP status in place of 101."""

    status: int
    retry_after_s: float | None
    code: str | None
    detail: str | None


class Unreachable(Exception):
    """There is no connection, and the text says why."""


def websocket_url(url: str) -> str:
    """The address of the WebSocket: `http` becomes `ws`, and where no path is given it is `/ws`. ValueError if it is
    none."""
    parts = urlsplit(url)
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"an address is http(s):// or ws(s):// and a host, not {url!r}")
    path = parts.path if parts.path not in ("", "/") else "/ws"
    return urlunsplit((schemes[parts.scheme], parts.netloc, path, parts.query, ""))


class _Connection(ClientConnection):
    """Tells of every byte that comes: pings count as a sign of life, and so does half of a long message."""

    on_bytes: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        if self.on_bytes is not None:
            self.on_bytes()
        super().data_received(data)


class Transport:
    """An open connection: frames in, frames out, and how it ended."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.receive: Callable[[], Awaitable[Frame]] = connection.recv
        """The next frame. Raises ConnectionClosed."""

    @classmethod
    async def open(cls, url: str, subprotocol: str, dialing: Dialing, on_bytes: Callable[[], None]) -> Transport:
        """Connects. Raises Refusal or Unreachable."""
        options: dict[str, Any] = {} if dialing.ssl is None else {"ssl": dialing.ssl}
        try:
            connection = await connect_websocket(
                url,
                subprotocols=[Subprotocol(subprotocol)],
                additional_headers=dialing.headers,
                compression="deflate" if dialing.compression else None,
                proxy=dialing.proxy,
                max_size=MESSAGE_BYTES_MAX,
                ping_interval=None,  # the server pings, and its silence is noticed by the session
                open_timeout=None,  # the session has a deadline
                close_timeout=CLOSE_WITHIN_S,
                create_connection=_Connection,
                **options,
            )
        except InvalidStatus as error:
            raise _refusal(error) from None
        except (OSError, WebSocketException, EOFError, ValueError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        if connection.subprotocol != subprotocol:
            await _end(connection, 1002, "another subprotocol")
            raise Unreachable(f"the server does not speak {subprotocol}: is it a TopicHub?")
        if isinstance(connection, _Connection):
            connection.on_bytes = on_bytes
        return cls(connection)

    async def send(self, frame: Frame) -> None:
        """Sends a frame, and waits while the kernel takes no more. Raises ConnectionClosed."""
        await self._connection.send(frame)

    def ended(self) -> tuple[int, str]:
        """The code and the reason of the server's close frame; 1006 if there was none."""
        received = self._connection.protocol.close_rcvd
        return (1006, "the connection was lost") if received is None else (received.code, received.reason)

    async def close(self, code: int, reason: str) -> None:
        """Closes, and does not wait for long for the other side to agree."""
        await _end(self._connection, code, reason)


async def _end(connection: ClientConnection, code: int, reason: str) -> None:
    try:
        # A reason has at most 123 bytes (RFC 6455 §5.5).
        reason = reason.encode()[:120].decode(errors="ignore")
        await asyncio.wait_for(connection.close(code, reason), CLOSE_WITHIN_S)
    except (asyncio.TimeoutError, OSError, WebSocketException):
        pass
    finally:
        connection.transport.abort()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(connection.wait_closed(), CLOSE_WITHIN_S)


def _refusal(error: InvalidStatus) -> Refusal:
    response = error.response
    code = detail = None
    if response.body and len(response.body) <= PROBLEM_BYTES_MAX:
        with contextlib.suppress(ValueError, RecursionError):
            problem = json.loads(response.body)
            if isinstance(problem, dict):
                code, detail = (
                    problem[key] if isinstance(problem.get(key), str) else None for key in ("code", "detail")
                )
    return Refusal(response.status_code, _retry_after(response.headers.get("Retry-After")), code, detail)


def _retry_after(text: str | None) -> float | None:
    """Seconds, or a date (RFC 9110 §10.2.3). Clocks differ: a date is believed for an hour at most, as seconds are."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(float(text), 3600.0)
    try:
        left = (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(left, 0.0), 3600.0)


__all__ = ["ConnectionClosed", "Dialing", "Refusal", "Transport", "Unreachable", "websocket_url"]
