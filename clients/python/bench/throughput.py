"""Messages per second through one subscription, beside the package websockets and `json` doing only what they must.

    tests/.venv/bin/python bench/throughput.py --server http://127.0.0.1:8080

The server must remember as many messages as are read (`[[topics]]`, `history`); TOPICHUB_BIN starts one that does.
Both read the same replay, in turn, and the medians of the messages per second of CPU time are compared: other work on
the machine counts less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE.parents[2] / "tests" / "python")]

from server import Rule, Server  # noqa: E402

import topichub  # noqa: E402

TOPIC = "bench.throughput"
WANTED = 0.7

Measured = tuple[float, float]


def publish(url: str, count: int) -> topichub.Position:
    """Publishes so many messages of some 130 bytes; the position before the first."""
    data = {"symbol": "AAPL", "price": 190.25, "volume": 1200, "venue": "XNAS", "note": "x" * 40}
    for begin in range(0, count, 1_000):
        batch = [{"topic": TOPIC, "data": data | {"n": begin + n}} for n in range(min(1_000, count - begin))]
        body = json.dumps(batch).encode()
        request = urllib.request.Request(f"{url}/publish", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            last = json.load(answer)[-1]
    return topichub.Position(last["epoch"], last["offset"] - count)


async def raw(url: str, start: topichub.Position, count: int) -> None:
    address = url.replace("http", "ws", 1) + "/ws"
    subprotocols = [Subprotocol("pubsub.json")]
    async with connect(address, subprotocols=subprotocols, compression=None, max_size=None) as connection:
        replay = {"after": {"epoch": start.epoch, "offset": start.offset}}
        await connection.send(json.dumps({"op": "subscribe", "id": 1, "topic": TOPIC, "replay": replay}))
        read = 0
        async for frame in connection:
            message = json.loads(frame)
            if message["op"] == "message":
                assert message["data"]["n"] == read
                read += 1
                if read == count:
                    return


async def ours(url: str, start: topichub.Position, count: int) -> None:
    async with topichub.connect(url, compression=False) as hub:
        read = 0
        async for message in hub.subscribe(TOPIC, replay={"after": start}):
            assert message.data["n"] == read
            read += 1
            if read == count:
                return


def measure(work: Callable[[], Awaitable[None]]) -> Measured:
    """CPU and wall seconds."""

    async def timed() -> Measured:
        cpu, wall = time.process_time(), time.perf_counter()
        await work()
        return time.process_time() - cpu, time.perf_counter() - wall

    return asyncio.run(timed())


def compare(url: str, count: int, rounds: int) -> float:
    start = publish(url, count)
    contenders = {"websockets + json": raw, "topichub": ours}
    measured: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            measured[name].append(measure(lambda work=work: work(url, start, count)))  # type: ignore[misc]
    rates: dict[str, float] = {}
    for name, times in measured.items():
        cpu, wall = (statistics.median(one) for one in zip(*times, strict=True))
        rates[name] = count / cpu
        print(f"{name:20} {count / cpu:>10,.0f} messages per second of CPU {count / wall:>10,.0f} per second")
    ratio = rates["topichub"] / rates["websockets + json"]
    print(f"topichub / raw: {ratio:.2f} (wanted: {WANTED} or more)")
    return ratio


def main() -> None:
    arguments = argparse.ArgumentParser(description="Throughput of one subscription beside raw websockets.")
    arguments.add_argument("--server", help="its address; without it, TOPICHUB_BIN is started")
    arguments.add_argument("--messages", type=int, default=50_000)
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    if chosen.server:
        ratio = compare(chosen.server, chosen.messages, chosen.rounds)
    elif "TOPICHUB_BIN" in os.environ:
        with tempfile.TemporaryDirectory() as directory:
            server = Server(Path(directory), rules=[Rule(">", chosen.messages)])
            try:
                ratio = compare(f"http://{server.host}:{server.port}", chosen.messages, chosen.rounds)
            finally:
                server.stop()
    else:
        arguments.error("where is the server? give --server or TOPICHUB_BIN")
    sys.exit(ratio < WANTED)


if __name__ == "__main__":
    main()
