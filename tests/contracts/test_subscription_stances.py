"""What each field asks of the clinic's plan: each mutation declares it, and most are refused once it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
import pytest_asyncio
from bson import ObjectId

from app.errors import PlanRequired
from app.plans import LARGEST, PLANS, BillingCycle, Feature, PlanName, Standing
from app.tenancy.scope import PatientActor, Scope, TenantId, TenantRef
from models import Tenant
from models.tenant import SubscriptionStatus
from models.values import now
from tests.contracts._schema import Place, RootField, root_fields
from tests.contracts._values import variables
from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.fixtures.servers import Servers

MUTATIONS = [root for root in root_fields() if root.is_mutation]

WITHOUT_A_PLAN: Mapping[str, str] = {
    "login logout switchTenant changePassword beginPasskeySignIn finishPasskeySignIn confirmExternalIdentity "
    "requestPasswordReset resetPassword patientLogin patientLogout requestPatientCode": "signing in and out",
    "signOutEverywhere revokeSession beginTotp confirmTotp disableTotp regenerateRecoveryCodes "
    "beginPasskeyRegistration finishPasskeyRegistration deletePasskey requestEmailVerification requestEmailChange "
    "verifyEmail signOutPatientEverywhere": "one's own account, which is no clinic's",
    "createSubscriptionOrder captureSubscriptionOrder cancelSubscription": "paying",
    "removeStaffAccess disableStaffAccess revokeInvitation leaveClinic disablePortal endPatientSessions "
    "disableLabConnection revokeShareCode endBreakGlass": "taking access away, which protects people",
    "erasePatient revokeConsent patientRevokeConsent": "what the law gives to patients",
    "reviewBreakGlass": "answering for an emergency",
    "markNotificationRead markNotificationsRead markConversationRead patientMarkConversationRead "
    "patientMarkNotificationsRead unsubscribePush": "having read",
    "setTenantStatus grantOperator changeOperator revokeOperator disableUser enableUser enterClinic "
    "leaveClinicEntry openTenant scheduleTenantDeletion cancelTenantDeletion "
    "replayPaypalEvents": "running the system itself",
    "cleanUpStorage": "giving room back",
}
"""What a clinic can do without a plan, and why."""
NAMED = {name: why for names, why in WITHOUT_A_PLAN.items() for name in names.split()}


def nobody(_: Place) -> str:
    return str(ObjectId())


@pytest.mark.parametrize("root", root_fields(), ids=str)
def test_a_field_knows_whether_it_changes_something(root: RootField) -> None:
    assert root.access.changes is root.is_mutation


def test_what_needs_no_plan_is_stated_with_its_reason() -> None:
    declared = {root.name for root in MUTATIONS if root.access.without_plan}
    assert declared - NAMED.keys() == set(), "give a reason in WITHOUT_A_PLAN, or leave `without_plan` out"
    assert NAMED.keys() - declared == set(), "these need a plan by now, or are gone: take them out of the list"


def test_a_query_asks_for_no_plan() -> None:
    assert not [root.name for root in root_fields() if not root.is_mutation and root.access.feature]


def test_each_feature_is_asked_for_by_a_field_and_is_in_some_plan_but_not_in_each() -> None:
    assert {root.access.feature for root in MUTATIONS} - {None} == set(Feature)
    for feature in Feature:
        with_it = [plan for plan in PLANS.values() if feature in plan.features]
        assert 0 < len(with_it) < len(PLANS)


def test_a_larger_plan_gives_no_less_and_costs_more() -> None:
    for_sale = sorted((plan for plan in PLANS.values() if plan.prices), key=lambda plan: plan.level)
    for smaller, larger in pairwise(for_sale):
        assert smaller.seats <= larger.seats
        assert smaller.storage <= larger.storage
        assert smaller.features <= larger.features
        for cycle in BillingCycle:
            assert smaller.prices[cycle] < larger.prices[cycle]
    assert for_sale[-1] is LARGEST
    assert set(PLANS) == set(PlanName)


# --- a clinic whose plan has ended ------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module")
async def ended(server: Server, make_clinic: MakeClinic) -> Client:
    """The admin of a clinic whose plan has ended."""
    clinic = await make_clinic()
    over = {"subscription.status": SubscriptionStatus.TRIAL.value, "subscription.expires_at": now()}
    await Tenant.guarded().update_one({"_id": clinic.tenant.key}, {"$set": over})
    return await server.sign_in(clinic)


FOR_STAFF = [root for root in MUTATIONS if root.name not in NAMED and not root.is_for_patients]


@pytest.mark.parametrize("root", FOR_STAFF, ids=str)
async def test_a_mutation_is_refused_once_the_plan_has_ended(root: RootField, ended: Client, servers: Servers) -> None:
    for client in servers.both(ended):
        answer = await client.gql(root.briefly, **variables(root, nobody))
        assert answer.codes == ["PLAN_REQUIRED"], answer.body
        assert not any((answer.body.get("data") or {}).values())


@pytest.mark.parametrize("root", [root for root in MUTATIONS if root.is_for_patients], ids=str)
def test_patients_too_change_nothing_once_the_plan_has_ended(root: RootField) -> None:
    standing = Standing(PLANS[PlanName.PRO], now())
    clinic = TenantRef(id=TenantId(ObjectId()), subdomain="over", name="Over", standing=standing)
    scope = Scope("r", tenant=clinic, patient=PatientActor(ObjectId(), "s", "P-1"))
    if root.name in NAMED:
        root.access.check(scope)
        return
    with pytest.raises(PlanRequired):
        root.access.check(scope)


@pytest.mark.parametrize("root", [root for root in root_fields() if root.permission and not root.is_mutation], ids=str)
async def test_everything_can_be_read_once_the_plan_has_ended(root: RootField, ended: Client, servers: Servers) -> None:
    for client in servers.both(ended):
        answer = await client.gql(root.briefly, **variables(root, nobody))
        assert "PLAN_REQUIRED" not in answer.codes, answer.body
