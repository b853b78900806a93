"""Who wraps the clinics' data keys: ENCRYPTION_KEY on this machine, or a key service that never gives its key away."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.config import Settings
from app.errors import Unavailable
from app.late import late
from app.tenancy.keyring import derived

if TYPE_CHECKING:
    import httpx
else:
    httpx = late("httpx")

NONCE = 12
TIMEOUT = (2.0, 5.0, 5.0, 5.0)
"""Seconds to connect, to read, to write and to wait for a connection."""
_BUSY = 500
_BAD_REQUEST = 400


class KeyServiceDown(Unavailable):
    """The key service does not answer, or not now."""

    default_message = "The key service is unavailable. Try again shortly."


class KeyRefused(Exception):
    """A wrapped key cannot be opened: by a key that is not here, or it was changed. The text says what to look at."""


class Wrapper(Protocol):
    """Wraps data keys, each bound to a `place` (clinic and version) so that none can stand in for another."""

    @property
    def provider(self) -> str:
        """By what it wraps; kept beside what it has wrapped."""
        ...

    async def wrap(self, key: bytes, place: bytes) -> bytes: ...

    async def unwrap(self, wrapped: bytes, place: bytes) -> bytes:
        """The key. Raises `KeyRefused`, or `KeyServiceDown`."""
        ...

    async def close(self) -> None: ...


class LocalWrapper:
    """Wraps by AES-256-GCM under a key that is derived from a secret of this installation."""

    def __init__(self, secret: str) -> None:
        master = sha256(secret.encode()).digest()
        self._cipher = AESGCM(derived(master, "wrapping of data keys"))
        self.provider = f"local:{derived(master, 'fingerprint')[:8].hex()}"

    async def wrap(self, key: bytes, place: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + self._cipher.encrypt(nonce, key, place)

    async def unwrap(self, wrapped: bytes, place: bytes) -> bytes:
        try:
            return self._cipher.decrypt(wrapped[:NONCE], wrapped[NONCE:], place)
        except (InvalidTag, ValueError):
            raise KeyRefused("A clinic's data key was changed in the database, or belongs to another clinic.") from None

    async def close(self) -> None:
        """Holds nothing open."""


class VaultWrapper:
    """Wraps by HashiCorp Vault's Transit engine (or OpenBao's), whose key never leaves it.

    The key of the URL must be of an AEAD type (aes256-gcm96, chacha20-poly1305), for the place is associated data.
    """

    def __init__(self, url: str, token: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        base, _, name = url.removeprefix("vault+").rpartition("/keys/")
        scheme, _, rest = base.partition("://")
        host, _, mount = rest.partition("/")
        self._name = name
        self.provider = f"vault:{mount}/{name}"
        self._client = httpx.AsyncClient(
            base_url=f"{scheme}://{host}/v1/{mount}/",
            headers={"X-Vault-Token": token, "X-Vault-Request": "true"},
            timeout=TIMEOUT,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def wrap(self, key: bytes, place: bytes) -> bytes:
        told = await self._ask("encrypt", {"plaintext": _text(key), "associated_data": _text(place)})
        return str(told["ciphertext"]).encode()

    async def unwrap(self, wrapped: bytes, place: bytes) -> bytes:
        told = await self._ask("decrypt", {"ciphertext": wrapped.decode(), "associated_data": _text(place)})
        return b64decode(told["plaintext"])

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, verb: str, body: Mapping[str, str]) -> Mapping[str, Any]:
        """The `data` of the answer. What the service says is not passed on: it may hold parts of what it was sent."""
        try:
            answer = await self._client.post(f"{verb}/{self._name}", json=dict(body))
        except httpx.HTTPError as error:
            raise KeyServiceDown from error
        if answer.status_code >= _BUSY or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise KeyServiceDown
        if answer.status_code >= _BAD_REQUEST:
            raise KeyRefused(
                f"The key service answered {answer.status_code} to {verb}: check the key's name and KMS_TOKEN's policy."
            )
        try:
            data: Mapping[str, Any] = answer.json()["data"]
            b64decode(data.get("plaintext", ""), validate=True)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise KeyServiceDown("The key service's answer cannot be read.") from error
        return data


def _text(data: bytes) -> str:
    return b64encode(data).decode()


class Masters:
    """The wrapper that is used now, and the former ones, which only unwrap."""

    def __init__(self, present: Wrapper, *former: Wrapper) -> None:
        self.present = present
        self._known = {one.provider: one for one in (*former, present)}

    async def wrap(self, key: bytes, place: bytes) -> tuple[str, bytes]:
        """The provider's name and the wrapped key."""
        return self.present.provider, await self.present.wrap(key, place)

    async def unwrap(self, provider: str, wrapped: bytes, place: bytes) -> bytes:
        """The key. Raises `KeyRefused` when what wrapped it is not here."""
        wrapper = self._known.get(provider)
        if wrapper is None:
            raise KeyRefused(
                f"A clinic's data key is wrapped by {provider}, which is not here: add the former ENCRYPTION_KEY to "
                "ENCRYPTION_KEYS_OLD, or give the KMS_URL of that key."
            )
        return await wrapper.unwrap(wrapped, place)

    async def close(self) -> None:
        for one in self._known.values():
            await one.close()


def masters_of(settings: Settings) -> Masters:
    """The masters that the settings name."""
    local = [settings.encryption_key, *settings.encryption_keys_old]
    wrappers: list[Wrapper] = [LocalWrapper(secret.get_secret_value()) for secret in local if secret is not None]
    if settings.kms_url:
        token = settings.kms_token.get_secret_value() if settings.kms_token else ""
        wrappers.insert(0, VaultWrapper(settings.kms_url, token))
    return Masters(*wrappers)
