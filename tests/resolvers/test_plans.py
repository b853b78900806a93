"""What a plan gives: seats, room and features; and what is left of it once it has ended, whether or not a job ran."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from app.jobs.runs import run_job
from app.plans import GRACE, PLANS, PlanName
from app.services.subscription import keeping, reminders
from app.services.subscription.granting import grant
from app.services.subscription.reminders import Reminder, reminder_at
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import AuditEntry, StorageUsage, Tenant
from models.tenant import Language
from models.values import now
from tests.fixtures.clinics import ROLE_NAMES, Answer, Client, Clinic, MakeClinic, Server
from tests.fixtures.mailbox import Mailbox, text_of
from tests.fixtures.paypal import STATUS, Till, set_up
from tests.http.document_calls import PDF, code_of, upload
from tests.resolvers.patient_calls import register
from tests.resolvers.test_invitations import NEW_PASSWORD, accept, fresh_email, invite
from tests.resolvers.test_staff_access import DISABLE, ENABLE, of

Json = dict[str, Any]
PATIENTS = "{ patients { totalCount } }"
CREATE_PATIENT = "mutation($input: CreatePatientInput!) { createPatient(input: $input) { id } }"
USAGE = """{ subscriptionUsage { seats seatsTaken storageBytes storageUsedBytes patients features }
    subscriptionPlans { name seats storageBytes features renewable monthly { amount currency } yearly { amount } }
    subscriptionDashboard { subscription { plan status } usage { seats } payments { id } plans { name } } }"""
CONNECT = "mutation($input: CreateLabConnectionInput!) { createLabConnection(input: $input) { connection { id } } }"


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def boss(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def stands(clinic: Clinic, **values: Any) -> None:
    """Lets a clinic's stored subscription be as it would be at another time."""
    await Tenant.guarded().update_one(
        {"_id": clinic.tenant.key}, {"$set": {f"subscription.{name}": value for name, value in values.items()}}
    )


async def over(clinic: Clinic, by: timedelta = timedelta(seconds=1)) -> None:
    """Lets the trial have ended so long ago."""
    await stands(clinic, expires_at=now() - by, trial_ends_at=now() - by)


async def given(clinic: Clinic, plan: PlanName, days: int = 30) -> None:
    with open_scope(Scope(request_id="test-grant")):
        await grant(clinic.tenant, plan, now() + timedelta(days=days), "for the tests of plans")


async def job(name: str, server: Server) -> None:
    """Runs a job, unless a run of another test is under way: then after it."""
    with open_scope(Scope(request_id=f"test-{name}")):
        while (await run_job(name, server.settings)).running:
            await asyncio.sleep(0.02)


async def shown(client: Client) -> Json:
    answer: Json = (await client.gql(STATUS)).data["subscriptionStatus"]
    return answer


async def new_patient(client: Client) -> Answer:
    return await client.gql(CREATE_PATIENT, input={"givenName": "Pia", "familyName": "Patient"})


# --- seats ------------------------------------------------------------------------------------------------------------


async def test_seats_are_never_exceeded_however_many_come_at_once(
    server: Server, clinic: Clinic, boss: Client, mailbox: Mailbox
) -> None:
    await given(clinic, PlanName.BASIC)
    seats = PLANS[PlanName.BASIC].seats
    free = seats - len(ROLE_NAMES)  # there is somebody in each of the roles
    emails = [fresh_email() for _ in range(free + 4)]
    for email in emails:
        assert not (await invite(boss, clinic, email)).errors
    tokens = [await mailbox.token(email) for email in emails]

    async def join(token: str) -> Answer:
        """Asks again where others were in the way."""
        while "UNAVAILABLE" in (answer := await accept(server, clinic, token, password=NEW_PASSWORD)).codes:
            pass
        return answer

    answers = await asyncio.gather(*(join(token) for token in tokens))
    taken = [one for one in answers if not one.errors]
    assert len(taken) == free
    assert {code for one in answers for code in one.codes} == {"QUOTA_EXCEEDED"}
    usage = (await boss.gql(USAGE)).data["subscriptionUsage"]
    assert (usage["seats"], usage["seatsTaken"]) == (seats, seats)

    # a seat that somebody leaves is free for the next one; the invitation has kept
    refused = tokens[next(place for place, one in enumerate(answers) if one.errors)]
    assert (await boss.gql(DISABLE, input=of(clinic, "nurse"))).errors == []
    assert not (await accept(server, clinic, refused, password=NEW_PASSWORD)).errors
    back = await boss.gql(ENABLE, input=of(clinic, "nurse"))
    assert back.codes == ["QUOTA_EXCEEDED"]
    assert back.errors[0]["message"] == f"All {seats} seats of the plan BASIC are taken."


# --- room -------------------------------------------------------------------------------------------------------------


