"""`make bench`: compares the server with others, or with a name runs another benchmark, and prints what it found.

python -m benchmarks [NAME…] [--only PART] [--rounds N] [--seconds N] [--small]
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.options import BenchmarkError, read_options
from benchmarks.comparison.run import run

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main(arguments: Sequence[str]) -> int:
    """Runs what was asked for. The exit code is 1 when it cannot be measured, 2 for a call that means nothing."""
    try:
        options = read_options(arguments, NAMES)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        for name in options.names:
            runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
        if not options.names:
            run(options)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
