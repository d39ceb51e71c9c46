"""A back end that publishes: the load of this machine, every second, to `metrics.HOST.load`.

    pip install ./clients/python
    python clients/python/examples/publisher.py http://127.0.0.1:8080

Each publish has a name of its own (`dedup`), so that the hub may repeat it after a lost connection and it counts once;
without a connection sixty of them wait. Subscribers who ask for `latest-per-key` get the newest of each host.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import socket
import uuid

import topichub


async def publish_load(hub: topichub.Hub, host: str) -> None:
    one, five, fifteen = os.getloadavg()
    try:
        published = await hub.publish(
            f"metrics.{host}.load",
            {"1m": one, "5m": five, "15m": fifteen, "cpus": os.cpu_count()},
            key=host,
            dedup=str(uuid.uuid4()),
            ttl_ms=60_000,
        )
        print(f"{published.topic} {published.position}: {published.subscribers} subscribers", flush=True)
    except topichub.CommandError as error:  # this one is refused, the next may pass
        print(f"refused: {error}", flush=True)
    except topichub.QueueFull:
        print("no connection, and sixty wait for one: this one is lost", flush=True)


async def publish_again_and_again(hub: topichub.Hub, host: str, every: float, count: int) -> None:
    under_way: set[asyncio.Task[None]] = set()
    try:
        for number in itertools.count(1):
            under_way.add(asyncio.create_task(publish_load(hub, host)))
            if number == count:
                break
            await asyncio.sleep(every)
            done = {task for task in under_way if task.done()}
            under_way -= done
            await asyncio.gather(*done)  # raises what has ended the hub
        await asyncio.gather(*under_way)
    finally:
        for task in under_way:
            task.cancel()


async def main() -> None:
    arguments = argparse.ArgumentParser(description="Publishes the load of this machine.")
    arguments.add_argument("url", help="the server, such as http://127.0.0.1:8080")
    arguments.add_argument("--host", default=socket.gethostname().split(".")[0])
    arguments.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    arguments.add_argument("--count", type=int, default=0, help="stop after so many; 0 goes on")
    chosen = arguments.parse_args()
    token = os.environ.get("TOPICHUB_TOKEN")
    async with topichub.connect(chosen.url, token=token, offline="queue", queue_messages=60) as hub:
        await publish_again_and_again(hub, chosen.host, chosen.every, chosen.count)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
    except (topichub.TopicHubError, ValueError) as error:
        raise SystemExit(f"publisher: {error}") from None
