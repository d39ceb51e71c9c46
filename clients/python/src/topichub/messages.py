"""What comes out of a subscription and what a command is answered with: frozen values, read from the server's maps."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from typing import Any, TypedDict, cast

from .errors import DecodeError

Map = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log of a topic: the index of a message, from 1, in one incarnation of the log."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        """As in an HTTP query: `k3v9:44`."""
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Reads `EPOCH:OFFSET`; ValueError if it is not that."""
        epoch, _, offset = text.rpartition(":")
        if not epoch or not offset.isdecimal():
            raise ValueError(f"not a position: {text!r}")
        return cls(epoch, int(offset))


@dataclass(frozen=True, slots=True)
class Message:
    """One published message. `data` is any JSON value, or `bytes`; `replayed` says that it was published before."""

    topic: str
    data: Any
    offset: int
    epoch: str | None
    """None only where the server has not said it: on a pattern that matches too many topics to be replayed."""
    key: str | None = None
    meta: Mapping[str, str] | None = None
    reply_to: str | None = None
    replayed: bool = False

    @property
    def position(self) -> Position | None:
        """Where this message stands, to resume behind it; None if its epoch is not known."""
        return None if self.epoch is None else Position(self.epoch, self.offset)


# To make a frozen dataclass takes a call for each of its fields: a twentieth of all that a message costs
# (bench/throughput.py). This is a message as long as it can still be written to.
_Draft: Any = make_dataclass("_Draft", [field.name for field in fields(Message)], slots=True)


def make_message(*values: Any) -> Message:
    """`Message(*values)`, given all of them, in a third of the time."""
    draft = _Draft(*values)
    draft.__class__ = Message
    return cast(Message, draft)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that do not come: offsets `from_` to `to`, both included, or None where nobody knows how many.

    `why` is the server's word (`dropped`, `conflated`, `history`, `expired`) or this client's: `buffer` (not read in
    time), `epoch` (the log has begun anew, what came after our position is lost), `unknown` (a pattern too wide to be
    replayed).
    """

    topic: str
    why: str
    epoch: str | None = None
    from_: int | None = None
    to: int | None = None

    @property
    def lost(self) -> int | None:
        """How many offsets are passed over, at most as many messages; None if nobody knows."""
        return None if self.from_ is None or self.to is None else self.to - self.from_ + 1


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody on a topic: a user, or a session that has named none, and the data that they show."""

    user: str | None = None
    session: str | None = None
    data: Any = None


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is on a topic (`change` is false: `members`), or who has come and gone (`change` is true: `joined`, `left`).

    `count` is the number of members, `sessions` that of their sessions. Above a number that the operator sets nobody
    is named, and the three are None.
    """

    topic: str
    count: int
    sessions: int
    change: bool = False
    members: Sequence[Member] | None = None
    joined: Sequence[Member] | None = None
    left: Sequence[Member] | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The subscription is in force, for the first time or again after a reconnect; what is replayed follows.

    `epoch` and `offset` are those of the topic's latest message and None for a pattern, for which `positions` says
    where each topic stands. `recovered` is false if the position we had could not be honoured: a Gap says what is lost.
    """

    topic: str
    epoch: str | None = None
    offset: int | None = None
    replayed: int = 0
    recovered: bool = True
    positions: Mapping[str, Position] | None = None


class Last(TypedDict):
    """The latest so many messages of each topic, 0 to 10,000."""

    last: int


class Seconds(TypedDict):
    """The messages of the last so many seconds."""

    seconds: int


class After(TypedDict):
    """The messages behind a position; for a pattern, behind the position of each topic."""

    after: Position | Mapping[str, Position]


Replay = Last | Seconds | After
"""What a subscription begins with: one of `{"last": 5}`, `{"seconds": 60}`, `{"after": position}`."""