async def test_the_room_for_files_is_the_plans(server: Server, clinic: Clinic, boss: Client) -> None:
    await given(clinic, PlanName.BASIC)
    room = PLANS[PlanName.BASIC].storage
    assert (await upload(boss)).status_code == 201
    async with tenant_scope(clinic.ref):
        await StorageUsage.guarded().update_one({}, {"$set": {"used": room - len(PDF) + 1}})
    assert code_of(await upload(boss))[0] == "QUOTA_EXCEEDED"
    usage = (await boss.gql(USAGE)).data["subscriptionUsage"]
    assert (usage["storageBytes"], usage["storageUsedBytes"]) == (str(room), str(room - len(PDF) + 1))
    await given(clinic, PlanName.PRO)
    assert (await upload(boss)).status_code == 201


# --- features ---------------------------------------------------------------------------------------------------------


async def test_a_feature_is_there_with_the_plans_that_have_it(clinic: Clinic, boss: Client) -> None:
    assert not (await boss.gql(CONNECT, input={"name": "Trial Labs"})).errors
    await given(clinic, PlanName.BASIC)
    refused = await boss.gql(CONNECT, input={"name": "Basic Labs"})
    assert refused.codes == ["PLAN_REQUIRED"]
    assert refused.errors[0]["message"] == "The plan BASIC does not include this: it needs LABORATORIES."
    await given(clinic, PlanName.PRO)
    assert not (await boss.gql(CONNECT, input={"name": "Pro Labs"})).errors


async def test_what_is_offered_and_used_is_shown(till: Till, boss: Client) -> None:
    asked = (await till.at(boss).gql(USAGE)).data
    plans = asked["subscriptionPlans"]
    assert [one["name"] for one in plans] == ["BASIC", "PRO", "ENTERPRISE"]
    assert plans[0]["monthly"] == {"amount": "49.00", "currency": "USD"}
    assert plans[1]["renewable"] == ["MONTHLY", "YEARLY"]
    assert asked["subscriptionUsage"]["features"] == ["LABORATORIES", "SINGLE_SIGN_ON"]
    assert asked["subscriptionDashboard"]["subscription"] == {"plan": "TRIAL", "status": "TRIAL"}
    assert asked["subscriptionDashboard"]["payments"] == []
    assert (await boss.gql(USAGE)).data["subscriptionPlans"][1]["renewable"] == []


# --- once it has ended ------------------------------------------------------------------------------------------------


async def test_once_the_trial_is_over_the_clinic_reads_and_does_not_write(
    server: Server, clinic: Clinic, boss: Client
) -> None:
    patient = await register(boss)
    await over(clinic)
    again = await server.sign_in(clinic)  # everybody can sign in
    assert (await again.gql(PATIENTS)).data["patients"]["totalCount"] == 1
    for client in (boss, again):
        refused = await new_patient(client)
        assert refused.codes == ["PLAN_REQUIRED"]
        assert "renew it to go on" in refused.errors[0]["message"]
    assert (await boss.gql(PATIENTS)).data["patients"]["totalCount"] == 1
    taken = await upload(boss)
    assert (taken.status_code, code_of(taken)[0]) == (402, "PLAN_REQUIRED")
    export = await boss.http.get(
        f"/api/patients/{patient['id']}/export",
        headers={"Authorization": f"Bearer {boss.token}", "X-Polyclinic-Client": "tests"},
    )
    assert export.status_code != 402
    assert (await shown(boss))["works"] is False


async def test_it_ends_at_its_moment_with_no_job_and_in_every_process(
    server: Server, clinic: Clinic, boss: Client
) -> None:
    """The next request sees it, though each process keeps what it knows of the clinic for a while."""
    other = set_up(server)
    there = other.client(clinic.host, boss.token, address=boss.address)
    assert not (await new_patient(there)).errors
    await over(clinic)
    for client in (boss, there):
        assert (await new_patient(client)).codes == ["PLAN_REQUIRED"]


async def test_paying_opens_it_again_with_the_next_request(till: Till, clinic: Clinic, boss: Client) -> None:
    await over(clinic, timedelta(days=40))
    await job("move-subscriptions", till.server)
    assert (await new_patient(boss)).codes == ["PLAN_REQUIRED"]
    await till.pay(boss)
    assert not (await new_patient(boss)).errors
    steps = (await shown(boss))["history"]
    assert [one["status"] for one in steps] == ["ACTIVE", "EXPIRED"]
    assert timedelta(days=28) <= datetime.fromisoformat((await shown(boss))["expiresAt"]) - now() <= timedelta(days=31)


async def test_a_paid_plan_has_days_of_grace(till: Till, clinic: Clinic, boss: Client) -> None:
    await till.pay(boss)
    await stands(clinic, expires_at=now() - GRACE + timedelta(minutes=1))
    assert not (await new_patient(boss)).errors
    await stands(clinic, expires_at=now() - GRACE - timedelta(minutes=1))
    assert (await new_patient(boss)).codes == ["PLAN_REQUIRED"]


