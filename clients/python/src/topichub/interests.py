"""What the program has subscribed to, and what comes of it: routes, replays, and which messages have been here before.

No I/O and no clock. The session hands over what the server says and asks what to say to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .echoes import Echoes
from .errors import AlreadySubscribed, DecodeError
from .messages import (
    Event,
    Gap,
    Map,
    Position,
    Subscribed,
    make_message,
    payload,
    positions,
    read_presence,
    read_subscribed,
)
from .positions import Positions
from .subscription import Buffer
from .topics import is_pattern, matches

AFTER_TOPICS_MAX = 500
ROUTES_MAX = 10_000
CHANGEABLE = frozenset({"slow", "max_rate", "echo"})


class Interest:
    """One subscription as the server has it, and the buffers of those in the program that share it."""

    def __init__(self, name: str, options: Map) -> None:
        self.name = name
        self.options = options
        self.echoes = Echoes()
        self.buffers: list[Buffer] = []
        self.asked = 0  # the id of the command on this connection; 0 if it was not asked for
        self.in_force = False  # answered on this connection
        self.resuming = False  # asked with the positions we have
        self.present_only = False  # asked again without its replay
        self.begun = False  # our positions say what is to come; until then it is asked as it was the first time
        self.refusals = 0
        self.retry_at: float | None = None
        self.parked = False  # refused while the server does not know who we are; asked again when it does
        # The past that is being replayed: where it ends, how many messages are to come, for which topics we are told
        # of them, and which ones were new to us.
        self.ends: dict[str, Position] = {}
        self.left = 0
        self.recovered = True
        self.own: frozenset[str] = frozenset()
        self.fresh: frozenset[str] = frozenset()

    @property
    def pattern(self) -> bool:
        return is_pattern(self.name)

    @property
    def group(self) -> bool:
        return self.options.get("group") is not None

    @property
    def echo(self) -> bool:
        return self.options.get("echo") is not False

    @property
    def first_replay(self) -> Map | None:
        """What is asked for the first time: even nothing of the past, so that the answer says where we are."""
        return None if self.group else self.options.get("replay", {"last": 0})

    def changed(self, options: Map) -> Map:
        """Its options, with these in place of all that can be changed."""
        return {key: value for key, value in self.options.items() if key not in CHANGEABLE} | options

    def deliver(self, event: Event) -> None:
        for buffer in tuple(self.buffers):
            buffer.push(event)

    def disconnected(self) -> None:
        self.asked = 0
        self.in_force = self.present_only = self.parked = False
        self.retry_at = None
        self.past_is_over()

    def past_is_over(self) -> None:
        self.ends = {}
        self.left = 0
        self.own = self.fresh = frozenset()


class Route:
    """Where the messages of one topic go."""

    __slots__ = ("buffers", "echo", "interests", "ordered")

    def __init__(self, interests: tuple[Interest, ...]) -> None:
        self.interests = interests
        self.buffers = tuple(buffer for interest in interests for buffer in interest.buffers)
        # In a group a message can come behind later ones: another member had it, and has gone.
        self.ordered = not all(interest.group for interest in interests)
        self.echo = any(interest.echo for interest in interests)

    def withholds(self, topic: str, epoch: Any, offset: int) -> bool:
        """Whether this is a message of our own, which all of them do without."""
        return any((topic, epoch, offset) in interest.echoes for interest in self.interests)


class Interests:
    """All subscriptions of one hub."""

    def __init__(self) -> None:
        self._by_name: dict[str, Interest] = {}
        self._positions = Positions()
        self._routes: dict[str, Route] = {}
        self._replaying = 0  # how many have `ends`

    def __iter__(self) -> Iterator[Interest]:
        return iter(tuple(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def named(self, name: str) -> Interest | None:
        return self._by_name.get(name)

    def position(self, topic: str) -> Position | None:
        return self._positions.position(topic)

    def add(self, name: str, options: Map, buffer: Buffer) -> tuple[Interest, bool]:
        """Takes a subscription in, and says whether the server is to be asked: equal ones share what it has."""
        interest = self._by_name.get(name)
        new = interest is None
        if interest is None:
            interest = self._by_name[name] = Interest(name, options)
        elif interest.options != options:
            raise AlreadySubscribed(f"there is a subscription to {name} with other options")
        interest.buffers.append(buffer)
        self._routes.clear()
        if interest.in_force:
            known = self._positions.get(name)
            buffer.push(Subscribed(name, *(known or (None, None))))
        return interest, new

    def release(self, name: str, buffer: Buffer) -> Interest | None:
        """One who shares it has gone; the interest, if that was the last."""
        interest = self._by_name.get(name)
        if interest is None or buffer not in interest.buffers:
            return None
        interest.buffers.remove(buffer)
        self._routes.clear()
        if interest.buffers:
            return None
        self.remove(interest)
        return interest

    def remove(self, interest: Interest) -> None:
        """The interest is no more."""
        if self._by_name.get(interest.name) is interest:
            del self._by_name[interest.name]
        self._forget_past(interest)
        self._routes.clear()
        others = tuple(self._by_name.values())
        self._positions.forget(
            (lambda topic: matches(interest.name, topic)) if interest.pattern else interest.name,
            unless=lambda topic: any(matches(other.name, topic) for other in others),
        )

    def options_changed(self, interest: Interest, options: Map) -> None:
        """These hold from now on."""
        interest.options = options
        self._routes.clear()

    def disconnected(self) -> None:
        """Nothing is in force any more."""
        for interest in self._by_name.values():
            interest.disconnected()
        self._replaying = 0
        self._routes.clear()

    # --- What to ask

    def command(self, interest: Interest, topics_max: int = AFTER_TOPICS_MAX) -> Map:
        """The command that asks for it: the first time as it was said, later for all that has come since."""
        command = self.change(interest, interest.options)
        replay = None if interest.present_only else self._replay(interest, topics_max)
        return command if replay is None else command | {"replay": replay}

    def change(self, interest: Interest, options: Map) -> Map:
        """The command that asks for other options, and for nothing of the past."""
        return {"op": "subscribe", "topic": interest.name} | {key: options[key] for key in options if key != "replay"}

    def _replay(self, interest: Interest, topics_max: int) -> Map | None:
        interest.resuming = False
        if interest.group or not interest.begun:
            return interest.first_replay
        if interest.pattern:
            interest.resuming = True
            return {"after": self._positions.matching(lambda topic: matches(interest.name, topic), topics_max)}
        known = self._positions.get(interest.name)
        if known is None:
            return interest.first_replay
        interest.resuming = True
        return {"after": {"epoch": known[0], "offset": known[1]}}

    # --- What the server says

    def subscribed(self, interest: Interest, map_: Map) -> None:
        """It is in force: what it replays follows, then what is new."""
        reply, ends = read_subscribed(map_), positions(map_)
        interest.in_force = True
        interest.refusals = 0
        self._routes.clear()
        interest.deliver(reply)
        if interest.present_only:
            interest.deliver(Gap(interest.name, "unknown"))
        before = [other for other in self if other.asked and other.asked < interest.asked and not other.group]
        interest.own = frozenset(topic for topic in ends if not any(matches(other.name, topic) for other in before))
        fresh = []
        for topic, end in ends.items():
            known = self._positions.get(topic)
            # What was begun and cut before anything came of it begins anew, unless it is another one's position, too.
            if known is None or not (interest.resuming or self._held_by_another(interest, topic)):
                fresh.append(topic)
                self._positions.reach(topic, end.epoch, self._start(interest, reply, topic, end))
            elif known[0] != end.epoch or (known[1] > end.offset and not reply.recovered):
                # Another log: what came after our position in the old one is lost, and nobody knows how much.
                self._positions.reach(topic, end.epoch, 0 if reply.replayed else end.offset)
                self._announce(Gap(topic, "epoch", end.epoch))
        if reply.replayed > 0 and ends:
            interest.ends, interest.left, interest.fresh = ends, reply.replayed, frozenset(fresh)
            interest.recovered = reply.recovered
            self._replaying += 1
        elif ends or interest.pattern:
            interest.begun = True

    def _held_by_another(self, interest: Interest, topic: str) -> bool:
        others = (other for other in self._by_name.values() if other is not interest and not other.group)
        return any(matches(other.name, topic) for other in others if other.begun or other.ends)

    def _start(self, interest: Interest, reply: Subscribed, topic: str, end: Position) -> int:
        """Where a topic begins that we know nothing of."""
        if reply.replayed == 0:
            return end.offset
        last = (interest.first_replay or {}).get("last") if not interest.resuming else None
        return max(0, end.offset - last) if isinstance(last, int) else 0

    def message(self, map_: Map) -> None:
        """A message: to all who want it, unless it has been here before."""
        topic, offset, epoch = map_.get("topic"), map_.get("offset"), map_.get("epoch")
        if type(topic) is not str or type(offset) is not int:
            raise DecodeError("a message without a topic or an offset")
        route = self._routes.get(topic) or self._route(topic)
        if not route.interests:
            return
        known = self._positions.get(topic)
        if known is not None:
            if epoch is None:
                epoch = known[0]
            if route.ordered and offset <= known[1] and epoch == known[0]:
                return
        if epoch is not None:
            self._positions.reach(topic, epoch, offset)
        data = map_["data"] if "data" in map_ else payload(map_)
        replayed = self._replaying > 0 and self._replayed(route, topic, epoch, offset)
        if not route.echo and route.withholds(topic, epoch, offset):
            return
        message = make_message(
            topic, data, offset, epoch, map_.get("key"), map_.get("meta"), map_.get("reply_to"), replayed
        )
        for buffer in route.buffers:
            buffer.push(message)

    def gap(self, map_: Map) -> None:
        """Messages that do not come. What of them has been here before is none."""
        topic, epoch, first, last = map_.get("topic"), map_.get("epoch"), map_.get("from"), map_.get("to")
        if type(topic) is not str or type(epoch) is not str or type(first) is not int or type(last) is not int:
            raise DecodeError("a gap without a topic, an epoch or its offsets")
        route = self._routes.get(topic) or self._route(topic)
        if not route.interests:
            return
        known = self._positions.get(topic)
        if known is not None and known[0] == epoch:
            if last <= known[1]:
                return
            first = max(first, known[1] + 1)
        self._positions.reach(topic, epoch, last)
        why = str(map_.get("why", "unknown"))
        for interest in route.interests:
            # They were to come, and are no more. If it began with a loss, nobody can tell whether they were counted.
            if why == "history" and interest.recovered and topic in interest.own and topic in interest.ends:
                self._less(interest, last - first + 1)
            interest.begun = interest.begun or not interest.group
        gap = Gap(topic, why, epoch, first, last)
        for buffer in route.buffers:
            buffer.push(gap)

    def published(self, map_: Map) -> None:
        """We have published a message. A duplicate was published before, and not by this session."""
        topic, epoch, offset = map_.get("topic"), map_.get("epoch"), map_.get("offset")
        if type(topic) is not str or type(epoch) is not str or type(offset) is not int or map_.get("duplicate"):
            return
        route = self._routes.get(topic) or self._route(topic)
        if not route.echo:
            for interest in route.interests:
                interest.echoes.add(topic, epoch, offset)

    def presence(self, map_: Map) -> None:
        """Who is on a topic, for those who watch it."""
        presence = read_presence(map_)
        interest = self._by_name.get(presence.topic)
        if interest is not None:
            interest.deliver(presence)

    def _announce(self, gap: Gap) -> None:
        for interest in self:
            if matches(interest.name, gap.topic) and not interest.group:
                interest.deliver(gap)

    def _route(self, topic: str) -> Route:
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        # After a reconnect the replay of one subscription can bring what another one that has yet to be answered
        # wants, too: the server does not send it again. Only one that is new has nothing to expect before its answer.
        wanting = (one for one in self._by_name.values() if one.in_force or one.begun)
        taking = tuple(one for one in wanting if matches(one.name, topic))
        route = self._routes[topic] = Route(taking)
        return route

    # --- The past

    def _replayed(self, route: Route, topic: str, epoch: Any, offset: int) -> bool:
        found = False
        for interest in route.interests:
            interest.begun = interest.begun or not interest.group
            end = interest.ends.get(topic)
            if end is None:
                continue
            if end.epoch == epoch and offset <= end.offset:
                found = True
                if topic in interest.own:
                    self._less(interest, 1)
            elif len(interest.ends) > 1:
                del interest.ends[topic]  # what is live comes behind all of the past
            else:
                self._forget_past(interest)
        return found

    def _less(self, interest: Interest, count: int) -> None:
        interest.left -= count
        if interest.left > 0:
            return
        # All has come. Topics that nothing came of, because it was too long ago, are at their ends. Of those that we
        # knew before a gap may still be announced, and to ask for them again from where we are costs nothing.
        for topic in interest.fresh & interest.own:
            end, known = interest.ends.get(topic), self._positions.get(topic)
            if end is not None and known is not None and known[0] == end.epoch and known[1] < end.offset:
                self._positions.reach(topic, end.epoch, end.offset)
        self._forget_past(interest)

    def _forget_past(self, interest: Interest) -> None:
        if interest.ends:
            self._replaying -= 1
        interest.past_is_over()
