"""A restart as clients live through it: one server is drained while everybody reads, all come back to another, and the
numbers in what they read say whether anything was missed.

Positions do not carry over: two servers have epochs of their own. So the publisher tells both the same, the clients ask
the second server for all `after` the position they had at the first, get everything that it remembers
(`"recovered": false`) and pass over the numbers that they know.

    TOPICHUB_BIN=target/release/topichub .venv/bin/python drain.py 10000 30
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from server import DEADLINE, Rule, Server

TOPIC = "story.restart"

# What comes last.
_END = "the end"

# Clients that connect at a time: more would wait for one another in the kernel.
_DIALS = 64


@dataclass
class Reader:
    """One client: what it has read, and how it was sent away."""

    last: int = 0
    missed: int = 0
    doubled: int = 0
    sent_away_at: float = 0.0
    code: int = 0
    after_ms: int = 0
    recovered: bool | None = None

    def take(self, number: int) -> None:
        """Takes a number that is told as new."""
        self.missed += max(0, number - self.last - 1)
        self.doubled += number <= self.last
        self.last = max(self.last, number)


@dataclass(frozen=True)
class Story:
    """What has come of it."""

    readers: list[Reader]
    began: float
    published: int
    stopped_after: float
    exit_code: int

    def left_by_second(self) -> dict[int, int]:
        return dict(sorted(Counter(int(reader.sent_away_at - self.began) for reader in self.readers).items()))


async def _dial(server: Server, dials: asyncio.Semaphore) -> ClientConnection:
    async with dials:
        return await connect(
            server.websocket_url,
            subprotocols=[Subprotocol("pubsub.json")],
            compression=None,
            ping_interval=None,
            open_timeout=6 * DEADLINE,
            proxy=None,
        )


async def _subscribe(peer: ClientConnection, replay: dict[str, Any]) -> dict[str, Any]:
    await peer.send(json.dumps({"op": "subscribe", "id": 1, "topic": TOPIC, "replay": replay}))
    while True:
        said = json.loads(await peer.recv())
        if said.get("id") == 1:
            assert said["op"] == "subscribed", said
            return dict(said)


async def _read(
    reader: Reader,
    servers: tuple[Server, Server],
    dials: asyncio.Semaphore,
    ready: asyncio.Semaphore,
) -> None:
    old, new = servers
    peer = await _dial(old, dials)
    answer = await _subscribe(peer, {"last": 0})
    position = {"epoch": answer["epoch"], "offset": answer["offset"]}
    reader.last = answer["offset"]  # messages are numbered like their offsets at the first server
    ready.release()
    try:
        async for frame in peer:
            said = json.loads(frame)
            if said["op"] == "message":
                reader.take(said["data"])
                position["offset"] = said["offset"]
            elif said["op"] == "goodbye":
                reader.after_ms = said["after_ms"]
                reader.sent_away_at = time.monotonic()
    except ConnectionClosed:
        pass
    reader.code = peer.close_code or 0

    await asyncio.sleep(reader.after_ms / 1000)
    peer = await _dial(new, dials)
    answer = await _subscribe(peer, {"after": position})
    reader.recovered = answer["recovered"]
    known = reader.last
    while True:
        said = json.loads(await asyncio.wait_for(peer.recv(), 6 * DEADLINE))
        if said["op"] != "message":
            continue
        if said["data"] == _END:
            break
        if said["data"] > known:
            reader.take(said["data"])
    await peer.close()


async def _publish(servers: tuple[Server, Server], stop: asyncio.Event, pause: float) -> int:
    """Tells both servers the same numbers until it is enough; the last. The second hears of each first."""
    number = 0
    while not stop.is_set() or number == 0:
        number += 1
        for server in reversed(servers):
            try:
                await asyncio.to_thread(server.request, "POST", f"/topics/{TOPIC}", str(number))
            except OSError:
                assert server is servers[0], "the second server lives"
        await asyncio.sleep(pause)
    return number


async def restart(directory: Path, count: int, seconds: float, pause: float = 0.02) -> Story:
    """Drains a server with so many clients over so many seconds, while messages go on and on."""
    rule = Rule(">", messages=100_000)
    old = Server(directory, rules=[rule], drain=f"{round(seconds * 1000)}ms")
    new = Server(directory, rules=[rule])
    servers, dials, ready, stop = (old, new), asyncio.Semaphore(_DIALS), asyncio.Semaphore(0), asyncio.Event()
    readers = [Reader() for _ in range(count)]
    try:
        publishing = asyncio.create_task(_publish(servers, stop, pause))
        reading = [asyncio.create_task(_read(reader, servers, dials, ready)) for reader in readers]
        for _ in readers:
            await ready.acquire()
        began = time.monotonic()
        exit_code = await asyncio.to_thread(old.stop, seconds + DEADLINE)
        stopped_after = time.monotonic() - began
        stop.set()
        published = await publishing
        await asyncio.to_thread(new.request, "POST", f"/topics/{TOPIC}", json.dumps(_END))
        await asyncio.gather(*reading)
        return Story(readers, began, published, stopped_after, exit_code)
    finally:
        old.stop()
        new.stop()


def main() -> None:
    count, seconds = int(sys.argv[1]), float(sys.argv[2])
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory() as directory:
        story = asyncio.run(restart(Path(directory), count, seconds, pause=0.5))
    readers = story.readers
    print(f"{count} clients, drained over {seconds:g} s; exit code {story.exit_code} after {story.stopped_after:.1f} s")
    print(f"messages published: {story.published}, each to both servers")
    print(f"missed: {sum(reader.missed for reader in readers)}, twice: {sum(reader.doubled for reader in readers)}")
    print(f"close codes: {dict(Counter(reader.code for reader in readers))}")
    print(f"recovered as told by the second server: {dict(Counter(reader.recovered for reader in readers))}")
    print("sent away in each second:")
    for second, left in story.left_by_second().items():
        print(f"  {second:3} {left:6} {'#' * (60 * left // max(story.left_by_second().values()))}")


if __name__ == "__main__":
    main()
