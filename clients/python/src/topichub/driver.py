"""What a session needs of the world: sockets, a clock, tasks. What is to be done is decided in `session`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from .effects import Close, FetchToken, Open, Send, State
from .session import Session
from .transport import ConnectionClosed, Dialing, Refusal, Transport, Unreachable

TOKEN_WITHIN_S = 30.0
FRAMES_PER_TURN = 64

Fetch = Callable[[], str | Awaitable[str]]

log = logging.getLogger("topichub")


class Driver:
    """Carries out what a session wants done, in the loop that runs when it is made."""

    def __init__(self, url: str, session: Session, subprotocol: str, dialing: Dialing, fetch: Fetch | None) -> None:
        self.session = session
        self.loop = asyncio.get_running_loop()
        self._url = url
        self._subprotocol = subprotocol
        self._dialing = dialing
        self._fetch = fetch
        self._connection: asyncio.Task[None] | None = None
        self._transport: Transport | None = None
        self._outgoing: asyncio.Queue[Send] = asyncio.Queue()
        self._fetching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed: list[asyncio.Future[None]] = []

    @property
    def address(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(self._url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"

    def start(self) -> None:
        """Makes the first connection."""
        self.session.start(self.loop.time())
        self.flush()

    def flush(self) -> None:
        """Does what the session wants done; to be called after everything that it was told."""
        effects = self.session.effects
        while effects:
            effect = effects.popleft()
            if type(effect) is Send:
                self._outgoing.put_nowait(effect)
            elif type(effect) is Open:
                self._outgoing = asyncio.Queue()
                self._connection = self._task(self._connect())
            elif type(effect) is Close:
                self._hang_up(effect)
            elif type(effect) is FetchToken:
                self._fetching = self._task(self._fetch_token())
        self._schedule()

    def _schedule(self) -> None:
        deadline = self.session.deadline
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline and not self._timer.cancelled():
                return  # it comes early enough, and looks again
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self.loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.session.tick(self.loop.time())
        self.flush()

    def _task(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _hang_up(self, close: Close) -> None:
        connection, self._connection = self._connection, None
        transport, self._transport = self._transport, None
        if transport is not None:
            self._task(self._say_goodbye(connection, transport, close))
        elif connection is not None:
            connection.cancel()

    async def _say_goodbye(self, connection: asyncio.Task[None] | None, transport: Transport, close: Close) -> None:
        await transport.close(close.code, close.reason)
        if connection is not None:
            connection.cancel()

    async def _connect(self) -> None:
        """One connection, from its making to its end."""
        me = asyncio.current_task()
        session, loop = self.session, self.loop
        try:
            transport = await Transport.open(self._url, self._subprotocol, self._dialing, self._heard)
        except (Refusal, Unreachable) as error:
            if self._connection is me:
                self._connection = None
                if isinstance(error, Refusal):
                    session.refused(error.status, error.retry_after_s, error.code, error.detail, loop.time())
                else:
                    session.lost(1006, str(error), loop.time())
                self.flush()
            return
        if self._connection is not me:
            await transport.close(1000, "")
            return
        self._transport = transport
        session.opened(loop.time())
        self.flush()
        writing = self._task(self._write(transport, self._outgoing))
        try:
            await self._read(transport)
        except ConnectionClosed:
            if self._connection is me:
                self._connection = self._transport = None
                session.lost(*transport.ended(), loop.time())
                self.flush()
        except Exception as error:  # a mistake of ours must not leave a hub that does nothing
            log.exception("%s: the connection is given up", self.address)
            if self._connection is me:
                self._connection = self._transport = None
                self._task(transport.close(1011, ""))
                session.lost(1006, f"{type(error).__name__}: {error}", loop.time())
                self.flush()
        finally:
            writing.cancel()

    async def _read(self, transport: Transport) -> None:
        receive, session, now = transport.receive, self.session, self.loop.time
        effects, turn = session.effects, 0
        while True:
            frame = await receive()
            if self._transport is not transport:
                continue  # it is being closed: nothing of it counts any more
            session.receive(frame, now())
            if effects:
                self.flush()
            turn += 1
            if turn == FRAMES_PER_TURN:  # or a burst would fill the buffers before anybody could read
                turn = 0
                await asyncio.sleep(0)

    async def _write(self, transport: Transport, outgoing: asyncio.Queue[Send]) -> None:
        with suppress(ConnectionClosed):  # who reads is told, too
            while True:
                await transport.send((await outgoing.get()).frame)

    def _heard(self) -> None:
        self.session.heard(self.loop.time())

    async def _fetch_token(self) -> None:
        assert self._fetch is not None
        try:
            token = await asyncio.wait_for(_call(self._fetch), TOKEN_WITHIN_S)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            reason = f"no token: {type(error).__name__}: {error}"
            log.warning("%s: %s", self.address, reason)
            self.session.token_failed(reason, self.loop.time())
        else:
            self.session.token_fetched(token, self.loop.time())
        self.flush()

    def on_state(self, state: State) -> None:
        """Tells the log, and whoever waits for a change."""
        if state.name == "waiting":
            log.warning("%s: %s; trying again in %.1f s", self.address, state.reason, state.retry_in or 0.0)
        elif state.name == "closed" and state.close_code != 1000:
            log.error("%s: %s", self.address, self.session.error)
        changed, self._changed = self._changed, []
        for waiting in changed:
            if not waiting.done():
                waiting.set_result(None)

    async def close(self) -> None:
        """Ends the session; returns when nothing of it is left."""
        self.session.close()
        self.flush()
        if self._fetching is not None:
            self._fetching.cancel()
        while left := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(left)

    async def change(self) -> None:
        """Waits until the state is another."""
        changed = self.loop.create_future()
        self._changed.append(changed)
        try:
            await changed
        finally:
            with suppress(ValueError):
                self._changed.remove(changed)


async def _call(token: Callable[[], str | Awaitable[str]]) -> str:
    given = token()
    if inspect.isawaitable(given):
        given = await given
    if not isinstance(given, str) or not given:
        raise TypeError(f"a token is a string, not {type(given).__name__}")
    return given
