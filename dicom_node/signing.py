"""Who answers for a bundle: Ed25519 signatures (RFC 8032) over its ``SHA256SUMS``.

Keys are PEM files as OpenSSL writes them, the signature is the 64 bytes that
``openssl pkeyutl -sign -rawin`` gives.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from dicom_node.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Signers:
    """Whose signatures this site trusts, and whether it takes unsigned bundles."""

    keys: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)
    """By the name of the key's file, without its suffix."""
    required: bool = False

    @classmethod
    def read(cls, paths: Iterable[Path], required: bool) -> Self:
        """The keys of PEM files. Raises ConfigurationError for a file that holds none."""
        return cls({path.stem: _public_key(path) for path in paths}, required)

    def of(self, signed: bytes, signature: bytes) -> str | None:
        """The name of the trusted key that made the signature; none where no such key did."""
        return next((n for n, key in self.keys.items() if _fits(key, signed, signature)), None)


def is_encrypted(path: Path) -> bool:
    """Whether a PEM file needs a passphrase."""
    return path.is_file() and b"ENCRYPTED" in path.read_bytes()


def read_private_key(path: Path, passphrase: str | None = None) -> Ed25519PrivateKey:
    """The key of a PEM file. Raises ConfigurationError for a file that holds none."""
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase.encode() if passphrase else None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path}: no private key could be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path} is no Ed25519 key: make one with {_HOW}")
    return key


_HOW = "`openssl genpkey -algorithm ed25519 -out KEY.pem`"


def _public_key(path: Path) -> Ed25519PublicKey:
    advice = f"make one with {_HOW}, and its public half with `openssl pkey -in KEY.pem -pubout`"
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"models.trusted_keys: {path} is no public key: {advice}"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"models.trusted_keys: {path} is no Ed25519 key: {advice}")
    return key


def _fits(key: Ed25519PublicKey, signed: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True
