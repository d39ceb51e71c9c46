"""A subscription as the program holds it, and the bounded buffer between it and the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Literal

from .errors import BufferOverflow
from .messages import Event, Gap, Message

Overflow = Literal["drop", "error"]
Slow = Literal["disconnect", "drop", "latest", "latest-per-key"]

BUFFER_MAX = 1_000


class Buffer:
    """What has come and was not read yet. No tasks, no clock: whoever waits leaves a callback.

    Full, it either drops the oldest event and puts a Gap in its place, or ends.
    """

    __slots__ = ("_behind", "_ending", "_gaps", "_items", "capacity", "name", "overflow", "overran", "waiters")

    def __init__(self, name: str, capacity: int = BUFFER_MAX, overflow: Overflow = "drop") -> None:
        if capacity < 1:
            raise ValueError(f"a buffer holds one event or more, not {capacity}")
        if overflow not in ("drop", "error"):
            raise ValueError(f"overflow is drop or error, not {overflow!r}")
        self.name = name
        self.capacity = capacity
        self.overflow = overflow
        self.overran: Callable[[], None] | None = None  # told when it begins to drop, or ends for that
        self.waiters: list[Callable[[], None]] = []
        self._items: deque[Event] = deque()
        self._gaps: dict[tuple[str, str | None], Gap] = {}  # what stands before the first item
        self._behind = False  # something was dropped since it was empty
        self._ending: Exception | None = None

    def __len__(self) -> int:
        return len(self._items) + len(self._gaps)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes in. What is there can still be read."""
        return self._ending is not None

    def push(self, event: Event) -> None:
        """Takes an event in."""
        if self._ending is not None:
            return
        items = self._items
        items.append(event)
        if len(items) > self.capacity:
            self._overflow()
        if self.waiters:
            self._wake()

    def pop(self) -> Event | None:
        """The next event; None if there is none at present. Raises why it has ended once all has been read."""
        if self._gaps:
            return self._gaps.pop(next(iter(self._gaps)))
        if self._items:
            return self._items.popleft()
        if self._ending is not None:
            raise self._ending.with_traceback(None)
        self._behind = False
        return None

    def end(self, why: Exception) -> None:
        """Nothing more comes, and `why` is told behind what is there; StopAsyncIteration is the plain end."""
        if self._ending is None:
            self._ending = why
            self._wake()

    def _wake(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter()

    def _overflow(self) -> None:
        if self.overflow == "error":
            self._items.pop()
            self.end(BufferOverflow(self.name, self.capacity))
            if self.overran is not None:
                self.overran()
            return
        if not self._behind and self.overran is not None:
            self.overran()
        self._behind = True
        oldest = self._items.popleft()
        if isinstance(oldest, Message):
            self._miss(Gap(oldest.topic, "buffer", oldest.epoch, oldest.offset, oldest.offset))
        elif isinstance(oldest, Gap):
            self._miss(Gap(oldest.topic, "buffer", oldest.epoch, oldest.from_, oldest.to))
        elif not hasattr(oldest, "recovered"):  # presence: what is missing is not a matter of offsets
            self._miss(Gap(oldest.topic, "buffer"))

    def _miss(self, gap: Gap) -> None:
        key = (gap.topic, gap.epoch)
        known = self._gaps.get(key)
        if known is not None:
            gap = Gap(gap.topic, "buffer", gap.epoch, known.from_, gap.to) if known.from_ is not None else known
        self._gaps[key] = gap
        if len(self._gaps) > self.capacity:  # as many topics as that: nobody counts them one by one
            self._gaps.clear()
            self._gaps[self.name, None] = Gap(self.name, "buffer")


class Subscription:
    """Messages of a topic or pattern, as an async iterator:

        async for message in hub.subscribe("ticker.>"):
            print(message.topic, message.data)

    It is in force from the moment it is made, through any number of reconnects, until it is closed: by `async with`,
    `aclose()` or `close()`, or because nobody holds it any more, as after a `break` out of the loop above. Hold it in
    a variable to go on reading after a `break`. `events()` gives all that happens besides messages.
    """

    def __init__(
        self,
        buffer: Buffer,
        release: Callable[[], None],
        change: Callable[[dict[str, Any]], Awaitable[None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._buffer = buffer
        self._release = release
        self._change = change
        self._loop = loop

    @property
    def topic(self) -> str:
        """The topic or pattern."""
        return self._buffer.name

    @property
    def buffered(self) -> int:
        """How many events wait to be read."""
        return len(self._buffer)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        """The next message. Raises `SubscriptionEnded`, `ClosedError` or `BufferOverflow` where it cannot go on."""
        pop = self._buffer.pop
        while True:
            event = pop()
            if event is None:
                await self._something()
            elif type(event) is Message:
                return event

    def events(self) -> Events:
        """The same, with everything that happens: Message, Gap, Presence, Subscribed, in the order in which they
        came."""
        return Events(self)

    async def event(self) -> Event:
        """The next event of any kind."""
        while True:
            event = self._buffer.pop()
            if event is not None:
                return event
            await self._something()

    async def change(
        self, *, slow: Slow | None = None, max_rate: float | None = None, echo: bool | None = None
    ) -> None:
        """Goes on with other options in place of those it had; what is not said is as if it had never been. Nothing is
        lost.

        They hold for all who share the subscription, and after a reconnect. Raises CommandError if the server refuses
        them, and all is as it was.
        """
        said = {"slow": slow, "max_rate": max_rate, "echo": echo}
        await self._change({key: value for key, value in said.items() if value is not None})

    async def batch(self, count: int) -> list[Event]:
        """The next events of any kind: one at least, and as many more as are there at once, up to `count`."""
        events = [await self.event()]
        with contextlib.suppress(Exception):  # why it has ended is told by the next call
            while len(events) < count and (event := self._buffer.pop()) is not None:
                events.append(event)
        return events

    async def _something(self) -> None:
        waiting = self._loop.create_future()

        def wake() -> None:
            if not waiting.done():
                waiting.set_result(None)

        self._buffer.waiters.append(wake)
        try:
            await waiting
        finally:
            with contextlib.suppress(ValueError):
                self._buffer.waiters.remove(wake)

    def close(self) -> None:
        """Ends the subscription; iterators stop behind what they have buffered. Closing again does nothing."""
        if not self._buffer.ended:
            self._buffer.end(StopAsyncIteration())
            self._release()

    async def aclose(self) -> None:
        """The same, as other asynchronous iterators call it."""
        self.close()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        buffer: Buffer | None = getattr(self, "_buffer", None)
        if buffer is not None and not buffer.ended and not self._loop.is_closed():
            # The collector may run in any thread.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_abandon, buffer, self._release)

    def __repr__(self) -> str:
        return f"<Subscription {self.topic!r}, {self.buffered} buffered>"


def _abandon(buffer: Buffer, release: Callable[[], None]) -> None:
    if not buffer.ended:
        buffer.end(StopAsyncIteration())
        release()


class Events:
    """An async iterator over all events of a subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        return await self._subscription.event()
