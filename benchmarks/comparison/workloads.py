"""What is asked: the four workloads, and the requests that each sends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from benchmarks.comparison.options import BenchmarkError
from benchmarks.data.shapes import SLOT, Clinic, day, subdomain
from benchmarks.data.sizes import DOCTORS, VISITS, Size

APPOINTMENT = "id startsAt status reason patient { id name phone } doctor { id name }"
DISTINCT = 1_200
"""So many different requests of a workload that only reads; then they come again."""
SLOTS_A_DAY = timedelta(days=1) // SLOT
DAYS_AHEAD = 700
"""Bookings go this far, which the clinics' horizon of `HORIZON_DAYS` allows."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One question. `operation` is the name in `document`; one that `writes` sends no request twice."""

    name: str
    title: str
    operation: str
    document: str
    writes: bool = False


WORKLOADS = {
    one.name: one
    for one in (
        Workload(
            "q1",
            "a clinic's day: 50 appointments with patient and doctor",
            "Day",
            "query Day($day: Date!) { appointments(first: 50, filter: {day: $day}) { edges { node { "
            + APPOINTMENT
            + " } } pageInfo { hasNextPage endCursor } } }",
        ),
        Workload(
            "q2",
            f"a patient with {VISITS} appointments",
            "Patient",
            f"query Patient($id: ID!) {{ patient(id: $id) {{ id name phone appointments(first: {VISITS}) "
            "{ edges { node { id startsAt status reason } } } } }",
        ),
        Workload("q3", "nothing but `{ __typename }`", "Alive", "query Alive { __typename }"),
        Workload(
            "m1",
            "booking an appointment",
            "Book",
            "mutation Book($input: CreateAppointmentInput!) { createAppointment(input: $input) { "
            + APPOINTMENT
            + " } }",
            writes=True,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody signed in at a clinic."""

    clinic: Clinic
    token: str

    @property
    def host(self) -> str:
        return f"{subdomain(self.clinic.number)}.localhost"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    caller: Caller
    body: str

    @property
    def headers(self) -> dict[str, str]:
        """What it is sent with."""
        return {
            "Host": self.caller.host,
            "Authorization": f"Bearer {self.caller.token}",
            "Content-Type": "application/json",
            "X-Polyclinic-Client": "bench",
        }


class Questions:
    """Makes the requests of every workload for the callers of one data set. Bookings never repeat a slot."""

    def __init__(self, size: Size, callers: Sequence[Caller]) -> None:
        self._size = size
        self._callers = callers
        self._slots = count()
        self._from = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)

    @property
    def callers(self) -> int:
        """How many people ask."""
        return len(self._callers)

    def of(self, workload: Workload, most: int) -> list[Ask]:
        """`most` requests, the callers taking turns; for a workload that only reads, no more than `DISTINCT`."""
        rng = Random(workload.name)
        number = most if workload.writes else min(most, DISTINCT)
        return [self._ask(workload, place, rng) for place in range(number)]

    def of_first(self, number: int) -> Questions:
        """The requests of the first so many callers alone. For reading: bookings of both would meet."""
        return Questions(self._size, self._callers[:number])

    def _ask(self, workload: Workload, place: int, rng: Random) -> Ask:
        if workload.writes:
            caller, variables = self._booking(next(self._slots))
        else:
            caller = self._callers[place % len(self._callers)]
            variables = self._reading(workload, caller, rng)
        asked = {"operationName": workload.operation, "query": workload.document, "variables": variables}
        return Ask(caller, json.dumps(asked, separators=(",", ":")))

    def _reading(self, workload: Workload, caller: Caller, rng: Random) -> dict[str, Any]:
        match workload.name:
            case "q1":
                return {"day": day(rng.randrange(self._size.full_days)).date().isoformat()}
            case "q2":
                return {"id": str(caller.clinic.patient(rng.randrange(self._size.regulars)))}
            case _:
                return {}

    def _booking(self, number: int) -> tuple[Caller, dict[str, Any]]:
        """Slot after slot, one clinic and doctor after the other."""
        round_, place = divmod(number, len(self._callers))
        time, doctor = divmod(round_, DOCTORS)
        if time >= SLOTS_A_DAY * DAYS_AHEAD:
            raise BenchmarkError("Every slot of every doctor is booked: give fewer ROUNDS or SECONDS.")
        caller = self._callers[place]
        asked = {
            "patientId": str(caller.clinic.patient(round_ % self._size.patients)),
            "doctorId": str(caller.clinic.doctor(doctor)),
            "startsAt": (self._from + time * SLOT).isoformat(),
            "reason": "Cough for a week",
        }
        return caller, {"input": asked}


def lines(asks: Sequence[Ask]) -> Iterator[str]:
    """The requests as the load generator reads them: host, token and body, separated by tabs."""
    return (f"{ask.caller.host}\t{ask.caller.token}\t{ask.body}\n" for ask in asks)
