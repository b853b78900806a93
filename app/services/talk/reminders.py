"""Reminding patients of their appointments of tomorrow, once each."""

from __future__ import annotations

from datetime import datetime, timedelta

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.db.transactions import in_transaction
from app.services.changes import Row
from app.services.jobs import Counts, More
from app.services.mailing import language_of, letter
from app.services.outbox import Sending, can_send_sms, enqueue_mail, enqueue_sms
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds
from app.services.talk.wording import Said, told_as
from app.tenancy.scope import TenantRef, current_scope
from models import Appointment, Notification, Patient, PortalAccount
from models.appointment import AppointmentStatus
from models.notification import NotificationKind
from models.phones import e164, region_of
from models.portal import PortalChannel
from models.values import now

BATCH = 200
LASTS = timedelta(hours=18)
"""After this a reminder is worth nothing."""


async def remind(settings: Settings) -> Counts | More:
    """Reminds of the booked appointments of the clinic's tomorrow, `BATCH` at a time; an appointment that was moved is
    told of anew."""
    tenant = current_scope().tenant
    assert tenant is not None  # noqa: S101 - a job of each clinic
    first, last = day_bounds(now().astimezone(clinic_zone()).date() + timedelta(days=1), clinic_zone())
    due = {"status": AppointmentStatus.BOOKED.value, "starts_at": {"$gte": first, "$lt": last}}
    done, after = 0, ObjectId("0" * 24)
    while rows := await Appointment.rows(
        {**due, "_id": {"$gt": after}},
        projection=["patient_id", "starts_at"],
        sort=[("_id", 1)],
        limit=BATCH,
    ):
        told = await _told(rows)
        for row in rows:
            if _once(row) not in told:
                done += await _remind_of(row, tenant, settings)
        if done >= BATCH:
            return More({"reminded": done})
        after = rows[-1]["_id"]
    return {"reminded": done}


def _once(row: Row) -> str:
    """By which an appointment at its time is told of once."""
    return f"reminder:{row['_id']}:{row['starts_at']:%Y%m%dT%H%M}"


async def _told(rows: list[Row]) -> set[str]:
    wanted = {"once": {"$in": [_once(row) for row in rows]}}
    return {row["once"] for row in await Notification.rows(wanted, projection={"once": 1})}


async def _remind_of(row: Row, tenant: TenantRef, settings: Settings) -> bool:
    """Tells the patient in the app and by mail or text message; False when another run was faster."""
    addresses = await _addresses(row["patient_id"], tenant, settings)

    async def work(session: AsyncClientSession) -> None:
        about = {"patient_id": row["patient_id"], "appointment_id": row["_id"], "once": _once(row)}
        made = Notification(id=ObjectId(), to_patient=True, kind=NotificationKind.APPOINTMENT_TOMORROW, **about)
        await made.insert(session=session)
        language = await language_of(tenant, session)
        said = told_as(language, NotificationKind.APPOINTMENT_TOMORROW, tenant.name, _when(row["starts_at"]))
        await _send(said, addresses, tenant, Sending(
            kind="appointment.reminder", tenant=tenant, settings=settings, session=session, lasts=LASTS
        ))  # fmt: skip

    try:
        await in_transaction(work)
    except DuplicateKeyError:
        return False
    return True


def _when(starts_at: datetime) -> str:
    return f"{starts_at.astimezone(clinic_zone()):%Y-%m-%d, %H:%M}"


async def _addresses(patient_id: ObjectId, tenant: TenantRef, settings: Settings) -> Row:
    """Where the patient wants to be reached: as the portal's codes reach them, else by the mail that the clinic has."""
    accounts = await PortalAccount.rows({"patient_id": patient_id, "enabled": True}, limit=1)
    if accounts and accounts[0]["channel"] == PortalChannel.SMS.value and can_send_sms(settings):
        return {"phone": e164(accounts[0].get("phone"), region_of(tenant.timezone))}
    if accounts and accounts[0].get("email"):
        return {"email": accounts[0]["email"]}
    patients = await Patient.rows({"_id": patient_id}, projection={"email": 1}, limit=1)
    return {"email": patients[0].get("email")} if patients else {}


async def _send(said: Said, addresses: Row, tenant: TenantRef, sending: Sending) -> None:
    if addresses.get("email"):
        made = letter(said.language, said.subject, [said.text], signed=tenant.name)
        await enqueue_mail(made, to=addresses["email"], **sending)
    elif addresses.get("phone"):
        await enqueue_sms(said.text, to=addresses["phone"], **sending)
