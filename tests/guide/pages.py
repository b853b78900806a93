"""The pages of `docs/guide`, whose operations are asked word by word, so that page and server cannot drift apart."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.config import PROJECT_ROOT

_BLOCK = re.compile(r"^```graphql\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"(?:query|mutation) (\w+)")


def operations_of(page: str) -> Mapping[str, str]:
    """The named operations of a page, by name."""
    text = (PROJECT_ROOT / "docs" / "guide" / f"{page}.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for block in _BLOCK.findall(text):
        named = _NAME.match(block)
        assert named, f"{page}: an operation without a name: {block:.60}"
        assert named[1] not in found, f"{page}: two operations are called {named[1]}"
        found[named[1]] = block
    return found
