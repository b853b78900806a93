"""What runs without a request, as those see it who run the system: jobs, the clinics at which they fail, and events of
PayPal that were given up. Nothing of what was worked on is told, and of failures no more than their type."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.paging import DEFAULT_PAGE, Connection, Sort
from app.graphql.related_pages import After, First
from app.jobs import history
from app.permissions import PlatformRight
from app.services.cron import JOBS
from app.services.subscription import events
from models import JobPart, JobRun, PaypalEvent
from models.job_run import JobResult
from models.subscription import EventState
from resolvers.base import Resolver, shown
from resolvers.clinic import ClinicType
from resolvers.values import described

LATEST_RUNS: Sort = [("started_at", -1), ("_id", -1)]
WORST: Sort = [("tries", -1), ("_id", -1)]
LATEST_EVENTS: Sort = [("received_at", -1), ("_id", -1)]

described(
    JobResult,
    "How a run of a job went.",
    RUNNING="It is under way.",
    DONE="All of it is done.",
    PARTLY="It failed at some clinics.",
    FAILED="It failed as a whole.",
    ABANDONED="It ended without a word, as that of a killed process.",
)
described(
    EventState,
    "What became of an event of PayPal.",
    WAITING="It is to be handled.",
    HANDLED="It was handled.",
    IGNORED="It was about nothing that clinics asked for.",
    DEAD="It was given up: tried too often, or it contradicts what is known here.",
)


def milliseconds_of(row: Row) -> int | None:
    """How long a run took; None while it is under way."""
    ended = row.get("ended_at")
    return (ended - row["started_at"]) // timedelta(milliseconds=1) if ended is not None else None


def _counts_of(row: Row) -> list[Row]:
    return [{"what": what, "count": count} for what, count in sorted((row.get("counts") or {}).items())]


@row_type("JobCount", description="How much of something a run did.")
class JobCountType:
    what: str = stored(description="In a word of the job's own.")
    count: int = stored(description="How many.")


@row_type("JobRun", model=JobRun, description="One run of a job.")
class JobRunType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    job: str = stored(description="Of which job.")
    started_at: datetime = stored(description="When it began.")
    ended_at: datetime | None = stored(description="When it ended; null while it is under way.")
    milliseconds: int | None = computed(
        "started_at", "ended_at", by=milliseconds_of, description="How long it took; null while it is under way."
    )
    result: JobResult = stored(description="How it went.")
    retry: bool = stored(description="Whether it was only for the clinics at which an earlier one had failed.")
    error: str | None = stored(description="The type of what ended the whole run; its text is in the server's log.")
    clinics: int = stored(description="For how many clinics it was.")
    counts: list[JobCountType] = computed("counts", by=_counts_of, description="What it did.")
    failed_clinics: list[ClinicType] = related(
        lambda: ClinicType, key="failed_clinic_ids", many=True, description="The clinics at which it failed."
    )


def _every_seconds(row: Row) -> int | None:
    every = JOBS[row["job"]].every
    return int(every.total_seconds()) if every is not None else None


@row_type("Job", description="What is done again and again without a request.")
class JobType:
    name: str = stored("job", description="By which it is started.")
    description: str = computed("job", by=lambda row: JOBS[row["job"]].description, description="What it does.")
    every_seconds: int | None = computed(
        "job", by=_every_seconds, description="How often it runs; null: only when somebody asks for it."
    )
    per_clinic: bool = computed(
        "job", by=lambda row: JOBS[row["job"]].per_clinic, description="Whether it is done clinic by clinic."
    )
    latest_run: JobRunType | None = stored(description="Its latest run; null before the first.")
    succeeded_at: datetime | None = stored(
        "succeeded", description="When the latest run began that failed nowhere; null before the first."
    )
    failing_clinics: int = stored("failing", description="At how many clinics it fails at present.")
    given_up_clinics: int = stored(
        "given_up", description="At how many of them it is not tried again before its next ordinary run."
    )


@row_type("JobFailure", model=JobPart, description="A clinic at which a job fails.")
class JobFailureType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    job: str = stored(description="Which job.")
    clinic: ClinicType | None = related(lambda: ClinicType, key="clinic_id", description="The clinic.")
    tries: int = stored(description="How often it failed since it last succeeded.")
    error: str | None = stored(description="The type of the last failure; its place is in the server's log.")
    failed_at: datetime | None = stored(description="When it last failed.")
    next_at: datetime | None = stored(
        description="When it is tried again by itself; null once it was given up until the job's next ordinary run."
    )


@row_type("PaypalEvent", model=PaypalEvent, description="Something that PayPal told.")
class PaypalEventType:
    id: strawberry.ID = stored("_id", description="PayPal's id.")
    event_type: str = stored(description="PayPal's name for its kind.")
    state: EventState = stored("status", description="What became of it.")
    clinic: ClinicType | None = related(
        lambda: ClinicType, key="clinic_id", description="The clinic that it is about, once that is known."
    )
    tries: int = stored(description="How often it was tried.")
    error: str | None = stored(description="Why the last try failed: a type or a code.")
    received_at: datetime = stored(description="When it came.")
    settled_at: datetime | None = stored(description="When it was handled, ignored or given up.")


@strawberry.input(description="Which runs to list.")
class JobRunFilter:
    job: str | None = strawberry.field(default=None, description="Of this job.")


@strawberry.input(description="Which failures to list.")
class JobFailureFilter:
    job: str | None = strawberry.field(default=None, description="Of this job.")


@strawberry.input(description="Which events to list.")
class PaypalEventFilter:
    state: EventState = strawberry.field(default=EventState.DEAD, description="In this state.")


@strawberry.input(description="Events of PayPal that are to be handled anew.")
class ReplayPaypalEventsInput:
    event_id: strawberry.ID | None = strawberry.field(
        default=None, description="This one, whatever became of it; all that were given up when left out."
    )
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")


@strawberry.type
class PlatformJobsQuery(Resolver):
    @field(PlatformRight.JOB_READ, description="What runs without a request, by name: how it went and where it fails.")
    async def jobs(self) -> list[JobType]:
        return shown(await history.standing())

    @field(PlatformRight.JOB_READ, description="Runs of jobs, the latest first. They are kept for some time.")
    async def job_runs(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: JobRunFilter | None = None
    ) -> Connection[JobRunType]:
        where = history.of_job(filter.job if filter else None)
        return await self.page(info, JobRunType, where=where, sort=LATEST_RUNS, first=first, after=after)

    @field(PlatformRight.JOB_READ, description="The clinics at which jobs fail, those most often tried first.")
    async def job_failures(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: JobFailureFilter | None = None
    ) -> Connection[JobFailureType]:
        where = {**history.FAILING, **history.of_job(filter.job if filter else None)}
        return await self.page(info, JobFailureType, where=where, sort=WORST, first=first, after=after)

    @field(PlatformRight.JOB_READ, description="Events of PayPal, the latest first: those given up unless asked else.")
    async def paypal_events(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: PaypalEventFilter | None = None
    ) -> Connection[PaypalEventType]:
        where = {"status": (filter or PaypalEventFilter()).state.value}
        return await self.page(info, PaypalEventType, where=where, sort=LATEST_EVENTS, first=first, after=after)


@strawberry.type
class PlatformJobsMutation(Resolver):
    @field(
        PlatformRight.JOB_MANAGE,
        description="Lets events of PayPal be handled anew, by what PayPal says then; how many they are. Safe at any "
        "time: what was handled already changes nothing.",
        without_plan=True,
    )
    async def replay_paypal_events(self, input: ReplayPaypalEventsInput) -> int:
        return await events.replay(input.event_id, input.reason, at="input.eventId")
