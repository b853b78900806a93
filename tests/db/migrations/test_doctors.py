"""What was stored before it said whose it is says it, and is found by doctor."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId

from app.db.migrations import m0005_doctors as step
from app.db.migrations.running import all_places, migrate
from app.tenancy.scope import Database
from tests.db.migrations.places import Place


def home(place: Place, clinic: str) -> Database:
    return place.shared if clinic == "pool" else place.own(clinic)


async def stored(place: Place, clinic: str, name: str, **values: Any) -> ObjectId:
    id = ObjectId()
    row = {"_id": id, "tenant_id": place.clinics[clinic], **values}
    await home(place, clinic)[name].insert_one(row, bypass_document_validation=True)
    return id


async def doctor_of(place: Place, clinic: str, name: str, id: ObjectId) -> Any:
    row = await home(place, clinic)[name].find_one({"_id": id})
    assert row is not None
    return row.get("doctor_id", "says nothing")


@pytest.mark.parametrize("clinic", ["pool", "one"])
async def test_requests_and_results_take_the_doctor_from_the_prescription_and_the_order(
    place: Place, clinic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "BATCH", 1)
    doctor, other = ObjectId(), ObjectId()
    rx = await stored(place, clinic, "prescriptions", doctor_id=doctor)
    order = await stored(place, clinic, "lab_orders", doctor_id=doctor)
    asked = await stored(place, clinic, "refill_requests", prescription_id=rx, status="approved")
    gone = await stored(place, clinic, "refill_requests", prescription_id=ObjectId(), status="approved")
    told = await stored(place, clinic, "refill_requests", prescription_id=rx, status="approved", doctor_id=other)
    result = await stored(place, clinic, "lab_results", lab_order_id=order)
    nobodys = await stored(place, clinic, "lab_results", lab_order_id=None)
    await place.forget("doctors")

    reports = await migrate(place.client, place.settings)

    assert sum(one.steps.get("doctors", 0) for one in reports) == 3
    assert [await doctor_of(place, clinic, "refill_requests", id) for id in (asked, gone, told)] == [
        doctor,
        None,
        other,
    ]
    assert await doctor_of(place, clinic, "lab_results", result) == doctor
    assert await doctor_of(place, clinic, "lab_results", nobodys) == "says nothing"
    for site in [await one.site() for one in await all_places(place.client, place.settings)]:
        assert (await step.pending(site), await step.run(site)) == (0, 0)
    for name in ("prescriptions", "lab_orders", "refill_requests", "lab_results"):
        await home(place, clinic)[name].delete_many({})
