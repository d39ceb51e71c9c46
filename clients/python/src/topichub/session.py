"""The life of a hub, without I/O: what to say, what to pass over, when to come back.

Whoever drives it hands over what happens, each time with the present moment (seconds of a monotonic clock), carries
out the `effects` it finds afterwards, and calls `tick` at `deadline`. No socket, clock, task or thread is known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .backoff import STABLE_AFTER_S, Attempts, Verdict, verdict_of
from .codec import Codec, Frame
from .commands import MESSAGE_BYTES, Command, Commands, Settle
from .effects import Close, Credential, Effect, FetchToken, Open, Send, Sooner, State, Terms
from .errors import (
    ClosedError,
    CommandError,
    DecodeError,
    HandshakeRefused,
    SubscriptionEnded,
    TooLarge,
)
from .interests import AFTER_TOPICS_MAX, Interest, Interests
from .messages import Map
from .subscription import Buffer

WELCOME_WITHIN_S = 10.0
SILENCE_BEYOND_PING_S = 10.0
PING_MS = 25_000
AFTER_MAX_S = 3_600.0  # whoever says longer than that is wrong

_REFUSED_FOR_EVER = frozenset({400, 401, 403, 404, 426})
_UNANSWERED = frozenset({"unauthorized", "forbidden"})


class Session:
    """One hub's conversation with its server, over any number of connections."""

    def __init__(
        self,
        codec: Codec,
        random: Callable[[], float],
        credential: Credential | None = None,
        terms: Terms | None = None,
    ) -> None:
        self.effects: deque[Effect] = deque()
        self.on_state: Callable[[State], None] = lambda _: None
        self.interests = Interests()
        self.state = State("connecting")
        self.session_id = ""
        self.user: str | None = None
        self.error: ClosedError | None = None
        self._codec = codec
        terms = terms or Terms()
        self._credential = credential or Credential()
        self._attempts = Attempts(terms.backoff, random)
        self._commands = Commands(codec, terms, lambda frame: self.effects.append(Send(frame)))
        self._opening = False
        self._connected = False  # there is a transport connection, whether welcomed or not
        self._fetching = False
        self._fresh = False  # the token in use was fetched because another one was refused
        self._identified = True  # the server has agreed to who we are, or there is nothing to say
        self._introduce_at: float | None = None
        self._opened_at: float | None = None
        self._heard_at = 0.0
        self._ping_s = PING_MS / 1000
        self._welcome_by: float | None = None
        self._retry_at: float | None = None
        self._goodbye: Map | None = None

    # --- The connection

    def start(self, now: float) -> None:
        """Makes the first connection."""
        self._set(State("connecting", self.state.close_code, self.state.reason))
        self._retry_at = None
        if self._credential.renewable and self._credential.token is None:
            self._fetch()
        else:
            self._open(now)

    def _open(self, now: float) -> None:
        self._opening = True
        self._welcome_by = now + WELCOME_WITHIN_S
        self.effects.append(Open())

    def opened(self, now: float) -> None:
        """The transport connection is there; the server's `welcome` is awaited."""
        self._opening, self._connected = False, True
        self._welcome_by = now + WELCOME_WITHIN_S
        self._heard_at = now

    def refused(
        self, status: int, retry_after_s: float | None, code: str | None, detail: str | None, now: float
    ) -> None:
        """The handshake was answered by an HTTP status in place of 101."""
        self._end_connection()
        reason = detail or f"the connection was refused with HTTP {status}"
        if status == 401 and self._renew():
            self._set(State("connecting"))
        elif status in _REFUSED_FOR_EVER:
            self._close_for_good(HandshakeRefused(status, code, detail), reason)
        else:
            after_s = retry_after_s if status in (429, 503) and retry_after_s is not None else 0.0
            self._wait("later", after_s, 1006, reason, now)

    def lost(self, code: int, reason: str, now: float) -> None:
        """The connection has ended, or could not be made: with this close code, 1006 if there was none."""
        goodbye = self._goodbye
        verdict: Verdict = verdict_of(code)
        after_s = 0.0
        if goodbye is not None:
            said = goodbye.get("reconnect")
            if said in ("never", "later", "now"):
                verdict = said
            code = goodbye.get("code", code) if code in (1005, 1006) else code
            reason = reason or str(goodbye.get("reason", ""))
            after_s = _seconds(goodbye.get("after_ms"))
        self._end_connection(now)
        if code == 4001 and self._renew():
            self._set(State("connecting", code, reason))
        elif verdict == "never":
            self._close_for_good(ClosedError(code, reason), reason)
        else:
            if code == 4203 and self._credential.renewable:
                self._forget_token()
            self._wait(verdict, after_s, code, reason, now)

    def _give_up_connection(self, code: int, reason: str, now: float) -> None:
        """It is we who end it, and we come back."""
        self.effects.append(Close(code, reason))
        self._end_connection(now)
        self._wait("later", 0.0, code, reason, now)

    def _end_connection(self, now: float | None = None) -> None:
        if now is not None and self._opened_at is not None and now - self._opened_at >= STABLE_AFTER_S:
            self._attempts.succeeded()
        self._opening = self._connected = False
        self._opened_at = self._welcome_by = self._introduce_at = self._goodbye = None
        self.session_id = ""
        self.interests.disconnected()
        self._commands.lost()

    def _wait(self, verdict: Verdict, after_s: float, code: int, reason: str, now: float) -> None:
        wait = self._attempts.wait(verdict, after_s)
        self._retry_at = now + wait
        self._set(State("waiting", code, reason, wait))

    def _close_for_good(self, error: ClosedError, reason: str) -> None:
        self.error = error
        self._retry_at = None
        self._commands.refuse(error)
        for interest in self.interests:
            for buffer in tuple(interest.buffers):
                buffer.end(error)
            self.interests.remove(interest)
        self._set(State("closed", error.close_code, reason))

    def close(self) -> None:
        """The program has had enough. Iterators end without an error."""
        if self.state.name == "closed":
            return
        self.effects.append(Close(1000, ""))
        for interest in self.interests:
            for buffer in tuple(interest.buffers):
                buffer.end(StopAsyncIteration())
            self.interests.remove(interest)
        self._connected = False
        self._close_for_good(ClosedError(1000, "by this program"), "by this program")

    def _set(self, state: State) -> None:
        self.state = state
        self.on_state(state)

    # --- Time

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do, at the earliest. Hearing something moves it; to come too early does no
        harm."""
        if self.state.name == "closed":
            return None
        moments = [self._retry_at, self._welcome_by, self._introduce_at]
        if self._opened_at is not None:
            moments.append(self._heard_at + self._ping_s + SILENCE_BEYOND_PING_S)
            moments += [interest.retry_at for interest in self.interests]
        return min((moment for moment in moments if moment is not None), default=None)

    def heard(self, now: float) -> None:
        """Something has come, and be it a ping."""
        self._heard_at = now

    def tick(self, now: float) -> None:
        """Time has gone by."""
        if self.state.name == "closed":
            return
        if self._retry_at is not None and now >= self._retry_at:
            self.start(now)
        elif self._welcome_by is not None and now >= self._welcome_by:
            self._give_up_connection(1000, f"no welcome within {WELCOME_WITHIN_S:g} s", now)
        elif self._opened_at is not None:
            if now >= self._heard_at + self._ping_s + SILENCE_BEYOND_PING_S:
                self._give_up_connection(1000, "nothing heard for longer than the server is ever silent", now)
                return
            if self._introduce_at is not None and now >= self._introduce_at:
                self._introduce()
            for interest in self.interests:
                if interest.retry_at is not None and now >= interest.retry_at:
                    self._ask(interest)

    # --- Who we are

    def _fetch(self) -> None:
        if not self._fetching:
            self._fetching = True
            self.effects.append(FetchToken())

    def _forget_token(self) -> None:
        self._credential = Credential(None, None, self._credential.data, renewable=True)

    def _renew(self) -> bool:
        """What we have was refused: gets a fresh token, unless this was one. Whether there is hope."""
        if not self._credential.renewable or self._fresh:
            return False
        self._fresh = True
        self._forget_token()
        self._fetch()
        return True

    def token_fetched(self, token: str, now: float) -> None:
        """The program has given a token."""
        self._fetching = False
        if self.state.name == "closed":
            return
        self._credential = Credential(None, token, self._credential.data, renewable=True)
        if self._opened_at is not None:
            self._introduce()
        elif self.state.name == "connecting" and not (self._opening or self._connected):
            self._open(now)

    def token_failed(self, reason: str, now: float) -> None:
        """The program could not give a token: tried again later, and a session that is open goes on while it may."""
        self._fetching = False
        if self.state.name == "closed":
            return
        if self._opened_at is None or not self._identified:
            self._fresh = False
            if self._connected:
                self._give_up_connection(1000, reason, now)
            else:
                self._wait("later", 0.0, 1006, reason, now)

    def _introduce(self) -> None:
        self._introduce_at = None
        credential = self._credential
        who: Map = {"user": credential.user} if credential.user is not None else {"token": credential.token}
        if credential.data is not None:
            who["data"] = credential.data

        self._identified = False
        self._send({"op": "authenticate"} | who, self._introduced)
        for interest in self.interests:
            if interest.parked:
                self._ask(interest)

    def _introduced(self, reply: Map | Exception) -> None:
        if isinstance(reply, dict):
            self._identified = True
            self._fresh = False
            self.user = reply.get("user")
            for interest in self.interests:
                if interest.parked:
                    self._ask(interest)
        elif isinstance(reply, CommandError):
            if reply.code == "unauthorized" and self._renew():
                return
            if reply.retry:
                after_s = _seconds(reply.after_ms) or self._attempts.draw(0)
                self._introduce_at = self._heard_at + after_s
                self.effects.append(Sooner())
                return
            self.effects.append(Close(1000, ""))
            self._connected = False
            self._close_for_good(ClosedError(4001, reply.message, reply.code), reply.message)

    # --- What the server says

    def receive(self, frame: Frame, now: float) -> None:
        """A frame has come."""
        self._heard_at = now
        try:
            map_ = self._codec.decode(frame)
            if "id" in map_:
                if map_.get("op") == "published":
                    self.interests.published(map_)
                self._commands.answered(map_)
            elif map_.get("op") == "message":
                self.interests.message(map_)
            else:
                self._push(map_, now)
        except DecodeError as error:
            if self._connected:
                self._give_up_connection(1002, f"what came is not of this protocol: {error}", now)

    def _push(self, map_: Map, now: float) -> None:
        match map_.get("op"):
            case "welcome":
                self._welcome(map_, now)
            case "gap":
                self.interests.gap(map_)
            case "presence":
                self.interests.presence(map_)
            case "unsubscribed":
                self._unsubscribed(map_)
            case "expiring":
                if self._credential.renewable:
                    self._fetch()
            case "goodbye":
                self._goodbye = map_  # the close follows
            case str():
                pass  # of a later version, or an error about a command without an id, which we never send
            case _:
                raise DecodeError("a map without an op")

    def _welcome(self, map_: Map, now: float) -> None:
        if self._opened_at is not None or not self._connected:
            return
        self._welcome_by = None
        self._opened_at = now
        self.session_id = str(map_.get("session", ""))
        ping_ms = map_.get("ping_ms")
        if type(ping_ms) is int and ping_ms > 0:
            self._ping_s = ping_ms / 1000
        limits = map_.get("limits")
        message_bytes = limits.get("message_bytes") if type(limits) is dict else None
        self._commands.message_bytes = message_bytes if type(message_bytes) is int else MESSAGE_BYTES
        self._set(State("open"))
        if self._credential.user is not None or self._credential.token is not None:
            self._introduce()
        for interest in self.interests:
            self._ask(interest)
        self._commands.flush()

    def _unsubscribed(self, map_: Map) -> None:
        interest = self.interests.named(str(map_.get("topic")))
        if interest is not None:
            code = str(map_.get("code", "unknown"))
            self._end(interest, SubscriptionEnded(code, f"the server ended the subscription to {interest.name}"))

    def _end(self, interest: Interest, error: Exception) -> None:
        self.interests.remove(interest)
        for buffer in tuple(interest.buffers):
            buffer.end(error)

    # --- Subscriptions

    def subscribe(self, name: str, options: Map, buffer: Buffer) -> None:
        """A subscription of the program, now and after every reconnect."""
        if self.error is not None:
            raise self.error
        self._commands.check({"op": "subscribe", "topic": name} | options)
        interest, new = self.interests.add(name, options, buffer)
        if new and self.state.name == "open":
            self._ask(interest)

    def unsubscribe(self, name: str, buffer: Buffer) -> None:
        """The program reads it no more; the last one who shares it ends it on the server."""
        interest = self.interests.release(name, buffer)
        if interest is not None and interest.asked and self.state.name == "open":
            self._send({"op": "unsubscribe", "topic": name}, lambda _: None)

    def change(self, name: str, buffer: Buffer, options: Map, settle: Settle) -> None:
        """Other options for a subscription that goes on. Without a connection they hold from the next one on."""
        interest = self.interests.named(name)
        if interest is None or buffer not in interest.buffers:
            raise self.error or ClosedError(1000, f"the subscription to {name} has ended")
        if not interest.asked or self.state.name != "open":
            self.interests.options_changed(interest, interest.changed(options))
            settle({})
            return

        def answered(reply: Map | Exception) -> None:
            if isinstance(reply, dict):
                self.interests.options_changed(interest, interest.changed(options))
            settle(reply)

        self._send(self.interests.change(interest, interest.changed(options)), answered)

    def _ask(self, interest: Interest) -> None:
        interest.retry_at = None
        interest.parked = False
        topics = AFTER_TOPICS_MAX
        while True:
            command = self.interests.command(interest, topics)
            try:
                interest.asked = self._send(command, lambda reply: self._asked(interest, reply))
                return
            except TooLarge as error:
                if topics == 0:
                    self._end(interest, error)
                    return
                topics //= 2  # the others come as a whole, and what we know of them is passed over

    def _asked(self, interest: Interest, reply: Map | Exception) -> None:
        if self.interests.named(interest.name) is not interest:
            return  # ended meanwhile
        if isinstance(reply, dict):
            self.interests.subscribed(interest, reply)
            return
        interest.asked = 0
        if not isinstance(reply, CommandError):
            return  # the connection was lost; asked again by the next one
        if reply.code == "limit_reached" and interest.pattern and not interest.present_only and not interest.group:
            interest.present_only = True
            self._ask(interest)
        elif reply.code in _UNANSWERED and not self._identified:
            interest.parked = True
        elif reply.retry:
            wait = self._attempts.draw(interest.refusals)
            interest.refusals += 1
            interest.retry_at = self._heard_at + (_seconds(reply.after_ms) or wait)
            self.effects.append(Sooner())
        else:
            self._end(interest, SubscriptionEnded(reply.code, reply.message, reply.retry, reply.after_ms))

    # --- Commands

    def command(self, map_: Map, settle: Settle) -> Command:
        """A command of the program; `settle` gets its reply or an error, once."""
        if self.error is not None:
            raise self.error
        command = Command(map_, settle)
        if self.state.name == "open":
            self._commands.send(command)
        else:
            self._commands.queue(command, self.state.name)
        return command

    def withdraw(self, command: Command) -> None:
        """Nobody waits for this command any more. One that was not sent yet never is."""
        self._commands.withdraw(command)

    def _send(self, map_: Map, settle: Settle) -> int:
        return self._commands.send(Command(map_, settle))


def _seconds(ms: Any) -> float:
    return min(ms / 1000, AFTER_MAX_S) if type(ms) in (int, float) and ms > 0 else 0.0
