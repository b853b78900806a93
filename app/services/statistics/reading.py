"""All figures of a span, side by side."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from app.services.changes import Row
from app.services.queue.waits import minutes
from app.services.statistics import revenue
from app.services.statistics.figures import FIGURES, summed
from app.services.statistics.span import Span, StatisticsBy


async def statistics(span: Span, *, with_money: bool = False) -> Row:
    """`rows`, one for each group, and their `total`. By day there is a row for each day; groups stand by their size.

    `with_money` adds `billed` and `received` to each, amounts by currency.
    """
    found, money = await asyncio.gather(
        asyncio.gather(*(figure(span) for figure in FIGURES)), revenue.money(span) if with_money else _none()
    )
    parts: defaultdict[Any, list[Row]] = defaultdict(list)
    for part in (row for rows in found for row in rows):
        parts[part["_id"]].append(part)
    keys = _groups(span, list({*parts, *money}))
    rows = [{**summed(parts[key]), **_group(span, key), **money.get(key, {})} for key in keys]
    if span.by is not StatisticsBy.DAY:
        rows.sort(key=lambda row: -(row["appointments"] + row["walk_ins"]))
    total = summed(rows) | {name: revenue.summed(row.get(name, {}) for row in rows) for name in revenue.MONEY}
    return {"rows": [_shown(row) for row in rows], "total": _shown(total)}


async def _none() -> dict[Any, Any]:
    return {}


def _groups(span: Span, found: list[Any]) -> list[Any]:
    return list(span.days) if span.by is StatisticsBy.DAY else sorted(found, key=str)


def _group(span: Span, key: Any) -> Row:
    return {span.by.value: key}


def _shown(row: Row) -> Row:
    average = row["waited"] / row["called"] if row["called"] else None
    money = {name: revenue.shown(row.get(name, {})) for name in revenue.MONEY}
    return {**row, **money, "average_wait_minutes": minutes(average), "longest_wait_minutes": minutes(row["longest"])}
