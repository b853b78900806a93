"""Messages as files, for development and tests: one file each, written as a whole or not at all."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from app.integrations.delivery import DeliveryFailed


async def drop_file(folder: Path, name: str, content: bytes) -> None:
    """Writes `content` into the folder, readable by its owner alone. The same name again replaces it."""
    try:
        await asyncio.to_thread(_write, folder, name, content)
    except OSError as error:
        raise DeliveryFailed(type(error).__name__) from None


def _write(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = folder / f".{name}.{os.getpid()}.new"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(folder / name)
