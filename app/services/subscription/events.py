"""The inbox of PayPal's events: proven, stored, answered, and then handled by what PayPal says when it is asked.

An event is believed to say that something happened, and nothing of what it says of money or of a clinic: whose it is
follows from the ids that PayPal gave to what we asked for, and what happened is read from PayPal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import structlog
from bson import ObjectId
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import AppError, NotFound, Unauthenticated, Unavailable
from app.integrations.paypal import PaypalRefused
from app.integrations.paypal_signatures import SignedEvent, Unproven, prove
from app.services.changes import build
from app.services.inbox import MAX_TRIES, claim, delay_after, due
from app.services.platform_log import note_act, reason_of
from app.services.rate_limits import Limit, Taken, network_of, refund, take
from app.services.subscription.settling import bring
from app.services.subscription.truth import Mismatch
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import current_scope
from models import PaypalEvent, PaypalRoute, Tenant
from models.subscription import EventState, PaypalId
from models.values import Line, now

log = structlog.get_logger(__name__)

TRIES = Limit("paypal-webhook", 300, timedelta(minutes=15), platform=True)
"""Events from one network that are not proven."""
KEPT = timedelta(days=400)
"""So long an event stays known after it was settled."""
BATCH = 100
_SUBJECT = TypeAdapter(PaypalId)


class _Event(BaseModel):
    """What of an event is read: its own id, its kind, and what it is about."""

    model_config = ConfigDict(extra="ignore")

    id: Line = Field(max_length=100)
    event_type: Line = Field(max_length=100)
    resource: dict[str, Any]


# --- taking in ------------------------------------------------------------------------------------------------------


async def receive(event: SignedEvent, content: Callable[[], Mapping[str, Any]], settings: Settings) -> bool:
    """Proves an event and stores it, once; False for one that was known. Once this returns it will be handled.

    `content` reads the body, which is done once it is proven.

    Raises UNAUTHENTICATED (alike whatever is wrong with the proof), RATE_LIMITED, VALIDATION_FAILED, and UNAVAILABLE
    where PayPal is not set up.
    """
    if settings.paypal_webhook_id is None:
        raise Unavailable("PayPal is not set up here.")
    await _proven(event, settings)
    read: _Event = build(_Event, content(), at="")
    stored = PaypalEvent(id=read.id, event_type=read.event_type, subjects=list(subjects_of(read.resource))[:10])
    try:
        await stored.insert()
    except DuplicateKeyError:
        return False
    return True


async def _proven(event: SignedEvent, settings: Settings) -> None:
    """Proves an event. One that is not proven takes a try, and so does each call to somebody else, which is given back
    when it is: what is proven by what is known already takes none, and so costs nothing."""
    network = network_of(current_scope().address)
    taken: list[Taken] = []

    async def limited() -> None:
        taken.append(await take(TRIES, network))

    try:
        await prove(event, settings, now(), limited)
    except Unproven as unproven:
        log.warning("an event was not proven to be PayPal's", why=str(unproven))
        if not taken:
            await limited()
        raise Unauthenticated("The event is not proven to be PayPal's.") from None
    for one in taken:
        await refund(TRIES, network, one)


def subjects_of(resource: Mapping[str, Any]) -> Iterator[str]:
    """PayPal's ids of the orders, agreements and payments that an event names, each once.

    A payment names its order among its related ids, and its agreement as `billing_agreement_id`; what was given back
    names the payment by a link.
    """
    related = _inner(_inner(resource, "supplementary_data"), "related_ids")
    links = resource.get("links")
    hrefs = [one.get("href") for one in links if isinstance(one, dict)] if isinstance(links, list) else []
    named = [
        resource.get("id"),
        resource.get("billing_agreement_id"),
        resource.get("sale_id"),
        related.get("order_id"),
        related.get("capture_id"),
        *(href.rpartition("/")[2] for href in hrefs if isinstance(href, str)),
    ]
    for one in dict.fromkeys(name for name in named if isinstance(name, str)):
        try:
            yield _SUBJECT.validate_python(one)
        except ValidationError:
            continue


def _inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}


# --- handling -------------------------------------------------------------------------------------------------------


async def sweep(settings: Settings) -> Mapping[str, int]:
    """Handles the events that are due; counts by what became of them, and `retry`."""
    done = Counter[str]()
    while rows := await PaypalEvent.rows(due(), projection={"_id": 1}, sort=[("next_at", 1)], limit=BATCH):
        for row in rows:
            if outcome := await handle(row["_id"], settings):
                done[outcome] += 1
    return dict(done)


async def handle(event_id: str, settings: Settings) -> str | None:
    """Handles one event that is due, unless somebody else is at it (None)."""
    row = await claim(PaypalEvent, event_id)
    if row is None:
        return None
    try:
        clinic = await _follow(row["subjects"], settings)
    except (Mismatch, PaypalRefused) as error:  # it would be the same the next time
        return await _given_up(row, error)
    except Exception as error:  # noqa: BLE001 - it is stored: whatever broke this try, another one follows
        return await _failed(row, error)
    state = EventState.IGNORED if clinic is None else EventState.HANDLED
    await _settle(row, {"status": state.value, "clinic_id": clinic, "error": None})
    return state.value


async def _follow(subjects: list[str], settings: Settings) -> ObjectId | None:
    """Reads anew from PayPal what the event is about, at the clinic whose it is; None for nobody's."""
    routes = await PaypalRoute.rows({"_id": {"$in": subjects}})
    clinic = None
    for clinic_id, order_id in dict.fromkeys((one["clinic_id"], one["order_id"]) for one in routes):
        tenant = await Tenant.get(clinic_id)
        if tenant is None or tenant.deletion_started_at is not None:
            continue
        clinic = clinic_id
        async with tenant_scope(tenant):
            await bring(order_id, settings)
    return clinic


