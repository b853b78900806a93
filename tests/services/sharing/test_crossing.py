"""The steps from one clinic to another: what opens them, what they leave behind, and what they can never open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession

from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import NotFound, TenantGuardRefused
from app.services.deletion import delete_tenant
from app.services.sharing import redemption
from app.services.sharing.lending import Emergency, SharedBy, lent
from app.tenancy.crossing import neighbour_scope, other_clinics, tenant_scope
from app.tenancy.scope import Actor, Database, current_scope
from models import Appointment, Consent, Patient, PatientRecord, PlatformAudit, ReceivedShare, Room, Tenant
from models.consent import ShareCategory
from models.room import RoomKind
from models.values import now
from tests.fixtures.clinics import MakeClinic, Server
from tests.resolvers.patient_calls import UPDATE
from tests.resolvers.sharing_calls import BIRTH, CONSENTS, RECEIVED, REVOKE, Desk, nodes

ERASE = "mutation($input: ErasePatientInput!) { erasePatient(input: $input) { status } }"
EVERYTHING = tuple(ShareCategory)


@pytest_asyncio.fixture
async def desks(make_clinic: MakeClinic, server: Server) -> tuple[Desk, Desk, Desk]:
    a, b, c = [Desk(clinic, await server.sign_in(clinic)) for clinic in [await make_clinic() for _ in range(3)]]
    return a, b, c


@pytest_asyncio.fixture
async def raw(server: Server, settings: Settings) -> AsyncIterator[Database]:
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        yield client[settings.mongodb_database]


def actor_of(desk: Desk) -> Actor:
    """The clinic's admin, with all the rights that they have there."""
    user = desk.clinic.staff["admin"].user_id
    assert user is not None
    return Actor(user_id=user, session_id="test", name="Ada", email=desk.clinic.emails["admin"], role="admin")


# --- one step ---------------------------------------------------------------------------------------------------------


