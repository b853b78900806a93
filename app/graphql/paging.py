"""Relay connections over keyset cursors: the one way in which lists are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, Generic, TypeVar

from app.errors import ValidationFailed
from app.graphql.context import Info
from app.graphql.cursors import Cursors, keyset
from app.graphql.fields import Row, model_of, row_type, stored
from app.graphql.selection import asks_for, columns, projection
from app.graphql.ways import count_by_ways, rows_by_ways
from app.services.search import Way
from app.tenancy.scope import current_scope

MAX_PAGE = 100
DEFAULT_PAGE = 20
COUNT_CAP = 10_000
SEARCH_COUNT_CAP = 1_000
"""For what is found in several ways, where counting looks at each row: nobody turns so many pages of a search."""

Node = TypeVar("Node")
Sort = Sequence[tuple[str, int]]


@row_type("PageInfo", description="Where this page stands in its list.")
class PageInfo:
    has_next_page: bool = stored(description="Whether there are rows after this page.")
    has_previous_page: bool = stored(description="Whether this page was asked for with a cursor.")
    start_cursor: str | None = stored(description="The cursor of the first row, if any.")
    end_cursor: str | None = stored(description="The cursor of the last row: pass it as `after`.")


@row_type("Edge", description="One row of a list, with its cursor.")
class Edge(Generic[Node]):
    cursor: str = stored(description="Pass it as `after` to go on behind this row.")
    node: Node = stored(description="The row.")


@row_type("Connection", description="One page of a list.")
class Connection(Generic[Node]):
    edges: list[Edge[Node]] = stored(description="The rows of this page, in the order asked for.")
    page_info: PageInfo = stored(description="Where this page stands.")
    total_count: int | None = stored(
        description="All rows that match, counted up to 10,000; patients found by a search, up to 1,000."
    )
    total_count_is_exact: bool | None = stored(description="False when `totalCount` stopped at that.")


@dataclass(frozen=True, slots=True)
class Page:
    """What a list resolver states: the filter, the order (ends with `_id`) and the page wanted.

    With `ways`, rows match in any of them too, and `along` names the index that has the order.
    """

    where: Mapping[str, Any]
    sort: Sort
    first: int
    after: str | None
    ways: Sequence[Way] = ()
    along: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.first <= MAX_PAGE:
            raise ValidationFailed.at("first", f"must be from 1 to {MAX_PAGE}")


def cursors_for(info: Info, row: type, sort: Sort) -> Cursors:
    """The cursors of this list at this clinic (or above the clinics, on the root host) in this order."""
    order = ",".join(f"{column}{direction:+d}" for column, direction in sort)
    clinic = current_scope().tenant
    tenant = clinic.id if clinic else "platform"
    return Cursors(info.context.settings.session_secret, f"{tenant}:{model_of(row).__name__}:{order}")


class Wanted(Flag):
    """Which cursors of a page are shown: making one takes longer than anything else that is done for a row."""

    NONE = 0
    ENDS = auto()
    EACH = auto()


def cursors_wanted(info: Info) -> Wanted:
    """Which cursors the client selected below a field that is a `Connection`."""
    wanted = Wanted.NONE
    if asks_for(info, "pageInfo", "startCursor") or asks_for(info, "pageInfo", "endCursor"):
        wanted |= Wanted.ENDS
    if asks_for(info, "edges", "cursor"):
        wanted |= Wanted.EACH
    return wanted


async def read_page(info: Info, row: type, page: Page) -> Any:
    """Reads one page as a `Connection`: one query, one more for `totalCount` when that is asked for."""
    cursors = cursors_for(info, row, page.sort)
    model = model_of(row)
    where = _from(page, cursors)  # a wrong cursor is refused whatever is selected
    rows: list[Row] = []
    if asks_for(info, "edges") or asks_for(info, "pageInfo"):
        shape = projection(columns(info, row, "edges", "node") | {column for column, _ in page.sort})
        rows = await _read(model, where, page, shape)
    connection = connection_of(rows, page, cursors, cursors_wanted(info))
    if asks_for(info, "totalCount") or asks_for(info, "totalCountIsExact"):
        most = SEARCH_COUNT_CAP if page.ways else COUNT_CAP
        counted = await _counted(model, page, most + 1)
        connection |= {"total_count": min(counted, most), "total_count_is_exact": counted <= most}
    return connection


async def _read(model: Any, where: Mapping[str, Any], page: Page, shape: Mapping[str, Any]) -> list[Row]:
    options: Any = {"projection": shape, "sort": list(page.sort), "limit": page.first + 1}
    if page.ways:
        return await rows_by_ways(model, where, page.ways, along=page.along, **options)
    rows: list[Row] = await model.rows(where, **options)
    return rows


async def _counted(model: Any, page: Page, most: int) -> int:
    if page.ways:
        return await count_by_ways(model, page.where, page.ways, most)
    counted: int = await model.guarded().count_documents(dict(page.where), limit=most)
    return counted


def _from(page: Page, cursors: Cursors) -> dict[str, Any]:
    if page.after is None:
        return dict(page.where)
    return {"$and": [dict(page.where), keyset(page.sort, cursors.read(page.after))]}


def connection_of(
    rows: Sequence[Row], page: Page, cursors: Cursors, wanted: Wanted = Wanted.ENDS | Wanted.EACH
) -> dict[str, Any]:
    """Shapes `first + 1` rows (the last only tells that there is more) as a `Connection` with the cursors wanted."""
    shown = rows[: page.first]
    names = [column for column, _ in page.sort]

    def cursor(row: Row) -> str:
        return cursors.make([row.get(name) for name in names])

    each = Wanted.EACH in wanted
    ends = Wanted.ENDS in wanted and bool(shown)
    return {
        "edges": [{"cursor": cursor(row), "node": row} if each else {"node": row} for row in shown],
        "page_info": {
            "has_next_page": len(rows) > page.first,
            "has_previous_page": page.after is not None,
            "start_cursor": cursor(shown[0]) if ends else None,
            "end_cursor": cursor(shown[-1]) if ends else None,
        },
    }
