"""What one clinic tries on another in a running system, and the answers that keep them apart."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from scripts.scope_client import CannotCheck, Reply, SignedIn

Attempt = Callable[[], None]

KINDS = {
    "role": "roles(first: 1)",
    "staffMember": "staff(first: 1)",
    "specialization": "specializations(first: 1)",
    "room": "rooms(first: 1)",
    "service": "services(first: 1)",
}
"""Field that reads one by id → field that lists them."""
AROUND_NOW = timedelta(days=45)
ROLE = "query($id: ID!) { role(id: $id) { id } }"
CURSOR = "{ roles(first: 1) { pageInfo { endCursor } } }"
NEXT = "query($after: String) { roles(first: 1, after: $after) { edges { node { id } } } }"
VIEWER = "{ viewer { clinic { subdomain } } }"

CREATE = "mutation($input: CreatePatientInput!) { createPatient(input: $input) { id version } }"
ARCHIVE = "mutation($input: ArchivePatientInput!) { archivePatient(input: $input) { id } }"
UPDATE = "mutation($input: UpdatePatientInput!) { updatePatient(input: $input) { id } }"
NOTES = "mutation($input: UpdatePatientNotesInput!) { updatePatientNotes(input: $input) { id } }"
BOOK = "mutation($input: CreateAppointmentInput!) { createAppointment(input: $input) { id } }"
PATIENT = "query($id: ID!) { patient(id: $id) { id givenName version record { notes } } }"
SEARCH = "query($text: String!) { patients(filter: {search: $text}) { totalCount edges { node { id } } } }"
DUPLICATES = "query($input: CreatePatientInput!) { possibleDuplicates(input: $input) { id } }"
VISITS = "query($id: ID!) { appointments(filter: {patientId: $id}) { totalCount edges { node { id } } } }"
DOCTORS = "{ staff(first: 1, filter: {kind: DOCTOR}) { edges { node { id } } } }"

FOREIGN_HEADERS = ("X-Tenant-Id", "X-Clinic-Id", "X-Tenant", "X-Subdomain")
UNTOLD = {"FORBIDDEN", "UNAUTHENTICATED", "VALIDATION_FAILED", "RATE_LIMITED", "QUERY_TOO_COMPLEX", "INTERNAL"}
"""Codes after which two equal answers prove nothing."""
_REQUEST_ID = re.compile(rb'"requestId":\s*"[^"]*"')
_BUDGET_LEFT = re.compile(rb'"(?:limit|remaining)":\d+,|"resetAt":"[^"]*"')


class Leak(Exception):
    """The clinics are not kept apart here. The text says how it showed."""


class Untold(Exception):
    """The attempt proves nothing here. The text says why."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A patient of the first clinic whom the second must never see."""

    id: str
    version: int
    values: Mapping[str, str]


def attempts(a: SignedIn, b: SignedIn, canary: Canary | None) -> Iterator[tuple[str, Attempt]]:
    """What `b` tries on clinic `a`, by name. Without a canary nothing is attempted that could write."""
    for single, plural in {**KINDS, "appointment": _appointments()}.items():
        yield f"read by id: {single}", partial(_read_by_id, a, b, single, plural)
    yield "the other clinic's cursor", partial(_foreign_cursor, a, b)
    yield "the other clinic's token", partial(_foreign_token, a, b)
    yield "no token", partial(_no_token, a)
    yield "an unknown clinic's host", partial(_unknown_host, a)
    for header in FOREIGN_HEADERS:
        yield f"header {header}", partial(_named_by_header, a, b, {header: a.clinic_id})
    yield "header X-Forwarded-Host", partial(_named_by_header, a, b, {"X-Forwarded-Host": a.system.host(a.clinic)})
    yield "clinic in the query string", partial(_named_by_header, a, b, {}, f"?tenant_id={a.clinic_id}")
    yield "the other clinic's page as origin", partial(_foreign_origin, a, b)
    if canary is not None:
        yield from _on_the_canary(a, b, canary)


def _appointments() -> str:
    """The list of the weeks around now: without bounds it is refused."""
    start, end = ((datetime.now(UTC) + step).isoformat() for step in (-AROUND_NOW, AROUND_NOW))
    return f'appointments(first: 1, filter: {{from: "{start}", to: "{end}"}})'


