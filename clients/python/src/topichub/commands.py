"""Commands on their way: those that are to be answered, and publishes that wait for a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .codec import Codec, Frame
from .effects import StateName, Terms
from .errors import CommandError, ConnectionLost, NotConnected, QueueFull, TooLarge
from .messages import Map

MESSAGE_BYTES = 65_536
ID_BYTES = 64  # at most what an id adds to a command that waits for a connection

Settle = Callable[[Map | Exception], None]


def size_of(frame: Frame) -> int:
    """Bytes on the wire. ValueError if the frame is text that has no UTF-8."""
    return len(frame if isinstance(frame, bytes) else frame.encode())


@dataclass(slots=True, eq=False)
class Command:
    """A command, and who is told what became of it: its reply or an error, once."""

    map_: Map
    settle: Settle
    size: int = 0

    @property
    def repeatable(self) -> bool:
        """Whether the server knows a repeat when it sees one."""
        return self.map_["op"] == "publish" and "dedup" in self.map_


class Commands:
    """All commands of one hub. Ids count from 1, over all connections."""

    def __init__(self, codec: Codec, terms: Terms, transmit: Callable[[Frame], None]) -> None:
        self.message_bytes = MESSAGE_BYTES
        self._codec = codec
        self._terms = terms
        self._transmit = transmit
        self._last_id = 0
        self._in_flight: dict[int, Command] = {}
        self._queue: deque[Command] = deque()
        self._queued_bytes = 0

    def check(self, map_: Map) -> int:
        """The size of a command without its id; TypeError or ValueError if it cannot be written."""
        return size_of(self._codec.encode(map_))

    def send(self, command: Command) -> int:
        """Sends a command; its id. Raises TooLarge, TypeError or ValueError, and nothing is sent."""
        id_ = self._last_id + 1
        frame = self._codec.encode({"op": command.map_["op"], "id": id_} | command.map_)
        command.size = size_of(frame)
        if command.size > self.message_bytes:
            # The server would close with 1009, and we could not come back.
            raise TooLarge(command.size, self.message_bytes)
        self._last_id = id_
        self._in_flight[id_] = command
        self._transmit(frame)
        return id_

    def queue(self, command: Command, state: StateName) -> None:
        """Has a publish wait for a connection, if the program wants that and there is room."""
        if command.map_["op"] != "publish" or self._terms.offline != "queue":
            advice = "wait for hub.opened(), or connect with offline='queue'"
            raise NotConnected(f"{command.map_['op']} was not sent, the hub is {state}: {advice}")
        command.size = self.check(command.map_) + ID_BYTES
        messages, bytes_ = self._terms.queue_messages, self._terms.queue_bytes
        if len(self._queue) >= messages or self._queued_bytes + command.size > bytes_:
            raise QueueFull(f"not connected, and no more than {messages} messages and {bytes_} bytes wait for it")
        self._queue.append(command)
        self._queued_bytes += command.size

    def withdraw(self, command: Command) -> None:
        """Nobody waits for this one any more; if it was not sent yet, it never is."""
        if command in self._queue:
            self._queue.remove(command)
            self._queued_bytes -= command.size

    def flush(self) -> None:
        """Sends what waits, in its order."""
        queued, self._queue = self._queue, deque()
        self._queued_bytes = 0
        for command in queued:
            self._send_late(command)

    def _send_late(self, command: Command) -> None:
        try:
            self.send(command)
        except (TooLarge, TypeError, ValueError, OverflowError) as error:
            command.settle(error)

    def answered(self, map_: Map) -> None:
        """A reply has come."""
        id_ = map_["id"]
        command = self._in_flight.pop(id_, None) if type(id_) is int else None
        if command is None:
            return
        if map_.get("op") != "error":
            command.settle(map_)
            return
        code, message, after_ms = str(map_.get("code")), str(map_.get("message", "")), map_.get("after_ms")
        retry = map_.get("retry") is True
        command.settle(CommandError(code, message, retry, after_ms if type(after_ms) is int else None))

    def lost(self) -> None:
        """The connection has ended. What the server takes for a repeat, if it is one, goes first over the next."""
        in_flight, self._in_flight = self._in_flight, {}
        self._queue.extendleft(command for command in reversed(in_flight.values()) if command.repeatable)
        self._queued_bytes = sum(command.size for command in self._queue)
        for command in in_flight.values():
            if not command.repeatable:
                op = command.map_["op"]
                command.settle(ConnectionLost(f"the connection was lost before {op} was answered"))

    def refuse(self, error: Exception) -> None:
        """None of them is ever answered."""
        commands = [*self._in_flight.values(), *self._queue]
        self._in_flight.clear()
        self._queue.clear()
        self._queued_bytes = 0
        for command in commands:
            command.settle(error)
