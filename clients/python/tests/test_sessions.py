"""Whole sessions (SPEC §22) against the session, with a clock and a transport of the test's own.

The shared ones are those of `protocol/vectors/sessions.json`; below are some that only matter here.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import vectors

from topichub import ClosedError, Event, Gap, Message, Presence, Subscribed, TopicHubError
from topichub.codec import JsonCodec
from topichub.effects import Close, Credential, FetchToken, Open, Send, Sooner, Terms
from topichub.messages import Map, payload
from topichub.session import Session
from topichub.subscription import Buffer

KINDS = {"message": Message, "gap": Gap, "presence": Presence, "subscribed": Subscribed}
MARGIN_S = 0.001


class Play:
    """One session as it is played. What the client does is kept until a step speaks of it."""

    def __init__(self, values: dict[str, Any], fraction: float) -> None:
        self.now = 1_000.0
        self.fraction = fraction
        self.bound: dict[str, Any] = dict(values)
        self.tokens: deque[str] = deque()
        self.opening = False
        self.said: deque[Map] = deque()
        self.closed: deque[int] = deque()
        self.buffers: dict[str, Buffer] = {}
        self.settled: dict[str, Map | Exception] = {}
        self.last: dict[str, Message] = {}
        self.session = Session(JsonCodec(), lambda: fraction)

    def play(self, steps: list[Map]) -> None:
        for number, step in enumerate(steps):
            ((kind, value),) = ((kind, value) for kind, value in step.items() if not kind.startswith("//"))
            try:
                getattr(self, f"step_{kind}")(value)
                self.act()
            except AssertionError as error:
                raise AssertionError(f"step {number}, {json.dumps(step)}: {error}") from error

    def act(self) -> None:
        """Carries out what the session wants done."""
        while self.session.effects:
            effect = self.session.effects.popleft()
            match effect:
                case Open():
                    assert not self.opening, "a second connection is made beside the first"
                    self.opening = True
                case Send():
                    self.said.append(JsonCodec().decode(effect.frame))
                case Close():
                    self.opening = False
                    self.closed.append(effect.code)
                case Sooner():
                    assert self.session.deadline is not None
                case FetchToken():
                    token = self.tokens.popleft() if len(self.tokens) > 1 else self.tokens[0]
                    self.session.token_fetched(token, self.now)

    # --- `$names`

    def fill(self, value: Any) -> Any:
        """What is said, with its names filled in."""
        if isinstance(value, dict):
            return {key: self.fill(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.fill(entry) for entry in value]
        if isinstance(value, str) and value.startswith("$") and not value.startswith("$sys"):
            return self.bound.setdefault(value[1:], f"some{value[1:]}")
        return value

    def bind(self, expected: Map, found: Map) -> None:
        if isinstance(name := expected.get("id"), str) and name.startswith("$"):
            self.bound.setdefault(name[1:], found.get("id"))

    # --- Steps

    def step_others(self, _: Any) -> None:
        pass

    def step_connect(self, who: Map) -> None:
        self.tokens = deque(who.get("tokens", []))
        credential = Credential(who.get("user"), who.get("token"), who.get("data"), bool(self.tokens))
        terms = Terms(offline=who.get("offline", "reject"))
        self.session = Session(JsonCodec(), lambda: self.fraction, credential, terms)
        self.session.start(self.now)

    def step_open(self, _: Any) -> None:
        self.dialed()
        self.session.opened(self.now)

    def dialed(self) -> None:
        assert self.opening, f"no connection is being made, the session is {self.session.state}"
        self.opening = False

    def step_refuse(self, answer: Map) -> None:
        self.dialed()
        retry_after, code = answer.get("retry_after_s"), answer.get("code")
        self.session.refused(answer["status"], retry_after, code, answer.get("detail"), self.now)

    def step_unreachable(self, _: Any) -> None:
        self.dialed()
        self.session.lost(1006, "unreachable", self.now)

    def step_server(self, map_: Map) -> None:
        self.step_server_text(json.dumps(self.fill(map_)))

    def step_server_any_order(self, maps: list[Map]) -> None:
        for map_ in maps:
            self.step_server(map_)

    def step_server_text(self, text: str) -> None:
        before = self.session.deadline
        self.session.receive(text, self.now)
        after = self.session.deadline
        sooner = after is not None and (before is None or after < before)
        assert self.session.effects or not sooner, "the deadline has come nearer, and nobody is told"

    def step_client(self, expected: Map) -> None:
        assert self.said, f"the client says nothing; it is {self.session.state}"
        found = self.said.popleft()
        self.bind(expected, found)
        assert found == self.fill(expected)

    def step_quiet(self, _: Any) -> None:
        assert not self.said, f"the client says {self.said}"

    def step_client_close(self, expected: Map) -> None:
        assert self.closed, "the client does not close"
        code = self.closed.popleft()
        assert code == expected.get("code", code)

    def step_close(self, frame: Map) -> None:
        self.session.lost(frame["code"], frame.get("reason", ""), self.now)

    def step_cut(self, _: Any) -> None:
        self.session.lost(1006, "", self.now)

    def step_waits(self, span: list[float]) -> None:
        least, most = (ms / 1000 for ms in span)
        state = self.session.state
        assert state.name == "waiting", state
        deadline = self.session.deadline
        assert deadline is not None
        expected = least + self.fraction * (most - least)
        assert abs(deadline - self.now - expected) < MARGIN_S, f"{deadline - self.now} s, not {expected} s"
        assert not self.opening
        self.step_advance((deadline - self.now) * 1000 + 0.001)

    def step_within(self, most: float) -> None:
        """The session does something after its part of so many milliseconds, and nothing before."""
        self.step_advance(self.fraction * most - 1)
        self.step_quiet(None)
        self.step_advance(2)

    def step_advance(self, ms: float) -> None:
        end = self.now + ms / 1000
        while (deadline := self.session.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.session.tick(self.now)
            self.act()
        self.now = end

    def step_state(self, name: str) -> None:
        assert self.session.state.name == name, self.session.state

    def step_app(self, does: Map) -> None:
        label, options = does.get("as", ""), does.get("options", {})
        if "subscribe" in does:
            buffer = self.buffers[label] = Buffer(does["subscribe"], options.get("buffer", 1_000))
            options = {key: value for key, value in options.items() if key != "buffer"}
            self.session.subscribe(does["subscribe"], options, buffer)
        elif "unsubscribe" in does:
            buffer = self.buffers[does["unsubscribe"]]
            buffer.end(StopAsyncIteration())
            self.session.unsubscribe(buffer.name, buffer)
        elif "change" in does:
            name, held = self.buffers[does["change"]].name, self.buffers[does["change"]]
            self.session.change(name, held, options, self.settling(label))
        elif "close" in does:
            self.session.close()
        elif "reply_to_last" in does:
            reply_to = self.last[does["reply_to_last"]].reply_to
            self.ask(label, {"op": "reply", "reply_to": reply_to, "data": does["data"]})
        else:
            op = "publish" if "publish" in does else "request"
            self.ask(label, {"op": op, "topic": does[op], "data": does["data"]} | options)

    def settling(self, label: str) -> Callable[[Map | Exception], None]:
        def settle(reply: Map | Exception) -> None:
            assert label not in self.settled, f"{label} is settled twice"
            self.settled[label] = reply

        return settle

    def ask(self, label: str, command: Map) -> None:
        try:
            self.session.command(command, self.settling(label))
        except TopicHubError as error:
            self.settling(label)(error)

    def next_event(self, label: str, kind: str = "") -> Event | None:
        """The next event. Being subscribed is no event unless it is asked for."""
        while True:
            event = self.buffers[label].pop()
            if not isinstance(event, Subscribed) or kind == "subscribed":
                return event

    def step_event(self, expected: Map) -> None:
        (kind,) = expected.keys() - {"of"}
        event = self.next_event(expected["of"], kind)
        assert event is not None, "no event"
        assert isinstance(event, KINDS[kind]), event
        if isinstance(event, Message):
            self.last[expected["of"]] = event
        fields: dict[str, Any] = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        fields["from"] = fields.get("from_")
        for key, value in self.fill(expected[kind]).items():
            assert fields[key] == value, f"{key} is {fields[key]!r}"

    def step_event_any_order(self, expected: list[Map]) -> None:
        (label,) = {one["of"] for one in expected}
        found = sorted((self.next_event(label) for _ in expected), key=lambda event: str(getattr(event, "topic", None)))
        wanted = sorted((self.fill(one["message"]) for one in expected), key=lambda fields: str(fields["topic"]))
        for event, fields in zip(found, wanted, strict=True):
            assert {key: getattr(event, key) for key in fields} == fields

    def step_no_event(self, label: str) -> None:
        event = self.next_event(label)
        assert event is None, event

    def step_settled(self, expected: Map) -> None:
        label = expected["of"]
        found = self.ending(label) if label in self.buffers else self.settled.pop(label, None)
        assert found is not None, "not settled"
        if "error" in expected:
            assert isinstance(found, TopicHubError), found
            code = expected["error"]["code"]
            assert code == (
                found.close_code if isinstance(code, int) and isinstance(found, ClosedError) else found.code
            )
        elif "value" in expected:
            assert isinstance(found, dict), found
            value = self.fill(expected["value"])
            if found["op"] == "reply":
                assert payload(found) == value
            else:
                assert {key: found[key] for key in value} == value
        else:
            assert isinstance(found, (StopAsyncIteration, dict)), found

    def ending(self, label: str) -> Exception | None:
        try:
            while self.buffers[label].pop() is not None:
                pass
        except (TopicHubError, StopAsyncIteration) as error:
            return error
        return None


SHARED: list[Map] = vectors.load("sessions")["sessions"]

WELCOME = {"server": {"op": "welcome", "session": "$session", "protocol": 1, "ping_ms": 25_000}}
CONNECT: list[Map] = [{"connect": {}}, {"open": True}, WELCOME]


def subscribe(name: str, label: str, number: int, answer: Map, **options: Any) -> list[Map]:
    command = {"op": "subscribe", "id": f"${number}", "topic": name, "replay": {"last": 0}} | options
    return [
        {"app": {"subscribe": name, "as": label, "options": options}},
        {"client": command},
        {"server": {"op": "subscribed", "id": f"${number}", "topic": name} | answer},
    ]


def resubscribe(number: int, name: str, after: Map, answer: Map, **options: Any) -> list[Map]:
    """The connection is lost, and made anew with this one subscription."""
    replay = {"replay": {"after": after}}
    return [
        {"cut": True},
        {"waits": [0, 500]},
        {"open": True},
        WELCOME,
        {"client": {"op": "subscribe", "id": f"${number}", "topic": name} | replay | options},
        {"server": {"op": "subscribed", "id": f"${number}", "topic": name} | answer},
    ]


def refused_until(number: int, most: int) -> list[Map]:
    """A `subscribe` is refused for a while, and asked for again within so many milliseconds."""
    refusal = {"op": "error", "id": f"${number}", "code": "unavailable", "message": "", "retry": True}
    command = {"op": "subscribe", "id": f"${number + 1}", "topic": "a.b", "replay": {"last": 0}}
    return [{"server": refusal}, {"within": most}, {"client": command}]


def publish(topic: str, number: int, offset: int) -> list[Map]:
    answer = {"op": "published", "id": f"${number}", "topic": topic, "epoch": "k", "offset": offset}
    return [
        {"app": {"publish": topic, "data": offset, "as": f"p{number}"}},
        {"client": {"op": "publish", "id": f"${number}", "topic": topic, "data": offset}},
        {"server": answer},
    ]


AT_40 = {"epoch": "k", "offset": 40, "replayed": 0, "recovered": True}
ALL_AT_40 = {"replayed": 0, "recovered": True, "positions": {"a.b": {"epoch": "k", "offset": 40}}}

OURS: list[Map] = [
    {
        "name": "what one subscription has replayed another gets that waits for its own answer",
        "steps": [
            *CONNECT,
            *subscribe("a.b", "one", 1, AT_40),
            *subscribe("a.*", "all", 2, ALL_AT_40),
            {"cut": True},
            {"waits": [0, 500]},
            {"open": True},
            WELCOME,
            {
                "client": {
                    "op": "subscribe",
                    "id": "$3",
                    "topic": "a.b",
                    "replay": {"after": {"epoch": "k", "offset": 40}},
                }
            },
            {
                "client": {
                    "op": "subscribe",
                    "id": "$4",
                    "topic": "a.*",
                    "replay": {"after": {"a.b": {"epoch": "k", "offset": 40}}},
                }
            },
            {"server": {"op": "subscribed", "id": "$3", "topic": "a.b"} | AT_40 | {"offset": 41, "replayed": 1}},
            {"server": {"op": "message", "topic": "a.b", "offset": 41, "data": 41}},
            {
                "server": {
                    "op": "subscribed",
                    "id": "$4",
                    "topic": "a.*",
                    "replayed": 0,
                    "recovered": True,
                    "positions": {},
                }
            },
            {"event": {"of": "one", "message": {"offset": 41}}},
            {"event": {"of": "all", "message": {"offset": 41}}},
        ],
    },
    {
        "name": "a position beyond the end of the same log begins anew",
        "steps": [
            *CONNECT,
            *subscribe("a.b", "s", 1, AT_40),
            {"cut": True},
            {"waits": [0, 500]},
            {"open": True},
            WELCOME,
            {
                "client": {
                    "op": "subscribe",
                    "id": "$2",
                    "topic": "a.b",
                    "replay": {"after": {"epoch": "k", "offset": 40}},
                }
            },
            {
                "server": {
                    "op": "subscribed",
                    "id": "$2",
                    "topic": "a.b",
                    "epoch": "k",
                    "offset": 3,
                    "replayed": 1,
                    "recovered": False,
                }
            },
            {"event": {"of": "s", "gap": {"topic": "a.b", "why": "epoch", "from": None, "to": None}}},
            {"server": {"op": "message", "topic": "a.b", "offset": 3, "data": 3}},
            {"event": {"of": "s", "message": {"offset": 3}}},
        ],
    },
    {
        "name": "who is sent back at once again and again comes back later",
        "steps": [
            {"connect": {}},
            *[
                step
                for most in (300, 300, 300, 500, 1_000)
                for step in ({"open": True}, WELCOME, {"close": {"code": 4201}}, {"waits": [0, most]})
            ],
        ],
    },
    {
        "name": "nothing heard for longer than a ping and ten seconds is no connection",
        "steps": [
            *CONNECT,
            {"advance": 34_999},
            {"state": "open"},
            {"advance": 1},
            {"client_close": {}},
            {"waits": [0, 500]},
        ],
    },
    {
        "name": "how long a server may say nothing follows from how often it pings",
        "steps": [
            {"connect": {}},
            {"open": True},
            {"server": WELCOME["server"] | {"ping_ms": 5_000}},
            {"advance": 14_999},
            {"state": "open"},
            {"advance": 1},
            {"client_close": {}},
            {"waits": [0, 500]},
        ],
    },
    {
        "name": "a connection that is not made in ten seconds is given up, and so is one without a welcome in ten more",
        "steps": [
            {"connect": {}},
            {"advance": 9_999},
            {"state": "connecting"},
            {"advance": 1},
            {"client_close": {}},
            {"waits": [0, 500]},
            {"advance": 9_000},
            {"open": True},
            {"advance": 9_999},
            {"state": "connecting"},
            {"advance": 1},
            {"client_close": {}},
            {"waits": [0, 1_000]},
        ],
    },
    {
        "name": "who could not be told for a while who we are is told again once",
        "steps": [
            {"connect": {"token": "t"}},
            {"open": True},
            WELCOME,
            {"client": {"op": "authenticate", "id": "$1", "token": "t"}},
            {
                "server": {
                    "op": "error",
                    "id": "$1",
                    "code": "unavailable",
                    "message": "",
                    "retry": True,
                    "after_ms": 3_000,
                }
            },
            {"advance": 2_999},
            {"quiet": True},
            {"advance": 1},
            {"client": {"op": "authenticate", "id": "$2", "token": "t"}},
            {"advance": 10_000},
            {"quiet": True},
        ],
    },
    {
        "name": "what the server has refused is not unsubscribed there",
        "steps": [
            *CONNECT,
            {"app": {"subscribe": "a.b", "as": "s"}},
            {"client": {"op": "subscribe", "id": "$1", "topic": "a.b", "replay": {"last": 0}}},
            {"server": {"op": "error", "id": "$1", "code": "unavailable", "message": "", "retry": True}},
            {"app": {"unsubscribe": "s"}},
            {"quiet": True},
            {"advance": 1_000},
            {"quiet": True},
        ],
    },
    {
        "name": "what others are to see is said with the name",
        "steps": [
            {"connect": {"user": "ada", "data": {"seat": 7}}},
            {"open": True},
            WELCOME,
            {"client": {"op": "authenticate", "id": "$1", "user": "ada", "data": {"seat": 7}}},
        ],
    },
    {
        "name": "who is refused again and again asks less and less often",
        "steps": [
            *CONNECT,
            {"app": {"subscribe": "a.b", "as": "s"}},
            {"client": {"op": "subscribe", "id": "$1", "topic": "a.b", "replay": {"last": 0}}},
            *refused_until(1, 500),
            *refused_until(2, 1_000),
            *refused_until(3, 2_000),
        ],
    },
    {
        "name": "options that are changed without a connection hold from the next one on",
        "steps": [
            *CONNECT,
            *subscribe("a.b", "s", 1, AT_40, max_rate=2),
            {"cut": True},
            {"app": {"change": "s", "as": "c", "options": {"max_rate": 5}}},
            {"settled": {"of": "c"}},
            *resubscribe(2, "a.b", {"epoch": "k", "offset": 40}, AT_40, max_rate=5)[1:],
        ],
    },
    {
        "name": "what comes over a connection that was given up counts no more",
        "steps": [
            *CONNECT,
            {"server_text": "}{"},
            {"client_close": {"code": 1002}},
            WELCOME,
            {"state": "waiting"},
        ],
    },
    {
        "name": "a past that was cut before anything came of it begins anew",
        "steps": [
            *CONNECT,
            {"app": {"subscribe": "a.*", "as": "s", "options": {"replay": {"seconds": 60}}}},
            {"client": {"op": "subscribe", "id": "$1", "topic": "a.*", "replay": {"seconds": 60}}},
            {"server": {"op": "subscribed", "id": "$1", "topic": "a.*"} | ALL_AT_40 | {"replayed": 2}},
            {"cut": True},
            {"waits": [0, 500]},
            {"open": True},
            WELCOME,
            {"client": {"op": "subscribe", "id": "$2", "topic": "a.*", "replay": {"seconds": 60}}},
            {
                "server": {
                    "op": "subscribed",
                    "id": "$2",
                    "topic": "a.*",
                    "replayed": 1,
                    "recovered": True,
                    "positions": {"a.b": {"epoch": "k", "offset": 45}, "a.c": {"epoch": "l", "offset": 3}},
                }
            },
            {"server": {"op": "message", "topic": "a.c", "offset": 3, "data": 3}},
            {"event": {"of": "s", "message": {"topic": "a.c", "offset": 3, "replayed": True}}},
            {"cut": True},
            {"waits": [0, 1_000]},
            {"open": True},
            WELCOME,
            {
                "client": {
                    "op": "subscribe",
                    "id": "$3",
                    "topic": "a.*",
                    "replay": {"after": {"a.b": {"epoch": "k", "offset": 45}, "a.c": {"epoch": "l", "offset": 3}}},
                }
            },
        ],
    },
    {
        "name": "nobody is sent away for longer than an hour",
        "steps": [
            *CONNECT,
            {"server": {"op": "goodbye", "code": 4101, "reason": "", "reconnect": "later", "after_ms": 2**52}},
            {"close": {"code": 4101}},
            {"waits": [3_600_000, 3_600_500]},
        ],
    },
    {
        "name": "the second who subscribes alike shares it and the last who leaves ends it",
        "steps": [
            *CONNECT,
            *subscribe("a.b", "one", 1, AT_40),
            {"app": {"subscribe": "a.b", "as": "two"}},
            {"quiet": True},
            {"event": {"of": "two", "subscribed": {"topic": "a.b", "epoch": "k", "offset": 40}}},
            {"server": {"op": "message", "topic": "a.b", "offset": 41, "data": 1}},
            {"event": {"of": "one", "message": {"offset": 41}}},
            {"event": {"of": "two", "message": {"offset": 41}}},
            {"app": {"unsubscribe": "one"}},
            {"quiet": True},
            {"app": {"unsubscribe": "two"}},
            {"client": {"op": "unsubscribe", "id": "$2", "topic": "a.b"}},
        ],
    },
    {
        "name": "a message of our own is passed over for a later subscription without echo as well",
        "steps": [
            *CONNECT,
            *subscribe("a.b", "one", 1, AT_40, echo=False),
            *publish("a.b", 2, 41),
            *subscribe("a.*", "all", 3, ALL_AT_40, echo=False),
            *resubscribe(4, "a.b", {"epoch": "k", "offset": 40}, AT_40 | {"offset": 41, "replayed": 1}, echo=False),
            {"server": {"op": "message", "topic": "a.b", "offset": 41, "data": 41}},
            {"no_event": "one"},
            {"no_event": "all"},
        ],
    },
    {
        "name": "with echo again our own messages come from then on",
        "steps": [
            *CONNECT,
            *subscribe("a.b", "s", 1, AT_40, echo=False),
            *publish("a.b", 2, 41),
            {"app": {"change": "s", "as": "c", "options": {"echo": True}}},
            {"client": {"op": "subscribe", "id": "$3", "topic": "a.b", "echo": True}},
            {"server": {"op": "subscribed", "id": "$3", "topic": "a.b", "epoch": "k", "offset": 41}},
            *publish("a.b", 4, 42),
            {"server": {"op": "message", "topic": "a.b", "offset": 42, "data": 42}},
            {"event": {"of": "s", "message": {"offset": 42}}},
        ],
    },
    {
        "name": "a publish with a name for itself is repeated by the next connection",
        "steps": [
            *CONNECT,
            {"app": {"publish": "a", "data": 1, "as": "p", "options": {"dedup": "d"}}},
            {"client": {"op": "publish", "id": "$1", "topic": "a", "data": 1, "dedup": "d"}},
            {"cut": True},
            {"waits": [0, 500]},
            {"open": True},
            WELCOME,
            {"client": {"op": "publish", "id": "$2", "topic": "a", "data": 1, "dedup": "d"}},
            {"server": {"op": "published", "id": "$2", "topic": "a", "epoch": "k", "offset": 1, "duplicate": True}},
            {"settled": {"of": "p", "value": {"duplicate": True}}},
        ],
    },
]


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in SHARED + OURS])
def test_a_session_is_lived_as_it_is_told(case: Map, fraction: float) -> None:
    Play(case.get("values", {}), fraction).play(case["steps"])


def test_positions_that_do_not_fit_into_one_command_are_left_out() -> None:
    play = Play({}, 0.5)
    play.play([{"connect": {}}, {"open": True}, WELCOME])
    names = [f"{'x' * 240}.{number}" for number in range(600)]
    ends = {name: {"epoch": "k", "offset": 7} for name in names}
    all_of_them = {"replayed": 0, "recovered": True, "positions": ends}
    play.play(subscribe("*.*", "s", 1, all_of_them))
    play.play([{"cut": True}, {"waits": [0, 500]}, {"open": True}, WELCOME])
    after = play.said.popleft()["replay"]["after"]
    assert 0 < len(after) < 500
    assert len(json.dumps(after)) < 65_536
    # What is left out comes as a whole, and what of it has come before is passed over.
    left_out = next(name for name in names if name not in after)
    replay = {"op": "subscribed", "id": 2, "topic": "*.*"} | all_of_them | {"replayed": 2}
    play.play([{"server": replay}])
    for offset in (7, 8):
        play.play([{"server": {"op": "message", "topic": left_out, "offset": offset, "data": offset}}])
    play.play([{"event": {"of": "s", "message": {"offset": 8}}}, {"no_event": "s"}])


def test_of_our_own_messages_the_newest_five_hundred_are_known() -> None:
    play = Play({}, 0.5)
    play.play([*CONNECT, *subscribe("a.b", "s", 1, AT_40, echo=False)])
    for number in range(2, 503):
        play.play(publish("a.b", number, number + 39))
    play.play(
        resubscribe(503, "a.b", {"epoch": "k", "offset": 40}, AT_40 | {"offset": 541, "replayed": 501}, echo=False)
    )
    for offset in range(41, 542):
        play.play([{"server": {"op": "message", "topic": "a.b", "offset": offset, "data": offset}}])
    play.play([{"event": {"of": "s", "message": {"offset": 41}}}, {"no_event": "s"}])


def test_a_token_that_is_being_fetched_is_not_asked_for_again() -> None:
    play = Play({}, 0.5)
    play.play([{"connect": {"tokens": ["one"]}}, {"open": True}, WELCOME])
    expiring = json.dumps({"op": "expiring", "in_ms": 1_000})
    for _ in range(2):
        play.session.receive(expiring, play.now)
    assert [type(effect) for effect in play.session.effects] == [FetchToken]


def test_an_answer_that_comes_too_late_leaves_nothing_behind() -> None:
    play = Play({}, 0.5)
    asking, asked, answer = subscribe("a.b", "s", 1, AT_40)
    play.play([*CONNECT, asking, asked, {"app": {"unsubscribe": "s"}}, answer])
    assert play.session.interests.position("a.b") is None


def test_what_is_unsubscribed_is_forgotten() -> None:
    play = Play({}, 0.5)
    play.play([*CONNECT, *subscribe("a.b", "one", 1, AT_40), *subscribe("a.*", "all", 2, ALL_AT_40)])
    interests = play.session.interests
    play.play([{"app": {"unsubscribe": "one"}}])
    assert interests.position("a.b") is not None
    play.play([{"app": {"unsubscribe": "all"}}])
    assert interests.position("a.b") is None
    assert len(interests) == 0
