"""Runs stories that are coroutines, each in a loop of its own, and the server they talk to.

A story fails when it leaves a task behind, or when the loop has something to complain about.
"""

import asyncio
import gc
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from server import DEADLINE, Rule, Server

_NUMBERS = itertools.count(1)
STORY_WITHIN_S = 20.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    marker = pyfuncitem.get_closest_marker("within")
    asyncio.run(_story(pyfuncitem.obj, arguments, marker.args[0] if marker else STORY_WITHIN_S))
    return True


async def _story(story: Any, arguments: dict[str, Any], within_s: float) -> None:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    await asyncio.wait_for(story(**arguments), within_s)
    gc.collect()  # what nobody has retrieved complains now
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left behind: {left}"
    assert not complaints, complaints


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that remembers 10,000 messages of each topic, under `brief` the last five, under `long` 200,000."""
    rules = Rule("brief.>", 5), Rule("long.>", 200_000), Rule(">", 10_000)
    server = Server(tmp_path_factory.mktemp("server"), rules=rules)
    yield server
    server.assert_sound()
    assert server.stop(DEADLINE) == 0


@pytest.fixture
def url(server: Server) -> str:
    return f"http://{server.host}:{server.port}"


@pytest.fixture
def topic() -> str:
    """A topic nobody else uses."""
    return f"story.{next(_NUMBERS)}"


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)
