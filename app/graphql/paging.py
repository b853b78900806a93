"""Relay connections over keyset cursors: the one way in which lists are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.errors import ValidationFailed
from app.graphql.context import Info
from app.graphql.cursors import Cursors, keyset
from app.graphql.fields import Row, model_of, row_type, stored
from app.graphql.selection import asks_for, columns, projection
from app.tenancy.scope import current_scope

MAX_PAGE = 100
DEFAULT_PAGE = 20
COUNT_CAP = 10_000

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
    total_count: int | None = stored(description="All rows that match, counted up to 10,000.")
    total_count_is_exact: bool | None = stored(description="False when `totalCount` stopped at 10,000.")


@dataclass(frozen=True, slots=True)
class Page:
    """What a list resolver states: the filter, the order (ends with `_id`) and the page wanted."""

    where: Mapping[str, Any]
    sort: Sort
    first: int
    after: str | None

    def __post_init__(self) -> None:
        if not 1 <= self.first <= MAX_PAGE:
            raise ValidationFailed.at("first", f"must be from 1 to {MAX_PAGE}")


def cursors_for(info: Info, row: type, sort: Sort) -> Cursors:
    """The cursors of this list at this clinic in this order."""
    order = ",".join(f"{column}{direction:+d}" for column, direction in sort)
    tenant = current_scope().tenant_id
    return Cursors(info.context.settings.session_secret, f"{tenant}:{model_of(row).__name__}:{order}")


async def read_page(info: Info, row: type, page: Page) -> Any:
    """Reads one page as a `Connection`: one query, one more for `totalCount` when that is asked for."""
    cursors = cursors_for(info, row, page.sort)
    model = model_of(row)
    where = _from(page, cursors)  # a wrong cursor is refused whatever is selected
    rows: list[Row] = []
    if asks_for(info, "edges") or asks_for(info, "pageInfo"):
        rows = await model.rows(
            where,
            projection=projection(columns(info, row, "edges", "node") | {column for column, _ in page.sort}),
            sort=list(page.sort),
            limit=page.first + 1,
        )
    connection = connection_of(rows, page, cursors)
    if asks_for(info, "totalCount") or asks_for(info, "totalCountIsExact"):
        counted = await model.guarded().count_documents(dict(page.where), limit=COUNT_CAP + 1)
        connection |= {"total_count": min(counted, COUNT_CAP), "total_count_is_exact": counted <= COUNT_CAP}
    return connection


def _from(page: Page, cursors: Cursors) -> dict[str, Any]:
    if page.after is None:
        return dict(page.where)
    return {"$and": [dict(page.where), keyset(page.sort, cursors.read(page.after))]}


def connection_of(rows: Sequence[Row], page: Page, cursors: Cursors) -> dict[str, Any]:
    """Shapes `first + 1` rows (the last only tells that there is more) as a `Connection`."""
    shown = rows[: page.first]
    names = [column for column, _ in page.sort]
    edges = [{"cursor": cursors.make([row.get(name) for name in names]), "node": row} for row in shown]
    return {
        "edges": edges,
        "page_info": {
            "has_next_page": len(rows) > page.first,
            "has_previous_page": page.after is not None,
            "start_cursor": edges[0]["cursor"] if edges else None,
            "end_cursor": edges[-1]["cursor"] if edges else None,
        },
    }
