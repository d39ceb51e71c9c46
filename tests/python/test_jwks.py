"""Keys that are fetched over TLS, and rotated."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from peer import Peer
from server import Server, wait_until
from tokens import Claims, Signer, in_an_hour, openssl

ROLES = "[[auth.roles]]\nname = 'anonymous'\nsubscribe = ['lobby']\n"


class KeyServer:
    """Serves a set of keys over TLS, with a certificate that only its own file vouches for."""

    def __init__(self, directory: Path) -> None:
        self.keys: list[Claims] = []
        self.fetches = 0
        self.certificate = directory / "certificate.pem"
        key = directory / "key.pem"
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", key, "-out", self.certificate),
        )
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.fetches += 1
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("Location", "/jwks.json")
                    self.end_headers()
                    return
                body = json.dumps({"keys": outer.keys}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"https://localhost:{self.http.server_port}{path}"

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def key_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServer]:
    key_server = KeyServer(tmp_path_factory.mktemp("jwks"))
    yield key_server
    key_server.stop()


def guarded_by(key_server: KeyServer, directory: Path, path: str = "/jwks.json", trusting: bool = True) -> Server:
    table = f"[auth]\njwks_interval = '1s'\n[[auth.keys]]\njwks_url = {json.dumps(key_server.url(path))}\n"
    nobody = directory / "nobody.pem"
    nobody.touch()
    environment = {"SSL_CERT_FILE": str(key_server.certificate if trusting else nobody)}
    return Server(directory, more=table + ROLES, environment=environment)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_fetched_key_verifies_what_openssl_has_signed(key_server: KeyServer, tmp_path: Path, algorithm: str) -> None:
    signer = Signer(algorithm, tmp_path, "a")
    key_server.keys = [signer.jwk]
    server = guarded_by(key_server, tmp_path, "/moved")
    try:
        with Peer(server) as peer:
            peer.subscribe("lobby")
            claims = {"sub": "ada", "exp": in_an_hour(), "topics": {"subscribe": ["room"]}}
            assert peer.ask("authenticate", token=signer.sign(claims))["user"] == "ada"
            peer.subscribe("room")
            # Who may no longer be in the lobby is told so.
            assert peer.push("unsubscribed") == {"op": "unsubscribed", "topic": "lobby", "code": "forbidden"}
    finally:
        assert server.stop() == 0


def test_a_new_key_is_fetched_when_the_first_token_by_it_comes(key_server: KeyServer, tmp_path: Path) -> None:
    old, new = (Signer("ES256", tmp_path, name) for name in ("old", "new"))
    key_server.keys = [old.jwk]
    server = guarded_by(key_server, tmp_path)
    claims = {"sub": "ada", "exp": in_an_hour()}
    try:
        with Peer(server) as peer:
            assert peer.ask("authenticate", token=old.sign(claims))["user"] == "ada"
            key_server.keys = [new.jwk]
            token = new.sign(claims)
            wait_until(lambda: peer.ask("authenticate", token=token)["op"] == "authenticated", "the new key is known")
            assert peer.ask("authenticate", token=old.sign(claims))["code"] == "unauthorized"
    finally:
        assert server.stop() == 0


def test_a_server_that_nobody_vouches_for_is_not_believed(key_server: KeyServer, tmp_path: Path) -> None:
    signer = Signer("ES256", tmp_path, "a")
    key_server.keys, fetches = [signer.jwk], key_server.fetches
    server = guarded_by(key_server, tmp_path, trusting=False)
    try:
        with Peer(server) as peer:
            told = peer.ask("authenticate", token=signer.sign({"exp": in_an_hour()}))
            assert (told["code"], told["retry"]) == ("unavailable", True)
            assert told["after_ms"] >= 1000
            # Everybody else is served.
            peer.subscribe("lobby")
        wait_until(lambda: any("cannot be fetched" in line for line in server.log), "it is logged")
        assert key_server.fetches == fetches
    finally:
        assert server.stop() == 0
