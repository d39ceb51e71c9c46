"""Subscribers who come and go while somebody publishes as fast as can be: each resumes where it left off."""

import asyncio
import json
import random
import threading
from dataclasses import dataclass

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from conftest import Connect
from peer import JSON, MSGPACK, Map
from server import DEADLINE, Server

MESSAGES = 2_000
VISITORS = 50


@dataclass
class Visitor:
    """Comes for a number of messages, goes, and comes back for those behind the last one it has seen."""

    server: Server
    topic: str
    epoch: str
    number: int
    seen: int = 0
    visits: int = 0

    @property
    def subprotocol(self) -> str:
        return (JSON, MSGPACK)[self.number % 2]

    def command(self) -> str | bytes:
        """Every other one subscribes by a pattern, to which the positions of all topics belong."""
        position = {"epoch": self.epoch, "offset": self.seen}
        by_pattern = self.number % 4 >= 2
        count = f"{self.topic}.count"
        topic, after = (f"{self.topic}.*", {count: position}) if by_pattern else (count, position)
        command = {"op": "subscribe", "id": 1, "topic": topic, "replay": {"after": after}}
        packed = json.dumps(command) if self.subprotocol == JSON else msgpack.packb(command)
        assert isinstance(packed, (str, bytes))
        return packed

    async def read(self, socket: ClientConnection) -> Map:
        frame = await asyncio.wait_for(socket.recv(), DEADLINE)
        said = json.loads(frame) if self.subprotocol == JSON else msgpack.unpackb(frame)
        assert isinstance(said, dict)
        return said

    async def visit(self, messages: int) -> None:
        self.visits += 1
        names = [Subprotocol(self.subprotocol)]
        # With a limit to its queue this client would stop reading, and not see the close frame behind it.
        options: Map = {"compression": None, "max_queue": None, "ping_interval": None, "proxy": None}
        async with connect(self.server.websocket_url, subprotocols=names, **options) as socket:
            await self.read(socket)
            await socket.send(self.command())
            subscribed = await self.read(socket)
            assert subscribed["op"] == "subscribed", subscribed
            assert subscribed["recovered"] is True, subscribed
            for _ in range(messages):
                said = await self.read(socket)
                assert (said["op"], said["offset"], said["data"]) == ("message", self.seen + 1, self.seen + 1), said
                self.seen += 1

    async def stay(self, chance: random.Random) -> None:
        while self.seen < MESSAGES:
            await self.visit(min(chance.randint(1, 600), MESSAGES - self.seen))


def test_each_sequence_is_whole_however_often_one_comes_and_goes(archive: Server, visit: Connect, topic: str) -> None:
    writer = visit()
    epoch = writer.subscribe(f"{topic}.count")["epoch"]
    assert writer.ask("unsubscribe", topic=f"{topic}.count")["op"] == "unsubscribed"
    visitors = [Visitor(archive, topic, epoch, number) for number in range(VISITORS)]

    async def all_stay() -> None:
        await asyncio.gather(*(visitor.stay(random.Random(visitor.number)) for visitor in visitors))

    def count() -> None:
        for number in range(1, MESSAGES + 1):
            writer.publish(f"{topic}.count", number)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        asyncio.run(all_stay())
    finally:
        counting.join()
    assert all(visitor.seen == MESSAGES for visitor in visitors)
    assert sum(visitor.visits for visitor in visitors) > 3 * VISITORS
