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
from peer import JSON, MSGPACK, Map, Peer
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
    lost: int = 0
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
            end, lost = self.seen + messages, self.lost
            while self.seen < end:
                said = await self.read(socket)
                if said["op"] == "gap":
                    assert (said["from"], said["why"]) == (self.seen + 1, "history"), said
                    self.lost += said["to"] - self.seen
                    self.seen = said["to"]
                    continue
                assert (said["op"], said["offset"], said["data"]) == ("message", self.seen + 1, self.seen + 1), said
                self.seen += 1
            assert subscribed["recovered"] or self.lost > lost, subscribed

    async def stay(self, chance: random.Random) -> None:
        while self.seen < MESSAGES:
            await self.visit(min(chance.randint(1, 600), MESSAGES - self.seen))


def stay_while_counting(server: Server, writer: Peer, topic: str, visitors: int) -> list[Visitor]:
    """So many come and go until each has heard of all messages, those it missed included."""
    epoch = writer.ask("history", topic=f"{topic}.count")["epoch"]
    crowd = [Visitor(server, topic, epoch, number) for number in range(visitors)]

    async def all_stay() -> None:
        await asyncio.gather(*(visitor.stay(random.Random(visitor.number)) for visitor in crowd))

    def count() -> None:
        for number in range(1, MESSAGES + 1):
            writer.publish(f"{topic}.count", number)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        asyncio.run(all_stay())
    finally:
        counting.join()
    assert all(visitor.seen == MESSAGES for visitor in crowd)
    return crowd


def test_each_sequence_is_whole_however_often_one_comes_and_goes(archive: Server, visit: Connect, topic: str) -> None:
    crowd = stay_while_counting(archive, visit(), topic, VISITORS)
    assert sum(visitor.visits for visitor in crowd) > 3 * VISITORS
    assert sum(visitor.lost for visitor in crowd) == 0


def test_what_a_short_history_lost_meanwhile_is_said_exactly(archive: Server, visit: Connect, topic: str) -> None:
    crowd = stay_while_counting(archive, visit(), f"brief.{topic}", 10)
    assert sum(visitor.lost for visitor in crowd) > 0, "nobody came back too late: this shows nothing"