async def test_where_plans_are_off_nothing_ends(server: Server, clinic: Clinic, boss: Client) -> None:
    await over(clinic)
    try:
        free = set_up(server, subscriptions=False)
        there = free.client(clinic.host, boss.token, address=boss.address)
        assert not (await new_patient(there)).errors
    finally:
        set_up(server)
    assert (await new_patient(boss)).codes == ["PLAN_REQUIRED"]


# --- the jobs ---------------------------------------------------------------------------------------------------------


async def test_the_job_notes_what_has_ended_once(server: Server, clinic: Clinic, boss: Client) -> None:
    await over(clinic)
    before = await shown(boss)
    assert (before["status"], before["history"]) == ("EXPIRED", []), "it is over at once, and noted by the job"
    await asyncio.gather(job("move-subscriptions", server), job("move-subscriptions", server))
    await job("move-subscriptions", server)
    after = await shown(boss)
    assert (after["status"], after["works"]) == ("EXPIRED", False)
    assert [(one["status"], one["cause"]) for one in after["history"]] == [("EXPIRED", "time passed")]
    async with tenant_scope(clinic.ref):
        assert len(await AuditEntry.rows({"action": "subscription.expired"})) == 1


async def test_many_runs_at_once_note_it_once(clinic: Clinic, boss: Client) -> None:
    await over(clinic)

    async def at() -> None:
        async with tenant_scope(clinic.ref):
            await keeping.bring_along()

    await asyncio.gather(*(at() for _ in range(8)))
    assert len((await shown(boss))["history"]) == 1


@pytest.mark.parametrize(("days", "expected"), [(-1, "ACTIVE"), (1, "PAST_DUE"), (6, "PAST_DUE"), (8, "EXPIRED")])
async def test_a_gift_that_runs_out_is_late_and_then_over(
    clinic: Clinic, boss: Client, server: Server, days: int, expected: str
) -> None:
    await given(clinic, PlanName.PRO)
    ended = now() - timedelta(days=days)
    await stands(clinic, expires_at=ended, trial_ends_at=ended - timedelta(days=90), **{"grant.until": ended})
    await job("move-subscriptions", server)
    after = await shown(boss)
    assert (after["status"], after["plan"]) == (expected, "PRO")
    assert after["works"] is (expected != "EXPIRED")


async def test_admins_are_reminded_once_before_the_end_and_after_it(
    server: Server, clinic: Clinic, mailbox: Mailbox
) -> None:
    admin = clinic.emails["admin"]
    await Tenant.guarded().update_one({"_id": clinic.tenant.key}, {"$set": {"settings.language": Language.ES.value}})

    async def told() -> list[str]:
        async def one() -> None:
            async with tenant_scope(clinic.ref):
                await reminders.remind(server.settings)

        await asyncio.gather(*(one() for _ in range(4)))
        return [str(message["Subject"]) for message in await mailbox.arrived(admin)]

    assert await told() == []
    await stands(clinic, expires_at=now() + timedelta(days=2, hours=12))
    assert await told() == ["Su prueba termina pronto"]
    await stands(clinic, expires_at=now() + timedelta(hours=12))
    assert (await told())[1:] == ["Su prueba termina en un día"]
    await over(clinic)
    await job("move-subscriptions", server)
    assert (await told())[2:] == ["Su plan ha terminado"]
    assert await mailbox.arrived(clinic.emails["nurse"]) == []
    assert f"http://{clinic.host}:8000/subscription" in text_of(await mailbox.last(admin))


NOW = now()


@pytest.mark.parametrize(
    ("subscription", "expected"),
    [
        ({"status": "trial", "expires_at": NOW + timedelta(days=4)}, None),
        ({"status": "trial", "expires_at": NOW + timedelta(days=3)}, Reminder.TRIAL_ENDS),
        ({"status": "trial", "expires_at": NOW + timedelta(days=1)}, Reminder.TRIAL_ENDS_TOMORROW),
        ({"status": "trial", "expires_at": NOW}, None),
        ({"status": "expired", "expires_at": NOW}, Reminder.ENDED),
        ({"status": "active", "expires_at": NOW + timedelta(days=8)}, None),
        ({"status": "active", "expires_at": NOW + timedelta(days=6)}, Reminder.PLAN_ENDS),
        ({"status": "active", "expires_at": NOW + timedelta(days=6), "renewal_at": NOW}, None),
        ({"status": "past_due", "expires_at": NOW - timedelta(hours=1)}, None),
        ({"status": "past_due", "expires_at": NOW - timedelta(days=2)}, Reminder.PAYMENT_LATE),
        ({"status": "cancelled", "expires_at": NOW + timedelta(days=1)}, None),
        ({"status": "active", "expires_at": None}, None),
    ],
)
def test_who_is_told_what_and_when(subscription: Json, expected: Reminder | None) -> None:
    assert reminder_at(subscription, NOW) is expected
