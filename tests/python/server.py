"""The binary as a child process on a port of its own. What it says on standard error is kept for the story's end."""

import http.client
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

# How long anything may take before a story has failed. Nothing waits this long when all is well.
DEADLINE = 10.0

# For localhost and 127.0.0.1, signed by itself, for a hundred years: it guards nothing.
CERTIFICATE = Path(__file__).with_name("certificates") / "certificate.pem"
KEY = CERTIFICATE.with_name("key.pem")

_ADDRESS = re.compile(r"\b(127\.0\.0\.1):(\d+)\b")


def binary() -> Path:
    """The server under test: `TOPICHUB_BIN`."""
    return Path(os.environ["TOPICHUB_BIN"]).resolve()


def wait_until(condition: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
    """Waits for a condition that nothing announces."""
    end = time.monotonic() + deadline
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {deadline} s"
        pause.wait(0.005)


@dataclass(frozen=True)
class Answer:
    """What the server answered over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self) -> dict[str, Any]:
        """The body as a problem document (RFC 9457) that repeats the status."""
        assert self.headers["content-type"] == "application/problem+json"
        document = json.loads(self.body)
        assert document["status"] == self.status
        assert {"type", "title", "detail", "code"} <= document.keys()
        assert isinstance(document, dict)
        return document


@dataclass(frozen=True)
class Address:
    """Where a server listens; all that peers in another process need to know of it."""

    host: str
    port: int


@dataclass(frozen=True)
class Rule:
    """What is remembered of the topics of a pattern: so many messages, and bytes of payloads."""

    pattern: str
    messages: int
    bytes: int = 64 << 20

    def lines(self) -> list[str]:
        history = f"{{ messages = {self.messages}, bytes = {self.bytes} }}"
        return ["[[topics]]", f"pattern = {json.dumps(self.pattern)}", f"history = {history}"]


class Server:
    """A running server. `limits` and `rules` go into the tables of its configuration file, `more` below them; and with
    `tls` it speaks TLS only, with the certificate that lies beside the tests."""

    def __init__(
        self,
        directory: Path,
        limits: Mapping[str, str | int | bool] | None = None,
        rules: Sequence[Rule] = (),
        drain: str = "0s",
        more: str = "",
        environment: Mapping[str, str] | None = None,
        *,
        tls: bool = False,
    ) -> None:
        command = [str(binary()), "serve", "--listen", "127.0.0.1:0", "--drain", drain]
        self.tls = tls
        if limits or rules or more or tls:
            config = directory / "topichub.toml"
            lines = ["[limits]", *(f"{key} = {json.dumps(value)}" for key, value in (limits or {}).items())]
            lines += [line for rule in rules for line in rule.lines()]
            if tls:
                lines += ["[tls]", f"certificate = {json.dumps(str(CERTIFICATE))}", f"key = {json.dumps(str(KEY))}"]
            config.write_text("\n".join([*lines, more]) + "\n")
            command += ["--config", str(config)]
        self.log: list[str] = []
        self._addresses: Queue[tuple[str, int] | None] = Queue()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"RUST_LOG": "info"} | dict(environment or {}),
        )
        assert self._process.stderr is not None
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()
        try:
            address = self._addresses.get(timeout=DEADLINE)
        except Empty:
            address = None
        if address is None:
            self.stop()
            raise AssertionError("the server names no address:\n" + "".join(self.log))
        self.host, self.port = address

    def _listen(self, stderr: IO[str]) -> None:
        for line in stderr:
            self.log.append(line)
            if found := _ADDRESS.search(line):
                self._addresses.put((found[1], int(found[2])))
        self._addresses.put(None)

    @property
    def websocket_url(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://{self.host}:{self.port}/ws"

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    @property
    def open_files(self) -> int:
        """How many files and sockets the process has open; 0 where there is no /proc."""
        directory = Path(f"/proc/{self._process.pid}/fd")
        return len(list(directory.iterdir())) if directory.exists() else 0

    @property
    def resident_kib(self) -> int:
        """How much memory the process holds; 0 where there is no /proc."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return 0
        found = re.search(r"^VmRSS:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        assert found
        return int(found[1])

    def request(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One HTTP request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def assert_sound(self) -> None:
        """The process runs, and no thread of it has panicked."""
        assert self._process.poll() is None, "the server has ended:\n" + "".join(self.log)
        assert not any("panicked" in line for line in self.log), "".join(self.log)

    def ask_to_stop(self) -> None:
        """Asks the process to end."""
        self._process.terminate()

    def stop(self, deadline: float = DEADLINE) -> int:
        """Asks the process to end, and makes it if it does not; its exit code."""
        self.ask_to_stop()
        try:
            return self._process.wait(deadline)
        finally:
            self._process.kill()
            self._process.wait()
            self._listener.join(DEADLINE)
            assert self._process.stderr is not None
            self._process.stderr.close()
