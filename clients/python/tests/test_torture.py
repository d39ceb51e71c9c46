"""A publisher counts up while subscribers read through a line that is cut again and again."""

import asyncio
import os

import pytest
from faults import Faults
from server import Server

import topichub
from topichub import Backoff, Gap, Message, Subscribed

FAULTS = int(os.environ.get("TOPICHUB_FAULTS", "1000"))
SEED = int(os.environ.get("TOPICHUB_SEED", "6"))
QUICK = Backoff(0.002, 0.02)
NAMES = "a", "b", "c"
END = "end"


async def count_up(hub: topichub.Hub, topics: list[str], done: asyncio.Event) -> int:
    """Publishes numbers until the line is sound again, and some more; how many."""
    number = beyond = 0
    while beyond < 50:
        beyond += done.is_set()
        await asyncio.gather(*(hub.publish(topic, number) for topic in topics))
        number += 1
        await asyncio.sleep(0.002)  # its pace
    await asyncio.gather(*(hub.publish(topic, END) for topic in topics))
    return number


async def read(subscription: topichub.Subscription, topics: int, seen: dict[str, list[object]]) -> None:
    """Reads until every topic has said its end."""
    async for event in subscription.events():
        assert not isinstance(event, Gap), event
        if isinstance(event, Message):
            if event.data == END:
                topics -= 1
                if topics == 0:
                    return
            else:
                seen.setdefault(event.topic, []).append(event.data)


@pytest.mark.within(150)
async def test_a_thousand_cuts_lose_nothing_and_double_nothing(server: Server, url: str, topic: str) -> None:
    topics = [f"long.{topic}.{name}" for name in NAMES]
    async with Faults(server.address, FAULTS, SEED) as faults, topichub.connect(url) as writer:
        async with (
            topichub.connect(faults.url, backoff=QUICK, open_timeout=None) as plain,
            topichub.connect(faults.url, backoff=QUICK, open_timeout=None) as wide,
            topichub.connect(faults.url, backoff=QUICK, open_timeout=None, codec="msgpack") as both,
        ):
            subscriptions = [
                plain.subscribe(topics[0]),
                wide.subscribe(f"long.{topic}.*"),
                both.subscribe(topics[1]),
                both.subscribe(f"long.{topic}.>"),
            ]
            for subscription in subscriptions:
                assert isinstance(await subscription.event(), Subscribed)
            seen: list[dict[str, list[object]]] = [{} for _ in subscriptions]
            counting = asyncio.create_task(count_up(writer, topics, faults.done))
            counts = [1, 3, 1, 3]
            await asyncio.gather(*map(read, subscriptions, counts, seen))
            expected = list(range(await counting))
            for numbers, count in zip(seen, counts, strict=True):
                assert len(numbers) == count
                for name, found in numbers.items():
                    assert found == expected, f"{name}, seed {SEED}"
        cuts = {kind: count for kind, count in faults.kinds.items() if kind != "stall"}
        assert sum(cuts.values()) == FAULTS, cuts


async def test_where_history_is_short_the_gaps_say_exactly_what_is_lost(server: Server, url: str, topic: str) -> None:
    name = f"brief.{topic}"
    async with (
        Faults(server.address, 30, SEED) as faults,
        topichub.connect(url) as writer,
        topichub.connect(faults.url, backoff=QUICK, open_timeout=None) as hub,
    ):
        subscription = hub.subscribe(name)
        assert isinstance(await subscription.event(), Subscribed)
        counting = asyncio.create_task(count_up(writer, [name], faults.done))
        offsets: list[int] = []
        gaps = 0
        async for event in subscription.events():
            if isinstance(event, Gap):
                assert event.from_ is not None
                assert event.to is not None
                offsets += range(event.from_, event.to + 1)
                gaps += 1
            elif isinstance(event, Message):
                offsets.append(event.offset)
                if event.data == END:
                    break
        assert offsets == list(range(1, await counting + 2))
        assert gaps > 0, "nothing was ever lost: the story shows nothing"
