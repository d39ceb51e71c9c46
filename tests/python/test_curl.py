"""Publishing with curl alone: clients/curl/publish.sh as somebody would use it."""

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

from conftest import Connect
from server import DEADLINE, Server

SCRIPT = Path(__file__).resolve().parents[2] / "clients" / "curl" / "publish.sh"


def publish(url: str, topic: str, lines: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, url, topic],
        input="".join(f"{line}\n" for line in lines),
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )


def url_of(server: Server) -> str:
    return f"http://{server.host}:{server.port}"


def test_each_line_is_published_and_answered(server: Server, connect: Connect, topic: str) -> None:
    reader = connect()
    reader.subscribe(topic)
    lines = ['{"home": 1}', '"a \\"quoted\\" text"', "[1, 2]"]
    published = publish(url_of(server), topic, lines)
    assert published.returncode == 0, published.stderr
    assert [json.loads(answer)["offset"] for answer in published.stdout.split("\n") if answer] == [1, 2, 3]
    assert [reader.push()["data"] for _ in lines] == [json.loads(line) for line in lines]


def test_a_line_that_is_refused_ends_it_with_what_the_server_says(server: Server, topic: str) -> None:
    published = publish(url_of(server), topic, ["{", "1"])
    assert published.returncode != 0
    assert json.loads(published.stdout)["code"] == "bad_request"


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

        def forward() -> None:
            for _ in range(2):
                take(proxy.accept()[0])

        forwarding = threading.Thread(target=forward)
        forwarding.start()
        published = publish(f"http://127.0.0.1:{proxy.getsockname()[1]}", topic, ["1"])
        forwarding.join(DEADLINE)
    assert published.returncode == 0, published.stderr
    assert json.loads(published.stdout.strip().splitlines()[-1])["duplicate"] is True
    assert reader.push()["offset"] == 1
    assert reader.kept() == []
