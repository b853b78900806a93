"""The keys of one clinic, ready for use, and what is derived from them."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
BLIND_BYTES = 16


def derived(key: bytes, purpose: str) -> bytes:
    """A key for one purpose alone, by HKDF-SHA256; 32 bytes."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"polyclinic {purpose}".encode()).derive(key)


class Keyring:
    """Version → data key of one clinic; the highest is the one to seal under. Shows no key in its `repr`."""

    __slots__ = ("_blinds", "_ciphers", "_keys")

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = dict(sorted(keys.items()))
        self._ciphers: dict[int, AESGCM] = {}
        self._blinds: dict[tuple[int, str], bytes] = {}

    def __repr__(self) -> str:
        return f"Keyring(versions={list(self._keys)})"

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __contains__(self, version: object) -> bool:
        return version in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def current(self) -> int:
        """The version to seal under. Raises LookupError for an empty ring."""
        if not self._keys:
            raise LookupError("the clinic has no key")
        return next(reversed(self._keys))

    def cipher(self, version: int) -> AESGCM:
        """AES-256-GCM under the key that seals values. Raises KeyError for a version that is not here."""
        made = self._ciphers.get(version)
        if made is None:
            made = self._ciphers[version] = AESGCM(derived(self._keys[version], "sealed values"))
        return made

    def blind(self, version: int, field: str, normal: str) -> bytes:
        """What equal values of one field have in common: HMAC-SHA256 under a key for that field alone, 16 bytes."""
        key = self._blinds.get((version, field))
        if key is None:
            key = self._blinds[version, field] = derived(self._keys[version], f"blind index {field}")
        return hmac.digest(key, normal.encode(), sha256().name)[:BLIND_BYTES]
