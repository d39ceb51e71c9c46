"""The two codecs: the same maps as JSON text or as MessagePack bytes.

Whatever somebody has published must be readable here: a payload that the server lets pass and this client could not
decode would cut it off again and again. So the quick decoders of others are tried first, and our own have the last
word.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

from .errors import DecodeError
from .messages import Map

DIGITS_MAX = 4_000  # Python refuses 4,300 and more

Frame = str | bytes
Name = Literal["json", "msgpack"]


class Codec(Protocol):
    """Writes commands and reads what the server says."""

    subprotocol: str

    def encode(self, command: Map) -> Frame:
        """One command; TypeError or ValueError if its data cannot be written."""

    def decode(self, frame: Frame) -> Map:
        """One reply or push; DecodeError if it is none."""


class JsonCodec:
    """`pubsub.json`: text frames."""

    subprotocol = "pubsub.json"

    def __init__(self) -> None:
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
        self._scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder())["scan_once"]

    def encode(self, command: Map) -> str:
        """Bytes as the whole of the data become `data_base64`."""
        data = command.get("data")
        if isinstance(data, (bytes, bytearray, memoryview)):
            command = {key: value for key, value in command.items() if key != "data"}
            command["data_base64"] = base64.b64encode(data).decode("ascii")
        return self._encode(command)

    def decode(self, frame: Frame) -> Map:
        """One reply or push."""
        if not isinstance(frame, str):
            raise DecodeError("a binary frame on pubsub.json")
        try:
            # One call in place of the five of `json.loads`: a tenth of the time that a message takes
            # (bench/throughput.py).
            found, end = self._scan(frame, 0)
        except (StopIteration, ValueError, RecursionError):
            end = -1
        if end != len(frame):
            found = _carefully(frame)
        if type(found) is not dict:
            raise DecodeError(f"not a map but {type(found).__name__}")
        return found


def _carefully(frame: str) -> Any:
    """Reads JSON with blanks around it, and with integers of more digits than Python reads: those become floats."""

    def integer(digits: str) -> int | float:
        return int(digits) if len(digits) <= DIGITS_MAX else float(digits)

    try:
        return json.loads(frame, parse_int=integer)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not json: {error}") from error


class MsgpackCodec:
    """`pubsub.msgpack`: binary frames. Needs `topichub[msgpack]`."""

    subprotocol = "pubsub.msgpack"

    def __init__(self) -> None:
        try:
            import msgpack
        except ImportError:
            raise ImportError("the codec msgpack needs a package more: pip install 'topichub[msgpack]'") from None
        self._pack: Callable[..., bytes] = msgpack.packb
        self._unpack: Callable[..., Any] = msgpack.unpackb

    def encode(self, command: Map) -> bytes:
        """One command; `datetime` with a time zone becomes a timestamp."""
        return self._pack(command, datetime=True)

    def decode(self, frame: Frame) -> Map:
        """One reply or push."""
        if isinstance(frame, str):
            raise DecodeError("a text frame on pubsub.msgpack")
        try:
            found = self._unpack(frame, strict_map_key=False)
        except Exception:
            found = _Reader(frame).whole()
        if type(found) is not dict:
            raise DecodeError(f"not a map but {type(found).__name__}")
        return found


class Extension(NamedTuple):
    """A MessagePack extension that the package msgpack has no value for: a reserved kind, or a timestamp that is
    none."""

    kind: int
    data: bytes


_DEPTH_MAX = 100
_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_SIZES |= {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
_NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}


class _Reader:
    """MessagePack that the quick decoder refuses: keys that Python cannot hash, which become their JSON text, and what
    is an `Extension` above."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._at = 0

    def whole(self) -> Any:
        try:
            found = self._value(0)
        except (ValueError, struct.error, IndexError) as error:
            raise DecodeError(f"not msgpack: {error}") from error
        if self._at != len(self._frame):
            raise DecodeError("something stands behind the msgpack")
        return found

    def _take(self, count: int) -> bytes:
        taken = self._frame[self._at : self._at + count]
        if len(taken) != count:
            raise DecodeError("the msgpack ends too early")
        self._at += count
        return taken

    def _value(self, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            raise DecodeError("the msgpack is nested too deep")
        head = self._take(1)[0]
        if head < 0x80 or head >= 0xE0:
            return head if head < 0x80 else head - 0x100
        if head < 0x90:
            return self._map(head & 0x0F, depth)
        if head < 0xA0:
            return [self._value(depth + 1) for _ in range(head & 0x0F)]
        if head < 0xC0:
            return self._take(head & 0x1F).decode()
        if head in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[head]
        if head in _NUMBERS:
            form = _NUMBERS[head]
            return struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if 0xD4 <= head <= 0xD8:
            return self._extension(1 << (head - 0xD4))
        if head not in _SIZES:
            raise DecodeError(f"no msgpack begins with {head:#04x}")
        size = int.from_bytes(self._take(_SIZES[head]), "big")
        if head <= 0xC6:
            return self._take(size)
        if head <= 0xC9:
            return self._extension(size)
        if head <= 0xDB:
            return self._take(size).decode()
        return [self._value(depth + 1) for _ in range(size)] if head <= 0xDD else self._map(size, depth)

    def _map(self, size: int, depth: int) -> dict[Any, Any]:
        found = {}
        for _ in range(size):
            key = self._value(depth + 1)
            if isinstance(key, (list, dict)):
                key = json.dumps(key, ensure_ascii=False, separators=(",", ":"), default=_as_json)
            found[key] = self._value(depth + 1)
        return found

    def _extension(self, size: int) -> Any:
        import msgpack

        kind = int.from_bytes(self._take(1), "big", signed=True)
        data = self._take(size)
        try:
            return msgpack.Timestamp.from_bytes(data) if kind == -1 else msgpack.ExtType(kind, data)
        except ValueError:
            return Extension(kind, data)


def _as_json(value: Any) -> str:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def codec_of(name: Name) -> Codec:
    """The codec of this name; ValueError if there is none."""
    if name == "json":
        return JsonCodec()
    if name == "msgpack":
        return MsgpackCodec()
    raise ValueError(f"the codecs are json and msgpack, not {name!r}")
