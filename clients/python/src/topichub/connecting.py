"""How a program gets a hub, and what it may set."""

from __future__ import annotations

import random
import ssl as tls
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Literal

from .backoff import Backoff
from .codec import Name, codec_of
from .commands import size_of
from .driver import Driver, Fetch
from .effects import Credential, Offline, Terms
from .hub import Hub
from .session import Session
from .transport import Dialing, websocket_url

Token = str | Fetch


class Connecting:
    """What `connect` returns: `async with connect(url) as hub`, or `hub = await connect(url)` and `await
    hub.close()`."""

    def __init__(self, make: Callable[[], Hub], open_timeout: float | None) -> None:
        self._make = make
        self._open_timeout = open_timeout
        self._hub: Hub | None = None

    def __await__(self) -> Generator[Any, None, Hub]:
        return self._open().__await__()

    async def _open(self) -> Hub:
        hub = self._make()
        if self._open_timeout == 0:
            return hub
        try:
            await hub.opened(self._open_timeout)
        except BaseException:
            await hub.close()
            raise
        return hub

    async def __aenter__(self) -> Hub:
        self._hub = await self._open()
        return self._hub

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hub is not None:
            await self._hub.close()


def connect(
    url: str,
    *,
    token: Token | None = None,
    user: str | None = None,
    user_data: Any = None,
    codec: Name = "json",
    offline: Offline = "reject",
    queue_messages: int = 1_000,
    queue_bytes: int = 1 << 20,
    backoff: Backoff | None = None,
    open_timeout: float | None = 10.0,
    headers: Mapping[str, str] | None = None,
    ssl: tls.SSLContext | None = None,
    proxy: str | Literal[True] | None = True,
    compression: bool = True,
) -> Connecting:
    """Connects to a TopicHub, and comes back whenever the connection is lost.

    `url` is `http(s)://` or `ws(s)://`; without a path the WebSocket is at `/ws`. `token` is a token or a function,
    plain or async, that gives one whenever one is needed: at first, when it expires, when it is refused. `user` is a
    name, where names are believed, and `user_data` what others see beside it.

    `offline` says what becomes of a publish without a connection: `reject`, or `queue` for up to `queue_messages` and
    `queue_bytes`. `open_timeout` is how many seconds to wait for the first connection: ConnectTimeout beyond; 0 does
    not wait, None waits as long as it takes. `headers`, `ssl` and `proxy` are for the handshake; `proxy` is an
    address, True (that of the environment) or None.
    """
    address = websocket_url(url)
    if user is not None and token is not None:
        raise ValueError("a token says who the user is: give one of user and token")
    if offline not in ("reject", "queue"):
        raise ValueError(f"offline is reject or queue, not {offline!r}")
    chosen = codec_of(codec)
    size_of(chosen.encode({"user": user, "token": token if isinstance(token, str) else None, "data": user_data}))
    terms = Terms(offline, queue_messages, queue_bytes, backoff or Backoff())
    fetch = token if callable(token) else None
    credential = Credential(user, token if isinstance(token, str) else None, user_data, fetch is not None)

    def make() -> Hub:
        session = Session(chosen, random.random, credential, terms)
        driver = Driver(address, session, chosen.subprotocol, Dialing(headers, ssl, proxy, compression), fetch)
        session.on_state = driver.on_state
        driver.start()
        return Hub(driver)

    return Connecting(make, open_timeout)
