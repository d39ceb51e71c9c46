"""Overlapping subscriptions over a line that breaks anywhere, against a model of the server; a seed decides all."""

import json
import os
import random
from collections import deque
from typing import Any

import pytest

from topichub import Gap, Message
from topichub.codec import JsonCodec
from topichub.effects import Open, Send
from topichub.messages import Map
from topichub.session import Session
from topichub.subscription import Buffer
from topichub.topics import is_pattern, matches

SEEDS = int(os.environ.get("TOPICHUB_SEEDS", "300"))
TOPICS = "a.x", "a.y", "b.x", "b.y"
NAMES = "a.x", "b.y", "a.*", "*.x", ">", "a.>"
REPLAYS: list[Any] = [None, {"last": 0}, {"last": 2}, {"last": 50}, {"seconds": 60}]


class Model:
    """What a server does by SPEC §4 and §13, of one session at a time; it remembers `memory` messages of each topic.

    Replays are paced: what is new and what other subscriptions are answered comes in between, but for the topic's own.
    """

    def __init__(self, memory: int, dice: random.Random) -> None:
        self.memory = memory
        self.dice = dice
        self.count = dict.fromkeys(TOPICS, 0)
        self.subscribed: list[str] = []
        self.pipe: deque[Map] = deque()
        self.pasts: dict[str, deque[Map]] = {}  # what is still to be replayed, and what is new behind it
        self.announced: dict[int, list[str]] = {}  # whose replay begins behind which reply

    def publish(self, topic: str) -> None:
        self.count[topic] += 1
        if any(matches(name, topic) for name in self.subscribed):
            self.pasts.get(topic, self.pipe).append(self.message(topic, self.count[topic]))

    def message(self, topic: str, offset: int) -> Map:
        epoch = {"epoch": f"e{topic}"} if offset == 1 else {}
        return {"op": "message", "topic": topic, "offset": offset, "data": offset} | epoch

    def connect(self) -> None:
        for queue in (self.subscribed, self.pipe, self.pasts, self.announced):
            queue.clear()
        self.pipe.append({"op": "welcome", "session": "s", "ping_ms": 25_000})

    def say(self) -> Map | None:
        """What comes next."""
        waiting = {topic for topics in self.announced.values() for topic in topics}
        pasts = [topic for topic in self.pasts if topic not in waiting]
        if pasts and (not self.pipe or self.dice.random() < 0.5):
            topic = self.dice.choice(pasts)
            said = self.pasts[topic].popleft()
            if not self.pasts[topic]:
                del self.pasts[topic]
            return said
        if not self.pipe:
            return None
        said = self.pipe.popleft()
        self.announced.pop(said.get("id", 0), None)
        return said

    def hear(self, command: Map) -> None:
        name, id_ = command["topic"], command["id"]
        if command["op"] == "unsubscribe":
            self.subscribed.remove(name)
            for topic in [topic for topic in self.pasts if not any(matches(other, topic) for other in self.subscribed)]:
                del self.pasts[topic]
            self.pipe.append({"op": "unsubscribed", "id": id_, "topic": name})
            return
        assert name not in self.subscribed
        found = (
            [topic for topic in TOPICS if matches(name, topic) and self.count[topic]] if is_pattern(name) else [name]
        )
        recovered, replayed = True, 0
        new = [topic for topic in found if not any(matches(other, topic) for other in self.subscribed)]
        self.announced[id_] = []
        for topic in new:
            begin, oldest = self.begin(command["replay"], topic), max(0, self.count[topic] - self.memory)
            past: deque[Map] = deque()
            if begin < oldest:
                if "after" in command["replay"]:
                    recovered = False
                    gap = {"op": "gap", "topic": topic, "epoch": f"e{topic}", "from": begin + 1, "to": oldest}
                    past.append(gap | {"why": "history"})
                begin = oldest
            past += [self.message(topic, offset) for offset in range(begin + 1, self.count[topic] + 1)]
            replayed += self.count[topic] - begin
            if past:
                self.pasts[topic] = past
                self.announced[id_].append(topic)
        ends = {topic: {"epoch": f"e{topic}", "offset": self.count[topic]} for topic in found}
        where: Map = {"positions": ends} if is_pattern(name) else ends[name]
        reply = {"op": "subscribed", "id": id_, "topic": name, "replayed": replayed, "recovered": recovered}
        self.pipe.append(reply | where)
        self.subscribed.append(name)

    def begin(self, replay: Map, topic: str) -> int:
        """Behind which offset the replay of a topic begins."""
        if "last" in replay:
            return max(0, self.count[topic] - int(replay["last"]))
        if "seconds" in replay:
            return max(0, self.count[topic] - 3)  # as if older ones were older than that
        after = replay["after"]
        position = after if "epoch" in after else after.get(topic, {"epoch": f"e{topic}", "offset": 0})
        assert position["epoch"] == f"e{topic}"
        assert position["offset"] <= self.count[topic]
        return int(position["offset"])


