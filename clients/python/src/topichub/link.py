"""The connection to the server as far as time goes: how long it may take, how long it may say nothing."""

from __future__ import annotations

from .backoff import STABLE_AFTER_S
from .messages import Map

WELCOME_WITHIN_S = 10.0
SILENCE_BEYOND_PING_S = 10.0
PING_MS = 25_000


class Link:
    """One connection after the other. It is open from the server's `welcome` on."""

    def __init__(self) -> None:
        self.opening = False
        self.connected = False  # there is a transport connection, whether welcomed or not
        self.heard_at = 0.0
        self._opened_at: float | None = None
        self._welcome_by: float | None = None
        self._ping_s = PING_MS / 1000

    @property
    def open(self) -> bool:
        return self._opened_at is not None

    @property
    def deadline(self) -> float | None:
        """When it is overdue, unless something is heard."""
        return self._silent_by if self.open else self._welcome_by

    @property
    def _silent_by(self) -> float:
        return self.heard_at + self._ping_s + SILENCE_BEYOND_PING_S

    def dial(self, now: float) -> None:
        """A connection is being made."""
        self.opening = True
        self._welcome_by = now + WELCOME_WITHIN_S

    def dialed(self, now: float) -> None:
        """The transport connection is there."""
        self.opening, self.connected = False, True
        self._welcome_by = now + WELCOME_WITHIN_S
        self.heard_at = now

    def welcomed(self, welcome: Map, now: float) -> None:
        """The server has greeted us, and said how often it pings."""
        self._welcome_by = None
        self._opened_at = now
        ping_ms = welcome.get("ping_ms")
        if type(ping_ms) is int and ping_ms > 0:
            self._ping_s = ping_ms / 1000

    def overdue(self, now: float) -> str | None:
        """Why it is to be given up; None if it is not."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return None
        if self.open:
            return "nothing heard for longer than the server is ever silent"
        return f"no welcome within {WELCOME_WITHIN_S:g} s"

    def stable(self, now: float) -> bool:
        """Whether it has been open for so long that failures before it do not count any more."""
        return self._opened_at is not None and now - self._opened_at >= STABLE_AFTER_S

    def ended(self) -> None:
        """There is no connection any more, and none is being made."""
        self.opening = self.connected = False
        self._opened_at = self._welcome_by = None
