"""Servers that speak garbage or refuse, and what programs do: each ends in an error that says what to do."""

import asyncio
import datetime
import gc
import json
import random
import re
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import vectors
from cutting import Cable
from server import Server
from servers import Visit, response, saying, talking

import topichub
from topichub import (
    AlreadySubscribed,
    Backoff,
    BufferOverflow,
    ClosedError,
    CommandError,
    ConnectionLost,
    ConnectTimeout,
    Gap,
    HandshakeRefused,
    NotConnected,
    QueueFull,
    Subscribed,
    SubscriptionEnded,
    TooLarge,
)
from topichub.codec import JsonCodec
from topichub.session import Session
from topichub.transport import _retry_after

QUICK = Backoff(0.01, 0.05)
SOURCE = Path(topichub.__file__).parent


async def until(hub: topichub.Hub, name: str) -> topichub.State:
    """The first state of this name."""
    async for state in hub.states():
        if state.name == name:
            return state
    raise AssertionError(f"the hub was never {name}")


# --- What answers is no TopicHub

PORTAL = response("200 OK", "<html>pay here</html>", Content_Type="text/html")
STRANGE = {
    "a captive portal": (PORTAL, "HTTP 200"),
    "a gateway with nothing behind it": (response("502 Bad Gateway"), "HTTP 502"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "InvalidMessage"),
    "nothing at all": (b"", "InvalidMessage"),
    "an upgrade with a wrong key": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: x\r\n\r\n",
        "Sec-WebSocket-Accept",
    ),
}


@pytest.mark.parametrize("what", STRANGE)
async def test_what_is_no_server_is_tried_again_and_said(what: str) -> None:
    answer, said = STRANGE[what]
    async with saying(answer) as url:
        with pytest.raises(ConnectTimeout, match=re.escape(said)):
            await topichub.connect(url, backoff=QUICK, open_timeout=0.3)


async def test_nobody_there_is_said() -> None:
    with pytest.raises(ConnectTimeout, match=r"127\.0\.0\.1:1/ws.*Refused"):
        await topichub.connect("http://127.0.0.1:1", backoff=QUICK, open_timeout=0.3)


@pytest.mark.parametrize("subprotocol", [None, "chat"])
async def test_another_subprotocol_is_not_spoken(subprotocol: str | None) -> None:
    async with talking(Visit.linger, subprotocol) as url:
        with pytest.raises(ConnectTimeout, match=r"does not speak pubsub\.json|subprotocol"):
            await topichub.connect(url, backoff=QUICK, open_timeout=0.3)


async def test_garbage_ends_the_connection_and_the_next_goes_on() -> None:
    garbage: list[str | bytes] = [
        '{"op":',
        "[]",
        '"text"',
        '{"no":"op"}',
        '{"op":"message","topic":1,"offset":1}',
        b"\x81",
        "\ufeff{}",
    ]
    codes = []

    async def talk(visit: Visit) -> None:
        await visit.welcome(subscribed=1)
        if visit.number <= len(garbage):
            await visit.connection.send(garbage[visit.number - 1])
            await visit.linger()
            codes.append(visit.connection.close_code)
        else:
            await visit.say({"op": "message", "topic": "a", "offset": 1, "epoch": "k", "data": "sense"})
            await visit.linger()

    async with talking(talk) as url, topichub.connect(url, backoff=QUICK) as hub:
        assert (await anext(hub.subscribe("a"))).data == "sense"
        assert codes == [1002] * len(garbage)


