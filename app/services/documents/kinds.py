"""What a file is, by its first bytes. Its name and what the sender says of it count for nothing."""

from __future__ import annotations

import codecs
import re

HEAD = 4_096
"""So many bytes tell."""

PDF = "application/pdf"
TEXT = "text/plain"
DICOM = "application/dicom"
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/tiff", "image/bmp"})
"""Pictures that a thumbnail is made of."""
_OFFICE = {
    b"word/": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    b"xl/": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    b"ppt/": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", PDF),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"{\\rtf", "application/rtf"),
)
_BRANDS = re.compile(rb"....ftyp(heic|heix|mif1|msf1|avif|isom|iso2|mp41|mp42|avc1|M4A |qt  )", re.DOTALL)
_HEIF = {b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif", b"msf1": "image/heif"}
_ODF = re.compile(rb"mimetype(application/vnd\.oasis\.opendocument\.[a-z]{4,20})PK")
_UNPRINTED = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def kind_of(head: bytes) -> str | None:
    """The media type of a file that begins so (its first `HEAD` bytes, or all it has); None for what is not kept.

    >>> kind_of(b"%PDF-1.7"), kind_of("Señor".encode()), kind_of(b"MZ\\x90\\x00")
    ('application/pdf', 'text/plain', None)
    """
    if head[128:132] == b"DICM":
        return DICOM
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if head[:4] == b"PK\x03\x04":
        return _package(head)
    if brand := _BRANDS.match(head):
        return _HEIF.get(brand[1], {b"avif": "image/avif", b"M4A ": "audio/mp4"}.get(brand[1], "video/mp4"))
    known = next((kind for start, kind in _STARTS if head.startswith(start)), None)
    return known or (TEXT if _is_text(head) else None)


def _package(head: bytes) -> str:
    """Office documents are zip files whose first entries tell."""
    if found := _ODF.search(head[:200]):
        return found[1].decode()
    if b"[Content_Types].xml" in head or b"_rels/" in head:
        return next((kind for mark, kind in _OFFICE.items() if mark in head), "application/zip")
    return "application/zip"


def _is_text(head: bytes) -> bool:
    """UTF-8 without control characters; the last letter may be cut off."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(head) and not _UNPRINTED.search(text)
