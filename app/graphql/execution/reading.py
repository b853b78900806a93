"""The reads of a plan: related rows of all levels, each level's in one read per collection.

Nothing here belongs to a request: what was read is handed on in a list, one entry per slot. That is the rows of a
relation, and otherwise a mapping of keys to values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import GraphQLResolveInfo
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import gather_with_cancel
from strawberry.types import Info

from app.graphql.access import require
from app.graphql.execution.kept import Kept
from app.graphql.execution.leaves import Irregular
from app.graphql.execution.planning import Attribute, Chosen, Selection, Unplannable, list_depth
from app.graphql.fields import Computed, Loaded, Related, RelatedPage, Stored, spec_of
from app.graphql.loaders import is_remembered, rows_by
from app.graphql.related_pages import Pages
from app.graphql.selection import columns_behind

Found: TypeAlias = "list[Any]"
Step: TypeAlias = Callable[[Any], Any]
InfoOf: TypeAlias = Callable[[Chosen], GraphQLResolveInfo[Any]]


@dataclass(slots=True)
class Place:
    """Where the rows of one selection lie: `steps` below the values of a slot, or below the root field's (-1)."""

    above: int
    steps: tuple[Step, ...]
    batched: list[Chosen] = field(default_factory=list)

    def rows(self, value: Any, found: Found) -> list[Any]:
        """The rows themselves, in the order of the answer."""
        above = [value] if self.above < 0 else found[self.above]
        rows = _flat(above.values() if type(above) is dict else above)
        for step in self.steps:
            rows = _flat(map(step, rows))
        return rows


def _flat(values: Iterable[Any]) -> list[Any]:
    """The values that are there, those of lists one by one."""
    rows: list[Any] = []
    for value in values:
        if type(value) is list:
            rows += [one for one in value if one is not None]
        elif value is not None:
            rows.append(value)
    return rows


@dataclass(slots=True)
class Group:
    """Slots of one level that are answered by one read."""

    members: list[tuple[Place, Chosen]]
    columns: frozenset[str] = frozenset()
    again: bool = False
    """Whether another group of the plan reads the same relation."""

    @property
    def relation(self) -> Hashable:
        """What it reads, whichever columns or page of it."""
        source = self.members[0][1].source
        if isinstance(source, Loaded):
            return source.load
        assert isinstance(source, Related | RelatedPage)  # noqa: S101 - there is no other kind
        return type(source), source.target(), source.foreign

    async def load(
        self, rows: Mapping[int, list[Any]], found: Found, info: InfoOf, variables: VariableValues, kept: Kept
    ) -> None:
        """Fills the slots of the group. `rows` are those of its places, by their identity. Raises what the read
        raises, FORBIDDEN among it."""
        asked = [_keys(chosen, rows[id(place)]) for place, chosen in self.members]
        if all(wanted is None for wanted in asked):
            return
        self._require()
        lone = len(asked) == 1
        keys = list(asked[0] or () if lone else dict.fromkeys(key for wanted in asked for key in wanted or ()))
        if not keys:
            return
        read = await self._read(self.members[0][1], keys, info, variables, kept if self.again else None)
        for (_, chosen), wanted in zip(self.members, asked, strict=True):
            found[chosen.slot] = read if lone else _own(chosen, read, wanted or {})

    def _require(self) -> None:
        """Raises FORBIDDEN when the actor may not read what the slots point to."""
        source = self.members[0][1].source
        permission = spec_of(source.target()).read if isinstance(source, Related | RelatedPage) else None
        if permission is not None:
            require(permission)

    async def _read(
        self, chosen: Chosen, keys: list[Any], info: InfoOf, variables: VariableValues, kept: Kept | None
    ) -> Any:
        """Rows of a relation, and of other sources values by key."""
        source = chosen.source
        if isinstance(source, Related):
            return await self._rows(source, keys, kept)
        name, read = self.relation, source.load if isinstance(source, Loaded) else None
        if isinstance(source, RelatedPage):
            pages = self._pages(source, chosen, info, variables)
            name, read = pages.name, pages.by
        assert read is not None  # noqa: S101 - there is no other kind
        return await (read(keys) if kept is None else kept.values(name, frozenset(), keys, read))

    async def _rows(self, source: Related, keys: list[Any], kept: Kept | None) -> Any:
        if kept is None:
            return await rows_by(source.target(), source.foreign, self.columns, keys)

        async def read(new: list[Any]) -> Mapping[Any, Any]:
            rows = await rows_by(source.target(), source.foreign, self.columns, new)
            return {row[source.foreign]: row for row in rows}

        return list((await kept.values(self.relation, self.columns, keys, read)).values())

    def _pages(self, source: RelatedPage, chosen: Chosen, info: InfoOf, variables: VariableValues) -> Pages:
        arguments = get_argument_values(chosen.definition, chosen.nodes[0], variables)
        return Pages(
            Info(_raw_info=info(chosen), _field=chosen.definition.extensions["strawberry-definition"]),
            source,
            arguments["first"],
            arguments.get("after"),
            self.columns,
        )


def _own(chosen: Chosen, read: Any, wanted: Mapping[Any, None]) -> Any:
    """Of what was read for several slots, what one of them asked for."""
    if isinstance(chosen.source, Related):
        foreign = chosen.source.foreign
        return [row for row in read if row[foreign] in wanted]
    return {key: read[key] for key in wanted if key in read}


