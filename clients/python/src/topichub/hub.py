"""A hub: the session with its sockets, clock and tasks. What it decides is decided in `session`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

from . import messages
from .backoff import Backoff
from .codec import Name, codec_of
from .errors import ConnectTimeout
from .messages import History, Map, Message, Position, Presence, Published
from .session import Close, Credential, FetchToken, Offline, Open, Send, Session, State, Terms
from .subscription import BUFFER_MAX, Buffer, Overflow, Subscription
from .transport import ConnectionClosed, Dialing, Refusal, Transport, Unreachable, websocket_url

Token = str | Callable[[], str | Awaitable[str]]
Replay = Mapping[str, Any]
Slow = Literal["disconnect", "drop", "latest", "latest-per-key"]

TOKEN_WITHIN_S = 30.0
FRAMES_PER_TURN = 64

log = logging.getLogger("topichub")


class Hub:
    """A connection to a TopicHub server that comes back by itself; made by `connect`. It belongs to one event loop."""

    def __init__(
        self,
        url: str,
        session: Session,
        subprotocol: str,
        dialing: Dialing,
        token: Callable[[], str | Awaitable[str]] | None,
    ) -> None:
        self._url = url
        self._session = session
        self._subprotocol = subprotocol
        self._dialing = dialing
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._connection: asyncio.Task[None] | None = None
        self._transport: Transport | None = None
        self._outgoing: asyncio.Queue[Send] = asyncio.Queue()
        self._fetching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed: list[asyncio.Future[None]] = []

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
            raise ConnectTimeout(f"no connection to {self._address} within {timeout:g} s: {reason}") from None

    async def _until_open(self) -> None:
        while self._session.state.name != "open":
            if self._session.error is not None:
                raise self._session.error
            await self._change()

    async def states(self) -> AsyncIterator[State]:
        """The state, now and whenever it has changed; ends behind `closed`. What changes faster than it is read is
        skipped."""
        while True:
            state = self._session.state
            yield state
            if state.name == "closed":
                return
            while self._session.state is state:
                await self._change()

    async def _change(self) -> None:
        changed = self._loop.create_future()
        self._changed.append(changed)
        try:
            await changed
        finally:
            with suppress(ValueError):
                self._changed.remove(changed)

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
            self._flush()

        held.overran = release
        self._session.subscribe(topic, options, held)
        self._flush()
        return Subscription(held, release, self._loop)

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
        answered: asyncio.Future[Map] = self._loop.create_future()

        def settle(reply: Map | Exception) -> None:
            if answered.done():
                return
            if isinstance(reply, Exception):
                answered.set_exception(reply)
            else:
                answered.set_result(reply)

        command = self._session.command(map_, settle)
        self._flush()
        try:
            return await answered
        except asyncio.CancelledError:
            self._session.withdraw(command)
            if answered.done() and not answered.cancelled():
                answered.exception()  # it came too late for anybody to mind
            raise

    async def close(self) -> None:
        """Ends the connection and everything that hangs on it; returns when nothing of it is left. Iterators stop."""
        self._session.close()
        self._flush()
        if self._fetching is not None:
            self._fetching.cancel()
        while left := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(left)

    async def __aenter__(self) -> Hub:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Hub {self._address}, {self.state.name}>"

    @property
    def _address(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(self._url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"

    # --- What the session wants done

    def _start(self) -> None:
        self._session.start(self._loop.time())
        self._flush()

    def _flush(self) -> None:
        effects = self._session.effects
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
        deadline = self._session.deadline
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline and not self._timer.cancelled():
                return  # it comes early enough, and looks again
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._session.tick(self._loop.time())
        self._flush()

    def _task(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work)
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
        session, loop = self._session, self._loop
        try:
            transport = await Transport.open(self._url, self._subprotocol, self._dialing, self._heard)
        except (Refusal, Unreachable) as error:
            if self._connection is me:
                self._connection = None
                if isinstance(error, Refusal):
                    session.refused(error.status, error.retry_after_s, error.code, error.detail, loop.time())
                else:
                    session.lost(1006, str(error), loop.time())
                self._flush()
            return
        if self._connection is not me:
            await transport.close(1000, "")
            return
        self._transport = transport
        session.opened(loop.time())
        self._flush()
        writing = self._task(self._write(transport, self._outgoing))
        try:
            await self._read(transport)
        except ConnectionClosed:
            if self._connection is me:
                self._connection = self._transport = None
                session.lost(*transport.ended(), loop.time())
                self._flush()
        except Exception as error:  # a mistake of ours must not leave a hub that does nothing
            log.exception("%s: the connection is given up", self._address)
            if self._connection is me:
                self._connection = self._transport = None
                self._task(transport.close(1011, ""))
                session.lost(1006, f"{type(error).__name__}: {error}", loop.time())
                self._flush()
        finally:
            writing.cancel()

    async def _read(self, transport: Transport) -> None:
        receive, session, now = transport.receive, self._session, self._loop.time
        effects, turn = session.effects, 0
        while True:
            frame = await receive()
            if self._transport is not transport:
                continue  # it is being closed: nothing of it counts any more
            session.receive(frame, now())
            if effects:
                self._flush()
            turn += 1
            if turn == FRAMES_PER_TURN:  # or a burst would fill the buffers before anybody could read
                turn = 0
                await asyncio.sleep(0)

    async def _write(self, transport: Transport, outgoing: asyncio.Queue[Send]) -> None:
        with suppress(ConnectionClosed):  # who reads is told, too
            while True:
                await transport.send((await outgoing.get()).frame)

    def _heard(self) -> None:
        self._session.heard(self._loop.time())

    async def _fetch_token(self) -> None:
        assert self._token is not None
        try:
            token = await asyncio.wait_for(_call(self._token), TOKEN_WITHIN_S)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            reason = f"no token: {type(error).__name__}: {error}"
            log.warning("%s: %s", self._address, reason)
            self._session.token_failed(reason, self._loop.time())
        else:
            self._session.token_fetched(token, self._loop.time())
        self._flush()

    def _on_state(self, state: State) -> None:
        if state.name == "waiting":
            log.warning("%s: %s; trying again in %.1f s", self._address, state.reason, state.retry_in or 0.0)
        elif state.name == "closed" and state.close_code != 1000:
            log.error("%s: %s", self._address, self._session.error)
        changed, self._changed = self._changed, []
        for waiting in changed:
            if not waiting.done():
                waiting.set_result(None)


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
    terms = Terms(offline, queue_messages, queue_bytes, backoff or Backoff())
    source = token if callable(token) else None
    credential = Credential(user, token if isinstance(token, str) else None, user_data, source is not None)

    def make() -> Hub:
        hub: Hub
        session = Session(chosen, random.random, credential, terms, lambda state: hub._on_state(state))
        hub = Hub(address, session, chosen.subprotocol, Dialing(headers, ssl, proxy, compression), source)
        hub._start()
        return hub

    return Connecting(make, open_timeout)


async def _call(token: Callable[[], str | Awaitable[str]]) -> str:
    given = token()
    if inspect.isawaitable(given):
        given = await given
    if not isinstance(given, str) or not given:
        raise TypeError(f"a token is a string, not {type(given).__name__}")
    return given


def _position(position: Any) -> Any:
    return {"epoch": position.epoch, "offset": position.offset} if isinstance(position, Position) else position


def _replay(replay: Replay) -> Map:
    after = replay.get("after")
    if isinstance(after, Mapping):
        return dict(replay) | {"after": {topic: _position(position) for topic, position in after.items()}}
    return dict(replay) | ({"after": _position(after)} if after is not None else {})