def test_no_map_however_strange_breaks_the_session() -> None:
    replies = vectors.load("replies")
    texts = [
        vectors.text(case["json"])
        for kind in ("replies", "pushes", "lenient", "errors")
        for case in replies[kind]
        if "json" in case
    ]
    strange: list[Any] = [None, True, -1, 2**70, 1.5, "", "x", [], [1], {}, {"a": 1}, {"a": {"epoch": 1}}]
    dice = random.Random(6)
    for _ in range(3_000):
        session = Session(JsonCodec(), dice.random)
        session.start(0.0)
        session.opened(0.0)
        session.receive('{"op":"welcome","session":"s","ping_ms":25000}', 0.0)
        buffer = topichub.subscription.Buffer("a", 5)
        session.subscribe("a", {"presence": True}, buffer)
        session.receive('{"op":"subscribed","id":1,"topic":"a","epoch":"k","offset":0}', 0.0)
        session.subscribe(">", {}, topichub.subscription.Buffer(">", 5))
        session.command({"op": "history", "topic": "a"}, lambda _: None)
        for _ in range(4):
            said = json.loads(dice.choice(texts))
            if isinstance(said, dict) and said:
                if dice.random() < 0.5 and "id" in said:
                    said["id"] = dice.choice([1, 2, 3])
                said[dice.choice(list(said))] = dice.choice(strange)
            if session.state.name == "open":
                session.receive(json.dumps(said), 1.0)
        assert session.state.name in ("open", "waiting")


# --- Who is refused

PROBLEM = json.dumps({"type": "about:blank", "status": 403, "code": "forbidden", "detail": "this origin may not"})


async def test_who_may_not_come_is_told_why_and_does_not_come_back() -> None:
    async with saying(response("403 Forbidden", PROBLEM, Content_Type="application/problem+json")) as url:
        hub = await topichub.connect(url, backoff=QUICK, open_timeout=0)
        subscription = hub.subscribe("a")
        with pytest.raises(HandshakeRefused, match="refused with HTTP 403: this origin may not") as refused:
            await anext(subscription)
        assert (refused.value.code, refused.value.status, hub.state.name) == ("forbidden", 403, "closed")
        with pytest.raises(HandshakeRefused):
            await hub.publish("a", 1)
        with pytest.raises(HandshakeRefused):
            hub.subscribe("b")
        await hub.close()


async def test_a_full_server_is_left_alone_for_as_long_as_it_says() -> None:
    async with saying(response("503 Service Unavailable", Retry_After="7")) as url:
        hub = await topichub.connect(url, backoff=QUICK, open_timeout=0)
        state = await until(hub, "waiting")
        assert state.retry_in is not None
        assert 7.0 <= state.retry_in <= 7.1
        await hub.close()


def test_a_date_in_retry_after_is_believed_for_an_hour_at_most() -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    assert _retry_after(format_datetime(now + datetime.timedelta(days=400), usegmt=True)) == 3600
    assert _retry_after(format_datetime(now - datetime.timedelta(days=400), usegmt=True)) == 0
    assert (_retry_after("12"), _retry_after("soon"), _retry_after(None)) == (12, None, None)


async def test_a_token_that_stays_expired_is_fetched_once_more_and_then_given_up() -> None:
    fetched = 0

    async def token() -> str:
        nonlocal fetched
        fetched += 1
        return f"expired-{fetched}"

    async def talk(visit: Visit) -> None:
        await visit.welcome()
        while True:
            command = await visit.hear()
            text = "the token has expired"
            await visit.say(
                {"op": "error", "id": command["id"], "code": "unauthorized", "message": text, "retry": False}
            )

    async with talking(talk) as url:
        hub = await topichub.connect(url, token=token, backoff=QUICK)
        with pytest.raises(ClosedError, match="the token has expired") as ended:
            await anext(hub.subscribe("a"))
        assert (ended.value.code, ended.value.close_code, fetched) == ("unauthorized", 4001, 2)
        await hub.close()


async def test_a_token_function_that_fails_is_asked_again() -> None:
    asked = 0

    def token() -> str:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise OSError("the authority is down")
        return "good"

    async def talk(visit: Visit) -> None:
        await visit.welcome()
        command = await visit.hear()
        assert command["token"] == "good"
        await visit.say({"op": "authenticated", "id": command["id"], "user": "ada"})
        await visit.say({"op": "expiring", "in_ms": 1_000})
        await visit.hear()
        await visit.connection.close(4203)

    async with talking(talk) as url, topichub.connect(url, token=token, backoff=QUICK) as hub:
        await until(hub, "waiting")
        assert hub.user == "ada"
        await until(hub, "open")
        assert asked == 5  # twice in vain, once for each of expiring and expired


