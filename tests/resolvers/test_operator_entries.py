"""Timed entries of those who run the system into a clinic: what they open, what they do not, and what ends them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from app.auth.operators import PATIENT_DATA, SET_UP
from app.permissions import Permission, PlatformRole
from app.tenancy.crossing import tenant_scope
from models import AuditEntry, OperatorEntry, PlatformAudit
from models.references import references_of
from models.values import now
from tests.contracts._schema import root_fields
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands
from tests.fixtures.operators import MakeOperator, Running
from tests.fixtures.people import SignedIn
from tests.resolvers.test_operators import CHANGE, DISABLE, REASON, REVOKE, aimed

ENTER = """mutation($input: EnterClinicInput!) {
    enterClinic(input: $input) { id reason patientData until clinic { subdomain } }
}"""
LEAVE = "mutation { leaveClinicEntry }"
VIEWER = "{ viewer { role permissions clinic { subdomain } } }"
STAFF = "{ staff { edges { node { id } } } }"
PATIENTS = "{ patients { totalCount } }"
CREATE = 'mutation { createPatient(input: {givenName: "Not", familyName: "Written"}) { id } }'
ENTRIES = """{ operatorEntries {
    edges { node { operator reason patientData startedAt until endedAt } } totalCount
} }"""
TICKET = "SUP-1234: the calendar shows no appointments"


def asked(clinic: Clinic, **more: Any) -> dict[str, Any]:
    return {"tenantId": str(clinic.tenant.id), "reason": REASON, "minutes": 15, **more}


async def entered(running: Running, clinic: Clinic, **more: Any) -> dict[str, Any]:
    answer = await running.client.gql(ENTER, input=asked(clinic, **more))
    shown: dict[str, Any] = answer.data["enterClinic"]
    return shown


async def counts(clinic: Clinic) -> list[int]:
    """Entries, notes above the clinics, and notes at the clinic."""
    async with tenant_scope(clinic.ref):
        noted = await AuditEntry.find({}).count()
    return [await OperatorEntry.count(), await PlatformAudit.count(), noted]


# --- what an entry opens ----------------------------------------------------------------------------------------------


async def test_support_sees_how_a_clinic_is_set_up_and_changes_nothing(
    make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    there = support.at(clinic)
    before = await there.gql(STAFF)

    entry = await entered(support, clinic)

    assert before.codes == ["TENANT_MISMATCH"]
    assert entry["clinic"] == {"subdomain": clinic.tenant.subdomain}
    viewer = (await there.gql(VIEWER)).data["viewer"]
    assert viewer["role"] == "operator"
    assert set(viewer["permissions"]) == {right.value for right in SET_UP}
    assert len((await there.gql(STAFF)).data["staff"]["edges"]) == len(clinic.emails)
    for refused in (PATIENTS, CREATE, "{ lab: labResults { totalCount } }"):
        assert (await there.gql(refused)).codes == ["FORBIDDEN"]


def test_no_entry_permits_a_change_or_clinical_content() -> None:
    assert {right.action for right in SET_UP | PATIENT_DATA} == {"read"}
    assert not (SET_UP | PATIENT_DATA) & {
        Permission.VISIT_READ,
        Permission.PRESCRIPTION_READ,
        Permission.LAB_RESULT_READ,
        Permission.IMAGING_READ,
        Permission.DOCUMENT_READ,
        Permission.MESSAGE_READ,
        Permission.PAYMENT_READ,
        Permission.AUDIT_LOG_READ,
    }


def test_nothing_that_any_entry_opens_is_about_a_patient() -> None:
    """A field of tomorrow under one of these rights is seen here."""
    opened = [root for root in root_fields() if root.permission in SET_UP]
    assert len(opened) > 10
    for root in opened:
        assert not root.is_mutation
        if root.model is not None:
            targets = {mark.collection for mark in references_of(cast(Any, root.model)).values()}
            assert "patients" not in targets | {root.model.guarded_name()}, root


async def test_patients_are_shown_only_where_that_was_asked_for_with_a_ticket(
    make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    before = await counts(clinic)

    without = await support.client.gql(ENTER, input=asked(clinic, patientData=True))
    assert (without.codes, without.paths) == (["VALIDATION_FAILED"], ["input.reason"])
    assert await counts(clinic) == before

    await entered(support, clinic, patientData=True, reason=TICKET)
    there = support.at(clinic)
    assert (await there.gql(PATIENTS)).data["patients"]["totalCount"] == 0
    assert (await there.gql(CREATE)).codes == ["FORBIDDEN"]


async def test_an_entry_opens_no_other_clinic_and_nothing_above_them(
    make_operator: MakeOperator, make_clinic: MakeClinic, clinic_b: Clinic
) -> None:
    clinic, admin = await make_clinic(), await make_operator()
    await entered(admin, clinic)
    assert (await admin.at(clinic_b).gql(STAFF)).codes == ["TENANT_MISMATCH"]
    for query in ("{ tenants { totalCount } }", "{ operators { totalCount } }", "{ platformAudit { totalCount } }"):
        assert (await admin.at(clinic).gql(query)).codes == ["FORBIDDEN"]
    assert (await admin.client.gql("{ tenants { totalCount } }")).status == 200


async def test_another_session_of_the_same_operator_is_not_let_in(
    server: Server, make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    from app.auth.sessions import open_session

    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    await entered(support, clinic)
    other = await open_session(support.user, server.settings, clinic=None, address="", device="other")
    assert (await server.client(clinic.host, other.token).gql(STAFF)).codes == ["TENANT_MISMATCH"]


async def test_ordinary_staff_cost_no_look_for_an_entry(
    signed_in: SignedIn, clinic_a: Clinic, commands: Commands
) -> None:
    member = await signed_in(clinic_a, "doctor")
    commands.clear()
    assert (await member.gql(PATIENTS)).status == 200
    assert not commands.on("operator_entries")
    assert not commands.on("operators")


# --- what the clinic sees ---------------------------------------------------------------------------------------------


async def test_the_clinic_sees_the_entry_and_everything_done_by_it(
    server: Server, make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT, name="Sue Support")
    await entered(support, clinic, patientData=True, reason=TICKET)
    await support.at(clinic).gql(PATIENTS)
    admin = await server.sign_in(clinic)

    [edge] = (await admin.gql(ENTRIES)).data["operatorEntries"]["edges"]
    log = (await admin.gql("{ auditLog { edges { node { actor action person { name } } } } }")).data["auditLog"]

    assert (edge["node"]["operator"], edge["node"]["reason"]) == ("Sue Support", TICKET)
    assert edge["node"]["patientData"] is True
    assert edge["node"]["endedAt"] is None
    acts = {one["node"]["action"]: one["node"] for one in log["edges"] if one["node"]["actor"] == "OPERATOR"}
    assert "operator.enter" in acts
    assert acts["operator.enter"]["person"] is None, "who it was is said by the entry; the log names the clinic's own"
    noted = await PlatformAudit.find_one({"tenant": clinic.tenant.id, "action": "clinic.enter.patient_data"})
    assert noted is not None
    assert (noted.actor, noted.reason) == (str(support.user.id), TICKET)


async def test_another_clinic_sees_nothing_of_it(
    make_operator: MakeOperator, make_clinic: MakeClinic, signed_in: SignedIn, clinic_b: Clinic
) -> None:
    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    await entered(support, clinic, reason="a reason that only one clinic sees")
    answer = await (await signed_in(clinic_b)).gql(ENTRIES)
    assert "only one clinic" not in answer.response.text


async def test_staff_without_the_right_to_the_audit_do_not_see_entries(clinic_a: Clinic, signed_in: SignedIn) -> None:
    assert (await (await signed_in(clinic_a, "nurse")).gql(ENTRIES)).codes == ["FORBIDDEN"]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"minutes": 61}, "input.minutes"),
        ({"minutes": 0}, "input.minutes"),
        ({"reason": "because"}, "input.reason"),
        ({"tenantId": "f" * 24}, "input.tenantId"),
        ({"tenantId": "nonsense"}, "input.tenantId"),
    ],
)
async def test_a_wrong_entry_is_refused_and_noted_nowhere(
    make_operator: MakeOperator, clinic_a: Clinic, more: dict[str, Any], path: str
) -> None:
    support, before = await make_operator(PlatformRole.SUPPORT), await counts(clinic_a)
    answer = await support.client.gql(ENTER, input=asked(clinic_a, **more))
    assert answer.paths == [path]
    assert await counts(clinic_a) == before


async def test_readers_and_strangers_may_not_enter(make_operator: MakeOperator, clinic_a: Clinic) -> None:
    before = await counts(clinic_a)
    for role in (PlatformRole.READONLY, None):
        somebody = await make_operator(role)
        assert (await somebody.client.gql(ENTER, input=asked(clinic_a))).codes == ["FORBIDDEN"]
        assert (await somebody.at(clinic_a).gql(STAFF)).codes == ["TENANT_MISMATCH"]
    assert await counts(clinic_a) == before


async def test_an_entry_is_not_opened_on_a_clinics_host(make_operator: MakeOperator, clinic_a: Clinic) -> None:
    support = await make_operator(PlatformRole.SUPPORT)
    assert (await support.at(clinic_a).gql(ENTER, input=asked(clinic_a))).codes == ["FORBIDDEN"]


async def test_a_clinic_that_does_not_answer_is_not_entered(
    make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    from models import Tenant

    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    await Tenant.find_one({"_id": clinic.tenant.id}).update({"$set": {"status": "suspended"}})
    assert (await support.client.gql(ENTER, input=asked(clinic))).codes == ["INVALID_STATE"]


# --- what ends it -----------------------------------------------------------------------------------------------------


async def _time_passes(entry: dict[str, Any], running: Running, admin: Running) -> None:
    await OperatorEntry.find_one({"user_id": running.user.id}).update({"$set": {"until": now() - timedelta(seconds=1)}})


async def _leaves_on_the_root_host(entry: dict[str, Any], running: Running, admin: Running) -> None:
    assert (await running.client.gql(LEAVE)).data == {"leaveClinicEntry": True}


async def _signs_out(entry: dict[str, Any], running: Running, admin: Running) -> None:
    assert (await running.client.gql("mutation { logout }")).data == {"logout": True}


async def _is_revoked(entry: dict[str, Any], running: Running, admin: Running) -> None:
    assert (await admin.client.gql(REVOKE, input=aimed(running))).data == {"revokeOperator": True}


async def _is_made_a_reader(entry: dict[str, Any], running: Running, admin: Running) -> None:
    assert not (await admin.client.gql(CHANGE, input=aimed(running, role="READONLY"))).errors


async def _is_disabled(entry: dict[str, Any], running: Running, admin: Running) -> None:
    assert not (await admin.client.gql(DISABLE, input={"email": running.user.email, "reason": REASON})).errors


@pytest.mark.parametrize(
    "ending",
    [_time_passes, _leaves_on_the_root_host, _signs_out, _is_revoked, _is_made_a_reader, _is_disabled],
    ids=lambda ending: ending.__name__.strip("_"),
)
async def test_an_entry_that_has_ended_holds_from_the_next_request_in_every_process(
    server: Server, make_operator: MakeOperator, make_clinic: MakeClinic, ending: Any
) -> None:
    clinic, admin, support = await make_clinic(), await make_operator(), await make_operator(PlatformRole.SUPPORT)
    entry = await entered(support, clinic)
    tabs = [support.at(clinic), server.variant().client(clinic.host, support.client.token)]
    for tab in tabs:
        assert (await tab.gql(STAFF)).status == 200

    await ending(entry, support, admin)

    for tab in tabs:
        answer = await tab.gql(STAFF)
        assert answer.codes in (["TENANT_MISMATCH"], ["UNAUTHENTICATED"])
        assert not any((answer.body.get("data") or {}).values())


async def test_leaving_on_the_clinics_host_is_noted_there_and_what_follows_runs_as_nobody(
    server: Server, make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    await entered(support, clinic)
    there = support.at(clinic)

    both = await there.gql("mutation { leaveClinicEntry again: leaveClinicEntry }")
    twice = await there.gql(LEAVE)

    assert both.body["data"] == {"leaveClinicEntry": True, "again": None}
    assert both.codes == ["UNAUTHENTICATED"]
    assert twice.data == {"leaveClinicEntry": False}
    assert (await there.gql(STAFF)).codes == ["TENANT_MISMATCH"]
    [edge] = (await (await server.sign_in(clinic)).gql(ENTRIES)).data["operatorEntries"]["edges"]
    assert edge["node"]["endedAt"] is not None
    async with tenant_scope(clinic.ref):
        left = await AuditEntry.find({"action": "operator.leave"}).to_list()
    assert [one.user_id for one in left] == [support.user.id]


async def test_a_member_has_no_entry_to_leave(clinic_a: Clinic, signed_in: SignedIn) -> None:
    member = await signed_in(clinic_a, "nurse")
    assert (await member.gql(LEAVE)).data == {"leaveClinicEntry": False}
    assert (await member.gql("{ viewer { role } }")).data == {"viewer": {"role": "nurse"}}


async def test_entering_again_replaces_the_entry_and_at_once_leaves_one(
    make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    await entered(support, clinic, patientData=True, reason=TICKET)
    await entered(support, clinic)
    assert (await support.at(clinic).gql(PATIENTS)).codes == ["FORBIDDEN"]

    answers = await asyncio.gather(*(support.client.gql(ENTER, input=asked(clinic)) for _ in range(4)))
    assert {code for answer in answers for code in answer.codes} <= {"CONFLICT", "UNAVAILABLE"}
    still_open = await OperatorEntry.find({"user_id": support.user.id, "ended_at": None}).to_list()
    assert len(still_open) == 1


async def test_in_production_an_operator_without_a_second_factor_does_not_enter(
    server: Server, make_operator: MakeOperator, clinic_a: Clinic
) -> None:
    from app.errors import Forbidden
    from app.services.clinic_entries import enter
    from app.tenancy.scope import Actor, Scope, open_scope

    support = await make_operator(PlatformRole.SUPPORT)
    before = await counts(clinic_a)
    for second_factor in (False, True):
        actor = Actor(support.user.key, "a-session", "Sue", support.user.email, second_factor=second_factor)
        with open_scope(Scope(request_id="test", actor=actor)):
            if second_factor:
                await enter(clinic_a.tenant.key, REASON, 5, patient_data=False, production=True)
            else:
                with pytest.raises(Forbidden):
                    await enter(clinic_a.tenant.key, REASON, 5, patient_data=False, production=True)
                assert await counts(clinic_a) == before


async def test_an_operator_who_has_a_second_factor_must_have_shown_it_in_this_session(
    server: Server, make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    from app.auth.sessions import open_session
    from models import SecondFactor

    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    await SecondFactor(user_id=support.user.key, confirmed_at=now()).insert()
    before = await counts(clinic)

    without = await support.client.gql(ENTER, input=asked(clinic))
    assert without.codes == ["FORBIDDEN"]
    assert await counts(clinic) == before

    opened = await open_session(
        support.user, server.settings, clinic=None, address="", device="test", second_factor=True
    )
    assert not (await server.client(token=opened.token).gql(ENTER, input=asked(clinic))).errors


async def test_a_deleted_clinic_takes_its_entries_along_and_leaves_operators_and_the_platforms_audit(
    make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    from app.services.deletion import delete_tenant
    from models import ExternalIdentity, Operator, Session, User

    clinic, support = await make_clinic(), await make_operator(PlatformRole.SUPPORT)
    await entered(support, clinic)
    member = await User.find_one({"email": clinic.emails["nurse"]})
    assert member is not None
    await Operator(user_id=member.key, role=PlatformRole.READONLY).insert()
    async with tenant_scope(clinic.ref):
        await ExternalIdentity(issuer="https://login.example.org", subject="nurse", user_id=member.key).insert()

    await delete_tenant(clinic.tenant, actor="test", exports=None, settle=timedelta(0))

    assert await OperatorEntry.find({"clinic_id": clinic.tenant.id}).count() == 0
    assert await Session.find({"only_clinic_id": clinic.tenant.id}).count() == 0
    assert await PlatformAudit.find({"tenant": clinic.tenant.id, "action": "clinic.enter"}).count() == 1
    assert await User.get(member.key) is not None
    assert (await support.client.gql("{ tenants { totalCount } }")).status == 200