async def _failed(row: Mapping[str, Any], error: Exception) -> str:
    if row["tries"] >= MAX_TRIES:
        return await _given_up(row, error)
    log.warning("an event of PayPal was not handled", event_id=row["_id"], tries=row["tries"], error=_kind(error))
    await _settle(row, {"next_at": now() + delay_after(row["tries"]), "error": _kind(error)})
    return "retry"


async def _given_up(row: Mapping[str, Any], error: Exception) -> str:
    log.error("an event of PayPal was given up", event_id=row["_id"], tries=row["tries"], error=_kind(error))
    clinic = await PaypalRoute.rows({"_id": {"$in": row["subjects"]}}, projection={"clinic_id": 1}, limit=1)
    values = {"status": EventState.DEAD.value, "clinic_id": clinic[0]["clinic_id"] if clinic else None}
    await _settle(row, {**values, "error": _kind(error)})
    return EventState.DEAD.value


def _kind(error: Exception) -> str:
    if isinstance(error, PaypalRefused):
        return error.issue
    return error.code.value if isinstance(error, AppError) and not isinstance(error, Mismatch) else type(error).__name__


async def _settle(row: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Notes the outcome, if the event still is ours: a lease that ran out may be another's by now."""
    over = {"settled_at": now(), "purge_at": _purge_at(values["status"])} if "status" in values else {}
    await PaypalEvent.guarded().update_one(
        {"_id": row["_id"], "status": EventState.WAITING.value, "tries": row["tries"]}, {"$set": {**values, **over}}
    )


def _purge_at(status: str) -> Any:
    """Dead letters stay until somebody has seen to them."""
    return None if status == EventState.DEAD.value else now() + KEPT


# --- for those who run the system -----------------------------------------------------------------------------------


async def listed(states: list[EventState], limit: int = 1_000) -> list[dict[str, Any]]:
    """Events in these states, the latest first."""
    chosen = {"status": {"$in": [state.value for state in states]}}
    return await PaypalEvent.rows(chosen, sort=[("received_at", -1), ("_id", -1)], limit=limit)


async def replay(event_id: str | None, reason: str, *, at: str = "") -> int:
    """Lets dead events (that one, in whatever state it is, or all dead ones) be handled anew; how many they are.

    Safe at any time: an event is handled by what PayPal says then. Raises NOT_FOUND at the path `at`, and
    VALIDATION_FAILED at `input.reason`.
    """
    said = reason_of(reason)
    chosen = {"_id": event_id} if event_id is not None else {"status": EventState.DEAD.value}
    anew = {"status": EventState.WAITING.value, "tries": 0, "next_at": now(), "settled_at": None, "purge_at": None}

    async def work(session: AsyncClientSession) -> int:
        event = await PaypalEvent.get(event_id, session=session) if event_id is not None else None
        if event_id is not None and event is None:
            raise NotFound.at(at) if at else NotFound("There is no such event.")
        done = await PaypalEvent.guarded().update_many(chosen, {"$set": anew}, session=session)
        if done.matched_count:
            clinic = event.clinic_id if event is not None else None
            await note_act("paypal_event.replay", said, clinic_id=clinic, subject=event, session=session)
        count: int = done.matched_count
        return count

    return await in_transaction(work)
