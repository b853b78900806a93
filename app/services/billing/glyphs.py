"""Which fonts write which letters. The fonts are Noto Sans and its kin, from a package (SIL Open Font License).

They have Latin, Greek and Cyrillic and most other living alphabets, but neither Chinese, Japanese nor Korean: those
fonts are so large that each paper would take seconds. What no font has is written as `?`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import manimgx_fonts
from fontTools.ttLib import TTFont

BASE = "NotoSans"
SCRIPTS = (
    "Arabic Armenian Bengali Devanagari Ethiopic Georgian Gujarati Gurmukhi Hebrew Kannada Khmer Lao Malayalam Myanmar "
    "Oriya Sinhala Symbols Tamil Telugu Thai"
).split()
_INVISIBLE = frozenset("\u200c\u200d\n\t")
"""Joiners, which shape their neighbours, and what breaks lines."""


def path_of(name: str) -> Path:
    """The file of a font by its family, such as `NotoSansArabic`."""
    return Path(manimgx_fonts.__path__[0]) / f"{name}[wght].ttf"


@cache
def letters_of(name: str) -> frozenset[int]:
    """The code points that a font has."""
    with TTFont(path_of(name), lazy=True) as font:
        return frozenset(font.getBestCmap() or ())


def _families() -> Iterable[str]:
    return (BASE, *(f"{BASE}{script}" for script in SCRIPTS))


def fonts_for(letters: Iterable[str]) -> list[str]:
    """The fonts that writing these letters takes, the base first; each letter counts for the first font that has it."""
    missing = {ord(letter) for letter in letters if letter not in _INVISIBLE} - letters_of(BASE)
    chosen = [BASE]
    for name in _families():
        if name != BASE and missing & letters_of(name):
            chosen.append(name)
            missing -= letters_of(name)
    return chosen


def writable(letters: Iterable[str]) -> dict[int, str]:
    """What `str.translate` takes to replace the letters that no font has."""
    known = frozenset[int]().union(*(letters_of(name) for name in _families()))
    return {ord(letter): "?" for letter in letters if letter not in _INVISIBLE and ord(letter) not in known}