async def test_a_subscription_that_may_pass_later_is_asked_for_when_it_may() -> None:
    async def talk(visit: Visit) -> None:
        await visit.welcome()
        command = await visit.hear()
        refused = {"op": "error", "code": "unavailable", "message": "not now", "retry": True, "after_ms": 20}
        await visit.say(refused | {"id": command["id"]})
        command = await visit.hear()
        await visit.say(
            {"op": "subscribed", "id": command["id"], "topic": "a", "epoch": "k", "offset": 0, "replayed": 0}
        )
        await visit.linger()

    async with talking(talk) as url, topichub.connect(url) as hub:
        assert isinstance(await asyncio.wait_for(hub.subscribe("a").event(), 5), Subscribed)


async def test_an_operators_end_reaches_every_iterator() -> None:
    async def talk(visit: Visit) -> None:
        await visit.welcome(subscribed=2)
        await visit.say({"op": "goodbye", "code": 4005, "reason": "ended by an operator", "reconnect": "never"})
        await visit.connection.close(4005, "ended by an operator")

    async with talking(talk) as url:
        hub = await topichub.connect(url, backoff=QUICK)
        ends = await asyncio.gather(*(anext(hub.subscribe(name)) for name in ("a", "b")), return_exceptions=True)
        assert [str(end) for end in ends] == ["closed with 4005: ended by an operator"] * 2
        await hub.close()


# --- What programs do


async def nobody_subscribes(hub: topichub.Hub, topic: str) -> None:
    """Until the server knows."""
    while (await hub.publish(topic, "is anybody there?")).subscribers:
        pass


async def test_an_iterator_that_is_left_unsubscribes(url: str, topic: str) -> None:
    async with topichub.connect(url) as hub, topichub.connect(url) as other:

        async def by_break() -> None:
            async for _ in hub.subscribe(topic, replay={"last": 1}):
                break

        async def by_error() -> None:
            async def failing() -> None:
                async for message in hub.subscribe(topic, replay={"last": 1}):
                    raise ZeroDivisionError(message)

            with pytest.raises(ZeroDivisionError):
                await failing()

        async def by_return() -> object:
            async for event in hub.subscribe(topic, replay={"last": 1}).events():
                return event
            return None

        async def by_cancelling() -> None:
            reading = asyncio.create_task(anext(hub.subscribe(topic)))
            while not (await other.publish(topic, 1)).subscribers:
                pass
            reading.cancel()
            await asyncio.wait([reading])

        async def by_with() -> None:
            async with hub.subscribe(topic) as subscription:
                assert isinstance(await subscription.event(), Subscribed)
            with pytest.raises(StopAsyncIteration):
                await anext(subscription)

        await other.publish(topic, 1)
        for leaving in (by_break, by_error, by_return, by_cancelling, by_with):
            await leaving()
            gc.collect()
            await nobody_subscribes(other, topic)
        assert not list(hub._session.interests)


async def test_a_held_subscription_is_read_on_after_a_break(url: str, topic: str) -> None:
    async with topichub.connect(url) as hub:
        subscription = hub.subscribe(topic)
        for number in range(3):
            await hub.publish(topic, number)
        seen = []
        for _ in range(3):
            async for message in subscription:
                seen.append(message.data)
                break
        assert seen == [0, 1, 2]


async def test_without_a_connection_a_publish_is_refused_or_queued_as_the_program_chose(
    server: Server, url: str, topic: str
) -> None:
    async with Cable(server.address) as cable, topichub.connect(url) as reader:
        cable.unplugged = True
        rejecting = await topichub.connect(cable.url, backoff=QUICK, open_timeout=0)
        queueing = await topichub.connect(
            cable.url, backoff=QUICK, open_timeout=0, offline="queue", queue_messages=3, queue_bytes=1_000
        )
        with pytest.raises(NotConnected):
            await rejecting.publish(topic, 0)
        publishing = [asyncio.create_task(queueing.publish(topic, number)) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="3 messages"):
            await queueing.publish(topic, 3)
        publishing[1].cancel()
        await asyncio.wait([publishing[1]])
        with pytest.raises(QueueFull, match="1000 bytes"):
            await queueing.publish(topic, "x" * 1_000)
        with pytest.raises(NotConnected):
            await queueing.history(topic)
        subscription = reader.subscribe(topic)
        await subscription.event()
        cable.unplugged = False
        assert [(await publishing[number]).offset for number in (0, 2)] == [1, 2]
        assert [(await anext(subscription)).data for _ in range(2)] == [0, 2]
        await rejecting.close()
        await queueing.close()


