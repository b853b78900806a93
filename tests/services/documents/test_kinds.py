"""What a file is, by its bytes."""

from __future__ import annotations

import io
import zipfile

import pytest

from app.services.documents.filing import named
from app.services.documents.kinds import kind_of


def package(**entries: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in entries.items():
            made.writestr(name.replace("__", "/").replace("_x_", "."), content)
    return out.getvalue()


WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (bytes(128) + b"DICM", "application/dicom"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\0\0\0AVI ", None),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"\0\0\0\x18ftypisom", "video/mp4"),
        (package(**{"[Content_Types]_x_xml": "", "word__document_x_xml": ""}), WORD),
        (package(mimetype="application/vnd.oasis.opendocument.text"), "application/vnd.oasis.opendocument.text"),
        (package(a="b"), "application/zip"),
        (b"{\\rtf1 Words}", "application/rtf"),
        ("Señor, señora".encode()[:5], "text/plain"),
        ("Señor".encode("latin-1"), None),
        (b"a\0b", None),
        (b"#!/bin/sh\n", "text/plain"),
        (b"", None),
    ],
)
def test_a_kind_is_seen(head: bytes, kind: str | None) -> None:
    assert kind_of(head) == kind


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("letter.pdf", "letter.pdf"),
        ("C:\\Users\\me\\letter.pdf", "letter.pdf"),
        ("../../etc/passwd", "passwd"),
        ("  two\t\nlines \u202e.pdf", "two lines .pdf"),
        ("", "Document"),
        ("/", "Document"),
        ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_name_is_made_fit(given: str, name: str) -> None:
    assert named(given) == name
