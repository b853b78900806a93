"""Changes that both servers make, each to documents of its own that are alike."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import Undefined

from tests.contracts._schema import RootField, id_places, root_fields, schema
from tests.contracts._values import variables
from tests.fixtures.clinics import Answer, Client
from tests.fixtures.desks import Desk, wall
from tests.fixtures.servers import Pair, audited, shape
from tests.fuzz.documents import DocumentMaker, Made, Root

BY_NAME = {root.name: root for root in root_fields() if root.is_mutation}
FAILING = [
    root for root in BY_NAME.values() if root.permission is not None and any(one.required for one in id_places(root))
]
"""What asks for ids of a clinic, and so fails when it gets none that exist."""
PATIENT, DOCTOR, APPOINTMENT = (f"@{name:-<23}" for name in ("patient", "doctor", "appointment"))
"""As long as the ids that take their places, so that errors are at the same column."""
SETTLED = (
    (r'"[\w-]{50,}"', '"cursor"'),
    (r'"\d{4}-\d\d-\d\dT[\d:]+\.\d+[^"]*"', '"now"'),
    (r'"P-\d+"', '"P"'),
    (r"\b[0-9a-f]{8}\b", "name"),
)
"""What differs for no reason that matters: cursors, the time of the change, the clinic's next number, made-up names."""


def _book(chance: Random) -> dict[str, Any]:
    start = wall(chance.choice((9, 9, 12, 15, 22)), chance.choice((0, 0, 0, 30, 7)))
    made = {
        "patientId": PATIENT,
        "doctorId": DOCTOR,
        "startsAt": start,
        "reason": chance.choice(("Ill", "Ill", None, "x" * 5_000)),
    }
    return {**made, "durationMinutes": chance.choice((30, 30, 0))} if chance.random() < 0.5 else made


def _register(chance: Random) -> dict[str, Any]:
    made = {"givenName": chance.choice(("Ann", "Ann", "")), "familyName": "Twin", "sex": "FEMALE"}
    more = {
        "birthDate": chance.choice(("1980-02-29", "2999-01-01", "x")),
        "email": chance.choice(("a@example.com", "no address")),
        "contacts": [{"name": "Ben", "phone": "+12125550199"}],
        "allergies": [{"substance": "nuts", "severe": True}, {"substance": "dust"}],
    }
    return made | {name: value for name, value in more.items() if chance.random() < 0.4}


def _change(chance: Random) -> dict[str, Any]:
    more = {"givenName": chance.choice(("New", None)), "phone": chance.choice((None, "+12125550199", "1"))}
    return {"id": PATIENT, "version": chance.choice((1, 1, 1, 9))} | {
        k: v for k, v in more.items() if chance.random() < 0.6
    }


def _cancel(chance: Random) -> dict[str, Any]:
    return {
        "id": APPOINTMENT,
        "version": chance.choice((1, 1, None, 1, 9)),
        "reason": chance.choice(("Ill", "Ill", "Ill", "")),
    }


def _move(chance: Random) -> dict[str, Any]:
    return {
        "id": APPOINTMENT,
        "version": chance.choice((1, 1, 1, 9)),
        "startsAt": wall(chance.choice((10, 11, 11, 23))),
    }


def _archive(chance: Random) -> dict[str, Any]:
    return {"id": PATIENT}


INPUTS: Mapping[str, Callable[[Random], dict[str, Any]]] = {
    "createPatient": _register,
    "updatePatient": _change,
    "archivePatient": _archive,
    "createAppointment": _book,
    "rescheduleAppointment": _move,
    "cancelAppointment": _cancel,
}


def change(chance: Random) -> Made:
    """A mutation of one to three root fields, which succeed or fail."""
    names = [chance.choice(list(INPUTS)) for _ in range(chance.choice((1, 1, 1, 1, 2, 3)))]
    roots = [Root(name, BY_NAME[name].core, {"input": INPUTS[name](chance)}) for name in names]
    if chance.random() < 0.1:
        failing = chance.choice(FAILING)
        roots.append(Root(failing.name, failing.core, _of_nobody(failing)))
    maker = DocumentMaker(schema(), chance, lambda name, _: 2 if name == "first" else Undefined, depth=5, width=4)
    return maker.make("mutation", roots)


def _of_nobody(root: RootField) -> dict[str, Any]:
    return variables(root, lambda _: "f" * 24)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a change, without what must differ."""

    answer: Answer
    shape: Any
    audit: Any


@dataclass(slots=True)
class Changers:
    """Somebody at both servers who may change everything, and where to get desks that are alike."""

    pair: Pair
    desk: Callable[[], Awaitable[Desk]]
    seen: Counter[str] = field(default_factory=Counter)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis shows it with each example that fails."""
        printer.text("the two servers")

    async def outcomes(self, made: Made) -> tuple[Outcome, Outcome]:
        """What came of it where it was compiled, and where it was not."""
        raw = self.pair.raw
        theirs = await apply(made, await self.desk(), self.pair.reference, raw)
        return await apply(made, await self.desk(), self.pair.compiled, raw), theirs


async def apply(made: Made, desk: Desk, client: Client, raw: Any) -> Outcome:
    """Makes the change with the ids of this desk, for which an appointment is booked first."""
    booked = await desk.booked(wall(15))
    own = {PATIENT: desk.patient, DOCTOR: desk.doctor, APPOINTMENT: booked["id"]}
    text, given = made.text, json.dumps(made.variables)
    for name, id in own.items():
        text, given = text.replace(name, id), given.replace(name, id)
    answer = await client.gql(text, **json.loads(given))
    known = {id: name for name, id in own.items()}
    return Outcome(answer, _settled(shape(answer), known), _settled(await audited(raw, answer), known))


def _settled(shown: Any, known: Mapping[str, str]) -> str:
    """With names for the ids of the desk, and numbers for those that were made."""
    text = str(shown)
    for id, name in known.items():
        text = text.replace(id, name)
    new: Sequence[str] = list(dict.fromkeys(re.findall(r"\b[0-9a-f]{24}\b", text)))
    for number, id in enumerate(new):
        text = text.replace(id, f"new {number}")
    for pattern, plain in SETTLED:
        text = re.sub(pattern, plain, text)
    return text