async def test_two_clients_with_one_position_both_get_everything(url: str, topic: str) -> None:
    async with topichub.connect(url) as writer, topichub.connect(url) as one, topichub.connect(url) as other:
        position = (await writer.publish(topic, 0)).position
        for number in range(1, 20):
            await writer.publish(topic, number)
        for hub in (one, other):
            subscription = hub.subscribe(topic, replay={"after": position})
            assert [(await anext(subscription)).data for _ in range(19)] == list(range(1, 20))


async def test_what_cannot_be_sent_is_said_and_the_connection_lives(url: str, topic: str, codec: Any) -> None:
    async with topichub.connect(url, codec=codec) as hub:
        state = hub.state
        with pytest.raises(TypeError):
            await hub.publish(topic, object())
        with pytest.raises((ValueError, TypeError)):
            await hub.publish(topic, "\ud800")
        with pytest.raises(TooLarge, match="65536"):
            await hub.publish(topic, "x" * 70_000)
        with pytest.raises(CommandError) as refused:
            await hub.publish("not a topic", 1)
        assert (refused.value.code, refused.value.retry) == ("invalid_topic", False)
        with pytest.raises(TypeError):
            hub.subscribe(topic, presence={"data": object()})
        assert (await hub.publish(topic, 1)).offset == 1
        assert hub.state is state


POISON = {
    "an integer of five thousand digits": ("json", "application/json", b"9" * 5_000),
    "a float beyond all floats": ("json", "application/json", b"1e999"),
    "a key that is an array": ("msgpack", "application/msgpack", b"\x81\x91\x01\x02"),
    "a timestamp that is none": ("msgpack", "application/msgpack", b"\xc7\x05\xff12345"),
    "an extension that is reserved": ("msgpack", "application/msgpack", b"\xd4\xfe\x07"),
}


@pytest.mark.parametrize("what", POISON)
async def test_no_payload_that_the_server_lets_pass_cuts_a_subscriber_off(
    server: Server, url: str, topic: str, what: str
) -> None:
    codec, kind, body = POISON[what]
    async with topichub.connect(url, codec="msgpack" if codec == "msgpack" else "json", backoff=QUICK) as hub:
        state, subscription = hub.state, hub.subscribe(topic)
        await subscription.event()
        answer = await asyncio.to_thread(server.request, "POST", f"/topics/{topic}", body, {"content-type": kind})
        assert answer.status == 200, answer.body
        await hub.publish(topic, "after")
        await anext(subscription)
        assert (await anext(subscription)).data == "after"
        assert hub.state is state


