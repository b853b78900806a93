"""Where files lie: below their clinic, under random names that say nothing and that nobody can guess."""

from __future__ import annotations

from bson import ObjectId


def folder_of(clinic: ObjectId) -> str:
    """The folder of all files of a clinic."""
    return f"clinics/{clinic}"


def path_of(clinic: ObjectId, name: str) -> str:
    """Where the file of that random name lies."""
    return f"{folder_of(clinic)}/{name[:2]}/{name}"


THUMBNAIL = ".thumbnail"


def thumbnail_of(path: str) -> str:
    """Where the thumbnail of a file lies."""
    return path + THUMBNAIL


def file_of(path: str) -> str:
    """The file whose own place, or whose thumbnail's, this is."""
    return path.removesuffix(THUMBNAIL)
