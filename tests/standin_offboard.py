"""The command that offboards clinics, killed (kill -9) before its N-th write: `python -m tests.standin_offboard N`."""

from __future__ import annotations

from scripts.offboard_tenant import cli
from tests.standin_delete import run_dying

if __name__ == "__main__":
    run_dying(cli)