def _on_the_canary(a: SignedIn, b: SignedIn, canary: Canary) -> Iterator[tuple[str, Attempt]]:
    named = {"input": {"id": canary.id}}
    yield "patient: read by id", partial(_same_as_absent, b, PATIENT, {"id": canary.id}, canary.id)
    yield "patient: search and count", partial(_not_found_by_search, a, b, canary)
    yield "patient: duplicates", partial(_no_duplicate, a, b, canary)
    yield "patient: appointments of", partial(_same_as_absent, b, VISITS, {"id": canary.id}, canary.id)
    changed = {"input": {"id": canary.id, "version": canary.version, "givenName": "Changed"}}
    yield "patient: change", partial(_same_as_absent, b, UPDATE, changed, canary.id)
    noted = {"input": {"id": canary.id, "version": canary.version, "notes": "seen"}}
    yield "patient: write notes", partial(_same_as_absent, b, NOTES, noted, canary.id)
    yield "patient: archive", partial(_same_as_absent, b, ARCHIVE, named, canary.id)
    yield "booking with the patient", partial(_book, a, b, canary)
    yield "patient: untouched in the end", partial(_untouched, a, canary)


def new_canary(a: SignedIn) -> Canary:
    """Registers a patient with a name, phone and e-mail address of its own. Raises `CannotCheck`."""
    mark = secrets.token_hex(6)
    values = {
        "givenName": f"Canary{mark}",
        "familyName": f"Check{mark}",
        "phone": "+1 202 555 " + "".join(secrets.choice("0123456789") for _ in range(4)),
        "email": f"canary-{mark}@example.com",
    }
    made = a.ask(CREATE, input=values)
    patient = made.data.get("createPatient")
    if patient is None:
        raise CannotCheck(f"No test patient can be created at {a.clinic} ({', '.join(made.codes)}).")
    return Canary(patient["id"], patient["version"], values)


@contextmanager
def canary_at(a: SignedIn) -> Iterator[Canary]:
    """A test patient that is archived when the block ends."""
    canary = new_canary(a)
    try:
        yield canary
    finally:
        a.ask(ARCHIVE, input={"id": canary.id})


# --- attempts -----------------------------------------------------------------------------------------------------


def _same_as_absent(b: SignedIn, query: str, variables: Mapping[str, Any], foreign: str, **options: Any) -> None:
    """Asks with the other clinic's id and with one that exists nowhere: the answers must be the same bytes."""
    absent = secrets.token_hex(12)
    seen = b.ask(query, **options, **variables)
    control = b.ask(query, **_replaced(variables, foreign, absent))
    _must_tell(control)
    if _comparable(seen, foreign) != _comparable(control, absent):
        raise Leak("the answer differs from that for an id that exists nowhere")


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _replaced(inner, old, new) for key, inner in value.items()}
    return new if value == old else value


def _comparable(reply: Reply, id: str) -> tuple[int, bytes]:
    body = _BUDGET_LEFT.sub(b"", _REQUEST_ID.sub(b"", reply.body))
    return reply.status, body.replace(id.encode(), b"<id>")


def _must_tell(reply: Reply) -> None:
    if reply.status >= 500 or UNTOLD.intersection(reply.codes):
        raise Untold(f"the server answers {', '.join(reply.codes) or reply.status} whoever's id it is")


def _first_id(a: SignedIn, plural: str) -> str:
    reply = a.ask(f"{{ {plural} {{ edges {{ node {{ id }} }} }} }}")
    _must_tell(reply)
    edges = reply.data[plural.partition("(")[0]]["edges"]
    if not edges:
        raise Untold(f"{a.clinic} has none")
    return str(edges[0]["node"]["id"])


def _read_by_id(a: SignedIn, b: SignedIn, single: str, plural: str) -> None:
    id = _first_id(a, plural)
    query = f"query($id: ID!) {{ {single}(id: $id) {{ id }} }}"
    if a.ask(query, id=id).data.get(single) != {"id": id}:
        raise Untold(f"{a.clinic} cannot read its own")
    _same_as_absent(b, query, {"id": id}, id)


def _foreign_cursor(a: SignedIn, b: SignedIn) -> None:
    mine = a.ask(CURSOR)
    _must_tell(mine)
    cursor = mine.data["roles"]["pageInfo"]["endCursor"]
    if b.ask(NEXT, after=cursor).codes != ["VALIDATION_FAILED"]:
        raise Leak("it is accepted")


