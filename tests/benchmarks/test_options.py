"""What `make bench` is called with: every wrong call is one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.config import PROJECT_ROOT
from benchmarks.comparison.options import PARTS, VARIANTS, BenchmarkError, read_options

NAMES = ("fairness", "guard")


def test_a_bare_call_is_the_whole_comparison() -> None:
    options = read_options([], NAMES)
    assert (options.parts, options.variants, options.whole) == (PARTS, VARIANTS, True)
    assert (options.rounds, options.seconds) == (7, 5)


def test_a_short_look_is_not_the_whole() -> None:
    options = read_options(["--only", "q1", "--seconds", "2", "--rounds", "3"], NAMES)
    assert (options.parts, options.rounds, options.seconds, options.whole) == (("q1",), 3, 2, False)


@pytest.mark.parametrize("arguments", [["--small"], ["--variants", "floor"], ["--only", "q1,q2"]])
def test_what_leaves_something_out_is_not_the_whole(arguments: list[str]) -> None:
    assert not read_options(arguments, NAMES).whole


def test_parts_may_be_written_in_any_order_and_case() -> None:
    assert read_options(["--only", "M1, q1,"], NAMES).parts == ("q1", "m1")


def test_the_other_benchmarks_are_reached_by_name() -> None:
    assert read_options(["guard"], NAMES).names == ("guard",)


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (["--only", "q1,q9"], "ONLY=q1,q9 cannot be measured, there is no q9: choose of q1, q2, "),
        (["--only", ","], "ONLY=, cannot be measured, it is empty"),
        (["--variants", "flor"], "--variants=flor cannot be measured, there is no flor"),
        (["--seconds", "0"], "SECONDS=0 is not a whole number from 1 to 600."),
        (["--seconds", "1.5"], "SECONDS=1.5 is not"),
        (["--rounds", "many"], "ROUNDS=many is not a whole number from 1 to 100."),
        (["nosuch"], "There is no benchmark nosuch. There are: fairness, guard."),
        (["guard", "--only", "q1"], "guard takes none of these options"),
        (["--nosuch"], "Unrecognized arguments: --nosuch"),
    ],
)
def test_a_wrong_call_is_told_in_one_sentence(arguments: list[str], begins: str) -> None:
    with pytest.raises(BenchmarkError) as refused:
        read_options(arguments, NAMES)
    assert str(refused.value).startswith(begins)
    assert "\n" not in str(refused.value)


def test_the_command_ends_with_code_2_and_the_sentence() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "q9"]
    ended = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