def _keys(chosen: Chosen, rows: Sequence[Any]) -> dict[Any, None] | None:
    """The keys that the rows have for a slot, each once; None when no row has any, not even an empty list of them."""
    source: Any = chosen.source
    column: str = source.key
    if isinstance(source, Related) and source.many:
        lists = [keys for row in rows if (keys := row.get(column)) is not None]
        if any(type(keys) is not list for keys in lists):
            raise Irregular
        return dict.fromkeys(key for keys in lists for key in keys) if lists else None
    return dict.fromkeys([key for row in rows if (key := row.get(column)) is not None]) or None


@dataclass(slots=True)
class Level:
    """The reads that can be made as soon as those of the level above are done."""

    places: list[Place]
    remembered: list[Group]
    """Those that this process mostly has in memory: they come first, one after the other."""
    others: list[Group]

    @property
    def groups(self) -> list[Group]:
        return [*self.remembered, *self.others]

    async def run(self, value: Any, found: Found, info: InfoOf, variables: VariableValues, kept: Kept) -> None:
        """Fills the slots of the level."""
        rows = {id(place): place.rows(value, found) for place in self.places if place.batched}
        for group in self.remembered:
            await group.load(rows, found, info, variables, kept)
        if len(self.others) == 1:
            await self.others[0].load(rows, found, info, variables, kept)
        elif self.others:
            await gather_with_cancel(*(group.load(rows, found, info, variables, kept) for group in self.others))


@dataclass(slots=True)
class Reads:
    """All reads below a root field, level by level."""

    slots: int
    levels: list[Level]

    async def run(self, value: Any, info: InfoOf, variables: VariableValues) -> Found:
        """What was found for each slot."""
        found: Found = [()] * self.slots
        kept = Kept()
        for level in self.levels:
            await level.run(value, found, info, variables, kept)
        return found


def plan_reads(selections: Mapping[str, Selection], slots: int) -> Reads:
    """The reads below a root field that selects `selections`. Raises `Unplannable`."""
    levels: list[Level] = []
    places = _places(selections, -1, ())
    while any(place.batched for place in places):
        groups = _grouped(places)
        remembered = [group for group in groups if _is_remembered(group)]
        levels.append(Level(places, remembered, [group for group in groups if group not in remembered]))
        places = [
            below for place in places for chosen in place.batched for below in _places(chosen.below, chosen.slot, ())
        ]
    groups = [group for level in levels for group in level.groups]
    often = Counter(group.relation for group in groups)
    for group in groups:
        group.again = often[group.relation] > 1
    return Reads(slots, levels)


def _is_remembered(group: Group) -> bool:
    source = group.members[0][1].source
    return isinstance(source, Related) and is_remembered(source.target(), source.foreign)


def _places(selections: Mapping[str, Selection], above: int, steps: tuple[Step, ...]) -> list[Place]:
    """The places of the selections and of what is nested in them, down to the next level of reads."""
    if len(selections) > 1:
        if any(_reads(one) for one in selections.values()):
            raise Unplannable("relations of an abstract type")
        return []
    places = []
    for selection in selections.values():
        places.append(Place(above, steps, list(selection.batched())))
        for chosen in selection.fields:
            if chosen.slot < 0 and chosen.below and any(map(_reads, chosen.below.values())):
                places += _places(chosen.below, above, (*steps, _step(chosen)))
    return places


def _reads(selection: Selection) -> bool:
    """Whether anything in a selection is loaded in batches."""
    return any(one.slot >= 0 or any(map(_reads, one.below.values())) for one in selection.fields)


def _step(chosen: Chosen) -> Step:
    source = chosen.source
    if list_depth(chosen.definition.type) > 1:
        raise Unplannable("relations in lists of lists")
    if isinstance(source, Stored):
        column = source.column
        return lambda row: row.get(column)
    if isinstance(source, Attribute):
        name = source.name
        return lambda row: getattr(row, name)
    assert isinstance(source, Computed)  # noqa: S101 - a type's name has nothing below it
    return source.function


def _grouped(places: Sequence[Place]) -> list[Group]:
    """One group for each collection and column that is looked up; those that take arguments stand alone."""
    groups: dict[Any, Group] = {}
    for place in places:
        for chosen in place.batched:
            source = chosen.source
            if isinstance(source, Related):
                name: Any = (source.target(), source.foreign)
            else:
                name = source.load if isinstance(source, Loaded) else chosen.slot
            group = groups.setdefault(name, Group([]))
            group.members.append((place, chosen))
            group.columns |= _columns(chosen)
    return list(groups.values())


def _columns(chosen: Chosen) -> frozenset[str]:
    """The columns of a slot's rows that are shown or looked up."""
    source = chosen.source
    if isinstance(source, Related):
        return _shown(chosen.below) | {source.foreign}
    if isinstance(source, RelatedPage):
        edges = [one for part in chosen.below.values() for one in part.fields if one.nodes[0].name.value == "edges"]
        nodes = [one for edge in edges for part in edge.below.values() for one in part.fields]
        return frozenset().union(*(_shown(one.below) for one in nodes))
    return frozenset()


def _shown(selections: Mapping[str, Selection]) -> frozenset[str]:
    fields = [one for selection in selections.values() for one in selection.fields]
    declared = [one.definition.extensions.get("strawberry-definition") for one in fields]
    return frozenset(column for field in declared if field is not None for column in columns_behind(field))
