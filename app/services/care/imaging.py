"""Imaging: ordered, scheduled, done, reported on, released."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.services.care.orders import place
from app.services.care.people import actor_id, refuse_future
from app.services.changes import Row, build, storable
from app.services.states import advance
from models import Imaging
from models.imaging import MOST_REPORTS, ImagingReport, ImagingStatus
from models.values import now

_S = ImagingStatus


async def order(values: Mapping[str, Any]) -> Row:
    """Orders images for a patient; answers with the study's row."""
    return await place(Imaging, values, series="IM")


async def schedule(study_id: ObjectId, version: int, moment: datetime) -> Row:
    """They are to be made then, or at another time than was said before. Answers with the new row."""
    return await advance(Imaging, study_id, version, _S.SCHEDULED, values={"scheduled_at": moment})


async def perform(study_id: ObjectId, version: int, moment: datetime | None) -> Row:
    """They were made. Answers with the new row."""
    refuse_future(moment, at="input.performedAt")
    values = {"performed_at": moment or now(), "performed_by": actor_id()}
    return await advance(Imaging, study_id, version, _S.PERFORMED, values=values)


async def report(study_id: ObjectId, version: int, values: Mapping[str, Any]) -> Row:
    """Adds what is seen in them: `findings`, and maybe `impression`. The former report stays, and counts no longer.

    Answers with the new row. The patient sees it once it is released, again after each correction.
    """
    made: ImagingReport = build(ImagingReport, {**values, "by": actor_id()})
    room = {f"reports.{MOST_REPORTS - 1}": {"$exists": False}}
    return await advance(
        Imaging,
        study_id,
        version,
        _S.REPORTED,
        push={"reports": storable(made)},
        values={"released_at": None},
        state=room,
    )


async def release(study_id: ObjectId, version: int) -> Row:
    """The patient may see the report from now on. Answers with the new row."""
    return await advance(Imaging, study_id, version, _S.RELEASED, values={"released_at": now()})


async def cancel(study_id: ObjectId, version: int, reason: str) -> Row:
    """They are not needed any more. Answers with the new row."""
    return await advance(Imaging, study_id, version, _S.CANCELLED, reason=reason)
