"""Generates the one function that turns the rows of a root field into its answer.

The code holds the client's response keys (names, by GraphQL's grammar) and numbered variables alone; all else is in the
scope that it is compiled with. It assumes values as their types promise; whatever else comes raises, and graphql-core
then says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphql import (
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLOutputType,
    GraphQLResolveInfo,
    is_leaf_type,
)
from graphql.type import GraphQLAbstractType, is_abstract_type

from app.graphql.execution.leaves import Irregular, converter, is_missing, statement
from app.graphql.execution.planning import Attribute, Chosen, Selection, TypeName
from app.graphql.fields import Computed, Loaded, Related, RelatedPage, Stored

Write = Callable[[Any, "list[Any]"], Any]
AbstractInfo = Callable[[Chosen], GraphQLResolveInfo[Any]]


class Writer:
    """Builds the code of one root field."""

    def __init__(self, info: AbstractInfo) -> None:
        """`info` gives what the type resolvers of interfaces and unions are told of a field."""
        self._info = info
        self._scope: dict[str, Any] = {"Irregular": Irregular}
        self._constants: dict[int, str] = {}
        self._lines: list[str] = []
        self._count = 0

    def compile(self, chosen: Chosen) -> Write:
        """The function from a root field's value, and what was read for its slots, to its place in the answer."""
        body = self._completed(chosen.definition.type, "value", chosen, nullable=True)
        source = "\n".join(
            ["def write(value, found):", *(f"    {line}" for line in (*self._lines, *body, "return value"))]
        )
        exec(compile(source, "<plan>", "exec"), self._scope)  # noqa: S102 - names and numbers alone, see above
        write: Write = self._scope["write"]
        return write

    # --- names -------------------------------------------------------------------------------------------------------

    def _name(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    def _constant(self, value: Any) -> str:
        """The name of a value in the code's scope."""
        name = self._constants.get(id(value))
        if name is None:
            name = self._constants[id(value)] = self._name("c")
            self._scope[name] = value
        return name

    # --- values ------------------------------------------------------------------------------------------------------

    def _completed(self, returned: GraphQLOutputType, name: str, chosen: Chosen, *, nullable: bool) -> list[str]:
        """Statements that complete the variable `name`, as the type `returned` asks."""
        if isinstance(returned, GraphQLNonNull):
            return self._completed(returned.of_type, name, chosen, nullable=False)
        if is_leaf_type(returned):
            return [self._leaf(returned, name, chosen, nullable=nullable)]
        function = self._list(returned, chosen) if isinstance(returned, GraphQLList) else self._object(returned, chosen)
        if nullable:
            return [f"if {name} is not None: {name} = {function}({name})"]
        return [f"{name} = {function}({name})"]  # None has nothing that the function could read

    def _leaf(self, leaf: GraphQLLeafType, name: str, chosen: Chosen, *, nullable: bool) -> str:
        stored = isinstance(chosen.source, Stored)
        fix = self._name("f")
        self._scope[fix] = converter(leaf, stored=stored, nullable=nullable)
        return statement(leaf, name, fix, self._constant, stored=stored)

    def _list(self, returned: GraphQLList[Any], chosen: Chosen) -> str:
        """A function over lists. Items that are nothing where something must be raise in their own function."""
        inner, function = returned.of_type, self._name("l")
        body = self._completed(inner, "i", chosen, nullable=True)
        self._lines += [
            f"def {function}(s):",
            "    if type(s) is not list: raise Irregular",
            "    out = []",
            "    for i in s:",
            *(f"        {line}" for line in body),
            "        out.append(i)",
            "    return out",
        ]
        return function

    def _object(self, returned: GraphQLOutputType, chosen: Chosen) -> str:
        if is_abstract_type(returned):
            return self._branches(returned, chosen)
        (selection,) = chosen.below.values()
        return self._selection(selection, chosen)

    def _branches(self, returned: GraphQLAbstractType, chosen: Chosen) -> str:
        """A function that asks for the runtime type and goes on with that type's own."""
        named = {name: self._selection(selection, chosen) for name, selection in chosen.below.items()}
        branches, function = self._name("b"), self._name("a")
        resolver, info = self._constant(returned.resolve_type), self._constant(self._info(chosen))
        self._lines += [
            f"{branches} = {{{', '.join(f'{name!r}: {target}' for name, target in named.items())}}}",
            f"def {function}(s):",
            f"    return {branches}[{resolver}(s, {info}, {self._constant(returned)})](s)",
        ]
        return function

    # --- objects -----------------------------------------------------------------------------------------------------

    def _selection(self, selection: Selection, chosen: Chosen) -> str:
        """The name of a function from a row to its object in the answer."""
        body: list[str] = []
        entries: list[str] = []
        for field in selection.fields:
            if isinstance(field.source, TypeName):
                entries.append(f"{field.key!r}: {selection.type.name!r}")
                continue
            variable = self._name("v")
            body += self._read(field, variable)
            entries.append(f"{field.key!r}: {variable}")
        function = self._name("o")
        self._lines += [
            f"def {function}(s):",
            *(f"    {line}" for line in (*self._opening(selection, chosen), *body)),
            f"    return {{{', '.join(entries)}}}",
        ]
        return function

    def _opening(self, selection: Selection, chosen: Chosen) -> list[str]:
        """What is asked of an object before anything is read of it."""
        lines = []
        if any(isinstance(field.source, Attribute) for field in selection.fields):
            lines.append("if s is None or isinstance(s, Exception): raise Irregular")
        elif not self._gets(selection):  # nothing is read of it that it might lack
            lines.append(f"if {self._constant(is_missing)}(s): raise Irregular")
        if selection.type.is_type_of is not None:
            check, info = self._constant(selection.type.is_type_of), self._constant(self._info(chosen))
            lines.append(f"if not {check}(s, {info}): raise Irregular")
        if self._gets(selection):
            lines.append("g = s.get")  # what is no row has none, which is irregular too
        return lines

    @staticmethod
    def _gets(selection: Selection) -> bool:
        return any(not isinstance(field.source, TypeName | Attribute) for field in selection.fields)

    def _read(self, field: Chosen, name: str) -> list[str]:
        source = field.source
        if field.slot >= 0:
            return self._batched(field, name)
        if isinstance(source, Stored):
            required = isinstance(field.definition.type, GraphQLNonNull)
            read = f"s[{source.column!r}]" if required else f"g({source.column!r})"  # one not there must not be null
        elif isinstance(source, Computed):
            read = f"{self._constant(source.function)}(s)"
        else:
            assert isinstance(source, Attribute)  # noqa: S101 - there is no other kind
            read = f"s.{source.name}"
        return [f"{name} = {read}", *self._completed(field.definition.type, name, field, nullable=True)]

    def _batched(self, field: Chosen, name: str) -> list[str]:
        """Reads what a slot holds. Related rows are written once, however many rows point to them."""
        source: Any = field.source
        written = self._name("w")
        key = f"{name} = g({source.key!r})"
        if isinstance(source, Loaded):
            self._lines.append(f"{written} = found[{field.slot}] or {{}}")
            body = self._completed(field.definition.type, name, field, nullable=True)
            return [key, f"{name} = {written}.get({name})", *body]
        (selection,) = field.below.values()
        write, read = self._selection(selection, field), f"found[{field.slot}]"
        if isinstance(source, RelatedPage):
            self._lines.append(f"{written} = {{k: {write}(r) for k, r in {read}.items()}} if {read} else {{}}")
            return [f"{name} = {written}[g({source.key!r})]"]
        self._lines.append(f"{written} = {{r[{source.foreign!r}]: {write}(r) for r in {read}}}")
        assert isinstance(source, Related)  # noqa: S101 - there is no other kind
        if source.many:
            return [key, f"{name} = [{written}[k] for k in {name} if k in {written}] if {name} is not None else []"]
        missing = [f"if {name} is None: raise Irregular"] if _must_be(field) else []
        return [key, f"if {name} is not None: {name} = {written}.get({name})", *missing]


def _must_be(field: Chosen) -> bool:
    return isinstance(field.definition.type, GraphQLNonNull)
