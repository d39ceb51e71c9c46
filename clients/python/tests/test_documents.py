"""What is written for people: the README's snippets run, the sample runs, everything public is explained."""

import asyncio
import inspect
import os
import pkgutil
import pydoc
import re
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cutting import Cable
from server import DEADLINE, Server
from servers import Visit, talking

import topichub
import topichub.sync
from topichub import Subscribed

HERE = Path(__file__).resolve().parent
PUBLISHER = str(HERE.parent / "examples" / "publisher.py")
README = (HERE.parent / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PROGRAMS = [one for one in SNIPPETS if one.startswith("import")]
PIECES = [one for one in SNIPPETS if one not in PROGRAMS]  # these have a `hub`
ENVIRONMENT = {"PYTHONPATH": str(HERE.parent / "src"), "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}


@asynccontextmanager
async def run(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program, which does not outlive its story."""
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, **ENVIRONMENT}
    running = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=pipe, stderr=pipe, env=environment)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.communicate()


@pytest.mark.parametrize("snippet", PROGRAMS, ids=["asyncio", "sync"])
async def test_a_program_of_the_readme_prints_what_comes(url: str, tmp_path: Path, snippet: str) -> None:
    program = tmp_path / "snippet.py"
    program.write_text(snippet.replace("http://127.0.0.1:8080", url))
    async with run(str(program)) as running:
        assert running.stdout is not None
        assert running.stderr is not None

        async def tick() -> None:
            async with topichub.connect(url) as hub:
                while True:
                    await hub.publish("clock", "tick")

        ticking = asyncio.create_task(tick())
        line = await asyncio.wait_for(running.stdout.readline(), DEADLINE)
        ticking.cancel()
        await asyncio.wait([ticking])
        if running.returncode is None and "break" not in snippet:
            running.terminate()
        _, complaints = await running.communicate()
        assert line.decode().strip() in ("clock tick", "{'text': 'hello'}"), complaints.decode()


@pytest.mark.parametrize("snippet", PIECES, ids=lambda piece: piece.splitlines()[0][:40])
async def test_a_piece_of_the_readme_runs_as_it_is(url: str, snippet: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = snippet.replace("https://hub.example.org", url)
    code = code.replace("token=fetch_token,", 'user="ada",')  # the server of the tests is open, and knows no tokens
    names: dict[str, Any] = {"topichub": topichub}
    exec(f"async def piece(hub):\n{textwrap.indent(code, '    ')}", names)
    async with topichub.connect(url, user="ada") as hub:
        await hub.publish("sports.demo", 1)
        await asyncio.wait_for(names["piece"](hub), DEADLINE)
    assert capsys.readouterr().out or "print" not in snippet


async def test_the_publisher_of_the_examples_publishes(url: str) -> None:
    async with topichub.connect(url) as hub:
        subscription = hub.subscribe("metrics.>")
        assert isinstance(await subscription.event(), Subscribed)
        arguments = ["--host", "h1", "--every", "0.01", "--count", "3"]
        async with run(PUBLISHER, url, *arguments) as running:
            messages = [await asyncio.wait_for(anext(subscription), DEADLINE) for _ in range(3)]
            said, complaints = await running.communicate()
            assert (running.returncode, complaints.decode()) == (0, "")
            assert [(message.topic, message.key, message.offset) for message in messages] == [
                ("metrics.h1.load", "h1", offset) for offset in (1, 2, 3)
            ]
            assert messages[0].data.keys() == {"1m", "5m", "15m", "cpus"}
            assert said.decode().count("1 subscribers") == 3


async def test_the_publisher_of_the_examples_shows_its_token_and_repeats_what_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOPICHUB_TOKEN", "eyJ.one")
    heard: list[dict[str, Any]] = []

    async def talk(visit: Visit) -> None:
        await visit.welcome()
        introduction = await visit.hear()
        assert introduction["token"] == "eyJ.one"
        await visit.say({"op": "authenticated", "id": introduction["id"], "user": "ada"})
        heard.append(await visit.hear())
        if visit.number == 1:
            visit.connection.transport.abort()  # and no answer
            return
        refused = {"op": "error", "code": "rate_limited", "message": "not so fast", "retry": True}
        await visit.say(refused | {"id": heard[-1]["id"]})
        await visit.linger()

    async with talking(talk) as url, run(PUBLISHER, url, "--count", "1") as running:
        said, complaints = await asyncio.wait_for(running.communicate(), DEADLINE)
    assert (running.returncode, complaints.decode().splitlines()[1:]) == (0, []), complaints.decode()
    assert said.decode() == "refused: rate_limited: not so fast\n"
    first, again = heard
    assert first | {"id": 0} == again | {"id": 0}
    assert first["dedup"]
    assert first["ttl_ms"] == 60_000


async def test_the_publisher_of_the_examples_has_sixty_wait_for_a_connection(server: Server) -> None:
    async with Cable(server.address) as cable, topichub.connect(server.websocket_url) as hub:
        subscription = hub.subscribe("metrics.h2.load")
        assert isinstance(await subscription.event(), Subscribed)
        async with run(PUBLISHER, cable.url, "--host", "h2", "--every", "0.001") as running:
            assert running.stdout is not None
            await asyncio.wait_for(anext(subscription), DEADLINE)
            cable.unplugged = True
            await cable.cut()
            line = b""
            while not line.startswith(b"no connection, and sixty"):
                line = await asyncio.wait_for(running.stdout.readline(), DEADLINE)
                assert line, "it has ended"
            before = await hub.history("metrics.h2.load", limit=1)
            cable.unplugged = False
            while (await asyncio.wait_for(anext(subscription), DEADLINE)).offset < before.offset + 60:
                pass
            running.terminate()
            await running.communicate()


async def test_the_publisher_says_why_it_cannot() -> None:
    async with run(PUBLISHER, "nowhere") as running:
        _, complaints = await running.communicate()
        assert running.returncode == 1
        assert complaints.decode() == "publisher: an address is http(s):// or ws(s):// and a host, not 'nowhere'\n"


def public() -> list[Any]:
    """Every public module, and every public class, function, method and property of the package."""
    found: list[Any] = [import_module(f"topichub.{module.name}") for module in pkgutil.iter_modules(topichub.__path__)]
    for holder in (topichub, topichub.sync):
        kinds = [kind for name, kind in vars(holder).items() if not name.startswith("_")]
        for kind in kinds:
            if getattr(kind, "__module__", "").startswith("topichub"):
                found.append(kind)
                members = vars(kind).items() if inspect.isclass(kind) else ()
                found += [member for name, member in members if not name.startswith("_") and is_member(member)]
    assert len(found) > 100
    return found


def is_member(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, (property, classmethod))


def test_everything_public_is_explained() -> None:
    assert not [item for item in public() if not inspect.getdoc(item)]
    for name in topichub.__all__:
        assert hasattr(topichub, name)
        assert pydoc.render_doc(f"topichub.{name}")


def test_every_error_and_option_is_in_the_readme() -> None:
    errors = [
        name
        for name in topichub.__all__
        if isinstance(kind := getattr(topichub, name), type) and issubclass(kind, Exception)
    ]
    options = [*inspect.signature(topichub.connect).parameters, *inspect.signature(topichub.Hub.subscribe).parameters]
    options += inspect.signature(topichub.Hub.publish).parameters
    named = [name for name in options if name not in ("self", "url", "topic", "data")]
    assert not [name for name in errors + named if f"`{name}`" not in README]


def test_the_version_is_the_same_everywhere() -> None:
    project = (HERE.parent / "pyproject.toml").read_text()
    assert f'version = "{topichub.__version__}"' in project


def test_the_package_is_typed_for_its_users(tmp_path: Path) -> None:
    assert (Path(topichub.__file__).parent / "py.typed").exists()
    program = tmp_path / "program.py"
    program.write_text(
        "import topichub, topichub.sync\n"
        "async def f(hub: topichub.Hub) -> None:\n"
        "    hub.subscribe('a', slow='often')\n"
        "def g(hub: topichub.sync.Hub) -> int:\n"
        "    return hub.publish('a', 1, ttl_ms='long').offset\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(program)]
    environment = {**os.environ, "MYPYPATH": str(HERE.parent / "src")}
    checked = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.findall(r"program.py:(\d+): error: Argument \"(\w+)\"", checked.stdout)
    assert found == [("3", "slow"), ("5", "ttl_ms")], checked.stdout + checked.stderr
    assert "Found 2 errors" in checked.stdout
