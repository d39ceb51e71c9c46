"""Who somebody is and what they may do, by tokens that others have signed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import stop_sound
from peer import Peer
from server import Server
from tokens import Claims, Signer, hs256, in_an_hour, unsigned

SECRET = b"a secret of more than thirty-two bytes, for stories"

ROLES = """
[[auth.roles]]
name = "member"
subscribe = ["room.>", "inbox.{user}"]
publish = ["room.>"]
"""


def claims(**more: object) -> Claims:
    return {"sub": "ada", "exp": in_an_hour(), "roles": ["member"]} | more


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: Signer(name, directory, name.lower()) for name in ("RS256", "PS256", "ES256", "EdDSA")}


@pytest.fixture(scope="module")
def guarded(signers: dict[str, Signer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets in who shows a token, by any of the keys."""
    tables = ["[auth]", f"[[auth.keys]]\nalgorithm = 'HS256'\nsecret = {json.dumps(SECRET.decode())}"]
    for name, signer in signers.items():
        key = json.dumps(signer.public)
        tables.append(f"[[auth.keys]]\nalgorithm = '{name}'\nid = '{signer.key_id}'\npublic_key = {key}")
    server = Server(tmp_path_factory.mktemp("guarded"), more="\n".join([*tables, ROLES]))
    yield server
    stop_sound(server)


@pytest.fixture
def peer(guarded: Server, subprotocol: str) -> Iterator[Peer]:
    with Peer(guarded, subprotocol) as peer:
        yield peer


def refusal(peer: Peer, token: str) -> str:
    told = peer.ask("authenticate", token=token)
    assert (told["op"], told["code"], told["retry"]) == ("error", "unauthorized", False), told
    return str(told["message"])


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_token_that_openssl_has_signed_is_believed(peer: Peer, signers: dict[str, Signer], algorithm: str) -> None:
    assert peer.error("subscribe", topic="room.1") == "unauthorized"
    told = peer.ask("authenticate", token=signers[algorithm].sign(claims()))
    assert (told["op"], told["user"]) == ("authenticated", "ada")
    assert 3_500_000 < told["expires_ms"] <= 3_600_000
    peer.subscribe("room.1")
    peer.subscribe("inbox.ada")
    assert peer.error("subscribe", topic="inbox.eve") == "forbidden"
    assert peer.error("publish", topic="inbox.ada", data=1) == "forbidden"


def test_no_key_is_used_for_anything_but_its_own_algorithm(peer: Peer, signers: dict[str, Signer]) -> None:
    rsa = signers["RS256"]
    for secret in (rsa.public.encode(), rsa.public.strip().encode()):
        assert "does not match" in refusal(peer, hs256(secret, claims()))
        assert "does not match" in refusal(peer, hs256(secret, claims(), kid="rs256"))
    assert "no key for tokens of RS512" in refusal(peer, rsa.sign(claims(), alg="RS512"))
    assert "does not match" in refusal(peer, signers["PS256"].sign(claims(), kid="rs256", alg="RS256"))
    assert "does not match" in refusal(peer, rsa.sign(claims(), alg="PS256", kid="ps256"))
    for algorithm in ("none", "None", "NONE", ""):
        assert "is not accepted" in refusal(peer, unsigned({"alg": algorithm}, claims()) + ".")
    assert peer.error("subscribe", topic="room.1") == "unauthorized"


def test_every_byte_of_a_token_counts(peer: Peer) -> None:
    token = hs256(SECRET, claims())
    for at in range(0, len(token) - 1, 7):
        altered = "A" if token[at] != "A" else "B"
        refusal(peer, token[:at] + altered + token[at + 1 :])
    assert peer.ask("authenticate", token=token)["op"] == "authenticated"


def test_others_see_what_the_token_says_about_the_user(guarded: Server, subprotocol: str) -> None:
    with Peer(guarded, subprotocol) as ada, Peer(guarded) as bob:
        ada.ask("authenticate", token=hs256(SECRET, claims(data={"name": "Ada"})))
        bob.ask("authenticate", token=hs256(SECRET, claims(sub="bob")))
        topic = f"room.{subprotocol}"
        ada.subscribe(topic, presence=True)
        told = bob.ask("presence", topic=topic)
        assert told["members"] == [{"user": "ada", "data": {"name": "Ada"}}]


def test_a_flood_of_bad_tokens_harms_nobody(guarded: Server, tmp_path: Path) -> None:
    with Peer(guarded) as attacker, Peer(guarded) as healthy:
        healthy.ask("authenticate", token=hs256(SECRET, claims()))
        stranger = Signer("ES256", tmp_path, "es256").sign(claims())
        for index in range(1_000):
            attacker.send(op="authenticate", id=index, token=stranger)
        healthy.subscribe("room.2")
        healthy.publish("room.2", "here")
        assert healthy.push()["data"] == "here"
        assert attacker.reply(999)["code"] == "unauthorized"
    assert not any(stranger in line or SECRET.decode() in line for line in guarded.log)
