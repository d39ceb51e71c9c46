"""Tokens as somebody else makes them: signed by the openssl command, or by hashlib."""

import base64
import hashlib
import hmac
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Claims = dict[str, Any]

_KEYS = {
    "RS256": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "PS256": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ES256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "EdDSA": ["-algorithm", "ED25519"],
}
_PSS = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]


def openssl(*arguments: str | Path, text: bytes = b"") -> bytes:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(header: Claims, claims: Claims) -> str:
    return ".".join(b64(json.dumps(part).encode()) for part in (header, claims))


def in_an_hour() -> int:
    return int(time.time()) + 3600


def hs256(secret: bytes, claims: Claims, **header: Any) -> str:
    text = unsigned({"alg": "HS256", "typ": "JWT"} | header, claims)
    return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def plain(der: bytes) -> bytes:
    """A signature of ECDSA as JWTs have it: two numbers of 32 bytes, out of a DER sequence of two integers."""
    numbers, at = [], 2
    for _ in range(2):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2 : at + 2 + length]).to_bytes(32))
        at += 2 + length
    return b"".join(numbers)


@dataclass(frozen=True)
class Signer:
    """A private key in a file, and what it signs by."""

    algorithm: str
    directory: Path
    key_id: str

    def __post_init__(self) -> None:
        openssl("genpkey", *_KEYS[self.algorithm], "-out", self.private)

    @property
    def private(self) -> Path:
        return self.directory / f"{self.key_id}.pem"

    @property
    def public(self) -> str:
        return openssl("pkey", "-in", self.private, "-pubout").decode()

    def sign(self, claims: Claims, **header: Any) -> str:
        text = unsigned({"alg": self.algorithm, "kid": self.key_id} | header, claims)
        if self.algorithm == "EdDSA":
            message = self.directory / "message"
            message.write_text(text)
            signature = openssl("pkeyutl", "-sign", "-inkey", self.private, "-rawin", "-in", message)
        else:
            options = _PSS if self.algorithm == "PS256" else []
            signature = openssl("dgst", "-sha256", "-sign", self.private, *options, text=text.encode())
        return f"{text}.{b64(plain(signature) if self.algorithm == 'ES256' else signature)}"

    @property
    def jwk(self) -> Claims:
        """The public key as a JSON Web Key; of EC and Ed25519 it is the end of the DER."""
        der = openssl("pkey", "-in", self.private, "-pubout", "-outform", "DER")
        known: Claims = {"kid": self.key_id, "use": "sig", "alg": self.algorithm}
        match self.algorithm:
            case "ES256":
                return known | {"kty": "EC", "crv": "P-256", "x": b64(der[-64:-32]), "y": b64(der[-32:])}
            case "EdDSA":
                return known | {"kty": "OKP", "crv": "Ed25519", "x": b64(der[-32:])}
            case _:
                modulus = openssl("rsa", "-in", self.private, "-noout", "-modulus").decode().strip().partition("=")[2]
                return known | {"kty": "RSA", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}
