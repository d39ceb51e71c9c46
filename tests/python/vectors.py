"""The vectors of protocol/vectors, read as its schemas describe them."""

import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parents[2] / "protocol" / "vectors"

Vector = dict[str, Any]


def files() -> list[Path]:
    """Every vector file, the schemas left out."""
    return sorted(path for path in DIRECTORY.glob("*.json") if not path.name.endswith("schema.json"))


def load(name: str) -> dict[str, Any]:
    """One file, such as `commands`."""
    content = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def text(value: Any) -> str:
    """A text, or the concatenation of its parts."""
    if isinstance(value, str):
        return value
    return "".join(part if isinstance(part, str) else part["repeat"] * part["times"] for part in value)


def octets(value: Any) -> bytes:
    """Bytes in hexadecimal, whole or in parts. The two schemas name the number of times `times` and `repeat`."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return b"".join(_repeated(part) for part in value)


def _repeated(part: Any) -> bytes:
    if isinstance(part, str):
        return bytes.fromhex(part)
    if "hex" in part:
        return bytes.fromhex(part["hex"]) * int(part["repeat"])
    return bytes.fromhex(part["repeat"]) * int(part["times"])


def json_bytes(vector: Vector) -> bytes | None:
    """The JSON form of a vector, if it has one."""
    if "json_hex" in vector:
        return octets(vector["json_hex"])
    return text(vector["json"]).encode() if "json" in vector else None


def msgpack_bytes(vector: Vector) -> bytes | None:
    """The MessagePack form of a vector, if it has one."""
    return octets(vector["msgpack"]) if "msgpack" in vector else None
