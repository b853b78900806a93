"""A command that is killed before its N-th write: `python -m tests.standin_killed scripts.delete_tenant N …`."""

from __future__ import annotations

import importlib
import sys

from tests.dying import die_before

if __name__ == "__main__":
    module, write = sys.argv.pop(1), int(sys.argv.pop(1))
    die_before(write)
    importlib.import_module(module).cli()
