"""What the server says of its HTTP API, held against what it does: schemathesis asks what the description allows, and
some that it does not, and compares each answer with the description."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conftest import stop_sound
from server import Server

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

KEY = "thk_" + "A" * 43

TABLES = f"""
[auth]
query_token = true
[[auth.roles]]
name = "root"
subscribe = [">"]
publish = [">"]
admin = true
[[auth.api_keys]]
name = "tests"
hash = "sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
roles = ["root"]
"""

# After it the server is no more what it was.
LEFT_OUT = {"/drain"}

# Whose answer is a stream unless JSON is asked for.
EVENTS = "/events"

# Nobody is there whom it could be.
NEEDS_A_SESSION = "POST /sessions/{session}/disconnect"

# Which options of a command go together no schema says; what is answered to those that do is told in test_events.py.
NEEDS_A_CHOICE = "POST /events"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks who asks, and knows one API key, that of an administrator."""
    server = Server(tmp_path_factory.mktemp("guarded"), more=TABLES)
    yield server
    stop_sound(server)


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[Server]:
    """A server of its own: whatever is asked for here, no other story minds."""
    server = Server(tmp_path)
    yield server
    stop_sound(server)


def explore(server: Server, headers: Mapping[str, str], examples: int) -> dict[str, set[int]]:
    """Asks for everything that is described, in the same ways at every run; which statuses each operation has had."""
    url = f"http://{server.host}:{server.port}"
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    met: dict[str, set[int]] = defaultdict(set)
    with requests.Session() as session:
        session.headers.update(headers)
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            if operation.path in LEFT_OUT:
                continue
            says_something = operation.path_parameters or operation.query or operation.body
            modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if says_something else [])]
            for mode in modes:

                @settings(
                    max_examples=examples,
                    derandomize=True,
                    database=None,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                )
                @given(operation.as_strategy(generation_mode=mode))
                def conforms(case: Case[Any]) -> None:
                    if case.query and "wait" in case.query:
                        case.query["wait"] = 0
                    said = {}
                    if case.path == EVENTS:
                        # A stream has no end.
                        said["Accept"] = "application/json"
                        case.query["wait"] = 0
                    response = case.call(base_url=url, session=session, headers=said)
                    case.validate_response(response, checks=CHECKS)
                    met[case.operation.label].add(response.status_code)

                conforms()
    return met


def test_an_open_server_answers_as_it_says(open_server: Server) -> None:
    met = explore(open_server, {}, examples=6)
    assert {200, 400} <= met["POST /topics/{topic}"]
    assert 403 in met["GET /sessions"]


def test_to_an_administrator_the_server_answers_as_it_says(guarded: Server) -> None:
    met = explore(guarded, {"Authorization": f"Bearer {KEY}"}, examples=12)
    unmet = {label for label, statuses in met.items() if 200 not in statuses}
    assert unmet - {NEEDS_A_CHOICE} == {NEEDS_A_SESSION}


def test_who_shows_nothing_is_answered_as_the_server_says(guarded: Server) -> None:
    met = explore(guarded, {}, examples=3)
    public = {"GET /healthz", "GET /readyz"}
    assert {label for label, statuses in met.items() if 200 in statuses} == public
    assert all(401 in statuses for label, statuses in met.items() if label not in public), met


def test_a_key_in_the_address_is_none_of_the_parameters(guarded: Server) -> None:
    for path in ("/topics", "/sessions"):
        assert guarded.request("GET", f"{path}?limit=5&token={KEY}").status == 200
        assert "unknown field" in guarded.request("GET", f"{path}?token={KEY}&colour=green").problem()["detail"]
