"""What a program holds: subscriptions, publishes and questions, by way of a session and its driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from . import messages
from .commands import Command, Settle
from .driver import Driver, log
from .effects import State
from .errors import ConnectTimeout
from .messages import History, Map, Message, Position, Presence, Published, Replay
from .subscription import BUFFER_MAX, Buffer, Overflow, Slow, Subscription


class Hub:
    """A connection to a TopicHub server that comes back by itself; made by `connect`. It belongs to one event loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._session = driver.session

    @property
    def state(self) -> State:
        """`connecting`, `open`, `waiting` or `closed`, and why."""
        return self._session.state

    @property
    def session(self) -> str:
        """What the server calls this connection; empty without one. Publishers `exclude` it."""
        return self._session.session_id

    @property
    def user(self) -> str | None:
        """Who the server says we are."""
        return self._session.user

    def position(self, topic: str) -> Position | None:
        """Where a topic stands that is subscribed to: all up to there has come. Keep it to resume in another
        process."""
        return self._session.interests.position(topic)

    async def opened(self, timeout: float | None = None) -> None:
        """Waits for a connection: for `timeout` seconds, or as long as it takes. Raises ConnectTimeout or
        ClosedError."""
        try:
            await asyncio.wait_for(self._until_open(), timeout)
        except asyncio.TimeoutError:
            reason = self.state.reason or "no answer"
            raise ConnectTimeout(f"no connection to {self._driver.address} within {timeout:g} s: {reason}") from None

    async def _until_open(self) -> None:
        while self._session.state.name != "open":
            if self._session.error is not None:
                raise self._session.error
            await self._driver.change()

    async def states(self) -> AsyncIterator[State]:
        """The state, now and whenever it has changed; ends behind `closed`. What changes faster than it is read is
        skipped."""
        while True:
            state = self._session.state
            yield state
            if state.name == "closed":
                return
            while self._session.state is state:
                await self._driver.change()

    # --- Subscribing

    def subscribe(
        self,
        topic: str,
        *,
        replay: Replay | None = None,
        slow: Slow | None = None,
        max_rate: float | None = None,
        echo: bool | None = None,
        presence: bool | Mapping[str, Any] | None = None,
        group: str | None = None,
        buffer: int = BUFFER_MAX,
        overflow: Overflow = "drop",
    ) -> Subscription:
        """Subscribes to a topic or pattern, now and after every reconnect, from where it was left.

        `replay` is `{"last": n}`, `{"seconds": n}` or `{"after": position}` (of a pattern: positions by topic) and
        counts for the first time. `slow`, `max_rate` (messages per second), `echo`, `presence` and `group` go to the
        server as they are. `buffer` is how many events wait to be read; beyond, `overflow` says what happens: `drop`
        the oldest, with a Gap in their place, or `error`.

        Subscriptions to the same name share what the server sends if their options are equal, else AlreadySubscribed
        is raised. The second one gets what comes from then on.
        """
        options: Map = {}
        for key, value in (
            ("slow", slow),
            ("max_rate", max_rate),
            ("echo", echo),
            ("presence", presence),
            ("group", group),
        ):
            if value is not None:
                options[key] = value
        if replay is not None:
            options["replay"] = _replay(replay)
        held = Buffer(topic, buffer, overflow)

        def release() -> None:
            self._session.unsubscribe(topic, held)
            self._driver.flush()

        async def change(options: Map) -> None:
            await self._answer(lambda settle: self._session.change(topic, held, options, settle))

        def overran() -> None:
            if overflow == "error":
                release()
            else:
                log.warning("%s is not read in time: of more than %d events the oldest are dropped", topic, buffer)

        held.overran = overran
        self._session.subscribe(topic, options, held)
        self._driver.flush()
        return Subscription(held, release, change, self._driver.loop)

    # --- Commands

    async def publish(
        self,
        topic: str,
        data: Any,
        *,
        key: str | None = None,
        meta: Mapping[str, str] | None = None,
        ttl_ms: int | None = None,
        dedup: str | None = None,
        if_offset: int | None = None,
        exclude: Sequence[str] | None = None,
    ) -> Published:
        """Publishes any JSON value, or bytes; returns where it stands.

        With `dedup`, a name for this publish, the hub repeats it after a lost connection, and it is published once.
        Raises CommandError, ConnectionLost, NotConnected or QueueFull, ClosedError; TypeError or ValueError if the
        data cannot be written.
        """
        options: Map = {
            "key": key,
            "meta": meta and dict(meta),
            "ttl_ms": ttl_ms,
            "dedup": dedup,
            "if_offset": if_offset,
        }
        options["exclude"] = None if exclude is None else list(exclude)
        said = {name: value for name, value in options.items() if value is not None}
        return messages.read_published(await self._ask({"op": "publish", "topic": topic, "data": data} | said))

    async def history(
        self,
        topic: str,
        *,
        after: Position | None = None,
        before: Position | None = None,
        limit: int | None = None,
    ) -> History:
        """A page of what a topic retains: the oldest messages behind `after`, the newest before `before`, or the
        newest of all. `limit` is 1 to 1,000, 100 if not said."""
        command: Map = {"op": "history", "topic": topic}
        for name, position in (("after", after), ("before", before)):
            if position is not None:
                command[name] = _position(position)
        if limit is not None:
            command["limit"] = limit
        return messages.read_history(await self._ask(command))

    async def presence(self, topic: str) -> Presence:
        """Who is on a topic."""
        return messages.read_presence(await self._ask({"op": "presence", "topic": topic}))

    async def request(self, topic: str, data: Any, *, timeout: float | None = None) -> Any:
        """Publishes a question and returns the first answer's data. `timeout` is in seconds, 5 if not said; raises
        CommandError with `no_responders` if nobody subscribes, `timeout` if nobody answers."""
        command: Map = {"op": "request", "topic": topic, "data": data}
        if timeout is not None:
            command["timeout_ms"] = max(1, round(timeout * 1000))
        return messages.payload(await self._ask(command))

    async def reply(self, to: Message | str, data: Any) -> None:
        """Answers a message that has a `reply_to`. Raises CommandError with `conflict` if nobody waits for it any
        more."""
        reply_to = to if isinstance(to, str) else to.reply_to
        if reply_to is None:
            raise ValueError("nobody waits for an answer to this message: it has no reply_to")
        await self._ask({"op": "reply", "reply_to": reply_to, "data": data})

    async def _ask(self, map_: Map) -> Map:
        return await self._answer(lambda settle: self._session.command(map_, settle))

    async def _answer(self, ask: Callable[[Settle], Command | None]) -> Map:
        answered: asyncio.Future[Map] = self._driver.loop.create_future()

        def settle(reply: Map | Exception) -> None:
            if answered.done():
                return
            if isinstance(reply, Exception):
                answered.set_exception(reply)
            else:
                answered.set_result(reply)

        command = ask(settle)
        self._driver.flush()
        try:
            return await answered
        except asyncio.CancelledError:
            if command is not None:
                self._session.withdraw(command)
            if answered.done() and not answered.cancelled():
                answered.exception()  # it came too late for anybody to mind
            raise

    async def close(self) -> None:
        """Ends the connection and everything that hangs on it; returns when nothing of it is left. Iterators stop."""
        await self._driver.close()

    async def __aenter__(self) -> Hub:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Hub {self._driver.address}, {self.state.name}>"


def _position(position: Any) -> Any:
    return {"epoch": position.epoch, "offset": position.offset} if isinstance(position, Position) else position


def _replay(replay: Replay) -> Map:
    said: Map = dict(replay)
    after = said.get("after")
    if isinstance(after, Mapping):
        said["after"] = {topic: _position(position) for topic, position in after.items()}
    elif after is not None:
        said["after"] = _position(after)
    return said
