"""The life of a hub, without I/O: what to say, what to pass over, when to come back.

Whoever drives it hands over what happens, each time with the present moment (seconds of a monotonic clock), carries
out the `effects` it finds afterwards, and calls `tick` at `deadline`. No socket, clock, task or thread is known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .asking import Asking
from .backoff import Attempts, Verdict, after, verdict_of
from .codec import Codec, Frame
from .commands import MESSAGE_BYTES, Command, Commands, Settle
from .effects import Close, Credential, Effect, Open, Send, State, Terms
from .errors import ClosedError, CommandError, DecodeError, HandshakeRefused
from .identity import Identity
from .interests import Interests
from .link import Link
from .messages import Map
from .subscription import Buffer

_REFUSED_FOR_EVER = frozenset({400, 401, 403, 404, 426})


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
        self.error: ClosedError | None = None
        terms = terms or Terms()
        self._codec = codec
        self._link = Link()
        self._identity = Identity(credential or Credential(), self.effects)
        self._attempts = Attempts(terms.backoff, random)
        self._commands = Commands(codec, terms, lambda frame: self.effects.append(Send(frame)))
        self._asking = Asking(self.interests, self._link, self._identity, self._attempts, self._send, self.effects)
        self._retry_at: float | None = None
        self._goodbye: Map | None = None

    @property
    def user(self) -> str | None:
        """Who the server says we are."""
        return self._identity.user

    # --- The connection

    def start(self, now: float) -> None:
        """Makes the first connection."""
        self._set(State("connecting", self.state.close_code, self.state.reason))
        self._retry_at = None
        if self._identity.missing:
            self._identity.fetch()
        else:
            self._open(now)

    def _open(self, now: float) -> None:
        self._link.dial(now)
        self.effects.append(Open())

    def opened(self, now: float) -> None:
        """The transport connection is there; the server's `welcome` is awaited."""
        self._link.dialed(now)

    def refused(
        self, status: int, retry_after_s: float | None, code: str | None, detail: str | None, now: float
    ) -> None:
        """The handshake was answered by an HTTP status in place of 101."""
        self._end_connection()
        reason = detail or f"the connection was refused with HTTP {status}"
        if status == 401 and self._identity.renew():
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
            after_s = after(goodbye.get("after_ms"))
        self._end_connection(now)
        if code == 4001 and self._identity.renew():
            self._set(State("connecting", code, reason))
        elif verdict == "never":
            self._close_for_good(ClosedError(code, reason), reason)
        else:
            if code == 4203 and self._identity.renewable:
                self._identity.forget()
            self._wait(verdict, after_s, code, reason, now)

    def _give_up_connection(self, code: int, reason: str, now: float) -> None:
        """It is we who end it, and we come back."""
        self.effects.append(Close(code, reason))
        self._end_connection(now)
        self._wait("later", 0.0, code, reason, now)

    def _end_connection(self, now: float | None = None) -> None:
        if now is not None and self._link.stable(now):
            self._attempts.succeeded()
        self._link.ended()
        self._goodbye = None
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
        self._asking.end_all(error)
        self._set(State("closed", error.close_code, reason))

    def close(self) -> None:
        """The program has had enough. Iterators end without an error."""
        if self.state.name == "closed":
            return
        self.effects.append(Close(1000, ""))
        self._asking.end_all(StopAsyncIteration())
        self._link.ended()
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
        moments = [self._retry_at, self._link.deadline]
        if self._link.open:
            moments += [self._identity.introduce_at, self._asking.deadline]
        return min((moment for moment in moments if moment is not None), default=None)

    def heard(self, now: float) -> None:
        """Something has come, and be it a ping."""
        self._link.heard_at = now

    def tick(self, now: float) -> None:
        """Time has gone by."""
        if self.state.name == "closed":
            return
        if self._retry_at is not None and now >= self._retry_at:
            self.start(now)
        elif (why := self._link.overdue(now)) is not None:
            self._give_up_connection(1000, why, now)
        elif self._link.open:
            introduce_at = self._identity.introduce_at
            if introduce_at is not None and now >= introduce_at:
                self._introduce()
            self._asking.tick(now)

    # --- Who we are

    def token_fetched(self, token: str, now: float) -> None:
        """The program has given a token."""
        self._identity.fetched(token)
        if self._link.open:
            self._introduce()
        elif self.state.name == "connecting" and not (self._link.opening or self._link.connected):
            self._open(now)

    def token_failed(self, reason: str, now: float) -> None:
        """The program could not give a token: tried again later, and a session that is open goes on while it may."""
        self._identity.not_fetched()
        if self.state.name == "closed" or (self._link.open and self._identity.agreed):
            return
        if self._link.connected:
            self._give_up_connection(1000, reason, now)
        else:
            self._wait("later", 0.0, 1006, reason, now)

    def _introduce(self) -> None:
        self._send(self._identity.introduction(), self._introduced)
        self._asking.parked()

    def _introduced(self, reply: Map | Exception) -> None:
        if isinstance(reply, dict):
            self._identity.taken(reply.get("user"))
            self._asking.parked()
        elif isinstance(reply, CommandError):
            if reply.code == "unauthorized" and self._identity.renew():
                return
            if reply.retry:
                self._identity.postpone(self._link.heard_at + (after(reply.after_ms) or self._attempts.draw(0)))
                return
            self.effects.append(Close(1000, ""))
            self._link.ended()
            self._close_for_good(ClosedError(4001, reply.message, reply.code), reply.message)

    # --- What the server says

    def receive(self, frame: Frame, now: float) -> None:
        """A frame has come."""
        self._link.heard_at = now
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
            if self._link.connected:
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
                self._asking.ended(map_)
            case "expiring":
                if self._identity.renewable:
                    self._identity.fetch()
            case "goodbye":
                self._goodbye = map_  # the close follows
            case str():
                pass  # of a later version, or an error about a command without an id, which we never send
            case _:
                raise DecodeError("a map without an op")

    def _welcome(self, map_: Map, now: float) -> None:
        if self._link.open or not self._link.connected:
            return
        self._link.welcomed(map_, now)
        self.session_id = str(map_.get("session", ""))
        limits = map_.get("limits")
        message_bytes = limits.get("message_bytes") if type(limits) is dict else None
        self._commands.message_bytes = message_bytes if type(message_bytes) is int else MESSAGE_BYTES
        self._set(State("open"))
        if self._identity.told:
            self._introduce()
        self._asking.everything()
        self._commands.flush()

    # --- Subscriptions

    def subscribe(self, name: str, options: Map, buffer: Buffer) -> None:
        """A subscription of the program, now and after every reconnect."""
        if self.error is not None:
            raise self.error
        self._commands.check({"op": "subscribe", "topic": name} | options)
        self._asking.subscribe(name, options, buffer)

    def unsubscribe(self, name: str, buffer: Buffer) -> None:
        """The program reads it no more."""
        self._asking.unsubscribe(name, buffer)

    def change(self, name: str, buffer: Buffer, options: Map, settle: Settle) -> None:
        """Other options for a subscription that goes on."""
        if self.error is not None:
            raise self.error
        self._asking.change(name, buffer, options, settle)

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
