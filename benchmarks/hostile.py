"""How long it takes to refuse documents that were made to take long: `python -m benchmarks.hostile`.

Milliseconds from the text to the refusal, the best and the worst of some tries, each with nothing prepared.
"""

from __future__ import annotations

import sys
from time import perf_counter

from graphql import GraphQLSchema

from app.graphql.operations import Operations
from resolvers.base import Resolver
from resolvers.schema import build_schema, core_schema
from tests.graphql.hostile import HOSTILE

TRIES = 7
MOST = 100.0


def once(schema: GraphQLSchema, text: str) -> tuple[float, str]:
    """The milliseconds that a refusal takes, and what it says."""
    operations = Operations(schema, root=Resolver(), introspection=False)
    started = perf_counter()
    refused = operations.prepare(text)
    taken = (perf_counter() - started) * 1_000
    assert refused.document is None
    return taken, refused.errors[0].message


def measure() -> float:
    """Prints each; returns the longest of the best tries."""
    schema = core_schema(build_schema())
    Operations(schema, root=Resolver(), introspection=False).prepare(
        "{ viewer { role } }"
    )  # the schema is checked once
    longest = 0.0
    for name, hostile in HOSTILE.items():
        tries = [once(schema, hostile.make()) for _ in range(TRIES)]
        times = [milliseconds for milliseconds, _ in tries]
        print(f"{name:32} {min(times):7.1f} ms … {max(times):7.1f} ms   {tries[0][1][:60]!r}")
        longest = max(longest, min(times))
    return longest


if __name__ == "__main__":
    longest = measure()
    print(f"longest {longest:.1f} ms, at most {MOST:.0f} ms are allowed")
    sys.exit(longest > MOST)
