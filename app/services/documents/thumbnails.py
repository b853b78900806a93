"""Small pictures of pictures, made by Pillow in a bounded pool; those that would unfold into too much are refused."""

from __future__ import annotations

import asyncio
import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from app.errors import ValidationFailed
from app.services.documents.kinds import PICTURES

if TYPE_CHECKING:
    from PIL import Image

EDGE = 320
MOST_PIXELS = 120_000_000
MOST_HELD = 24_000_000
"""Pictures that cannot be read in a smaller size, as JPEG can, get no thumbnail when they have more pixels."""
MOST_BYTES = 32 * 1024 * 1024
"""Larger pictures get no thumbnail: they would have to be held in memory."""
THUMBNAIL_TYPE = "image/jpeg"
_QUALITY = 82
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
_pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="thumbnails")


def wants_thumbnail(content_type: str) -> bool:
    """Whether files of that type get a thumbnail."""
    return content_type in PICTURES


async def thumbnail(picture: bytes) -> bytes | None:
    """A JPEG of at most `EDGE` pixels on each side, without what else the picture told (place, device); None for one
    that cannot be read. Raises VALIDATION_FAILED at `file` for one of more than `MOST_PIXELS`."""
    return await asyncio.get_running_loop().run_in_executor(_pool, _made, picture)


def _made(picture: bytes) -> bytes | None:
    from PIL import Image  # loaded by the first picture

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pixels are counted below, and odd metadata does not matter here
            with Image.open(io.BytesIO(picture), formats=_FORMATS) as found:
                _refuse_bomb(found.size)
                found.draft("RGB", (EDGE, EDGE))
                return _small(found) if found.size[0] * found.size[1] <= MOST_HELD else None
    except Image.DecompressionBombError:
        raise _too_large() from None
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, MemoryError):
        return None  # what Pillow raises for pictures that are broken


def _small(found: Image.Image) -> bytes:
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(found)
    upright.thumbnail((EDGE, EDGE))
    plain = Image.new("RGB", upright.size, "white")
    with_alpha = upright.convert("RGBA")
    plain.paste(with_alpha, mask=with_alpha.getchannel("A"))
    out = io.BytesIO()
    plain.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _refuse_bomb(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise _too_large()


def _too_large() -> ValidationFailed:
    return ValidationFailed.at("file", f"is a picture of more than {MOST_PIXELS // 1_000_000} million pixels")
