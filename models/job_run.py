"""Jobs that run without a request: who is at one now, how the latest runs went, and each clinic's part of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import PlatformDocument
from models.references import PlatformReference, WhenGone
from models.values import now


class JobResult(StrEnum):
    """How a run went. `partly` failed at some clinics; `abandoned` ones ended without a word, as a killed process."""

    RUNNING = "running"
    DONE = "done"
    PARTLY = "partly"
    FAILED = "failed"
    ABANDONED = "abandoned"


class JobLock(PlatformDocument):
    """Held by the one run of a job. Who holds it puts `lease_until` off while alive; after that it is free."""

    id: str  # type: ignore[assignment]  # the name of the job
    holder: str
    lease_until: datetime

    class Settings:
        name = "job_locks"


class JobRun(PlatformDocument):
    """One run of a job: when, for how many clinics, with which result. Counts only, nothing of what was counted."""

    job: str
    started_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = None
    result: JobResult = JobResult.RUNNING
    clinics: int = 0
    counts: dict[str, int] = Field(default_factory=dict)
    failed_clinic_ids: Annotated[list[PydanticObjectId], PlatformReference("tenants", WhenGone.PULL)] = Field(
        default_factory=list
    )
    retry: bool = False
    """Whether it was only for the clinics at which an earlier one had failed."""
    error: str | None = None
    """The type of what ended the whole run, never a text."""
    purge_at: datetime

    class Settings:
        name = "job_runs"
        indexes = (
            IndexModel([("job", ASCENDING), ("started_at", DESCENDING)], name="job"),
            IndexModel([("failed_clinic_ids", ASCENDING)], name="failed_clinics"),
            IndexModel([("purge_at", ASCENDING)], name="purge", expireAfterSeconds=0),
        )


class PartStatus(StrEnum):
    """Where one clinic's part of a run stands. After a batch of which `more` is left, the part waits for its turn."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    MORE = "more"
    FAILED = "failed"


class JobPart(PlatformDocument):
    """One clinic's part of a job: of the run that is under way, or what is known of its failures. There is one of each
    clinic and job, so whatever is sent twice is done once. It goes once it has succeeded.

    Who works at it puts its `lease` on it until `lease_until`; when they die, it may be taken anew.
    """

    job: str
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    run_id: Annotated[PydanticObjectId, PlatformReference("job_runs", WhenGone.KEEP)] | None = None
    """The run that it belongs to; none once that run has taken note of how it went."""
    status: PartStatus = PartStatus.WAITING
    lease: str | None = None
    lease_until: datetime = Field(default_factory=now)
    starts: int = 0
    """How often it was begun without a word of how it ended."""
    counts: dict[str, int] = Field(default_factory=dict)
    tries: int = 0
    """How often it failed since it last succeeded."""
    error: str | None = None
    """The type of the last failure, never a text."""
    failed_at: datetime | None = None
    next_at: datetime | None = None
    """When it is tried again, beside the runs of its job; never once it was given up."""
    purge_at: datetime

    class Settings:
        name = "job_parts"
        indexes = (
            IndexModel([("job", ASCENDING), ("clinic_id", ASCENDING)], name="one_part", unique=True),
            IndexModel([("run_id", ASCENDING), ("status", ASCENDING)], name="run"),
            IndexModel([("next_at", ASCENDING)], name="next"),
            IndexModel([("tries", ASCENDING), ("_id", ASCENDING)], name="failed"),
            IndexModel([("clinic_id", ASCENDING)], name="clinic"),
            IndexModel([("purge_at", ASCENDING)], name="purge", expireAfterSeconds=0),
        )
