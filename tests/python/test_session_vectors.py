"""Whole sessions, as sessions.json tells them to every client, played against the server: what the client is to say is
sent, and what the server is to say must come."""

import json
import socket
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

import vectors
from conftest import StartServer
from peer import JSON, Map
from server import DEADLINE, Rule, Server

SESSIONS = vectors.load("sessions")["sessions"]

# What concerns the program that uses a client, or cannot be seen from outside.
PASSED_OVER = {"connect", "app", "event", "event_any_order", "no_event", "settled", "state", "waits", "quiet"}


@pytest.fixture
def memory(start_server: StartServer) -> Server:
    """Remembers the last hundred messages of each topic, under `short` the last two."""
    return start_server(Rule("short.>", messages=2), Rule(">", messages=100))


class Names:
    """What the strings with `$` stand for: the first thing that comes in their place."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._ids = 0

    def told(self, map_: Any) -> Any:
        """What a client says, with ids of its own."""
        if isinstance(map_, dict):
            return {key: self.told(value) for key, value in map_.items()}
        if isinstance(map_, str) and map_.startswith("$"):
            if map_ not in self._known:
                self._ids += 1
                self._known[map_] = self._ids
            return self._known[map_]
        return map_

    def fits(self, wanted: Any, said: Any) -> bool:
        """Whether the server has said what it should. Maps may have more keys."""
        if isinstance(wanted, dict):
            return isinstance(said, dict) and all(
                key in said and self.fits(value, said[key]) for key, value in wanted.items()
            )
        if isinstance(wanted, str) and wanted.startswith("$"):
            return bool(self._known.setdefault(wanted, said) == said)
        return bool(wanted == said and type(wanted) is type(said))


class Play:
    """One session, on one connection after the other."""

    def __init__(self, server: Server, connections: ExitStack) -> None:
        self.server = server
        self.names = Names()
        self.connections = connections
        self.socket: ClientConnection | None = None

    def open(self) -> None:
        assert self.socket is None, "a second connection beside the first"
        connection = connect(
            self.server.websocket_url,
            subprotocols=[Subprotocol(JSON)],
            ping_interval=None,
            open_timeout=DEADLINE,
            close_timeout=DEADLINE,
            proxy=None,
        )
        self.socket = self.connections.enter_context(connection)

    def cut(self) -> None:
        """Ends the connection without a close frame."""
        self.assert_all_heard()
        assert self.socket is not None
        self.socket.socket.shutdown(socket.SHUT_RDWR)
        self.socket = None

    def hear(self) -> Map:
        assert self.socket is not None
        said = json.loads(self.socket.recv(timeout=DEADLINE))
        assert isinstance(said, dict)
        return said

    def assert_all_heard(self) -> None:
        """The server has said no more than the story tells: what is asked last is answered last."""
        assert self.socket is not None
        self.socket.send(json.dumps({"op": "history", "id": "last", "topic": "nobody.spoke"}))
        said = self.hear()
        assert said.get("id") == "last", f"{said} where nothing more was to come"

    def step(self, name: str, value: Any) -> None:
        match name:
            case "open":
                self.open()
            case "cut":
                self.cut()
            case "client":
                assert self.socket is not None
                self.socket.send(json.dumps(self.names.told(value)))
            case "server":
                said = self.hear()
                assert self.names.fits(value, said), f"{said} where {value} was to come"
            case "server_any_order":
                wanted = list(value)
                while wanted:
                    said = self.hear()
                    found = next((one for one in wanted if self.names.fits(one, said)), None)
                    assert found is not None, f"{said} where one of {wanted} was to come"
                    wanted.remove(found)
            case "others":
                body = json.dumps(value["data"]).encode()
                headers = {"Content-Type": "application/json"}
                answer = self.server.request("POST", f"/topics/{value['publish']}", body, headers)
                assert answer.status == 200, answer.body
            case _:
                assert name in PASSED_OVER, f"what is {name}?"


def sessions(of_server: bool) -> list[Any]:
    return [pytest.param(one, id=one["name"]) for one in SESSIONS if one["server"] == of_server]


@pytest.mark.parametrize("session", sessions(of_server=True))
def test_the_server_keeps_to_its_part(memory: Server, session: Any) -> None:
    with ExitStack() as connections:
        play = Play(memory, connections)
        for step in session["steps"]:
            ((name, value),) = step.items()
            play.step(name, value)
        play.assert_all_heard()
    memory.assert_sound()


def test_the_names_of_sessions_are_their_own() -> None:
    names = [one["name"] for one in SESSIONS]
    assert len(names) == len(set(names))
    assert {one["server"] for one in SESSIONS} == {True, False}