def _foreign_token(a: SignedIn, b: SignedIn) -> None:
    reply = a.ask("{ patients { totalCount } }", at=b.clinic)
    if reply.status != 403 or reply.codes != ["TENANT_MISMATCH"]:
        raise Leak(f"it is answered with {reply.status} {', '.join(reply.codes)}")


def _no_token(a: SignedIn) -> None:
    reply = a.ask_with({}, "{ patients { totalCount } }")
    if reply.status != 401 or reply.codes != ["UNAUTHENTICATED"]:
        raise Leak(f"it is answered with {reply.status} {', '.join(reply.codes)}")


def _unknown_host(a: SignedIn) -> None:
    reply = a.ask(VIEWER, at=f"no-{secrets.token_hex(6)}")
    if reply.status != 404 or reply.codes != ["TENANT_NOT_FOUND"]:
        raise Leak(f"it is answered with {reply.status} {', '.join(reply.codes)}")


def _named_by_header(a: SignedIn, b: SignedIn, headers: Mapping[str, str], target: str = "") -> None:
    """Names clinic `a` beside the host of `b`: that is ignored, or the whole request is refused."""
    signed = {"Authorization": f"Bearer {b.token}", **headers}
    id = _first_id(a, KINDS["role"])
    if b.ask_with(signed, ROLE, target=target, id=id).data.get("role") is not None:
        raise Leak("the other clinic's data is shown")
    viewer = b.ask_with(signed, VIEWER, target=target)
    if viewer.status < 400 and viewer.data["viewer"]["clinic"] not in (None, {"subdomain": b.clinic}):
        raise Leak("it leads into the other clinic")


def _foreign_origin(a: SignedIn, b: SignedIn) -> None:
    cookie = {"Cookie": f"{b.cookie}={b.token}"}
    own = b.ask_with({**cookie, "Origin": b.system.origin(b.clinic)}, VIEWER)
    if own.status != 200:
        raise Untold(f"its own page is refused too ({own.status})")
    if b.ask_with({**cookie, "Origin": a.system.origin(a.clinic)}, VIEWER).status != 403:
        raise Leak("it is accepted")


def _not_found_by_search(a: SignedIn, b: SignedIn, canary: Canary) -> None:
    for name in ("givenName", "familyName", "phone", "email"):
        text = canary.values[name]
        if canary.id not in {edge["node"]["id"] for edge in _found(a, text)["edges"]}:
            raise Untold(f"{a.clinic} does not find its own patient by {name}")
        if canary.id.encode() in b.ask(SEARCH, text=text).body:
            raise Leak(f"it is found by {name}")
    if _found(b, canary.values["familyName"])["totalCount"] != 0:
        raise Leak("it is counted")


def _found(who: SignedIn, text: str) -> dict[str, Any]:
    reply = who.ask(SEARCH, text=text)
    _must_tell(reply)
    found: dict[str, Any] = reply.data["patients"]
    return found


def _no_duplicate(a: SignedIn, b: SignedIn, canary: Canary) -> None:
    mine = a.ask(DUPLICATES, input=canary.values)
    _must_tell(mine)
    if canary.id.encode() not in mine.body:
        raise Untold(f"{a.clinic} is not warned itself")
    if canary.id.encode() in b.ask(DUPLICATES, input=canary.values).body:
        raise Leak("it is named")


def _book(a: SignedIn, b: SignedIn, canary: Canary) -> None:
    """Both ids are the other clinic's, so nothing is booked whatever the clinic's own hours are."""
    doctors = a.ask(DOCTORS).data["staff"]["edges"]
    doctor = doctors[0]["node"]["id"] if doctors else secrets.token_hex(12)
    wanted = {"patientId": canary.id, "doctorId": doctor, "startsAt": "2030-01-07T15:00:00Z", "durationMinutes": 15}
    nowhere = secrets.token_hex(12)
    absent = {**wanted, "patientId": nowhere, "doctorId": secrets.token_hex(12)}
    seen, control = b.ask(BOOK, input=wanted), b.ask(BOOK, input=absent)
    _must_tell(control)
    if _comparable(seen, canary.id) != _comparable(control, nowhere):
        raise Leak("the answer differs from that for ids that exist nowhere")


def _untouched(a: SignedIn, canary: Canary) -> None:
    patient = a.ask(PATIENT, id=canary.id).data.get("patient")
    kept = {"id": canary.id, "givenName": canary.values["givenName"], "version": canary.version}
    if patient != {**kept, "record": {"notes": None}}:
        raise Leak("it was changed")
