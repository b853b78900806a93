"""Where documents above the clinics point, as the models declare it."""

from __future__ import annotations

from models import PLATFORM_DOCUMENTS
from models.base import PlatformDocument
from models.references import PlatformReference, WhenGone, pointers_of

Places = dict[type[PlatformDocument], list[str]]
"""Model → the paths in its documents."""


def platform_places(collection: str, when_gone: WhenGone) -> Places:
    """The places that hold ids of `collection` and declare `when_gone` for the time when those are deleted."""
    found: Places = {}
    for model in PLATFORM_DOCUMENTS:
        for pointer in pointers_of(model):
            if pointer.mark == PlatformReference(collection, when_gone):
                found.setdefault(model, []).append(pointer.path)
    return found
