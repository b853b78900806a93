"""Documents made to cost far more to refuse than to send, each with the code that it must be refused with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

TOO_COMPLEX, INVALID = "QUERY_TOO_COMPLEX", "VALIDATION_FAILED"


@dataclass(frozen=True, slots=True)
class Hostile:
    """One document. `make` writes it anew, so that nothing finds it prepared."""

    code: str
    make: Callable[[], str]


def doublings(levels: int, leaf: str = "b: __typename") -> str:
    """Each fragment spreads the next one twice."""
    inner = [f"fragment F{i} on Query {{ ...F{i + 1} ...F{i + 1} }}" for i in range(levels)]
    return " ".join(["{ ...F0 }", *inner, f"fragment F{levels} on Query {{ {leaf} }}"])


def chained(links: int, spreads: int) -> str:
    """A long chain of fragments, spread many times: few fields at its end, many steps to them."""
    chain = [f"fragment F{i} on Query {{ ...F{i + 1} }}" for i in range(links)]
    return " ".join([f"{{ {'...F0 ' * spreads} }}", *chain, f"fragment F{links} on Query {{ __typename }}"])


def overlapping(fragments: int, fields: int) -> str:
    """Fragments that all select the same fields of the same object."""
    same = "viewer { " + " ".join(f"x{i}: role" for i in range(fields)) + " }"
    spread = " ".join(f"...F{i}" for i in range(fragments))
    return " ".join([f"{{ {spread} }}", *(f"fragment F{i} on Query {{ {same} }}" for i in range(fragments))])


def nested_overlaps(width: int, levels: int) -> str:
    """The same path written out again and again, at each level."""
    inner = "id"
    for _ in range(levels):
        inner = " ".join([f"viewer {{ {inner} }}"] * width)
    return f"{{ {inner} }}"


def across_operations(operations: int, fragments: int) -> str:
    """Many operations that all use all fragments, whose variables are then followed from each."""
    spread = " ".join(f"...F{i}" for i in range(fragments))
    heads = [f"query Q{i}($v: Boolean!) {{ {spread} }}" for i in range(operations)]
    bodies = [f"fragment F{i} on Query {{ a{i}: __typename @skip(if: $v) }}" for i in range(fragments)]
    return " ".join([*heads, *bodies])


def circle(length: int) -> str:
    return "{ ...F0 } " + " ".join(f"fragment F{i} on Query {{ ...F{(i + 1) % length} }}" for i in range(length))


def everybody_knows_everybody(size: int) -> str:
    """Fragments that all spread each other: circles of every length."""
    spread = " ".join(f"...F{i}" for i in range(size))
    return "{ ...F0 } " + " ".join(f"fragment F{i} on Query {{ {spread} }}" for i in range(size))


HOSTILE: Mapping[str, Hostile] = {
    "doublings-20": Hostile(TOO_COMPLEX, lambda: doublings(20)),
    "doublings-95": Hostile(TOO_COMPLEX, lambda: doublings(95)),
    "doublings-that-hold-nothing": Hostile(TOO_COMPLEX, lambda: doublings(40, "...F40")),
    "chain": Hostile(TOO_COMPLEX, lambda: chained(98, 1_000)),
    "repeated-field": Hostile(TOO_COMPLEX, lambda: "{ viewer { " + "role " * 500 + "} }"),
    "repeated-object": Hostile(TOO_COMPLEX, lambda: "{ viewer { " + "clinic { id } " * 500 + "} }"),
    "overlaps-across-fragments": Hostile(TOO_COMPLEX, lambda: overlapping(90, 1)),
    "overlaps-at-every-level": Hostile(TOO_COMPLEX, lambda: nested_overlaps(3, 6)),
    "operations": Hostile(TOO_COMPLEX, lambda: " ".join(f"query Q{i} {{ viewer {{ role }} }}" for i in range(600))),
    "operations-with-fragments": Hostile(TOO_COMPLEX, lambda: across_operations(21, 90)),
    "variables": Hostile(
        TOO_COMPLEX, lambda: "query(" + " ".join(f"$v{i}: Int" for i in range(1_200)) + ") { viewer { role } }"
    ),
    "variables-nowhere-defined": Hostile(
        TOO_COMPLEX,
        lambda: "{ rooms(filter: {search: [" + " ".join(f"$v{i}" for i in range(1_500)) + "]}) { totalCount } }",
    ),
    "deep-type": Hostile(
        TOO_COMPLEX, lambda: "query($v: " + "[" * 2_000 + "Int" + "]" * 2_000 + ") { viewer { role } }"
    ),
    "deep-default": Hostile(
        TOO_COMPLEX, lambda: "query($v: Int = " + "[" * 500 + "1" + "]" * 500 + ") { viewer { role } }"
    ),
    "directives": Hostile(TOO_COMPLEX, lambda: "{ viewer { role " + "@skip(if: false) " * 600 + "} }"),
    "directives-on-a-variable": Hostile(
        TOO_COMPLEX, lambda: "query($v: Int " + "@nope " * 1_500 + ") { viewer { role } }"
    ),
    "directives-on-an-operation": Hostile(TOO_COMPLEX, lambda: "query " + "@nope " * 1_500 + "{ viewer { role } }"),
    "aliases": Hostile(TOO_COMPLEX, lambda: "{ viewer { " + " ".join(f"a{i}: role" for i in range(1_500)) + " } }"),
    "root-fields": Hostile(TOO_COMPLEX, lambda: "{ " + " ".join(f"r{i}: viewer {{ role }}" for i in range(90)) + " }"),
    "long-list": Hostile(TOO_COMPLEX, lambda: "{ rooms(first: [" + "1 " * 4_900 + "]) { totalCount } }"),
    "wide-object": Hostile(
        TOO_COMPLEX, lambda: "{ rooms(filter: {" + " ".join(f"f{i}: 1" for i in range(1_600)) + "}) { totalCount } }"
    ),
    "same-key-again": Hostile(TOO_COMPLEX, lambda: "{ rooms(filter: {" + "search: 1 " * 1_600 + "}) { totalCount } }"),
    "wrong-objects": Hostile(
        INVALID,
        lambda: "{ rooms(filter: {" + " ".join(f"f{i}: {{g: [1 2 3]}}" for i in range(49)) + "}) { totalCount } }",
    ),
    "objects-in-every-argument": Hostile(
        INVALID,
        lambda: "{ viewer { " + " ".join("role(x: {a: [" + "{b: 1} " * 60 + "]})" for _ in range(12)) + " } }",
    ),
    "long-string": Hostile(INVALID, lambda: '{ rooms(first: "' + "x" * 49_000 + '") { totalCount } }'),
    "escapes": Hostile(INVALID, lambda: '{ rooms(first: "' + "\\u{1F600}" * 5_000 + '") { totalCount } }'),
    "block-string": Hostile(INVALID, lambda: '{ rooms(first: """' + "\n x" * 16_000 + '""") { totalCount } }'),
    "block-string-of-blank-lines": Hostile(
        INVALID, lambda: '{ rooms(first: """' + "\n" * 49_000 + '""") { totalCount } }'
    ),
    "int": Hostile(TOO_COMPLEX, lambda: "{ rooms(first: " + "9" * 49_900 + ") { totalCount } }"),
    "float": Hostile(TOO_COMPLEX, lambda: "{ rooms(first: 1e" + "9" * 49_900 + ") { totalCount } }"),
    "name": Hostile(TOO_COMPLEX, lambda: "{ " + "x" * 49_900 + " }"),
    "name-of-a-type": Hostile(INVALID, lambda: "query($v: " + "X" * 49_900 + ") { viewer { role } }"),
    "wrong-names": Hostile(INVALID, lambda: "{ viewer { " + " ".join(f"role{i}" for i in range(1_500)) + " } }"),
    "comments": Hostile(TOO_COMPLEX, lambda: "#\n" * 24_000 + "{ viewer { role } }"),
    "circle": Hostile(INVALID, lambda: circle(12)),
    "long-circle": Hostile(TOO_COMPLEX, lambda: circle(95)),
    "everybody-knows-everybody": Hostile(TOO_COMPLEX, lambda: everybody_knows_everybody(40)),
    "brackets": Hostile(TOO_COMPLEX, lambda: "{a" * 20_000),
    "open-list": Hostile(TOO_COMPLEX, lambda: "{ a(x: " + "[" * 20_000),
    "tokens": Hostile(TOO_COMPLEX, lambda: "{ " + "a " * 6_000 + "}"),
    "characters": Hostile(TOO_COMPLEX, lambda: "{ viewer { role } }" + " " * 60_000),
    "fullwidth-names": Hostile(INVALID, lambda: "{ \uff56\uff49ewer { role } }"),
    "bidi": Hostile(INVALID, lambda: "{ viewer \u202e { role } }"),
    "nul": Hostile(INVALID, lambda: "{ viewer \x00 { role } }"),
    "lone-surrogate": Hostile(INVALID, lambda: '{ rooms(first: "\\ud800") { totalCount } }'),
    "introspection-in-depth": Hostile(
        TOO_COMPLEX, lambda: "{ __schema { types { " + "fields { type { " * 14 + "name" + " } }" * 14 + " } } }"
    ),
}
