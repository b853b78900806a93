"""Secrets of persons that must be read back, such as an authenticator app's: encrypted by the installation's master.

By AES-256-GCM under a key derived (HKDF) from ENCRYPTION_KEY, or by the key service of KMS_URL; both bind the secret to
its purpose and document as associated data, so that none can be put in another's place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import bson
from bson import ObjectId

from app.config import Settings
from app.integrations.kms import Masters, masters_of


def place_of(purpose: str, document: ObjectId) -> bytes:
    """What an encrypted secret is bound to."""
    return bson.encode({"purpose": purpose, "document": document})


@asynccontextmanager
async def _masters(settings: Settings) -> AsyncIterator[Masters]:
    masters = masters_of(settings)
    try:
        yield masters
    finally:
        await masters.close()


async def wrap_secret(secret: bytes, purpose: str, document: ObjectId, settings: Settings) -> tuple[str, bytes]:
    """The provider's name and the encrypted secret; both are to be stored. Raises `KeyServiceDown`."""
    async with _masters(settings) as masters:
        return await masters.wrap(secret, place_of(purpose, document))


async def unwrap_secret(provider: str, wrapped: bytes, purpose: str, document: ObjectId, settings: Settings) -> bytes:
    """The secret. Raises `KeyRefused` when it was changed, belongs elsewhere or its key is not here."""
    async with _masters(settings) as masters:
        return await masters.unwrap(provider, wrapped, place_of(purpose, document))
