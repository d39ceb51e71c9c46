"""The client and the server's own binary."""

import asyncio
import json
from dataclasses import FrozenInstanceError

import pytest
from cutting import Cable
from server import Server

import topichub
from topichub import Backoff, ClosedError, CommandError, Gap, Message, Presence, Subscribed

QUICK = Backoff(0.01, 0.05)


async def data_of(subscription: topichub.Subscription, count: int) -> list[object]:
    return [(await anext(subscription)).data for _ in range(count)]


async def in_force(*subscriptions: topichub.Subscription) -> None:
    """What others publish from here on comes."""
    for subscription in subscriptions:
        assert isinstance(await subscription.event(), Subscribed)


async def test_what_is_published_comes(url: str, topic: str, codec: topichub.codec.Name) -> None:
    async with topichub.connect(url, codec=codec) as hub:
        subscription = hub.subscribe(topic)
        published = await hub.publish(topic, {"text": "hello"}, key="k", meta={"by": "me"})
        message = await anext(subscription)
        assert message == Message(topic, {"text": "hello"}, 1, published.epoch, "k", {"by": "me"})
        assert (published.offset, published.subscribers, published.position) == (1, 1, message.position)
        with pytest.raises(FrozenInstanceError):
            message.data = "other"  # type: ignore[misc]


async def test_bytes_come_as_bytes_by_either_codec(url: str, topic: str) -> None:
    async with topichub.connect(url) as text, topichub.connect(url, codec="msgpack") as binary:
        subscriptions = text.subscribe(topic), binary.subscribe(topic)
        await in_force(*subscriptions)
        await text.publish(topic, b"\x00\xff")
        await binary.publish(topic, bytearray(b"\xfe"))
        for subscription in subscriptions:
            assert await data_of(subscription, 2) == [b"\x00\xff", b"\xfe"]


async def test_events_are_told_in_order(url: str, topic: str) -> None:
    async with topichub.connect(url, user="ada") as hub:
        await hub.publish(topic, 1)
        events = hub.subscribe(topic, replay={"last": 5}, presence=True).events()
        told = [await anext(events) for _ in range(3)]
        assert [type(event) for event in told if not isinstance(event, Presence)] == [Subscribed, Message]
        assert next(event for event in told if isinstance(event, Message)).replayed
        members = next(event.members for event in told if isinstance(event, Presence))
        assert members is not None
        assert [member.user for member in members] == ["ada"]
        assert (await hub.presence(topic)).count == 1


async def test_after_a_cut_nothing_is_missing_and_nothing_comes_twice(server: Server, url: str, topic: str) -> None:
    async with (
        Cable(server.address) as cable,
        topichub.connect(url) as writer,
        topichub.connect(cable.url, backoff=QUICK) as hub,
    ):
        plain, wide = hub.subscribe(f"{topic}.a"), hub.subscribe(f"{topic}.*")
        await in_force(plain, wide)
        for number in range(100):
            if number % 10 == 5:
                await cable.cut()
            await writer.publish(f"{topic}.a", number)
            await writer.publish(f"{topic}.b", number)
        assert await data_of(plain, 100) == list(range(100))
        seen = [await anext(wide) for _ in range(200)]
        for name in ("a", "b"):
            assert [message.data for message in seen if message.topic == f"{topic}.{name}"] == list(range(100))
        assert cable.connections > 1


async def test_what_history_has_forgotten_is_announced_exactly(server: Server, url: str, topic: str) -> None:
    name = f"brief.{topic}"
    async with (
        Cable(server.address) as cable,
        topichub.connect(url) as writer,
        topichub.connect(cable.url, backoff=QUICK) as hub,
    ):
        subscription = hub.subscribe(name)
        await in_force(subscription)
        await writer.publish(name, 1)
        assert await data_of(subscription, 1) == [1]
        cable.unplugged = True
        await cable.cut()
        for number in range(2, 21):
            await writer.publish(name, number)
        cable.unplugged = False
        events = [await subscription.event() for _ in range(7)]
        assert isinstance(events[0], Subscribed)
        assert not events[0].recovered
        assert events[1] == Gap(name, "history", events[0].epoch, 2, 15)
        assert [event.data for event in events if isinstance(event, Message)] == [16, 17, 18, 19, 20]


async def test_a_question_is_answered(url: str, topic: str) -> None:
    async with topichub.connect(url) as asking, topichub.connect(url) as answering:
        questions = answering.subscribe(topic)
        await in_force(questions)

        async def answer() -> None:
            question = await anext(questions)
            await answering.reply(question, sum(question.data))

        answered = asyncio.create_task(answer())
        assert await asking.request(topic, [1, 2]) == 3
        await answered


async def test_options_change_while_messages_flow(server: Server, url: str, topic: str) -> None:
    async with Cable(server.address) as cable, topichub.connect(cable.url, backoff=QUICK) as hub:
        subscription = hub.subscribe(topic, echo=False)
        await hub.publish(topic, "mine")
        await subscription.change(echo=True, max_rate=100)
        await hub.publish(topic, "mine again")
        assert (await anext(subscription)).data == "mine again"
        with pytest.raises(CommandError) as refused:
            await subscription.change(max_rate=0.001)
        assert refused.value.code == "bad_request"
        await cable.cut()
        assert isinstance(await subscription.event(), Subscribed)
        await hub.publish(topic, "and again")
        assert (await anext(subscription)).data == "and again"
        subscription.close()
        with pytest.raises(ClosedError):
            await subscription.change(echo=False)


async def test_a_long_replay_does_not_run_over_a_reader_who_keeps_up(server: Server, url: str, topic: str) -> None:
    for begin in range(0, 10_000, 1_000):
        batch = json.dumps([{"topic": topic, "data": begin + number} for number in range(1_000)])
        answer = await asyncio.to_thread(server.request, "POST", "/publish", batch)
        assert answer.status == 200
    async with topichub.connect(url) as hub:
        events = hub.subscribe(topic, replay={"last": 10_000}, buffer=500).events()
        assert isinstance(await anext(events), Subscribed)
        for number in range(10_000):
            event = await anext(events)
            assert isinstance(event, Message), event
            assert event.data == number
