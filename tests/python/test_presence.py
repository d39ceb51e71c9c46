"""Who is on a topic: users and sessions, those who watch them, and crowds that come and go at once."""

import json
import time
from contextlib import ExitStack

import pytest

from conftest import Connect, StartServer
from peer import Map, Peer
from raw import TEXT, RawPeer, frame
from server import Server, wait_until


@pytest.fixture
def brisk(start_server: StartServer) -> Server:
    """A server that tells of changes ten times a second."""
    return start_server(presence_interval="100ms")


def name(member: Map) -> str:
    return str(member.get("user") or member["session"])


class Watcher:
    """Keeps who is there by what it is told."""

    def __init__(self, peer: Peer, topic: str) -> None:
        self.peer = peer
        peer.subscribe(topic, presence={"join": False})
        state = peer.push("presence")
        assert "change" not in state
        self.members = {name(member): member.get("data") for member in state["members"]}
        self.pushes = [state]
        assert state["count"] == len(self.members)

    def hear(self) -> Map:
        """The next change, taken over."""
        change = self.peer.push("presence")
        assert change["change"] is True
        for member in change["joined"]:
            self.members[name(member)] = member.get("data")
        for member in change["left"]:
            assert self.members.pop(name(member), "nobody") != "nobody", change
        assert change["count"] == len(self.members), change
        self.pushes.append(change)
        return change

    def wait_for(self, members: set[str]) -> None:
        while set(self.members) != members:
            self.hear()


def test_a_user_is_there_from_the_first_session_to_the_last(brisk: Server, topic: str, subprotocol: str) -> None:
    with ExitStack() as stack:

        def ann() -> Peer:
            peer = stack.enter_context(Peer(brisk, subprotocol))
            said = peer.ask("authenticate", user="ann", data={"age": 7})
            assert said == {"op": "authenticated", "user": "ann"}
            peer.subscribe(topic, presence={"watch": False})
            return peer

        def present() -> tuple[int, int, list[Map]]:
            said = asking.ask("presence", topic=topic)
            return said["count"], said["sessions"], said["members"]

        asking = stack.enter_context(Peer(brisk))
        watcher = Watcher(stack.enter_context(Peer(brisk, subprotocol)), topic)
        assert present() == (0, 0, [])
        first, member = ann(), {"user": "ann", "data": {"age": 7}}
        watcher.wait_for({"ann"})
        assert watcher.members["ann"] == {"age": 7}
        second = ann()
        assert present() == (1, 2, [member])
        assert first.ask("unsubscribe", topic=topic)["op"] == "unsubscribed"
        assert present() == (1, 1, [member])
        second.leave()
        watcher.wait_for(set())
        assert present() == (0, 0, [])
        assert sum(len(push.get("joined", [])) for push in watcher.pushes) == 1
        assert sum(len(push.get("left", [])) for push in watcher.pushes) == 1
        # Who joins without watching is not told of anybody.
        assert first.kept() == []


def test_who_has_no_name_is_there_as_a_session(brisk: Server, topic: str, subprotocol: str) -> None:
    with Peer(brisk, subprotocol) as watching, Peer(brisk) as nameless:
        watcher = Watcher(watching, topic)
        nameless.subscribe(topic, presence={"data": [1, "two"]})
        session = nameless.welcome["session"]
        watcher.wait_for({session})
        assert watcher.members == {session: [1, "two"]}
        # Who joins and watches is told of all, itself among them.
        state = nameless.push("presence")
        assert (state["count"], state["members"]) == (1, [{"session": session, "data": [1, "two"]}])


def test_what_a_subscription_shows_goes_before_what_the_user_shows(brisk: Server, topic: str) -> None:
    with Peer(brisk) as watching, Peer(brisk) as bob:
        watcher = Watcher(watching, topic)
        assert bob.ask("authenticate", user="bob", data="from the user")["op"] == "authenticated"
        bob.subscribe(topic, presence={"watch": False, "data": "from the subscription"})
        watcher.wait_for({"bob"})
        assert watcher.members == {"bob": "from the subscription"}


def test_asking_who_is_there_creates_no_topic(brisk: Server, topic: str) -> None:
    with Peer(brisk) as peer:
        empty = {"op": "presence", "topic": topic, "count": 0, "sessions": 0, "members": []}
        assert peer.ask("presence", topic=topic) == empty
        assert peer.subscribe(f"{topic}.*", replay={"last": 1})["positions"] == {}
        assert peer.subscribe("story.>", replay={"last": 0})["positions"].get(topic) is None


CROWD = 300


def test_a_crowd_that_comes_and_goes_is_told_of_in_few_pushes(connect: Connect, server: Server, topic: str) -> None:
    watcher, asking = Watcher(connect(), topic), connect()
    command = {"op": "subscribe", "id": 1, "topic": topic, "presence": {"watch": False}}
    joining = frame(TEXT, json.dumps(command).encode())
    begin = time.monotonic()
    with ExitStack() as stack:
        crowd = [stack.enter_context(RawPeer(server)).open() for _ in range(CROWD)]
        for raw in crowd:
            raw.send(joining)
        for raw in crowd:
            assert json.loads(raw.read_frame().payload)["op"] == "subscribed"
        while len(watcher.members) < CROWD:
            watcher.hear()
        assert asking.ask("presence", topic=topic)["sessions"] == CROWD
    watcher.wait_for(set())
    elapsed = time.monotonic() - begin
    # At most one each second, and some patience with timers.
    assert len(watcher.pushes) - 1 <= elapsed * 1.2 + 2
    wait_until(lambda: asking.ask("presence", topic=topic)["sessions"] == 0, "all have gone")


def test_of_a_crowd_that_is_too_large_only_the_number_is_told(start_server: StartServer, topic: str) -> None:
    server = start_server(presence_interval="100ms", presence_members_max=3)
    with ExitStack() as stack:
        watching = stack.enter_context(Peer(server))
        watching.subscribe(topic, presence={"join": False})
        count = watching.push("presence")["count"]
        for number in range(5):
            peer = stack.enter_context(Peer(server))
            peer.ask("authenticate", user=f"user {number}")
            peer.subscribe(topic, presence={"watch": False})
        while count < 5:
            change = watching.push("presence")
            count = change["count"]
            assert ("joined" in change) == ("left" in change)
            assert change["change"] is True
        assert not {"joined", "left"} & change.keys()
        said = watching.ask("presence", topic=topic)
        assert (said["count"], said["sessions"]) == (5, 5)
        assert "members" not in said
