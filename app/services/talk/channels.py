"""Other ways to tell people what they are told in the app: mail, text messages and pushed messages, as they chose.

Each goes into the outbox in the transaction of what it tells of, and says no more than the notification: what kind of
thing happened at which clinic.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.config import Settings
from app.integrations.push import PushKey
from app.services.changes import Row
from app.services.mailing import language_of, letter
from app.services.outbox import Sending, can_send_sms, enqueue_mail, enqueue_push, enqueue_sms
from app.services.talk.wording import told_as
from app.tenancy.scope import TenantRef, current_scope
from models import NotificationPreference, PushSubscription, Staff, User
from models.notification import NotificationKind
from models.phones import e164, region_of
from models.user import UserStatus

MOST_BROWSERS = 10
"""Subscriptions of one person at one clinic; a new one takes the place of the oldest."""
_chosen: dict[str, Settings] = {}


def use_channels(settings: Settings) -> None:
    """Says by whose settings this process sends, from here on."""
    _chosen["settings"] = settings


def push_key(settings: Settings) -> PushKey | None:
    """The key that push services know us by; None where nothing is pushed."""
    if settings.push_key is None:
        return None
    return _key(settings.push_key.get_secret_value(), settings.mail_sender)


@cache
def _key(private: str, contact: str) -> PushKey:
    return PushKey(private, contact)


async def send_as_chosen(people: Sequence[ObjectId], kind: NotificationKind, session: AsyncClientSession) -> None:
    """Tells those people of the staff by the ways that they chose for this kind; nothing where none was."""
    settings, tenant = _chosen.get("settings"), current_scope().tenant
    if settings is None or tenant is None or not people:
        return
    chosen = await _preferences(people, session)
    sending = Sending(kind=f"notification.{kind.value}", tenant=tenant, settings=settings, session=session)
    by = {way: [one for one in people if kind in chosen[one][way]] for way in ("email", "sms", "push")}
    said = told_as(await language_of(tenant, session), kind, tenant.name) if any(by.values()) else None
    if said is None:
        return
    await _mail(by["email"], said, tenant, sending)
    await _texts(by["sms"], said.text, tenant, sending)
    await _pushes(by["push"], kind, said.text, sending)


async def _preferences(people: Iterable[ObjectId], session: AsyncClientSession) -> Mapping[ObjectId, Row]:
    rows = await NotificationPreference.rows({"user_id": {"$in": list(people)}}, session=session)
    found = {row["user_id"]: row for row in rows}
    return {one: found.get(one) or usual(one) for one in people}


def usual(user_id: ObjectId) -> Row:
    """How somebody is told who has not chosen: in the app, and in the browsers that they let push."""
    return {"user_id": user_id, "email": [], "sms": [], "push": [kind.value for kind in NotificationKind]}


async def _mail(people: Sequence[ObjectId], said: Any, tenant: TenantRef, sending: Sending) -> None:
    if not people:
        return
    wanted = {"_id": {"$in": list(people)}, "status": UserStatus.ACTIVE.value}
    rows = await User.rows(wanted, projection={"email": 1}, session=sending["session"])
    made = letter(said.language, said.subject, [said.text], signed=tenant.name)
    for row in rows:
        await enqueue_mail(made, to=row["email"], **sending)


async def _texts(people: Sequence[ObjectId], text: str, tenant: TenantRef, sending: Sending) -> None:
    if not people or not can_send_sms(sending["settings"]):
        return
    rows = await Staff.rows({"user_id": {"$in": list(people)}}, projection={"phone": 1}, session=sending["session"])
    for row in rows:
        if phone := e164(row.get("phone"), region_of(tenant.timezone)):
            await enqueue_sms(text, to=phone, **sending)


async def _pushes(people: Sequence[ObjectId], kind: NotificationKind, text: str, sending: Sending) -> None:
    if not people or sending["settings"].push_key is None:
        return
    wanted = {"user_id": {"$in": list(people)}}
    payload = json.dumps({"kind": kind.name, "text": text}, ensure_ascii=False)
    for row in await PushSubscription.rows(wanted, limit=MOST_BROWSERS * len(people), session=sending["session"]):
        content = {name: row[name] for name in ("endpoint", "p256dh", "auth")}
        await enqueue_push({**content, "subscription": str(row["_id"]), "payload": payload}, **sending)
