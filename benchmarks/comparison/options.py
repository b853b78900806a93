"""What `make bench` is called with, checked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.config import PROJECT_ROOT

PARTS = ("q1", "q2", "q3", "m1", "growth", "processes", "mixed")
"""What the comparison consists of: four workloads, and three questions about the first."""
VARIANTS = (
    "floor",
    "ordinary",
    "polyclinic",
    "polyclinic-off",
    "mercurius",
    "mercurius-prefetch",
    "apollo",
    "apollo-lean",
)
ROUNDS = 7
SECONDS = 5
LONGEST = 600
DATA = PROJECT_ROOT / ".data" / "bench"


class BenchmarkError(Exception):
    """It cannot be measured. The text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """`names` are other benchmarks to run instead of the comparison."""

    names: tuple[str, ...]
    parts: tuple[str, ...]
    variants: tuple[str, ...]
    rounds: int
    seconds: int
    small: bool
    data: Path

    @property
    def whole(self) -> bool:
        """Whether all of the comparison runs, on all of the data: what is written into docs/performance.md."""
        return self.parts == PARTS and self.variants == VARIANTS and not self.small


def read_options(arguments: Sequence[str], names: Sequence[str]) -> Options:
    """The options of a call. Raises `BenchmarkError` with one sentence for a call that means nothing."""
    given = _parser(names).parse_args(arguments)
    unknown = sorted(set(given.names) - set(names))
    if unknown:
        raise BenchmarkError(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(names)}.")
    if given.names and len(arguments) > len(given.names):
        raise BenchmarkError(f"{given.names[0]} takes none of these options: they are for the comparison.")
    return Options(
        names=tuple(given.names),
        parts=_chosen("ONLY", given.only, PARTS),
        variants=_chosen("--variants", given.variants, VARIANTS),
        rounds=_number("ROUNDS", given.rounds, 1, 100),
        seconds=_number("SECONDS", given.seconds, 1, LONGEST),
        small=given.small,
        data=Path(given.data),
    )


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmarks",
        description="Measures the server beside others on the same data, or with a name one of the other benchmarks: "
        f"{', '.join(names)}.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="another benchmark, instead of the comparison")
    parser.add_argument("--only", metavar="PART[,PART]", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--variants", metavar="NAME[,NAME]", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument(
        "--rounds", default=str(ROUNDS), help="interleaved rounds, of which medians count [%(default)s]"
    )
    parser.add_argument("--seconds", default=str(SECONDS), help="of each run in a round [%(default)s]")
    parser.add_argument("--small", action="store_true", help="a fiftieth of the data, for a laptop")
    parser.add_argument("--data", default=str(DATA), help="the folder that keeps the data [.data/bench]")
    return parser


class _Parser(argparse.ArgumentParser):
    """Complains as everything else here does."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise BenchmarkError(f"{message[0].upper()}{message[1:]}: see python -m benchmarks --help.")


def _chosen(label: str, given: str | None, known: Sequence[str]) -> tuple[str, ...]:
    if given is None:
        return tuple(known)
    wanted = {one.strip().lower() for one in given.split(",")} - {""}
    unknown = sorted(wanted - set(known))
    if unknown or not wanted:
        wrong = f"there is no {', '.join(unknown)}" if unknown else "it is empty"
        raise BenchmarkError(f"{label}={given} cannot be measured, {wrong}: choose of {', '.join(known)}.")
    return tuple(one for one in known if one in wanted)


def _number(label: str, given: str, least: int, most: int) -> int:
    if not given.isascii() or not given.isdigit() or not least <= int(given) <= most:
        raise BenchmarkError(f"{label}={given} is not a whole number from {least} to {most}.")
    return int(given)
