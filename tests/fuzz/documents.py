"""Documents that fit a schema, made by chance: deep and wide selections, aliases, fragments, merged fields, directives.

They are made so that nearly all of them are valid: whoever judges the answers wants operations that run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLType,
    GraphQLUnionType,
    Undefined,
    get_named_type,
    is_required_argument,
)

Value = Callable[[str, GraphQLArgument], Any]
"""What to give as the argument of that name, in JSON's terms; `Undefined` for nothing."""
Composite = GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType


@dataclass(frozen=True, slots=True)
class Root:
    """A root field to ask for, with the values of its arguments."""

    name: str
    definition: GraphQLField
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """A document and the variables that are sent with it."""

    text: str
    variables: Mapping[str, Any]
    roots: Mapping[str, Root] = field(default_factory=dict)
    """By their keys in the answer."""


@dataclass(slots=True)
class DocumentMaker:
    """Makes one document. Everything that it decides comes from `chance`."""

    schema: GraphQLSchema
    chance: Random
    value: Value
    depth: int = 6
    width: int = 5
    most: int = 60
    """So many fields in all; then what is asked for goes no deeper."""
    _declared: list[str] = field(default_factory=list)
    _variables: dict[str, Any] = field(default_factory=dict)
    _fragments: dict[str, str] = field(default_factory=dict)
    _of_type: dict[str, list[str]] = field(default_factory=dict)
    _count: int = 0
    _fields: int = 0

    def make(self, operation: str, roots: Sequence[Root]) -> Made:
        """An operation of these root fields."""
        keys = self.chance.sample(range(10 * len(roots)), len(roots))
        named = {f"r{key}" if len(roots) > 1 else root.name: root for key, root in zip(keys, roots, strict=True)}
        fields = [self._root(root, key if len(roots) > 1 else "") for key, root in named.items()]
        if self._now_and_then(0.1):
            fields.insert(self.chance.randrange(len(fields) + 1), "__typename")
        head = f"{operation} Made"
        if self._declared:
            head += f"({', '.join(self._declared)})"
        text = " ".join([f"{head} {{ {' '.join(fields)} }}", *self._fragments.values()])
        return Made(text, self._variables, named)

    # --- chance ------------------------------------------------------------------------------------------------------

    def _now_and_then(self, how_often: float) -> bool:
        return self.chance.random() < how_often

    def _name(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    # --- fields ------------------------------------------------------------------------------------------------------

    def _root(self, root: Root, alias: str) -> str:
        arguments = ", ".join(self._arguments(root.definition, root.given.get))
        head = f"{alias}: {root.name}" if alias else root.name
        if arguments:
            head += f"({arguments})"
        return f"{head} {self._directives()} {self._below(root.definition, self.depth)}"

    def _below(self, definition: GraphQLField, depth: int) -> str:
        named = get_named_type(definition.type)
        return self._selection(named, depth - 1) if isinstance(named, Composite) else ""

    def _selection(self, type_: Composite, depth: int, *, apart: bool = False) -> str:
        """A selection; with `apart` under aliases that no other has, as members of a union may differ in a name."""
        return "{ " + " ".join(self._parts(type_, depth, apart=apart)) + " }"

    def _parts(self, type_: Composite, depth: int, *, apart: bool) -> list[str]:
        parts: list[str] = ["__typename"] if self._now_and_then(0.25) else []
        heads: list[tuple[str, GraphQLField]] = []
        depth = depth if self._fields < self.most else 1
        choice = [] if isinstance(type_, GraphQLUnionType) else list(_choice(type_, depth))
        for name, definition in self.chance.choices(choice, k=self.chance.randint(1, self.width)) if choice else ():
            if self._now_and_then(0.1) and heads:
                again = self.chance.choice(heads)  # the selections are merged
            else:
                again = self._head(name, definition, apart=apart), definition
                heads.append(again)
            parts.append(f"{again[0]} {self._directives()} {self._below(again[1], depth)}")
        if depth > 1 and (self._now_and_then(0.3) or isinstance(type_, GraphQLUnionType | GraphQLInterfaceType)):
            parts += self._opened(type_, depth, apart=apart)
        self.chance.shuffle(parts)
        return parts or ["__typename"]

    def _head(self, name: str, definition: GraphQLField, *, apart: bool) -> str:
        """The field with alias and arguments. One with arguments has an alias of its own, so that it never conflicts
        with another of its name."""
        self._fields += 1
        arguments = ", ".join(self._arguments(definition, lambda one: self.value(one, definition.args[one])))
        if arguments:
            return f"{self._name('a')}: {name}({arguments})"
        return f"{self._name('a')}: {name}" if apart or self._now_and_then(0.15) else name

    # --- fragments ---------------------------------------------------------------------------------------------------

    def _opened(self, type_: Composite, depth: int, *, apart: bool) -> Iterator[str]:
        if isinstance(type_, GraphQLObjectType):
            yield self._fragment(type_, depth, apart=apart)
            return
        for one in self.schema.get_possible_types(type_):
            if self._now_and_then(0.7):
                yield self._fragment(one, depth, apart=True)

    def _fragment(self, type_: Composite, depth: int, *, apart: bool) -> str:
        known = self._of_type.get(type_.name, [])
        if known and self._now_and_then(0.3):
            return f"... {self.chance.choice(known)} {self._directives()}"
        if self._now_and_then(0.5):
            return f"... {self._on(type_)} {self._directives()} {self._selection(type_, depth, apart=apart)}"
        text, name = self._selection(type_, depth, apart=True), self._name("F")
        self._fragments[name] = f"fragment {name} on {type_.name} {text}"
        self._of_type.setdefault(type_.name, []).append(name)
        return f"... {name} {self._directives()}"

    def _on(self, type_: Composite) -> str:
        wider = [one.name for one in getattr(type_, "interfaces", ())]
        if wider and self._now_and_then(0.1):
            return f"on {type_.name} {{ __typename }} ... on {type_.name}"
        return f"on {type_.name}"

    # --- directives --------------------------------------------------------------------------------------------------

    def _directives(self) -> str:
        if not self._now_and_then(0.08):
            return ""
        names = self.chance.choice((["skip"], ["include"], ["include"], ["include", "skip"]))
        return " ".join(f"@{name}(if: {self._flag(name)})" for name in names)

    def _flag(self, directive: str) -> str:
        usual = json.dumps(directive == "include")
        if self._now_and_then(0.4):
            return usual if self._now_and_then(0.7) else self.chance.choice(("true", "false"))
        name = self._name("flag")
        given = self.chance.choice((usual == "true", usual == "true", True, False))
        kind = self.chance.randrange(200)
        if kind < 100:
            self._declared.append(f"${name}: Boolean!")
            self._variables[name] = given
        elif kind < 199:
            self._declared.append(f"${name}: Boolean = {json.dumps(given)}")
            if self._now_and_then(0.5):
                self._variables[name] = self.chance.choice((True, False))
        else:  # valid, and an error when it is run
            self._declared.append(f"${name}: Boolean = {json.dumps(given)}")
            self._variables[name] = None
        return f"${name}"

    # --- arguments ---------------------------------------------------------------------------------------------------

    def _arguments(self, definition: GraphQLField, value: Callable[[str], Any]) -> Iterator[str]:
        for name, slot in definition.args.items():
            given = value(name)
            if given is None and not (self._now_and_then(0.5) and isinstance(slot.type, GraphQLNonNull)):
                given = Undefined if not self._now_and_then(0.2) else None
            if given is Undefined and not is_required_argument(slot):
                continue
            yield f"{name}: {self._argument(slot, given)}"

    def _argument(self, slot: GraphQLArgument, given: Any) -> str:
        if self._now_and_then(0.4):
            found = literal(slot.type, given)
            if found is not None:
                return found
        name = self._name("v")
        type_ = str(slot.type if is_required_argument(slot) else _nullable(slot.type))
        default = literal(slot.type, given) if self._now_and_then(0.2) and not type_.endswith("!") else None
        self._declared.append(f"${name}: {type_}" + (f" = {default}" if default else ""))
        if given is not Undefined and not (default and self._now_and_then(0.5)):
            self._variables[name] = given
        return f"${name}"


def _nullable(type_: GraphQLType) -> GraphQLType:
    return type_.of_type if isinstance(type_, GraphQLNonNull) else type_


def _choice(type_: GraphQLObjectType | GraphQLInterfaceType, depth: int) -> Iterator[tuple[str, GraphQLField]]:
    """The fields that may be selected, those with something below them twice; at the bottom none of these."""
    for name, definition in type_.fields.items():
        if not isinstance(get_named_type(definition.type), Composite):
            yield name, definition
        elif depth > 1:
            yield from ((name, definition), (name, definition))


def literal(type_: GraphQLType, value: Any) -> str | None:
    """A value in GraphQL's own notation; None when it does not fit the type, so that only a variable can carry it."""
    if isinstance(type_, GraphQLNonNull):
        return None if value is None else literal(type_.of_type, value)
    if value is None:
        return "null"
    if isinstance(type_, GraphQLList):
        items = [literal(type_.of_type, one) for one in value] if isinstance(value, list) else [None]
        return None if None in items else f"[{', '.join(map(str, items))}]"
    return _named_literal(get_named_type(type_), value)


def _named_literal(type_: GraphQLNamedType, value: Any) -> str | None:
    if isinstance(type_, GraphQLInputObjectType):
        if not isinstance(value, dict) or value.keys() - type_.fields.keys():
            return None
        fields = {name: literal(type_.fields[name].type, one) for name, one in value.items()}
        return None if None in fields.values() else "{" + ", ".join(f"{n}: {one}" for n, one in fields.items()) + "}"
    if isinstance(type_, GraphQLEnumType):
        return value if value in type_.values else None
    fits: Mapping[str, tuple[type, ...]] = {"Int": (int,), "Float": (int, float), "Boolean": (bool,)}
    if not isinstance(value, fits.get(type_.name, (str,))) or (isinstance(value, bool) and type_.name != "Boolean"):
        return None
    if type_.name == "Int" and isinstance(value, int) and not -(2**31) <= value < 2**31:
        return None
    return json.dumps(value)
