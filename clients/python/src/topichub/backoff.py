"""When to come back: what a close code says, and how long to wait (SPEC §8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["never", "later", "now"]

NOW_SPREAD_S = 0.3
NOW_MAX = 3
STABLE_AFTER_S = 10.0
AFTER_MAX_S = 3_600.0  # whoever says longer than that is wrong

_HUNDREDS: dict[int, Verdict] = {40: "never", 41: "later", 42: "now"}
# Ours would be the same mistake again, or there is nothing more to say.
_NEVER = frozenset({1000, 1002, 1003, 1007, 1008, 1009})


def verdict_of(code: int) -> Verdict:
    """Whether to come back after this close code. From 4000 on the hundred says it, also of codes that are not known
    yet."""
    if code >= 4000:
        return _HUNDREDS.get(code // 100, "later")
    return "never" if code in _NEVER else "later"


def after(ms: Any) -> float:
    """What the server's `after_ms` says, in seconds; 0 if it says nothing of use."""
    return min(ms / 1000, AFTER_MAX_S) if type(ms) in (int, float) and ms > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to stay away: a random time up to `base` seconds, doubled with every attempt, up to `max` seconds."""

    base: float = 0.5
    max: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.base <= self.max:
            raise ValueError(f"base and max of a back-off are 0 < base <= max, not {self.base} and {self.max}")

    def ceiling(self, attempt: int) -> float:
        """The longest wait before this attempt, in seconds; attempts count from 0."""
        return min(self.max, self.base * 2.0 ** min(attempt, 64))


class Attempts:
    """Counts the attempts since the last connection that was worth its name, and draws the wait before the next."""

    def __init__(self, backoff: Backoff, random: Callable[[], float]) -> None:
        self._backoff = backoff
        self._random = random
        self._later = 0
        self._now = 0

    def succeeded(self) -> None:
        """A connection has been open for STABLE_AFTER_S: all begins afresh."""
        self._later = self._now = 0

    def wait(self, verdict: Verdict, after_s: float) -> float:
        """How long to wait, in seconds. Who is sent back again and again at once comes back later all the same."""
        if verdict == "now":
            self._now += 1
            if self._now <= NOW_MAX:
                return after_s + self._random() * min(NOW_SPREAD_S, self._backoff.max)
        wait = self._random() * self._backoff.ceiling(self._later)
        self._later += 1
        return after_s + wait

    def draw(self, attempt: int) -> float:
        """The wait before trying something else for the nth time, by the same rule."""
        return self._random() * self._backoff.ceiling(attempt)
