"""Publishing with curl alone: clients/curl/publish.sh as somebody would use it."""

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from conftest import Connect, stop_sound
from server import DEADLINE, Server, wait_until
from tokens import hs256, in_an_hour

SCRIPT = Path(__file__).resolve().parents[2] / "clients" / "curl" / "publish.sh"


def publish(
    url: str, topic: str, text: str, stderr: IO[str] | int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, url, topic],
        input=text,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )


def offsets(published: subprocess.CompletedProcess[str]) -> list[int]:
    assert published.returncode == 0, published.stderr
    return [json.loads(answer)["offset"] for answer in published.stdout.splitlines()]


def url_of(server: Server) -> str:
    return f"http://{server.host}:{server.port}"


def test_each_line_is_published_and_answered(server: Server, connect: Connect, topic: str) -> None:
    reader = connect()
    reader.subscribe(topic)
    lines = ['{"home": 1}', '"a \\"quoted\\" text"', "[1, 2]"]
    assert offsets(publish(url_of(server), topic, "\n".join(lines))) == [1, 2, 3]  # the last line has no end
    assert [reader.push()["data"] for _ in lines] == [json.loads(line) for line in lines]


def test_the_lines_of_two_runs_are_not_taken_for_repeats(server: Server, topic: str) -> None:
    assert offsets(publish(url_of(server), topic, "1\n1\n")) == [1, 2]
    assert offsets(publish(url_of(server), topic, "1\n1\n")) == [3, 4]


def test_a_line_that_is_refused_ends_it_with_what_the_server_says(server: Server, topic: str) -> None:
    published = publish(url_of(server), topic, "{\n1\n")
    assert published.returncode != 0
    assert json.loads(published.stdout)["code"] == "bad_request"


def test_a_line_is_never_the_name_of_a_file(server: Server, topic: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("1")
    published = publish(url_of(server), topic, f"@{secret}\n")
    assert published.returncode != 0
    assert json.loads(published.stdout)["code"] == "bad_request"


def test_a_topic_is_taken_as_it_is_written(server: Server, topic: str) -> None:
    for end in ("{a,b}[1-2]", "?dedup=1", "#", "a%2fb", "a/b", "ä&+"):
        published = publish(url_of(server), f"{topic}.{end}", "1\n")
        assert offsets(published) == [1]
        assert json.loads(published.stdout)["topic"] == f"{topic}.{end}"


def test_without_a_topic_it_says_how_it_is_used() -> None:
    told = subprocess.run([SCRIPT, "http://127.0.0.1:1"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("usage: ")


SECRET = b"a secret of more than thirty-two bytes, for stories"
AUTH = f"""
[auth]
[[auth.keys]]
algorithm = "HS256"
secret = "{SECRET.decode()}"
[[auth.roles]]
name = "writer"
publish = ["*.>"]
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    """Lets in who shows a token."""
    server = Server(tmp_path, more=AUTH)
    yield server
    stop_sound(server)


def test_the_token_is_shown_to_the_server_and_to_nobody_else(guarded: Server, tmp_path: Path) -> None:
    token = hs256(SECRET, {"sub": "ada", "exp": in_an_hour(), "roles": ["writer"]})
    spy = tmp_path / "curl"
    spy.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{tmp_path}/arguments\nexec {shutil.which("curl")} "$@"\n')
    spy.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert offsets(publish(url_of(guarded), "a.b", "1\n", TOPICHUB_TOKEN=token, PATH=path)) == [1]
    assert token not in (tmp_path / "arguments").read_text()
    published = publish(url_of(guarded), "a.b", "1\n")
    assert published.returncode != 0
    assert json.loads(published.stdout)["code"] == "unauthorized"


def test_a_line_whose_answer_was_lost_is_published_once(server: Server, connect: Connect, topic: str) -> None:
    reader = connect()
    reader.subscribe(topic)
    first = threading.Event()

    def take(client: socket.socket) -> None:
        """Forwards a request, and of the first one not the answer."""
        request = client.recv(65_536)
        with socket.create_connection((server.host, server.port), timeout=DEADLINE) as upstream:
            upstream.sendall(request)
            answer = upstream.recv(65_536)
        if first.is_set():
            client.sendall(answer)
        else:
            first.set()
            # curl tries again after an answer that says so, not after a hang-up in the middle of one.
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.close()

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(DEADLINE)

        def forward() -> None:
            for _ in range(2):
                take(proxy.accept()[0])

        forwarding = threading.Thread(target=forward)
        forwarding.start()
        published = publish(f"http://127.0.0.1:{proxy.getsockname()[1]}", topic, "1\n")
        forwarding.join(DEADLINE)
    assert published.returncode == 0, published.stderr
    assert json.loads(published.stdout.strip().splitlines()[-1])["duplicate"] is True
    assert reader.push()["offset"] == 1
    assert reader.kept() == []


def test_a_server_that_is_not_there_yet_is_waited_for(server: Server, topic: str, tmp_path: Path) -> None:
    said = tmp_path / "said"
    (tmp_path / ".curlrc").write_text("verbose\n")
    with socket.socket() as listener, said.open("w") as stderr:
        listener.settimeout(DEADLINE)
        listener.bind(("127.0.0.1", 0))  # and does not listen: whoever comes is refused

        def forward() -> None:
            wait_until(lambda: "refused" in said.read_text(), "curl is refused")
            listener.listen()
            client = listener.accept()[0]
            with socket.create_connection((server.host, server.port), timeout=DEADLINE) as upstream, client:
                upstream.sendall(client.recv(65_536))
                client.sendall(upstream.recv(65_536))

        forwarding = threading.Thread(target=forward)
        forwarding.start()
        published = publish(f"http://127.0.0.1:{listener.getsockname()[1]}", topic, "1\n", stderr, HOME=str(tmp_path))
        forwarding.join(DEADLINE)
    assert offsets(published) == [1]
