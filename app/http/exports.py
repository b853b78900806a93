"""Taking data along: one patient's file as JSON or FHIR, and lists as CSV."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import date, datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.errors import FieldError, NotFound, ValidationFailed
from app.graphql.access import require
from app.graphql.inputs import object_id
from app.http.registry import RouteKind, RouteSpec
from app.permissions import Permission
from app.services import csv_export
from app.services.patient_export import as_json, patient_file
from app.services.patient_fhir import as_fhir
from app.services.scheduling.claims import check_year
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds

FORMATS = ("json", "fhir")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def export_specs() -> list[RouteSpec]:
    """For staff with `patient:export`; a list also needs the right to read what it lists, and that alone where it tells
    of no patients."""
    return [
        RouteSpec("/api/patients/{id}/export", {"GET"}, RouteKind.STAFF, export_patient, "export-patient"),
        RouteSpec("/api/exports/{list}.csv", {"GET"}, RouteKind.STAFF, export_list, "export-list"),
    ]


async def export_patient(request: Request) -> Response:
    """`GET /api/patients/{id}/export?format=json|fhir`."""
    require(Permission.PATIENT_EXPORT)
    wanted = request.query_params.get("format", "json")
    if wanted not in FORMATS:
        raise ValidationFailed.at("format", f"must be one of {', '.join(FORMATS)}")
    found = await patient_file(object_id(request.path_params["id"], "id"))
    if wanted == "fhir":
        return _attached((await as_fhir(found)).encode(), "application/fhir+json", "patient.fhir.json")
    return _attached(orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2), "application/json", "patient.json")


async def export_list(request: Request) -> Response:
    """`GET /api/exports/patients.csv`, `/api/exports/appointments.csv?from=…&to=…` and
    `/api/exports/stock-movements.csv?from=…&to=…`: days of the clinic, both included, or times with their offset."""
    if request.path_params["list"] != "stock-movements":
        require(Permission.PATIENT_EXPORT)
    match request.path_params["list"]:
        case "patients":
            require(Permission.PATIENT_READ)
            parts = csv_export.patients()
        case "appointments":
            require(Permission.APPOINTMENT_READ)
            parts = csv_export.appointments(*_span(request))
        case "stock-movements":
            require(Permission.INVENTORY_READ)
            parts = csv_export.stock_movements(*_span(request))
        case _:
            raise NotFound
    first = await _begun(parts)
    return StreamingResponse(
        _from(first, parts),
        media_type="text/csv; charset=utf-8",
        headers=_attachment(f"{request.path_params['list']}.csv"),
    )


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part


async def _begun(parts: AsyncIterator[bytes]) -> bytes:
    """The first part: what is wrong with the request is told before the answer begins, as its parameters are called."""
    try:
        return await anext(parts)
    except ValidationFailed as refused:
        told = [FieldError(one.path.removeprefix("filter."), one.message) for one in refused.fields]
        raise ValidationFailed(refused.message, told) from None


def _span(request: Request) -> tuple[datetime | None, datetime | None]:
    """From when until before when: days of the clinic, of which the last is meant too, or times."""
    return _moment(request, "from", 0), _moment(request, "to", 1)


def _moment(request: Request, name: str, side: int) -> datetime | None:
    """The instant that a parameter names; of a day its beginning or, for `side` 1, its end.

    Raises VALIDATION_FAILED at `name`.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            check_year(day, name)
            return day_bounds(day, clinic_zone())[side]
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValidationFailed.at(name, "must be a day (2030-01-31) or a time with its offset (2030-01-31T09:00:00Z)")
    return moment


def _attached(content: bytes, media_type: str, name: str) -> Response:
    return Response(content, media_type=media_type, headers=_attachment(name))


def _attachment(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}