async def test_a_reader_who_does_not_read_loses_the_oldest_and_is_told(
    url: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with topichub.connect(url) as hub, topichub.connect(url) as writer:
        lazy = hub.subscribe(topic, buffer=10)
        quick = hub.subscribe(f"{topic}.>")
        await quick.event()
        await lazy.event()
        for number in range(1, 31):
            epoch = (await writer.publish(topic, number)).epoch
        await writer.publish(f"{topic}.x", "fence")
        await anext(quick)
        events = [await lazy.event() for _ in range(11)]
        assert events[0] == Gap(topic, "buffer", epoch, 1, 20)
        assert [event.data for event in events[1:] if isinstance(event, topichub.Message)] == list(range(21, 31))
        assert caplog.messages == [f"{topic} is not read in time: of more than 10 events the oldest are dropped"]


async def test_or_is_ended_if_it_wants_so(url: str, topic: str) -> None:
    async with topichub.connect(url) as hub, topichub.connect(url) as writer:
        strict = hub.subscribe(topic, buffer=10, overflow="error")
        await strict.event()
        for number in range(30):
            await writer.publish(topic, number)
        await nobody_subscribes(writer, topic)
        assert [(await anext(strict)).data for _ in range(10)] == list(range(10))
        with pytest.raises(BufferOverflow, match="more than 10 events"):
            await anext(strict)


async def test_other_options_for_the_same_name_are_refused_here(url: str, topic: str) -> None:
    async with topichub.connect(url) as hub:
        first, second = hub.subscribe(topic, slow="drop"), hub.subscribe(topic, slow="drop")
        with pytest.raises(AlreadySubscribed):
            hub.subscribe(topic, slow="latest")
        await first.event()
        await hub.publish(topic, 1)
        assert [(await anext(one)).data for one in (first, second)] == [1, 1]
        bad: dict[str, Any]
        for bad in ({"buffer": 0}, {"overflow": "wait"}):
            with pytest.raises(ValueError, match=r"buffer holds|overflow is"):
                hub.subscribe(topic, slow="drop", **bad)


async def test_a_forbidden_subscription_ends_alone(url: str, topic: str) -> None:
    async with topichub.connect(url) as hub:
        with pytest.raises(SubscriptionEnded) as ended:
            await anext(hub.subscribe("$sys.stats"))
        assert ended.value.code == "forbidden"
        with pytest.raises(SubscriptionEnded, match="invalid_topic"):
            await anext(hub.subscribe("not a topic"))
        assert hub.state.name == "open"


async def test_closing_ends_everything_that_waits(url: str, topic: str) -> None:
    hub = await topichub.connect(url)
    reading = asyncio.create_task(anext(hub.subscribe(topic)))
    asking = asyncio.create_task(hub.request(topic, 1))
    await asyncio.sleep(0)
    await hub.close()
    ends = await asyncio.gather(reading, asking, return_exceptions=True)
    assert [type(end) for end in ends] == [StopAsyncIteration, ClosedError]
    await hub.close()
    with pytest.raises(ClosedError):
        await hub.publish(topic, 1)
    assert [state.name async for state in hub.states()] == ["closed"]


async def test_closing_while_there_is_no_connection_leaves_nothing_behind() -> None:
    async with saying(b"") as url:
        for _ in range(3):
            hub = await topichub.connect(url, open_timeout=0)
            await hub.close()
        hub = await topichub.connect(url, open_timeout=0, backoff=Backoff(60, 60))
        await until(hub, "waiting")
        await hub.close()


async def test_a_command_under_way_is_lost_with_its_connection() -> None:
    async def talk(visit: Visit) -> None:
        await visit.welcome()
        await visit.hear()
        visit.connection.transport.abort()

    async with talking(talk) as url, topichub.connect(url, backoff=QUICK) as hub:
        with pytest.raises(ConnectionLost, match="publish"):
            await hub.publish("a", 1)


@pytest.mark.parametrize("url", ["example.org", "ftp://example.org", "http://", ""])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        topichub.connect(url)


def test_options_that_cannot_be_are_refused_at_once() -> None:
    for options in ({"user": "ada", "token": "t"}, {"offline": "wait"}, {"codec": "xml"}):
        with pytest.raises(ValueError, match=r"one of|offline is|codecs are"):
            topichub.connect("http://a", **options)  # type: ignore[arg-type]
    unwritable: dict[str, Any]
    for unwritable in ({"user": "ada", "user_data": object()}, {"token": "\ud800"}):
        with pytest.raises((TypeError, ValueError)):
            topichub.connect("http://a", **unwritable)
    with pytest.raises(ValueError, match="back-off"):
        Backoff(2.0, 1.0)


def test_what_decides_knows_no_clock_socket_or_task() -> None:
    pure = [
        "backoff",
        "codec",
        "commands",
        "effects",
        "errors",
        "interests",
        "messages",
        "positions",
        "session",
        "topics",
    ]
    for name in pure:
        imported = re.findall(r"^\s*(?:from|import) (\w+)", (SOURCE / f"{name}.py").read_text(), re.MULTILINE)
        assert not {"asyncio", "socket", "threading", "time", "datetime", "random", "websockets"} & set(imported), name
    for path in SOURCE.glob("*.py"):
        assert not re.search(r"\btime\.time\(|^import time\b", path.read_text(), re.MULTILINE), (
            f"{path}: a clock that jumps"
        )
