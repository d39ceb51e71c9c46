"""Where each topic stands: all up to there has come, or was announced as a gap."""

from __future__ import annotations

from collections.abc import Callable

from .messages import Position

# As many as a session can have replayed: 128 patterns of 1,000 topics. Beyond, what was heard of longest ago is
# forgotten.
TOPICS_MAX = 128_000
# Of fewer the order is never asked for, and to keep it costs a tenth of a microsecond for every message.
ORDERED_FROM = 256


class Positions:
    """Positions by topic, the latest last."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, topic: str) -> tuple[str, int] | None:
        """The epoch and offset of a topic, if it is known."""
        return self._known.get(topic)

    def reach(self, topic: str, epoch: str, offset: int) -> None:
        """A topic stands here now."""
        known = self._known
        if len(known) >= ORDERED_FROM:
            known.pop(topic, None)
        known[topic] = (epoch, offset)
        if len(known) > TOPICS_MAX:
            del known[next(iter(known))]

    def position(self, topic: str) -> Position | None:
        """The position of a topic, if it is known."""
        known = self._known.get(topic)
        return Position(*known) if known else None

    def matching(self, wanted: Callable[[str], bool], count: int) -> dict[str, dict[str, str | int]]:
        """The latest `count` positions of topics that are wanted, as they go over the wire."""
        found = [topic for topic in self._known if wanted(topic)][-count:] if count else []
        return {topic: {"epoch": self._known[topic][0], "offset": self._known[topic][1]} for topic in found}

    def forget(self, which: str | Callable[[str], bool], unless: Callable[[str], bool]) -> None:
        """Forgets a topic, or those that are meant, unless somebody wants them still."""
        meant = [which] if isinstance(which, str) else [topic for topic in self._known if which(topic)]
        for topic in meant:
            if not unless(topic):
                self._known.pop(topic, None)
