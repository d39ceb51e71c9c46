"""The servers and peers of the stories. A server lives for the whole run; every story has topics of its own."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest

from peer import JSON, MSGPACK, Peer
from raw import RawPeer
from server import Rule, Server

StartServer: TypeAlias = Callable[..., Server]
Connect: TypeAlias = Callable[..., Peer]
ConnectRaw: TypeAlias = Callable[..., RawPeer]

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts servers with limits and rules of their own; those with the same are one."""
    running: dict[tuple[object, ...], Server] = {}

    def start(*rules: Rule, **limits: str | int | bool) -> Server:
        key = (rules, *sorted(limits.items()))
        if key not in running:
            running[key] = Server(tmp_path_factory.mktemp("server"), limits, rules)
        return running[key]

    yield start
    with ExitStack() as stack:
        for server in running.values():
            stack.callback(stop_sound, server)


def stop_sound(server: Server) -> None:
    """Stops a server that has lived up to this moment and ends as it should."""
    try:
        server.assert_sound()
    finally:
        code = server.stop()
    assert code == 0, "".join(server.log)


@pytest.fixture
def server(start_server: StartServer) -> Iterator[Server]:
    """The server with its defaults. After each story it still runs and has not panicked."""
    server = start_server()
    yield server
    server.assert_sound()


@pytest.fixture
def archive(start_server: StartServer) -> Iterator[Server]:
    """A server that remembers 10,000 messages of each topic, under `brief` the last five, under `narrow` a thousand."""
    server = start_server(Rule("brief.>", messages=5), Rule("narrow.>", messages=1_000), Rule(">", messages=10_000))
    yield server
    server.assert_sound()


@pytest.fixture
def topic() -> str:
    """A topic nobody else uses."""
    return f"story.{next(_NUMBERS)}"


@pytest.fixture(params=[JSON, MSGPACK])
def subprotocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Connects peers to the default server, and closes them in the end."""
    with ExitStack() as stack:
        yield lambda subprotocol=JSON, **options: stack.enter_context(Peer(server, subprotocol, **options))


@pytest.fixture
def visit(archive: Server) -> Iterator[Connect]:
    """Connects peers to the server that remembers, and closes them in the end."""
    with ExitStack() as stack:
        yield lambda subprotocol=JSON, **options: stack.enter_context(Peer(archive, subprotocol, **options))


@pytest.fixture
def connect_raw(server: Server) -> Iterator[ConnectRaw]:
    """Opens TCP connections to the default server."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(RawPeer(server, **options))
