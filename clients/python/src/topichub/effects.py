"""What goes in and out of a session: what the program sets, and what is to be done for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .backoff import Backoff
from .codec import Frame

StateName = Literal["connecting", "open", "waiting", "closed"]
Offline = Literal["reject", "queue"]


@dataclass(frozen=True, slots=True)
class State:
    """How the hub is: `connecting`, `open`, `waiting` (for the next attempt, in `retry_in` seconds) or `closed`.

    `close_code` and `reason` say why it is waiting or closed, or why it has to connect again.
    """

    name: StateName
    close_code: int | None = None
    reason: str = ""
    retry_in: float | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Open a transport connection; what comes of it is said by `opened`, `refused` or `lost`."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this frame."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, or give up opening it. Nothing of it is to be handed over any more."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class FetchToken:
    """Ask the program for a token; `token_fetched` or `token_failed` follows."""


@dataclass(frozen=True, slots=True)
class Sooner:
    """`deadline` has come nearer."""


Effect = Open | Send | Close | FetchToken | Sooner


@dataclass(frozen=True, slots=True)
class Credential:
    """Who we are: a name where names are believed, a token, or `renewable`: the program is asked for a token."""

    user: str | None = None
    token: str | None = None
    data: Any = None
    renewable: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What the program may set. Sizes are bytes, times are seconds."""

    offline: Offline = "reject"
    queue_messages: int = 1_000
    queue_bytes: int = 1 << 20
    backoff: Backoff = field(default_factory=Backoff)
