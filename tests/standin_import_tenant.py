"""The command that imports clinics, killed before a write: `python -m tests.standin_import_tenant N …`."""

from __future__ import annotations

from scripts.import_tenant import cli
from tests.standin_delete import run_dying

if __name__ == "__main__":
    run_dying(cli)
