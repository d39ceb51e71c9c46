"""Writes the vectors of protocol/ as first inputs for the fuzz targets, in the form that each target says it reads."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent.parent / "protocol" / "vectors"

# Longer inputs make every run slow, and what they show is shown by shorter ones.
BYTES_MAX = 4096


def read(name: str) -> dict[str, Any]:
    vectors = json.loads((VECTORS / name).read_text())
    assert isinstance(vectors, dict)
    return vectors


def from_hex(value: Any) -> bytes:
    """Bytes as the vectors write them: hexadecimal, or a list of it with repetitions."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    pieces: list[bytes] = []
    for part in value:
        is_repeated = isinstance(part, dict)
        digits = (part.get("hex") or part.get("repeat")) if is_repeated else part
        times = (part["repeat"] if "hex" in part else part["times"]) if is_repeated else 1
        pieces.append(bytes.fromhex(digits) * times)
    return b"".join(pieces)


def text(value: Any) -> str:
    """Text, or a list of it with repetitions."""
    if isinstance(value, str):
        return value
    return "".join(part if isinstance(part, str) else part["repeat"] * part["times"] for part in value)


def websocket() -> Iterator[tuple[str, bytes]]:
    for name in ("websocket.json", "websocket-deflate.json"):
        for case in read(name)["cases"]:
            data = from_hex(case["input"])
            is_client, is_deflate = case["role"] == "client", case.get("deflate", False)
            limits = [0, 1, 5, 125, 400, 1024, 65536, 1 << 20]
            limit = next(at for at, limit in enumerate(limits) if limit >= min(case["message_bytes_max"], limits[-1]))
            close = case.get("we_close")
            flags = is_client | 2 * is_deflate | 4 * (close is not None)
            at = min(close["at"], 0xFFFE) if close else 0
            yield "frames", bytes([flags, limit, 5]) + at.to_bytes(2, "little") + data
            if not is_deflate:
                yield "differential", bytes([is_client]) + data
            elif len(data) > 6 and data[0] == 0xC1 and data[1] & 0x7F == len(data) - 6 and data[2:6] == b"\0\0\0\0":
                for limit in range(4):
                    yield "inflate", bytes([0, limit, 5]) + data[6:]
    for flags in range(2, 256, 16):
        yield "inflate", bytes([flags, 2, flags]) + b"one fish, two fish, red fish, blue fish; " * (flags // 16)


def codec() -> Iterator[tuple[str, bytes]]:
    commands, replies = read("commands.json"), read("replies.json")
    lists = [vectors[key] for vectors in (commands, replies) for key in vectors if isinstance(vectors[key], list)]
    for case in (case for cases in lists for case in cases):
        if "json" in case:
            yield "command_json", text(case["json"]).encode()
        if "msgpack" in case:
            yield "command_msgpack", from_hex(case["msgpack"])
    conversion = read("conversion.json")
    for case in (*conversion["values"], *conversion["bad_json"], *conversion["bad_msgpack"]):
        if "json" in case:
            yield "transcode", b"\0" + text(case["json"]).encode()
        if "msgpack" in case:
            yield "transcode", b"\1" + from_hex(case["msgpack"])


def topics() -> Iterator[tuple[str, bytes]]:
    vectors = read("topics.json")
    for case in (*vectors["names"], *vectors["errors"]):
        yield "topic", text(case["text"]).encode()
    # What `pattern` knows as tokens, in its order.
    tokens = ["a", "b", "ab", "é", "$sys", "$SYS", "*", ">"]
    for case in vectors["matches"]:
        filter, topic = text(case["filter"]).split("."), text(case["topic"]).split(".")
        if set(filter) | set(topic) <= set(tokens):
            numbers = [bytes(tokens.index(token) for token in name) for name in (filter, topic)]
            yield "pattern", b"\xff".join(numbers)


def main(directory: Path) -> None:
    for at, (target, data) in enumerate((*websocket(), *codec(), *topics())):
        if len(data) <= BYTES_MAX:
            (directory / target).mkdir(parents=True, exist_ok=True)
            (directory / target / f"seed-{at:04}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