Event = Message | Gap | Presence | Subscribed
"""What `subscription.events()` gives, in the order in which it came."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a message has been put. `subscribers` is how many subscriptions on the server it goes to."""

    topic: str
    epoch: str
    offset: int
    subscribers: int
    duplicate: bool = False
    """Whether it was published before, by the same `dedup`."""

    @property
    def position(self) -> Position:
        """Where the message stands."""
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class History:
    """A page of what a topic retains, in rising order of offset; `epoch` and `offset` are those of its latest message.

    `more` says that there is more in the direction asked for, `recovered` is false if the position could not be
    honoured.
    """

    topic: str
    epoch: str
    offset: int
    recovered: bool
    more: bool
    messages: Sequence[Message]


# --- Reading. A map that lacks what it must have is not of this protocol.


def _field(map_: Any, key: str, kind: type) -> Any:
    value = map_.get(key) if type(map_) is dict else None
    if type(value) is not kind:
        said = map_.get("op", "an entry") if type(map_) is dict else "an entry"
        raise DecodeError(f'field "{key}" of {said!r} is {type(value).__name__}, not {kind.__name__}')
    return value


def _optional(map_: Map, key: str, default: Any) -> Any:
    """A field that may be left out, else of the type of its default."""
    return _field(map_, key, type(default)) if key in map_ else default


def text(map_: Map, key: str) -> str:
    """A field that must be a string."""
    found = _field(map_, key, str)
    assert isinstance(found, str)
    return found


def number(map_: Map, key: str) -> int:
    """A field that must be an integer."""
    found = _field(map_, key, int)
    assert isinstance(found, int)
    return found


def payload(map_: Map) -> Any:
    """The data of a map: a value, or bytes, which JSON holds as `data_base64`."""
    if "data_base64" not in map_:
        return map_.get("data")
    try:
        return b64decode(text(map_, "data_base64"), validate=True)
    except binascii.Error as error:
        raise DecodeError(f"data_base64: {error}") from error


def positions(map_: Map) -> dict[str, Position]:
    """The positions that `subscribed` tells: of its topic, or of each topic that a pattern matches."""
    if "positions" in map_:
        told = _field(map_, "positions", dict)
        return {topic: Position(text(entry, "epoch"), number(entry, "offset")) for topic, entry in told.items()}
    if "epoch" in map_:
        return {text(map_, "topic"): Position(text(map_, "epoch"), number(map_, "offset"))}
    return {}


def read_subscribed(map_: Map) -> Subscribed:
    """The reply `subscribed` to a command with one `topic`."""
    return Subscribed(
        topic=text(map_, "topic"),
        epoch=text(map_, "epoch") if "epoch" in map_ else None,
        offset=number(map_, "offset") if "epoch" in map_ else None,
        replayed=_optional(map_, "replayed", 0),
        recovered=_optional(map_, "recovered", True),
        positions=positions(map_) if "positions" in map_ else None,
    )


def read_published(map_: Map) -> Published:
    """The reply `published`."""
    return Published(
        topic=text(map_, "topic"),
        epoch=text(map_, "epoch"),
        offset=number(map_, "offset"),
        subscribers=_optional(map_, "subscribers", 0),
        duplicate=_optional(map_, "duplicate", False),
    )


def read_history(map_: Map) -> History:
    """The reply `history`."""
    topic, epoch = text(map_, "topic"), text(map_, "epoch")
    messages = []
    for entry in _field(map_, "messages", list):
        offset = number(entry, "offset")
        messages.append(
            Message(topic, payload(entry), offset, epoch, entry.get("key"), entry.get("meta"), replayed=True)
        )
    recovered, more = _optional(map_, "recovered", True), _optional(map_, "more", False)
    return History(topic, epoch, number(map_, "offset"), recovered, more, messages)


def _members(map_: Map, key: str) -> Sequence[Member] | None:
    if key not in map_:
        return None
    entries = _field(map_, key, list)
    if not all(type(entry) is dict for entry in entries):
        raise DecodeError(f'an entry of "{key}" is no map')
    return [Member(entry.get("user"), entry.get("session"), payload(entry)) for entry in entries]


def read_presence(map_: Map) -> Presence:
    """The reply or push `presence`."""
    return Presence(
        topic=text(map_, "topic"),
        count=number(map_, "count"),
        sessions=number(map_, "sessions"),
        change=_optional(map_, "change", False),
        members=_members(map_, "members"),
        joined=_members(map_, "joined"),
        left=_members(map_, "left"),
    )