async def test_nobody_acts_at_the_other_clinic_with_rights_of_their_own(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, _ = desks
    async with tenant_scope(b.clinic.ref, actor=actor_of(b)):
        async with neighbour_scope(a.clinic.tenant.key, action="patient.read_across") as there:
            assert there is current_scope()
            assert there is not None
            assert there.tenant_id == a.clinic.ref.id
            assert (there.actor, there.system_reason) == (None, None)
        assert current_scope().tenant_id == b.clinic.tenant.key


async def test_a_step_that_cannot_be_audited_does_not_open(
    desks: tuple[Desk, Desk, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = desks
    opened = False

    async def refuse(self: PlatformAudit, **options: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(PlatformAudit, "insert", refuse)
    async with tenant_scope(b.clinic.ref, actor=actor_of(b)):
        with pytest.raises(ConnectionError):
            async with neighbour_scope(a.clinic.tenant.key, action="patient.read_across"):
                opened = True
    assert not opened


async def test_a_transaction_serves_the_other_clinic_in_its_step_and_nowhere_else(
    desks: tuple[Desk, Desk, Desk],
) -> None:
    a, b, c = desks

    async def work(session: AsyncClientSession) -> None:
        await Room(name="At B", name_key="at b", kind=RoomKind.OTHER).insert(session=session)
        async with neighbour_scope(a.clinic.tenant.key, action="patient.share", session=session):
            await Room(name="At A", name_key="at a", kind=RoomKind.OTHER).insert(session=session)
            with pytest.raises(TenantGuardRefused):
                async with tenant_scope(c.clinic.ref):
                    await Room.rows({}, session=session)
        with pytest.raises(TenantGuardRefused):
            async with tenant_scope(a.clinic.ref):
                await Room.rows({}, session=session)
        raise NotFound

    async with tenant_scope(b.clinic.ref, actor=actor_of(b)):
        with pytest.raises(NotFound):
            await in_transaction(work)
    for desk in (a, b):
        async with tenant_scope(desk.clinic.ref):
            assert await Room.rows({}) == [], "neither half stays without the other"


async def test_whose_else_a_patient_is_is_told_of_ones_own_only(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, c = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    id = ObjectId(patient["id"])
    for desk, others in ((a, [b.clinic.tenant.key]), (b, [a.clinic.tenant.key]), (c, [])):
        async with tenant_scope(desk.clinic.ref):
            assert await other_clinics(id) == others


# --- capabilities -----------------------------------------------------------------------------------------------------


async def test_a_share_opens_the_records_of_its_own_patient_at_the_clinic_that_redeemed_it(
    desks: tuple[Desk, Desk, Desk],
) -> None:
    a, b, c = desks
    patient, other = await a.patient(), await a.patient()
    await a.shared_with(b, patient)
    await a.shared_with(b, other, categories=["DEMOGRAPHICS"])
    async with tenant_scope(b.clinic.ref, actor=actor_of(b)):
        [row] = await ReceivedShare.rows({"patient_id": ObjectId(patient["id"])})
        mine = await lent(SharedBy(row["patient_id"], row["route"]), EVERYTHING)
        assert mine is not None
        assert mine["records"]["notes"][0]["text"] == "private to the clinic"
        assert await lent(SharedBy(ObjectId(other["id"]), row["route"]), EVERYTHING) is None
        assert await lent(SharedBy(row["patient_id"], "made-up"), EVERYTHING) is None
    async with tenant_scope(c.clinic.ref, actor=actor_of(c)):
        assert await lent(SharedBy(row["patient_id"], row["route"]), EVERYTHING) is None


async def test_an_emergency_that_nobody_declared_opens_nothing(desks: tuple[Desk, Desk, Desk]) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.shared_with(b, patient, categories=["DEMOGRAPHICS"])
    forged = Emergency(ObjectId(patient["id"]), "made-up", a.clinic.tenant.key, now() + timedelta(hours=1))
    async with tenant_scope(b.clinic.ref, actor=actor_of(b)):
        assert await lent(forged, EVERYTHING) is None


# --- all or nothing ---------------------------------------------------------------------------------------------------


async def test_a_redemption_that_fails_at_its_end_changes_nothing_at_either_clinic(
    desks: tuple[Desk, Desk, Desk], monkeypatch: pytest.MonkeyPatch, raw: Database
) -> None:
    a, b, _ = desks
    patient = await a.patient()
    await a.consent(patient)
    issued = await a.share(patient)

    async def fail(self: ReceivedShare, **options: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(ReceivedShare, "insert", fail)
        async with tenant_scope(b.clinic.ref, actor=actor_of(b)):
            with pytest.raises(ConnectionError):
                await redemption.redeem(issued["code"], date.fromisoformat(BIRTH))

    stored = await raw["patients"].find_one({"_id": ObjectId(patient["id"])})
    assert stored is not None
    assert stored["tenant_ids"] == [a.clinic.tenant.key]
    share = await raw["share_codes"].find_one({"_id": ObjectId(issued["shareCode"]["id"])})
    assert share is not None
    assert (share["state"], share["receiver_name"]) == ("open", None)
    async with tenant_scope(b.clinic.ref):
        assert await PatientRecord.rows({}) == []
    assert (await b.redeem(issued["code"])).data["redeemPatientShare"]["patient"]["id"] == patient["id"]


async def test_a_consent_revoked_in_the_moment_of_redemption_is_one_before_the_other(
    desks: tuple[Desk, Desk, Desk],
) -> None:
    """Both write to the consent: either the code is refused, or the redemption came first and opens nothing now."""
    a, b, _ = desks
    for _ in range(4):
        patient = await a.patient()
        consent = await a.consent(patient)
        issued = await a.share(patient, consentId=consent["id"])
        revoke = {"id": consent["id"], "version": consent["version"]}
        redeemed, revoked = await asyncio.gather(b.redeem(issued["code"]), a.client.gql(REVOKE, input=revoke))
        assert revoked.data["revokeConsent"]["state"] == "REVOKED"
        assert redeemed.codes in ([], ["NOT_FOUND"])
        [kept] = nodes(await a.client.gql(CONSENTS, filter={"patientId": patient["id"]}))
        assert kept["redemptions"] == (0 if redeemed.codes else 1)
        async with tenant_scope(b.clinic.ref):
            here = await Patient.rows({"_id": ObjectId(patient["id"])})
        assert bool(here) is not bool(redeemed.codes)
        if here:
            assert await b.history(patient) == []


async def test_a_clinic_that_shared_can_be_deleted_and_so_can_the_one_that_it_shared_with(
    desks: tuple[Desk, Desk, Desk], raw: Database
) -> None:
    """No id of either is left at the other, and a patient of both stays the other's."""
    a, b, c = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    await b.shared_with(c, patient)
    assert await c.history(patient)

    for gone in (c, a):
        tenant = await Tenant.get(gone.clinic.tenant.key)
        assert tenant is not None
        await delete_tenant(tenant, actor="test", exports=None, settle=timedelta(0))

    assert await b.history(patient) == []
    stored = await raw["patients"].find_one({"_id": ObjectId(patient["id"])})
    assert stored is not None
    assert stored["tenant_ids"] == [b.clinic.tenant.key]
    assert await raw["share_routes"].count_documents({"giver_id": a.clinic.tenant.key}) == 0
    async with tenant_scope(b.clinic.ref):
        assert len(await Consent.rows({})) == 1


async def test_the_log_does_not_tell_which_other_clinic_changed_a_patient(
    desks: tuple[Desk, Desk, Desk], raw: Database
) -> None:
    """Neither by name nor by the network address from which its people work."""
    a, b, c = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    await a.shared_with(c, patient)
    changed = await b.client.gql(UPDATE, input={"id": patient["id"], "version": 1, "phone": "+12125550199"})
    assert changed.codes == []

    wanted = {"tenant_id": c.clinic.tenant.key, "action": "updatePatient"}
    entries = [one async for one in raw["audit_entries"].find(wanted)]
    assert entries
    for entry in entries:
        assert entry["crossed"] is True
        assert (entry["address"], entry["user_id"], entry["operator_entry"]) == ("", None, None)
    [own, *_] = [one async for one in raw["audit_entries"].find({**wanted, "tenant_id": b.clinic.tenant.key})]
    assert own["address"] != ""


async def test_an_erased_patient_is_neither_given_nor_taken_in_again(desks: tuple[Desk, Desk, Desk]) -> None:
    """What is left of them is held by law alone."""
    a, b, c = desks
    patient = await a.patient()
    await a.shared_with(b, patient)
    again = (await a.share(patient))["code"]
    for desk in (b, a):
        await desk.appointment(patient)
        async with tenant_scope(desk.clinic.ref):
            done = {"$set": {"status": "fulfilled"}}
            await Appointment.guarded().update_many({"patient_id": ObjectId(patient["id"])}, done)
            [record] = await PatientRecord.rows({"patient_id": ObjectId(patient["id"])})
        given = {"patientId": patient["id"], "code": record["code"], "basis": "OBJECTION"}
        erased = await desk.client.gql(ERASE, input=given)
        assert erased.data["erasePatient"]["status"] == "PARTIAL"
        if desk is b:
            assert (await b.redeem(again)).codes == ["INVALID_STATE"]
            assert nodes(await b.client.gql(RECEIVED, patientId=patient["id"])) == []
    assert (await a.try_share(patient)).codes == ["INVALID_STATE"]
    assert (await c.redeem(again)).codes == ["NOT_FOUND"]
