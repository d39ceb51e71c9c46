"""The same hub for programs without asyncio: a thread of its own runs the loop, and any number of threads may use the
hub.

    with topichub.sync.connect("http://127.0.0.1:8080") as hub:
        for message in hub.subscribe("ticker.>"):
            print(message.topic, message.data)
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from . import connecting
from . import hub as asynchronous
from .effects import State
from .errors import ClosedError
from .messages import Event, History, Message, Position, Presence, Published
from .subscription import Subscription as AsyncSubscription

T = TypeVar("T")
P = ParamSpec("P")
Self = TypeVar("Self")

BATCH_MAX = 64  # read ahead by an iterator, beyond its buffer


def _as(
    twin: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[..., T]], Callable[Concatenate[Self, P], T]]:
    """Gives a method the parameters of its asynchronous twin, to those who check types and to those who read."""

    def given(method: Callable[..., T]) -> Callable[Concatenate[Self, P], T]:
        method.__signature__ = inspect.signature(twin)  # type: ignore[attr-defined]
        return method

    return given


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="topichub", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_finish())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def begin(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begins it there."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("the hub's own thread cannot wait for the hub")
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            raise ClosedError(1000, "by this program") from None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it there and waits for it here."""
        future = self.begin(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClosedError(1000, "by this program") from None
        finally:
            future.cancel()  # nobody waits any more, if this was interrupted

    def call(self, work: Callable[[], T]) -> T:
        """Calls it there."""

        async def called() -> T:
            return work()

        return self.run(called())

    def soon(self, work: Callable[[], None]) -> None:
        """Has it called there, and waits for nothing; a loop that is closed calls nothing."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work)

    def stop(self) -> None:
        """Ends the thread; who still waits for something is told."""
        self.soon(self._loop.stop)
        self._thread.join()


async def _finish() -> None:
    """Lets what has ended be told to whoever waits for it in other threads, and cancels what has not."""
    for _ in range(3):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class Subscription:
    """Messages of a topic or pattern, as an iterator; closed by `with`, by `close()`, or when nobody holds it any
    more."""

    def __init__(self, loop: _Loop, subscription: AsyncSubscription) -> None:
        self._loop = loop
        self._subscription = subscription
        self._read: deque[Event] = deque()
        self._reading: concurrent.futures.Future[list[Event]] | None = None
        self._lock = threading.Lock()

    @property
    def topic(self) -> str:
        """The topic or pattern."""
        return self._subscription.topic

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        """The next message. Raises `SubscriptionEnded`, `ClosedError` or `BufferOverflow` where it cannot go on."""
        while True:
            event = self.event()
            if event is None:
                raise StopIteration
            if type(event) is Message:
                return event

    def events(self) -> Iterator[Event]:
        """The same, with everything that happens: Message, Gap, Presence, Subscribed, in the order in which they
        came."""
        while (event := self.event()) is not None:
            yield event

    def event(self, timeout: float | None = None) -> Event | None:
        """The next event of any kind; None behind the last one. TimeoutError if none comes within `timeout` seconds."""
        late = f"no event of {self.topic} within {timeout} s"
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError(late)
        try:
            if not self._read:
                self._fill(timeout, late)
            return self._read.popleft() if self._read else None
        finally:
            self._lock.release()

    def _fill(self, timeout: float | None, late: str) -> None:
        if self._reading is None:
            self._reading = self._loop.begin(self._subscription.batch(BATCH_MAX))
        try:
            self._read.extend(self._reading.result(timeout))
        except concurrent.futures.TimeoutError:
            if self._reading.done():
                raise
            raise TimeoutError(late) from None  # what is read meanwhile is for the next call
        except (StopAsyncIteration, concurrent.futures.CancelledError):
            pass
        if self._reading.done():
            self._reading = None

    @_as(AsyncSubscription.change)
    def change(self, **options: Any) -> None:
        """Goes on with other options, those of `topichub.Subscription.change`."""
        self._loop.run(self._subscription.change(**options))

    def close(self) -> None:
        """Ends the subscription. Closing again does nothing."""
        with suppress(ClosedError):  # it has ended with its hub
            self._loop.call(self._subscription.close)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_subscription"):
            self._loop.soon(self._subscription.close)


class Hub:
    """A connection that comes back by itself; made by `connect`. Every method may be called from any thread."""

    def __init__(self, loop: _Loop, hub: asynchronous.Hub) -> None:
        self._loop = loop
        self._hub = hub

    @property
    def state(self) -> State:
        """`connecting`, `open`, `waiting` or `closed`, and why."""
        return self._hub.state

    @property
    def session(self) -> str:
        """What the server calls this connection; empty without one."""
        return self._hub.session

    @property
    def user(self) -> str | None:
        """Who the server says we are."""
        return self._hub.user

    def position(self, topic: str) -> Position | None:
        """Where a topic stands that is subscribed to."""
        return self._hub.position(topic)

    def opened(self, timeout: float | None = None) -> None:
        """Waits for a connection."""
        self._loop.run(self._hub.opened(timeout))

    @_as(asynchronous.Hub.subscribe)
    def subscribe(self, topic: str, **options: Any) -> Subscription:
        """Subscribes, with the options of `topichub.Hub.subscribe`."""
        return Subscription(self._loop, self._loop.call(lambda: self._hub.subscribe(topic, **options)))

    @_as(asynchronous.Hub.publish)
    def publish(self, topic: str, data: Any, **options: Any) -> Published:
        """Publishes, with the options of `topichub.Hub.publish`."""
        return self._loop.run(self._hub.publish(topic, data, **options))

    @_as(asynchronous.Hub.history)
    def history(self, topic: str, **options: Any) -> History:
        """A page of what a topic retains, with the options of `topichub.Hub.history`."""
        return self._loop.run(self._hub.history(topic, **options))

    def presence(self, topic: str) -> Presence:
        """Who is on a topic."""
        return self._loop.run(self._hub.presence(topic))

    def request(self, topic: str, data: Any, *, timeout: float | None = None) -> Any:
        """Publishes a question and returns the first answer's data; `timeout` is in seconds."""
        return self._loop.run(self._hub.request(topic, data, timeout=timeout))

    def reply(self, to: Message | str, data: Any) -> None:
        """Answers a message that has a `reply_to`."""
        self._loop.run(self._hub.reply(to, data))

    def close(self) -> None:
        """Ends the connection and its thread. Iterators stop, in whatever thread they are. Closing again does
        nothing."""
        with suppress(ClosedError):
            self._loop.run(self._hub.close())
        self._loop.stop()

    def __enter__(self) -> Hub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_connect(twin: Callable[P, object]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    def given(function: Callable[..., T]) -> Callable[P, T]:
        function.__signature__ = inspect.signature(twin)  # type: ignore[attr-defined]
        return function

    return given


@_as_connect(connecting.connect)
def connect(url: str, **options: Any) -> Hub:
    """Connects, with the options of `topichub.connect`; a `token` function is called in the hub's thread."""
    loop = _Loop()

    async def opening() -> asynchronous.Hub:
        return await connecting.connect(url, **options)

    try:
        return Hub(loop, loop.run(opening()))
    except BaseException:
        loop.stop()
        raise
