"""What the clinic did, in numbers."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated

import strawberry

from app.graphql.access import field, require
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.selection import asks_for
from app.permissions import Permission
from app.services.statistics.reading import statistics
from app.services.statistics.revenue import MONEY
from app.services.statistics.span import StatisticsBy, span_of
from resolvers.base import Resolver, shown
from resolvers.services import ServiceType
from resolvers.staff import StaffType
from resolvers.values import MoneyType, day, described

described(
    StatisticsBy,
    "What figures are broken down by.",
    DAY="By the clinic's days.",
    DOCTOR="By doctor; for the queue, by whose queue it was.",
    SERVICE="By service; for the queue, by which service's queue it was.",
)


def _no_show_percent(row: Row) -> Decimal | None:
    due = row["fulfilled"] + row["no_shows"]
    if not due:
        return None
    return (Decimal(100 * row["no_shows"]) / due).quantize(Decimal("0.1"), ROUND_HALF_UP)


@row_type("StatisticsRow", description="The figures of one day, doctor or service, or of all together.")
class StatisticsRowType:
    day: date | None = day("day", "The clinic's day, when they are by day.")
    doctor: StaffType | None = related(
        lambda: StaffType, key="doctor_id", description="The doctor, when they are by doctor; null for none."
    )
    service: ServiceType | None = related(
        lambda: ServiceType, key="service_id", description="The service, when they are by service; null for none."
    )
    appointments: int = stored(description="Appointments that were to start.")
    visits: int = stored(description="Visits that began.")
    fulfilled: int = stored(description="Those to which the patient came.")
    no_shows: int = stored(description="Those to which nobody came.")
    cancelled: int = stored(description="Those that were called off.")
    no_show_percent: Decimal | None = computed(
        "fulfilled", "no_shows", by=_no_show_percent, description="No-shows in a hundred of those not called off."
    )
    walk_ins: int = stored(description="Patients in the queue who came without an appointment.")
    served: int = stored(description="Turns in the queue that were served.")
    left: int = stored(description="Turns in the queue of those who left, or were passed over.")
    average_wait_minutes: int | None = stored(description="How long people waited until they were called, on average.")
    longest_wait_minutes: int | None = stored(description="How long somebody waited at most until they were called.")
    billed: list[MoneyType] = stored(
        description="What issued invoices came to with tax, less what was credited since, for each currency. A "
        "doctor's are those for their visits. This needs `revenue:read`."
    )
    received: list[MoneyType] = stored(
        description="What was paid less what was given back, for each currency; by day and for all doctors alone. This "
        "needs `revenue:read`."
    )


@row_type("Statistics", description="The figures of some of the clinic's days.")
class StatisticsType:
    rows: list[StatisticsRowType] = stored(
        description="By day one for each day, in order; else one for each group, the largest first, 1,000 at most."
    )
    total: StatisticsRowType = stored(description="All together.")


@strawberry.type
class StatisticsQuery(Resolver):
    @field(
        Permission.STATISTICS_READ,
        description="Appointments, visits, no-shows, walk-ins, waiting times and, for those with `revenue:read`, money "
        "on at most 366 of the clinic's days.",
    )
    async def statistics(
        self,
        info: Info,
        from_: Annotated[date, strawberry.argument(name="from", description="The first of the clinic's days.")],
        to: Annotated[date, strawberry.argument(description="The last of the clinic's days, included.")],
        by: Annotated[
            StatisticsBy, strawberry.argument(description="What they are broken down by.")
        ] = StatisticsBy.DAY,
        doctor_id: Annotated[strawberry.ID | None, strawberry.argument(description="Of this doctor alone.")] = None,
    ) -> StatisticsType:
        doctor = object_id(doctor_id, "doctorId") if doctor_id is not None else None
        with_money = any(asks_for(info, part, name) for part in ("rows", "total") for name in MONEY)
        if with_money:
            require(Permission.REVENUE_READ)
        return shown(await statistics(span_of(from_, to, by, doctor), with_money=with_money))
