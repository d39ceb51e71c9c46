"""Server-Sent Events by the letter of WHATWG HTML §9.2.6: an oracle of our own for what the server sends, on sockets of
the standard library."""

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from server import DEADLINE, Server


@dataclass(frozen=True)
class Event:
    """One event that was dispatched."""

    type: str
    data: str
    last_id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Stream:
    """One answer of `/events`, read as a browser reads it."""

    def __init__(
        self,
        server: Server,
        path: str,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        last_id: str = "",
    ) -> None:
        self.last_id = last_id
        self.retry_ms: int | None = None
        self.comments = 0
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=DEADLINE)
        said = {"Accept": "text/event-stream", **(headers or {})}
        if last_id:
            said["Last-Event-ID"] = last_id
        if body is None:
            self._connection.request("GET", path, headers=said)
        else:
            text = json.dumps(body)
            self._connection.request("POST", path, text, {**said, "Content-Type": "application/json"})
        self.answer = self._connection.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answer.close()
        self._connection.close()

    def _lines(self) -> Iterator[str]:
        """Whole lines. What stands behind the last line break is none."""
        for line in iter(self.answer.readline, b""):
            if line.endswith(b"\n"):
                yield line.decode().removesuffix("\n").removesuffix("\r")

    def __iter__(self) -> Iterator[Event]:
        kind, data, new_id = "", list[str](), self.last_id
        for line in self._lines():
            if not line:
                self.last_id = new_id
                if data:
                    yield Event(kind or "message", "\n".join(data), self.last_id)
                kind, data = "", []
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match field:
                case "":
                    self.comments += 1
                case "event":
                    kind = value
                case "data":
                    data.append(value)
                case "id" if "\0" not in value:
                    new_id = value
                case "retry" if value.isascii() and value.isdigit():
                    self.retry_ms = int(value)
                case _:
                    pass
