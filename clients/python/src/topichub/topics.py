"""Names: what is a pattern, and which topics it matches (SPEC §2)."""

from __future__ import annotations


def is_pattern(name: str) -> bool:
    """Whether a name has a wildcard, which is always a token of its own."""
    return "*" in name or ">" in name


def matches(name: str, topic: str) -> bool:
    """Whether a topic or pattern matches a topic: `*` is one token, `>` at the end one or more.

    A wildcard as the first token does not match the server's own topics.
    """
    if not is_pattern(name):
        return name == topic
    wanted, tokens = name.split("."), topic.split(".")
    if tokens[0] == "$sys" and wanted[0] != "$sys":
        return False
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
    elif len(tokens) != len(wanted):
        return False
    return all(want in ("*", token) for want, token in zip(wanted, tokens, strict=False))
