"""Asking the server for what the program has subscribed to: at first, again after a loss or a refusal, and no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .backoff import Attempts, after
from .commands import Settle
from .effects import Effect, Sooner
from .errors import ClosedError, CommandError, SubscriptionEnded, TooLarge
from .identity import Identity
from .interests import AFTER_TOPICS_MAX, Interest, Interests
from .link import Link
from .messages import Map
from .subscription import Buffer

_UNANSWERED = frozenset({"unauthorized", "forbidden"})

Say = Callable[[Map, Settle], int]


class Asking:
    """What is to be in force at the server, and what it says to that."""

    def __init__(
        self,
        interests: Interests,
        link: Link,
        identity: Identity,
        attempts: Attempts,
        say: Say,
        effects: deque[Effect],
    ) -> None:
        self._interests = interests
        self._link = link
        self._identity = identity
        self._attempts = attempts
        self._say = say
        self._effects = effects

    @property
    def deadline(self) -> float | None:
        """When something is to be asked for again, at the earliest."""
        return min((one.retry_at for one in self._interests if one.retry_at is not None), default=None)

    def tick(self, now: float) -> None:
        """Time has gone by."""
        for interest in self._interests:
            if interest.retry_at is not None and now >= interest.retry_at:
                self._ask(interest)

    def everything(self) -> None:
        """Asks a new connection for all there is."""
        for interest in self._interests:
            self._ask(interest)

    def parked(self) -> None:
        """Asks again for what was refused before the server knew who we are."""
        for interest in self._interests:
            if interest.parked:
                self._ask(interest)

    # --- What the program wants

    def subscribe(self, name: str, options: Map, buffer: Buffer) -> None:
        """A subscription of the program, now and after every reconnect."""
        interest, new = self._interests.add(name, options, buffer)
        if new and self._link.open:
            self._ask(interest)

    def unsubscribe(self, name: str, buffer: Buffer) -> None:
        """The program reads it no more; the last one who shares it ends it on the server."""
        interest = self._interests.release(name, buffer)
        if interest is not None and interest.asked and self._link.open:
            self._say({"op": "unsubscribe", "topic": name}, lambda _: None)

    def change(self, name: str, buffer: Buffer, options: Map, settle: Settle) -> None:
        """Other options for a subscription that goes on. Without a connection they hold from the next one on."""
        interest = self._interests.named(name)
        if interest is None or buffer not in interest.buffers:
            raise ClosedError(1000, f"the subscription to {name} has ended")
        if not interest.asked or not self._link.open:
            self._interests.options_changed(interest, interest.changed(options))
            settle({})
            return

        def answered(reply: Map | Exception) -> None:
            if isinstance(reply, dict):
                self._interests.options_changed(interest, interest.changed(options))
            settle(reply)

        self._say(self._interests.change(interest, interest.changed(options)), answered)

    # --- What the server says to it

    def ended(self, map_: Map) -> None:
        """The push `unsubscribed`."""
        interest = self._interests.named(str(map_.get("topic")))
        if interest is not None:
            code = str(map_.get("code", "unknown"))
            self._end(interest, SubscriptionEnded(code, f"the server ended the subscription to {interest.name}"))

    def end_all(self, why: Exception) -> None:
        """Nothing is asked for any more."""
        for interest in self._interests:
            self._end(interest, why)

    def _end(self, interest: Interest, why: Exception) -> None:
        self._interests.remove(interest)
        for buffer in tuple(interest.buffers):
            buffer.end(why)

    def _ask(self, interest: Interest) -> None:
        interest.retry_at = None
        interest.parked = False
        topics = AFTER_TOPICS_MAX
        while True:
            command = self._interests.command(interest, topics)
            try:
                interest.asked = self._say(command, lambda reply: self._answered(interest, reply))
                return
            except TooLarge as error:
                if topics == 0:
                    self._end(interest, error)
                    return
                topics //= 2  # the others come as a whole, and what we know of them is passed over

    def _answered(self, interest: Interest, reply: Map | Exception) -> None:
        if self._interests.named(interest.name) is not interest:
            return  # ended meanwhile
        if isinstance(reply, dict):
            self._interests.subscribed(interest, reply)
            return
        interest.asked = 0
        if not isinstance(reply, CommandError):
            return  # the connection was lost; asked again by the next one
        if reply.code == "limit_reached" and interest.pattern and not interest.present_only and not interest.group:
            interest.present_only = True
            self._ask(interest)
        elif reply.code in _UNANSWERED and not self._identity.agreed:
            interest.parked = True
        elif reply.retry:
            wait = self._attempts.draw(interest.refusals)
            interest.refusals += 1
            interest.retry_at = self._link.heard_at + (after(reply.after_ms) or wait)
            self._effects.append(Sooner())
        else:
            self._end(interest, SubscriptionEnded(reply.code, reply.message, reply.retry, reply.after_ms))
