"""Who runs the system: roles above the clinics, and what those who have them may not do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bson import ObjectId

from app.permissions import PlatformRole
from app.services.operators import SUPER_ADMIN
from app.services.placement.provisioning import Goal
from app.tenancy.clusters import Clusters, ClusterUnavailable
from app.tenancy.scope import Database
from models import Operator, PlatformAudit, Tenant, User
from models.user import UserStatus
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.operators import MakeOperator, Running
from tests.fixtures.people import SignedIn

REASON = "asked for in writing, see the contract"
GRANT = "mutation($input: GrantOperatorInput!) { grantOperator(input: $input) { id version role person { email } } }"
CHANGE = "mutation($input: ChangeOperatorInput!) { changeOperator(input: $input) { id version role } }"
REVOKE = "mutation($input: RevokeOperatorInput!) { revokeOperator(input: $input) }"
DISABLE = "mutation($input: UserStatusInput!) { disableUser(input: $input) { email status } }"
ENABLE = "mutation($input: UserStatusInput!) { enableUser(input: $input) { email status } }"
OPERATORS = "{ operators(first: 100) { edges { node { id role person { email status } } } totalCount } }"
TENANTS = """query($filter: TenantFilter, $sort: TenantSort, $first: Int, $after: String) {
    tenants(filter: $filter, sort: $sort, first: $first, after: $after) {
        edges { node { id subdomain name status members } } pageInfo { endCursor hasNextPage } totalCount
    }
}"""
STATUS = "mutation($input: SetTenantStatusInput!) { setTenantStatus(input: $input) { version status members } }"
TENANT = "query($id: ID!) { tenant(id: $id) { id version subdomain status members subscription { plan status } } }"
AUDIT = """query($filter: PlatformAuditFilter) {
    platformAudit(filter: $filter) {
        edges { node { actor action reason subject requestId address tenant { subdomain } } } totalCount
    }
}"""
CLINIC = "{ clinic { name } }"


async def forget_operators() -> None:
    """Nobody runs the system any more; whoever is made next is the first."""
    await Operator.find({}).delete()


def aimed(running: Running, **more: Any) -> dict[str, Any]:
    assert running.operator is not None
    return {"operatorId": str(running.operator.id), "version": 1, "reason": REASON, **more}


# --- roles ------------------------------------------------------------------------------------------------------------


async def test_a_known_person_becomes_an_operator_and_it_is_noted(
    make_operator: MakeOperator, clinic_a: Clinic
) -> None:
    admin, person = await make_operator(), await make_operator(None)
    before = await person.client.gql(TENANTS)

    granted = await admin.client.gql(
        GRANT, input={"email": person.user.email.upper(), "role": "READONLY", "reason": REASON}
    )

    assert before.codes == ["FORBIDDEN"]
    assert granted.data["grantOperator"]["role"] == "READONLY"
    assert granted.data["grantOperator"]["person"] == {"email": person.user.email}
    assert (await person.client.gql(TENANTS)).data["tenants"]["totalCount"] > 0
    noted = await PlatformAudit.find_one({"subject": f"users/{person.user.id}"})
    assert noted is not None
    assert (noted.actor, noted.action, noted.reason) == (str(admin.user.id), "operator.grant.readonly", REASON)
    assert noted.address == admin.client.address
    assert noted.request_id == granted.response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("email", "reason", "path"),
    [
        ("nobody@nowhere.example.com", REASON, "input.email"),
        ("{known}", "too short", "input.reason"),
        ("{known}", "x" * 501, "input.reason"),
        ("{known}", "two lines of\nreasons", "input.reason"),
    ],
)
async def test_a_wrong_grant_is_refused_and_stores_nothing(
    make_operator: MakeOperator, email: str, reason: str, path: str
) -> None:
    admin, person = await make_operator(), await make_operator(None)
    counts = [await Operator.count(), await PlatformAudit.count()]

    answer = await admin.client.gql(
        GRANT, input={"email": email.format(known=person.user.email), "role": "SUPPORT", "reason": reason}
    )

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert [await Operator.count(), await PlatformAudit.count()] == counts


async def test_nobody_is_an_operator_twice(make_operator: MakeOperator) -> None:
    admin, support = await make_operator(), await make_operator(PlatformRole.SUPPORT)
    answer = await admin.client.gql(GRANT, input={"email": support.user.email, "role": "SUPER_ADMIN", "reason": REASON})
    assert answer.codes == ["INVALID_STATE"]
    stored = await Operator.find({"user_id": support.user.id}).to_list()
    assert [one.role for one in stored] == [PlatformRole.SUPPORT]
    assert await PlatformAudit.find_one({"subject": f"users/{support.user.id}"}) is None


async def test_a_role_that_was_changed_or_revoked_holds_from_the_next_request_in_every_process(
    server: Server, make_operator: MakeOperator
) -> None:
    admin, other = await make_operator(), await make_operator()
    elsewhere = server.variant().client(token=other.client.token)
    assert (await elsewhere.gql(OPERATORS)).status == 200

    changed = await admin.client.gql(CHANGE, input=aimed(other, role="READONLY"))
    refused = await elsewhere.gql(OPERATORS)
    stale = await admin.client.gql(REVOKE, input=aimed(other))
    revoked = await admin.client.gql(REVOKE, input=aimed(other, version=2))
    after = await elsewhere.gql(TENANTS)

    assert changed.data["changeOperator"] == {
        "id": str(other.operator and other.operator.id),
        "version": 2,
        "role": "READONLY",
    }
    assert (refused.codes, stale.codes, stale.paths) == (["FORBIDDEN"], ["CONFLICT"], ["input.version"])
    assert revoked.data == {"revokeOperator": True}
    assert after.codes == ["FORBIDDEN"]


async def test_the_last_super_admin_stays_one(make_operator: MakeOperator) -> None:
    await forget_operators()
    admin = await make_operator()
    await make_operator(PlatformRole.SUPPORT)
    notes = await PlatformAudit.count()

    answers = [
        await admin.client.gql(REVOKE, input=aimed(admin)),
        await admin.client.gql(CHANGE, input=aimed(admin, role="SUPPORT")),
        await admin.client.gql(DISABLE, input={"email": admin.user.email, "reason": REASON}),
    ]

    assert [answer.codes for answer in answers] == [["INVALID_STATE"]] * 3
    stored = await Operator.find_one({"user_id": admin.user.id})
    assert stored is not None
    assert (stored.role, stored.version) == (PlatformRole.SUPER_ADMIN, 1)
    assert await PlatformAudit.count() == notes
    assert (await admin.client.gql(OPERATORS)).status == 200


async def test_a_disabled_super_admin_does_not_count_as_one(make_operator: MakeOperator) -> None:
    await forget_operators()
    admin, gone = await make_operator(), await make_operator()
    await User.find_one({"_id": gone.user.id}).update({"$set": {"status": UserStatus.DISABLED.value}})
    answer = await admin.client.gql(REVOKE, input=aimed(admin))
    assert answer.codes == ["INVALID_STATE"]


@pytest.mark.parametrize("way", ["revoke", "change", "disable"])
async def test_two_super_admins_who_remove_each_other_at_once_leave_one(make_operator: MakeOperator, way: str) -> None:
    for _ in range(3):
        await forget_operators()
        one, other = await make_operator(), await make_operator()
        asked = {
            "revoke": (REVOKE, aimed(one), aimed(other)),
            "change": (CHANGE, aimed(one, role="SUPPORT"), aimed(other, role="SUPPORT")),
            "disable": (
                DISABLE,
                {"email": one.user.email, "reason": REASON},
                {"email": other.user.email, "reason": REASON},
            ),
        }[way]
        answers = await asyncio.gather(
            other.client.gql(asked[0], input=asked[1]), one.client.gql(asked[0], input=asked[2])
        )
        assert sum(not answer.errors for answer in answers) == 1, [answer.body for answer in answers]
        left = await Operator.find({"role": SUPER_ADMIN}).to_list()
        able = await User.find({"_id": {"$in": [row.user_id for row in left]}, "status": "active"}).count()
        assert able == 1


# --- people -----------------------------------------------------------------------------------------------------------


async def test_a_disabled_person_is_out_everywhere_at_once_and_can_be_let_in_again(
    server: Server, make_clinic: MakeClinic, make_operator: MakeOperator
) -> None:
    clinic, admin = await make_clinic(), await make_operator()
    nurse = await server.sign_in(clinic, "nurse")
    elsewhere = server.variant().client(clinic.host, nurse.token)
    email = clinic.emails["nurse"]

    disabled = await admin.client.gql(DISABLE, input={"email": email, "reason": REASON})
    again = await admin.client.gql(DISABLE, input={"email": email, "reason": REASON})
    out = await elsewhere.gql("{ viewer { id } }")
    enabled = await admin.client.gql(ENABLE, input={"email": email, "reason": REASON})
    still_out = await elsewhere.gql("{ viewer { id } }")

    assert disabled.data["disableUser"] == {"email": email, "status": "DISABLED"}
    assert again.codes == ["INVALID_STATE"]
    assert out.data == still_out.data == {"viewer": None}
    assert enabled.data["enableUser"]["status"] == "ACTIVE"
    assert (await server.sign_in(clinic, "nurse")).token
    user = await User.find_one({"email": email})
    assert user is not None
    noted = await PlatformAudit.find({"subject": f"users/{user.id}"}).sort("at").to_list()
    assert [one.action for one in noted] == ["user.disable", "user.enable"]


# --- clinics ----------------------------------------------------------------------------------------------------------


async def test_clinics_are_found_by_status_and_by_the_beginning_of_name_or_subdomain(
    make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    reader, clinic = await make_operator(PlatformRole.READONLY), await make_clinic()
    name, subdomain = clinic.tenant.name, clinic.tenant.subdomain

    async def found(**filter: Any) -> list[str]:
        answer = await reader.client.gql(TENANTS, filter=filter, first=100)
        return [edge["node"]["subdomain"] for edge in answer.data["tenants"]["edges"]]

    assert await found(search=subdomain[:8].upper()) == [subdomain]
    assert await found(search=name[:14].upper()) == [subdomain]
    assert await found(search=subdomain, status="ACTIVE") == [subdomain]
    assert await found(search=subdomain, status="SUSPENDED") == []
    for odd in (".*", "$name", name[1:], "^" + name):
        assert subdomain not in await found(search=odd)


async def test_clinics_are_paged_in_each_order_with_their_members(
    make_operator: MakeOperator, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    reader = await make_operator(PlatformRole.READONLY)
    for sort in ("NAME_ASC", "SUBDOMAIN_ASC", "NEWEST"):
        seen, after = [], None
        while True:
            page = (await reader.client.gql(TENANTS, sort=sort, first=7, after=after)).data["tenants"]
            seen += [edge["node"]["subdomain"] for edge in page["edges"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert len(seen) == len(set(seen)) == page["totalCount"]
        assert {clinic_a.tenant.subdomain, clinic_b.tenant.subdomain} <= set(seen)
    answer = await reader.client.gql(TENANT, id=str(clinic_b.tenant.id))
    assert answer.data["tenant"]["members"] == len(clinic_b.emails)
    assert answer.data["tenant"]["subscription"] == {"plan": "trial", "status": "TRIAL"}


async def test_a_suspended_clinic_stops_answering_in_every_process_and_comes_back(
    server: Server, make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    admin, clinic = await make_operator(), await make_clinic()
    member, elsewhere = await server.sign_in(clinic), server.variant().client(clinic.host)
    assert (await elsewhere.gql(CLINIC)).status == 200
    version = (await admin.client.gql(TENANT, id=str(clinic.tenant.id))).data["tenant"]["version"]
    asked = {"tenantId": str(clinic.tenant.id), "version": version, "reason": REASON}

    suspended = await admin.client.gql(STATUS, input={**asked, "status": "SUSPENDED"})
    stale = await admin.client.gql(STATUS, input={**asked, "status": "ACTIVE"})
    twice = await admin.client.gql(STATUS, input={**asked, "version": version + 1, "status": "SUSPENDED"})

    assert suspended.data["setTenantStatus"] == {
        "version": version + 1,
        "status": "SUSPENDED",
        "members": len(clinic.emails),
    }
    assert (stale.codes, stale.paths, twice.codes) == (["CONFLICT"], ["input.version"], ["INVALID_STATE"])
    for client in (member, elsewhere):
        assert await answers(client, 404)
    again = await admin.client.gql(STATUS, input={**asked, "version": version + 1, "status": "ACTIVE"})
    assert again.data["setTenantStatus"]["status"] == "ACTIVE"
    for client in (member, elsewhere):
        assert await answers(client, 200)
    told = await admin.client.gql(AUDIT, filter={"tenantId": str(clinic.tenant.id)})
    assert [edge["node"]["action"] for edge in told.data["platformAudit"]["edges"]] == [
        "tenant.activate",
        "tenant.suspend",
    ]


async def answers(client: Any, status: int) -> bool:
    """Whether the clinic's host comes to answer so, once the change has reached the process."""
    for _ in range(50):
        if (await client.gql(CLINIC)).status == status:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_a_clinic_that_is_being_deleted_is_left_alone(
    make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    from models import Tenant
    from models.values import now

    admin, clinic = await make_operator(), await make_clinic()
    await Tenant.find_one({"_id": clinic.tenant.id}).update(
        {"$set": {"status": "suspended", "deletion_started_at": now()}}
    )
    before = await Tenant.get(clinic.tenant.key)
    assert before is not None

    answer = await admin.client.gql(
        STATUS,
        input={
            "tenantId": str(clinic.tenant.id),
            "version": before.version,
            "status": "ACTIVE",
            "reason": REASON,
        },
    )

    assert answer.codes == ["INVALID_STATE"]
    assert await Tenant.get(clinic.tenant.key) == before
    assert await PlatformAudit.find_one({"tenant": clinic.tenant.id}) is None


async def test_the_platforms_audit_is_found_by_clinic_actor_action_and_time(
    make_operator: MakeOperator, make_clinic: MakeClinic
) -> None:
    admin, clinic = await make_operator(), await make_clinic()
    version = (await admin.client.gql(TENANT, id=str(clinic.tenant.id))).data["tenant"]["version"]
    await admin.client.gql(
        STATUS,
        input={
            "tenantId": str(clinic.tenant.id), "version": version, "status": "INACTIVE", "reason": REASON
        },
    )  # fmt: skip

    async def found(**filter: Any) -> list[tuple[str, str | None]]:
        edges = (await admin.client.gql(AUDIT, filter=filter)).data["platformAudit"]["edges"]
        return [(edge["node"]["action"], (edge["node"]["tenant"] or {}).get("subdomain")) for edge in edges]

    one: list[tuple[str, str | None]] = [("tenant.deactivate", clinic.tenant.subdomain)]
    actor = str(admin.user.id)
    assert await found(tenantId=str(clinic.tenant.id)) == one
    assert await found(actor=actor) == one
    assert await found(actor=actor, action="tenant.deactivate", **{"from": "2020-01-01T00:00:00Z"}) == one
    assert await found(actor=actor, action="tenant.suspend") == []
    assert await found(actor=actor, to="2020-01-01T00:00:00Z") == []
    wrong = await admin.client.gql(AUDIT, filter={"from": "2021-01-01T00:00:00Z", "to": "2020-01-01T00:00:00Z"})
    assert wrong.paths == ["filter.to"]


async def test_running_the_system_opens_no_clinics_data_on_the_root_host(
    make_operator: MakeOperator, clinic_a: Clinic
) -> None:
    admin = await make_operator()
    for query in ("{ patients { totalCount } }", "{ staff { totalCount } }", "{ auditLog { totalCount } }"):
        answer = await admin.client.gql(query)
        assert answer.codes == ["TENANT_NOT_FOUND"]
    admin.client.http.headers["X-Tenant-Id"] = str(clinic_a.tenant.id)
    assert (await admin.client.gql("{ patients { totalCount } }")).codes == ["TENANT_NOT_FOUND"]
    assert (await admin.at(clinic_a).gql("{ patients { totalCount } }")).codes == ["TENANT_MISMATCH"]


async def test_a_clinics_own_admin_is_nothing_above_the_clinics(
    server: Server, clinic_a: Clinic, signed_in: SignedIn
) -> None:
    admin = await signed_in(clinic_a)
    on_root = server.client(token=admin.token)
    for client in (admin, on_root):
        for query in (TENANTS, OPERATORS, AUDIT):
            assert (await client.gql(query)).codes == ["FORBIDDEN"]


# --- where clinics' data is -------------------------------------------------------------------------------------------

PLACES = """query($filter: TenantFilter) { tenants(filter: $filter, first: 100) {
    edges { node { id upToDate placement { kind database } move { stage } } } } }"""
OPEN = """mutation($input: OpenTenantInput!) {
    openTenant(input: $input) { id subdomain status upToDate placement { kind database } members } }"""


async def test_a_clinic_is_opened_in_a_database_of_its_own_and_listed_by_it(
    make_operator: MakeOperator, raw: Database
) -> None:
    boss, name = await make_operator(), f"own{ObjectId()}"
    admin = {"name": "Ada Admin", "email": f"ada@{name}.example.com", "password": "correct horse 42"}
    asked = {"name": "Own Place", "subdomain": name, "admin": admin, "placement": "OWN_DATABASE", "reason": REASON}

    opened = (await boss.client.gql(OPEN, input=asked)).data["openTenant"]

    assert (opened["subdomain"], opened["status"], opened["members"]) == (name, "ACTIVE", 1)
    assert opened["placement"] == {"kind": "OWN_DATABASE", "database": f"{raw.name}_{opened['id']}"}
    listed = await boss.client.gql(PLACES, filter={"placement": "OWN_DATABASE", "search": name})
    [node] = [edge["node"] for edge in listed.data["tenants"]["edges"]]
    assert node == {"id": opened["id"], "upToDate": True, "placement": opened["placement"], "move": None}
    own = raw.client[opened["placement"]["database"]]
    await own["schema_state"].delete_many({})
    listed = await boss.client.gql(PLACES, filter={"placement": "OWN_DATABASE", "search": name})
    assert [edge["node"]["upToDate"] for edge in listed.data["tenants"]["edges"]] == [False]
    [noted] = await raw["platform_audit"].find({"action": "tenant.open", "tenant": ObjectId(opened["id"])}).to_list()
    assert (noted["actor"], noted["reason"]) == (str(boss.user.id), REASON)
    again = await boss.client.gql(OPEN, input=asked)
    assert (again.codes, again.paths) == (["VALIDATION_FAILED"], ["input.subdomain"])


async def test_a_clinic_that_cannot_be_opened_says_why_at_its_place(make_operator: MakeOperator) -> None:
    boss, name = await make_operator(), f"own{ObjectId()}"
    admin = {"name": "Ada Admin", "email": "nobody", "password": "short"}
    asked = {"name": "Own Place", "subdomain": name, "admin": admin, "placement": "OWN_DATABASE", "reason": REASON}

    refused = await boss.client.gql(OPEN, input=asked)

    assert refused.codes == ["VALIDATION_FAILED"]
    assert set(refused.paths) == {"input.admin.email", "input.admin.password"}
    assert await Tenant.find_one({"subdomain": name}) is None


async def test_a_clinic_is_opened_on_another_cluster_and_listed_also_while_that_is_away(
    make_operator: MakeOperator, on_another_cluster: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss, name = await make_operator(), f"far{ObjectId()}"
    admin = {"name": "Ada Admin", "email": f"ada@{name}.example.com", "password": "correct horse 42"}
    asked = {"name": "Far", "subdomain": name, "admin": admin, "placement": "CLUSTER", "reason": REASON}
    shown = OPEN.replace("kind database", "kind cluster")

    for wrong in ({}, {"cluster": "nowhere"}, {"cluster": "other", "placement": "OWN_DATABASE"}):
        refused = await boss.client.gql(shown, input={**asked, **wrong})
        assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.cluster"])
    opened = (await boss.client.gql(shown, input={**asked, "cluster": on_another_cluster.cluster})).data["openTenant"]
    assert opened["placement"] == {"kind": "CLUSTER", "cluster": "other"}
    assert opened["upToDate"] is True

    async def away(*_: Any) -> None:
        raise ClusterUnavailable

    monkeypatch.setattr(Clusters, "ready", away)
    listed = await boss.client.gql(PLACES, filter={"placement": "CLUSTER", "search": name})
    assert [edge["node"]["upToDate"] for edge in listed.data["tenants"]["edges"]] == [None]
