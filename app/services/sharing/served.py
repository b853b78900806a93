"""What of each category another clinic may see: these columns of that patient's documents, and no ids.

Each function runs in the scope of the clinic whose documents it reads. A category that is not here has no records yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from app.services.changes import Row
from app.services.sharing import served_care
from app.services.sharing.served_care import names_of
from app.services.sharing.whose import Whose
from models import Appointment, ClinicDocument, LabResult, PatientRecord, Service, Staff
from models.appointment import AppointmentStatus
from models.consent import ShareCategory
from models.lab import LabResultStatus

MOST = 100
"""So many of each kind are shown, the latest."""
Reader = Callable[[Whose], Awaitable[list[Row]]]


async def appointments(whose: Whose) -> list[Row]:
    """`starts_at, ends_at, status, doctor_name, service_name`, the latest first."""
    rows = await Appointment.rows(
        {**whose.of(Appointment), "status": {"$ne": AppointmentStatus.ENTERED_IN_ERROR.value}},
        projection=["starts_at", "ends_at", "status", "doctor_id", "service_id"],
        sort=[("starts_at", -1), ("_id", -1)],
        limit=MOST,
    )
    doctors = await names_of(Staff, (row["doctor_id"] for row in rows))
    services = await names_of(Service, (row.get("service_id") for row in rows))
    return [
        {
            "starts_at": row["starts_at"],
            "ends_at": row["ends_at"],
            "status": row["status"],
            "doctor_name": doctors.get(row["doctor_id"]),
            "service_name": services.get(row.get("service_id")),
        }
        for row in rows
    ]


async def notes(whose: Whose) -> list[Row]:
    """`text, written_at`: what the clinic's record says of the patient, if anything."""
    if whose.record is not None:
        rows = [whose.record]
    else:
        rows = await PatientRecord.rows(whose.of(PatientRecord), projection=["notes", "updated_at"], limit=1)
    return [{"text": row["notes"], "written_at": row["updated_at"]} for row in rows if row.get("notes")]


async def lab_results(whose: Whose) -> list[Row]:
    """`panel, performed_at, comment, observations` of what was released and is not superseded, the latest first."""
    return await LabResult.rows(
        {**whose.of(LabResult), "status": LabResultStatus.RELEASED.value, "current": True},
        projection={"_id": 0, "panel": 1, "performed_at": 1, "comment": 1, "observations": 1},
        sort=[("performed_at", -1), ("_id", -1)],
        limit=MOST,
    )


async def documents(whose: Whose) -> list[Row]:
    """`title, category, content_type, size, filed_at` of what is not archived, the latest first; no contents."""
    rows = await ClinicDocument.rows(
        {**whose.of(ClinicDocument), "archived_at": None},
        projection=["title", "category", "current.content_type", "current.size", "created_at"],
        sort=[("created_at", -1), ("_id", -1)],
        limit=MOST,
    )
    return [
        {
            "title": row["title"],
            "category": row["category"],
            "content_type": row["current"]["content_type"],
            "size": row["current"]["size"],
            "filed_at": row["created_at"],
        }
        for row in rows
    ]


SERVED: Mapping[ShareCategory, Reader] = {
    ShareCategory.APPOINTMENTS: appointments,
    ShareCategory.NOTES: notes,
    ShareCategory.LAB_RESULTS: lab_results,
    ShareCategory.DOCUMENTS: documents,
    ShareCategory.VISITS: served_care.visits,
    ShareCategory.PRESCRIPTIONS: served_care.prescriptions,
    ShareCategory.IMAGING: served_care.imaging,
    ShareCategory.PROCEDURES: served_care.procedures,
    ShareCategory.REFERRALS: served_care.referrals,
}


async def read(whose: Whose, categories: Iterable[ShareCategory]) -> Row:
    """Category → rows, for those of the categories that have records."""
    return {one.value: await SERVED[one](whose) for one in categories if one in SERVED}