class Reader:
    """What came of one subscription: by topic, where it began and where it is."""

    def __init__(self, name: str) -> None:
        self.buffer = Buffer(name, 100_000)
        self.at: dict[str, int] = {}
        self.gaps = 0

    def read(self) -> None:
        while (event := self.buffer.pop()) is not None:
            if isinstance(event, Message):
                expected = self.at.get(event.topic, event.offset - 1) + 1
                assert event.offset == expected, f"{self.buffer.name}: {event}, not {expected}"
                self.at[event.topic] = event.offset
            elif isinstance(event, Gap):
                assert event.to is not None
                assert event.from_ is not None
                expected = self.at.get(event.topic, event.from_ - 1) + 1
                assert event.from_ == expected, f"{self.buffer.name}: {event}, not {expected}"
                self.at[event.topic] = event.to
                self.gaps += 1


def simulate(seed: int, memory: int) -> int:
    dice = random.Random(seed)
    model, now, json_codec = Model(memory, dice), 0.0, JsonCodec()
    session = Session(json_codec, dice.random)
    readers: dict[str, Reader] = {}
    up = False
    session.start(now)

    def act(deliver: bool = True) -> None:
        nonlocal up
        while session.effects:
            effect = session.effects.popleft()
            if isinstance(effect, Open):
                up = True
                model.connect()
                session.opened(now)
            elif isinstance(effect, Send) and deliver:
                model.hear(json_codec.decode(effect.frame))

    def flow(count: int) -> None:
        while count and up and (said := model.say()) is not None:
            session.receive(json.dumps(said), now)
            act()
            count -= 1

    def come_back() -> None:
        nonlocal now
        while not up:
            assert session.deadline is not None
            now = session.deadline
            session.tick(now)
            act()

    act()
    for _ in range(dice.randrange(20, 120)):
        match dice.choice(["publish", "publish", "publish", "flow", "flow", "cut", "subscribe", "unsubscribe", "back"]):
            case "publish":
                model.publish(dice.choice(TOPICS))
            case "flow":
                flow(dice.randrange(1, 12))
            case "cut" if up:
                up = False
                session.lost(1006, "", now)
                act(deliver=False)
            case "back":
                come_back()
            case "subscribe":
                name, replay = dice.choice(NAMES), dice.choice(REPLAYS)
                if name not in readers:
                    readers[name] = Reader(name)
                    session.subscribe(name, {} if replay is None else {"replay": replay}, readers[name].buffer)
                    act()
            case "unsubscribe" if readers and dice.random() < 0.3:
                name = dice.choice(list(readers))
                session.unsubscribe(name, readers.pop(name).buffer)
                act()
        for reader in readers.values():
            reader.read()
    come_back()
    flow(1_000_000)
    for topic in TOPICS:
        model.publish(topic)
    flow(1_000_000)
    for name, reader in readers.items():
        reader.read()
        for topic in TOPICS:
            if matches(name, topic):
                assert reader.at.get(topic) == model.count[topic], f"{name} is at {reader.at}, {topic} at {model.count}"
    return sum(reader.gaps for reader in readers.values())


def told(seed: int, memory: int) -> int:
    try:
        return simulate(seed, memory)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("memory", [1_000, 4])
def test_every_subscription_gets_everything_once_wherever_the_line_breaks(memory: int) -> None:
    gaps = 0
    for seed in range(SEEDS):
        gaps += told(seed, memory)
    assert (gaps > 0) == (memory < 1_000)
