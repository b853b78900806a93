"""What stands on an invoice or a receipt, and the small pool of threads in which it is drawn, off the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from app.errors import Unavailable

WORKERS = 2
MOST_WAITING = 20
"""So many papers may be drawn or wait for it; whoever comes then is told to come again."""

_pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="pdf")
_places = asyncio.Semaphore(MOST_WAITING)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its heading, its share of the width, and whether it holds numbers."""

    heading: str
    width: int
    numbers: bool = True


@dataclass(frozen=True, slots=True)
class Paper:
    """What stands on the paper, all of it written out."""

    language: str
    title: str
    number: str
    sender: Sequence[str]
    recipient: Sequence[str]
    facts: Sequence[tuple[str, str]]
    sums: Sequence[tuple[str, str]]
    dated: datetime
    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[str]] = ()
    stamp: str | None = None
    """What stands across the top of a paper that does not count."""

    def letters(self) -> set[str]:
        """Every character that is to be written."""
        parts = [self.title, self.number, self.stamp or "", *self.sender, *self.recipient]
        parts += [one for pair in (*self.facts, *self.sums) for one in pair]
        parts += [one.heading for one in self.columns] + [cell for row in self.rows for cell in row]
        return set("".join(parts))


async def drawn(paper: Paper) -> bytes:
    """The PDF of a paper. Raises `Unavailable` when too many wait already."""
    if _places.locked():
        raise Unavailable
    async with _places:
        return await asyncio.get_running_loop().run_in_executor(_pool, _draw, paper)


def _draw(paper: Paper) -> bytes:
    from app.services.billing.drawing import draw

    return draw(paper)
