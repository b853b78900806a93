"""What a job is: work that is done again and again without a request, and how often. `app/jobs/` runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from app.config import Settings

MINUTE = timedelta(minutes=1)
HOURLY = timedelta(hours=1)
DAILY = timedelta(days=1)

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class More:
    """What one batch did of work of which some is left: the clinic's next batch comes after every other clinic's."""

    counts: Counts


Work = Callable[[Settings], Awaitable[Counts | More]]


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done again and again. `per_clinic` work runs in the scope of each clinic in turn.

    The work answers with counts by a word of its own. It must be safe to repeat, to be cut off anywhere and to run
    beside itself: what it does once it does by a unique key, a comparison or a transaction. Work of which a clinic may
    have much does a batch and answers `More`.
    """

    name: str
    description: str
    work: Work
    per_clinic: bool = True
    every: timedelta | None = HOURLY
    """It runs once in each such stretch of UTC; None: only when somebody asks for it."""
    from_hour: int = 0
    """By its schedule it runs at a clinic from this hour of the clinic's own day on."""


JOBS: dict[str, Job] = {}
"""By the name under which a scheduler or a person starts them."""


def job(
    name: str,
    description: str,
    *,
    per_clinic: bool = True,
    every: timedelta | None = HOURLY,
    from_hour: int = 0,
) -> Callable[[Work], Work]:
    """Registers work as a job; see `Job`. Raises ValueError for a name that is taken."""

    def declare(work: Work) -> Work:
        if name in JOBS:
            raise ValueError(f"there are two jobs {name}")
        JOBS[name] = Job(name, description, work, per_clinic, every, from_hour)
        return work

    return declare
