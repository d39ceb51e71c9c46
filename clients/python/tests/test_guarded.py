"""Servers that want to know who comes, that speak TLS, and that are replaced."""

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cutting import Cable
from server import CERTIFICATE, Server
from servers import Visit, talking
from tokens import hs256

import topichub
from topichub import Backoff, ClosedError, ConnectTimeout, Gap, Message, Subscribed, SubscriptionEnded

QUICK = Backoff(0.01, 0.05)
SECRET = b"a secret of more than thirty-two bytes, for stories"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    key = f"[[auth.keys]]\nalgorithm = 'HS256'\nsecret = {json.dumps(SECRET.decode())}"
    server = Server(tmp_path_factory.mktemp("guarded"), more=f"[auth]\nleeway = '0s'\n{key}")
    yield server
    server.stop()


def token(seconds: int, *names: str) -> str:
    topics = {"subscribe": list(names), "publish": list(names)}
    return hs256(SECRET, {"sub": "ada", "exp": int(time.time()) + seconds, "topics": topics})


async def test_who_shows_a_token_may_do_what_it_says_and_nothing_else(guarded: Server, topic: str) -> None:
    url = f"http://{guarded.host}:{guarded.port}"
    async with topichub.connect(url, token=token(3_600, f"{topic}.>")) as hub:
        subscription = hub.subscribe(f"{topic}.a")
        await hub.publish(f"{topic}.a", 1)
        assert (await anext(subscription)).data == 1
        assert hub.user == "ada"
        with pytest.raises(SubscriptionEnded, match="forbidden"):
            await anext(hub.subscribe("other"))


async def test_a_token_that_ends_is_renewed_and_nobody_notices(guarded: Server, topic: str) -> None:
    given: asyncio.Queue[int] = asyncio.Queue()
    lives = iter([2, 3_600])

    async def fetch() -> str:
        life = next(lives)
        given.put_nowait(life)
        return token(life, topic)

    url = f"http://{guarded.host}:{guarded.port}"
    async with topichub.connect(url, token=fetch) as hub:
        subscription, state = hub.subscribe(topic), hub.state
        assert [await given.get(), await given.get()] == [2, 3_600]
        await hub.publish(topic, 1)
        assert (await anext(subscription)).data == 1
        assert hub.state is state


async def test_nobody_is_told_so(guarded: Server, topic: str) -> None:
    url = f"http://{guarded.host}:{guarded.port}"
    async with topichub.connect(url) as hub:
        with pytest.raises(SubscriptionEnded, match="unauthorized"):
            await anext(hub.subscribe(topic))
    hub = await topichub.connect(url, token="eyJ.no.token", open_timeout=0)
    with pytest.raises(ClosedError) as ended:
        await anext(hub.subscribe(topic))
    assert ended.value.code == "unauthorized"
    await hub.close()


async def test_tls_is_spoken_and_a_certificate_that_nobody_trusts_is_not_taken(tmp_path: Path, topic: str) -> None:
    server = Server(tmp_path, tls=True)
    try:
        url = f"https://localhost:{server.port}"
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        async with topichub.connect(url, ssl=trusting) as hub:
            assert (await hub.publish(topic, 1)).offset == 1
        with pytest.raises(ConnectTimeout, match="certificate verify failed"):
            await topichub.connect(url, backoff=QUICK, open_timeout=0.3)
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_server_that_is_replaced_has_a_log_of_its_own(tmp_path: Path, server: Server, topic: str) -> None:
    (tmp_path / "old").mkdir()
    old = Server(tmp_path / "old")
    async with Cable(old.address) as cable, topichub.connect(cable.url, backoff=QUICK) as hub:
        subscription = hub.subscribe(f"{topic}.*")
        assert isinstance(await subscription.event(), Subscribed)
        before = await hub.publish(f"{topic}.a", "old")
        assert (await anext(subscription)).epoch == before.epoch
        cable.upstream = server.address
        assert await asyncio.to_thread(old.stop) == 0
        async with topichub.connect(f"http://{server.host}:{server.port}") as writer:
            after = await writer.publish(f"{topic}.a", "new")
        again, gap, message = [await subscription.event() for _ in range(3)]
        assert isinstance(again, Subscribed)
        assert not again.recovered
        assert gap == Gap(f"{topic}.a", "epoch", after.epoch)
        assert isinstance(message, Message)
        assert (message.data, message.offset) == ("new", 1)


async def test_pings_are_signs_of_life() -> None:
    async def talk(visit: Visit) -> None:
        await visit.welcome()
        while True:
            await (await visit.connection.ping())

    async with talking(talk) as url, topichub.connect(url) as hub:
        heard: set[float] = set()
        while len(heard) < 5:
            heard.add(hub._session._link.heard_at)
            await asyncio.sleep(0)
