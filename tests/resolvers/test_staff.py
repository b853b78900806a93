"""Staff profiles, and who may enter the clinic in which role."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from app.tenancy.crossing import tenant_scope
from models import AuditEntry, Membership, Role, Staff, User
from models.user import MembershipStatus
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands
from tests.fixtures.people import SignedIn
from tests.server_process import server_process

CREATE = """mutation($input: CreateStaffInput!) { createStaff(input: $input) {
    id version kind name email phone title licenseNumber bio hasAccount archivedAt specializations { id name }
    access { status }
} }"""
UPDATE = """mutation($input: UpdateStaffInput!) { updateStaff(input: $input) {
    version kind email title specializations { name } } }"""
STAFF = """query($filter: StaffFilter) { staff(filter: $filter, first: 100) {
    edges { node { id kind name hasAccount access { status role { name level permissions } } } } } }"""
CHANGE_ROLE = """mutation($input: ChangeStaffRoleInput!) { changeStaffRole(input: $input) {
    id access { role { name } } } }"""
REMOVE = """mutation($input: RemoveStaffAccessInput!) { removeStaffAccess(input: $input) {
    id name access { status } } }"""
PATIENTS = "{ patients { totalCount } }"
VIEWER = "{ viewer { role permissions } }"


async def specialization(client: Client, name: str) -> str:
    answer = await client.gql(
        "mutation($input: CreateSpecializationInput!) { createSpecialization(input: $input) { id } }",
        input={"name": name},
    )
    id: str = answer.data["createSpecialization"]["id"]
    return id


async def role_id(clinic: Clinic, name: str) -> str:
    async with tenant_scope(clinic.ref):
        role = await Role.find_one({"name": name})
    assert role is not None
    return str(role.id)


async def change_role(client: Client, clinic: Clinic, who: str, role: str) -> Any:
    return await client.gql(
        CHANGE_ROLE, input={"staffId": str(clinic.staff[who].id), "roleId": await role_id(clinic, role)}
    )


async def remove(client: Client, clinic: Clinic, who: str) -> Any:
    return await client.gql(REMOVE, input={"staffId": str(clinic.staff[who].id)})


async def second_admin(server: Server, clinic: Clinic, who: str = "doctor") -> Client:
    """Makes one more person an admin; answers with their client."""
    assert not (await change_role(await server.sign_in(clinic), clinic, who, "admin")).errors
    return await server.sign_in(clinic, who)


class TestProfiles:
    async def test_a_profile_keeps_what_was_given_and_gives_no_access(
        self, make_clinic: MakeClinic, server: Server
    ) -> None:
        admin = await server.sign_in(await make_clinic())
        heart = await specialization(admin, "Cardiology")

        made = (
            await admin.gql(
                CREATE,
                input={
                    "kind": "DOCTOR",
                    "name": "Zoë O'Hara",
                    "email": "Zoe@Clinic.example.com",
                    "phone": "+1 212 555 0100",
                    "title": "Dr.",
                    "licenseNumber": "NY-1",
                    "bio": "Two lines\nof text",
                    "specializationIds": [heart, heart],
                },
            )
        ).data["createStaff"]

        del made["id"]
        assert made == {
            "version": 1,
            "kind": "DOCTOR",
            "name": "Zoë O'Hara",
            "email": "zoe@clinic.example.com",
            "phone": "+1 212 555 0100",
            "title": "Dr.",
            "licenseNumber": "NY-1",
            "bio": "Two lines\nof text",
            "hasAccount": False,
            "archivedAt": None,
            "specializations": [{"id": heart, "name": "Cardiology"}],
            "access": None,
        }

    async def test_lists_are_narrowed_by_kind_name_and_specialization(
        self, make_clinic: MakeClinic, server: Server
    ) -> None:
        admin = await server.sign_in(await make_clinic())
        heart = await specialization(admin, "Cardiology")
        for kind, name, ids in [("DOCTOR", "Xena", [heart]), ("NURSE", "Xenia", [heart]), ("DOCTOR", "Yann", [])]:
            await admin.gql(CREATE, input={"kind": kind, "name": name, "specializationIds": ids})

        async def names(**filter: Any) -> list[str]:
            edges = (await admin.gql(STAFF, filter=filter)).data["staff"]["edges"]
            return [edge["node"]["name"] for edge in edges]

        assert await names(kind="DOCTOR") == ["Doctor Person", "Xena", "Yann"]
        assert await names(search="xen") == ["Xena", "Xenia"]
        assert await names(search="xen", kind="NURSE", specializationId=heart) == ["Xenia"]
        assert await names(specializationId="0123456789abcdef01234567") == []

    async def test_absent_values_stay_and_null_clears(self, admin: Client) -> None:
        made = await admin.gql(CREATE, input={"kind": "NURSE", "name": "Nia", "email": "n@example.com", "title": "Ms"})
        id = made.data["createStaff"]["id"]

        changed = await admin.gql(UPDATE, input={"id": id, "version": 1, "title": None, "kind": "OTHER"})

        assert changed.data["updateStaff"] == {
            "version": 2,
            "kind": "OTHER",
            "email": "n@example.com",
            "title": None,
            "specializations": [],
        }

    @pytest.mark.parametrize(
        ("wrong", "path"),
        [
            ({"email": "nonsense"}, "input.email"),
            ({"phone": "12"}, "input.phone"),
            ({"phone": "+1 212\n555 0100"}, "input.phone"),
            ({"bio": "x" * 5001}, "input.bio"),
            ({"title": "\u202eDr"}, "input.title"),
            ({"kind": "PIRATE"}, "input.kind"),
            ({"kind": None}, "input.kind"),
            ({"specializationIds": [7.5]}, "input.specializationIds.0"),
        ],
    )
    async def test_wrong_input_is_told_by_path_and_writes_nothing(
        self, admin: Client, commands: Commands, wrong: dict[str, Any], path: str
    ) -> None:
        answer = await admin.gql(CREATE, input={"kind": "OTHER", "name": "Wrong", **wrong})

        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
        assert commands.writes() == []

    async def test_all_that_is_wrong_is_told_at_once(self, admin: Client) -> None:
        answer = await admin.gql(CREATE, input={"kind": "OTHER", "name": "x", "email": "x", "phone": "x"})

        assert answer.paths == ["input.name", "input.email", "input.phone"]

    async def test_another_clinics_specialization_does_not_exist(
        self, admin: Client, stranger: Client, commands: Commands
    ) -> None:
        theirs = await specialization(stranger, "Theirs alone")
        commands.clear()

        for id in (theirs, "0123456789abcdef01234567"):
            answer = await admin.gql(CREATE, input={"kind": "OTHER", "name": "Nobody", "specializationIds": [id]})
            assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.specializationIds"])
        assert commands.writes() == []


class TestAccess:
    async def test_an_admin_sees_who_has_which_role(self, admin: Client, clinic_a: Clinic) -> None:
        edges = (await admin.gql(STAFF, filter={"search": "receptionist person"})).data["staff"]["edges"]

        access = edges[0]["node"]["access"]
        assert (access["status"], access["role"]["name"], access["role"]["level"]) == ("ACTIVE", "receptionist", 40)
        assert "patient:create" in access["role"]["permissions"]

    async def test_who_may_not_see_roles_sees_staff_without_them(self, signed_in: SignedIn, clinic_a: Clinic) -> None:
        nurse = await signed_in(clinic_a, "nurse")

        shown = await nurse.gql(STAFF, filter={"search": "doctor person"})

        node = shown.body["data"]["staff"]["edges"][0]["node"]
        assert (node["name"], node["access"]) == ("Doctor Person", None)
        assert shown.codes == ["FORBIDDEN"]

    async def test_somebody_who_works_at_two_clinics_shows_the_role_here(
        self, make_clinic: MakeClinic, server: Server
    ) -> None:
        here, there = await make_clinic(), await make_clinic()
        user = await User.find_one({"email": here.emails["nurse"]})
        assert user is not None
        async with tenant_scope(there.ref):
            role = await Role.find_one({"name": "doctor"})
            assert role is not None
            staff = Staff(kind="doctor", name="Nurse Person", name_key="nurse person", user_id=user.id)  # type: ignore[arg-type]
            await staff.insert()
            await Membership(
                user_id=user.key, clinic_id=there.tenant.key, role_id=role.key, role="doctor", staff_id=staff.id
            ).insert()

        for clinic, name in ((here, "nurse"), (there, "doctor")):
            answer = await (await server.sign_in(clinic)).gql(STAFF, filter={"search": "nurse person"})
            roles = [edge["node"]["access"]["role"]["name"] for edge in answer.data["staff"]["edges"]]
            assert name in roles
            assert len(roles) == (1 if clinic is here else 2)

    async def test_a_changed_role_holds_on_the_next_request_with_the_same_token(
        self, make_clinic: MakeClinic, server: Server
    ) -> None:
        clinic = await make_clinic()
        admin, nurse = await server.sign_in(clinic), await server.sign_in(clinic, "nurse")
        assert "visit:write" in (await nurse.gql(VIEWER)).data["viewer"]["permissions"]

        changed = await change_role(admin, clinic, "nurse", "accountant")

        assert changed.data["changeStaffRole"]["access"] == {"role": {"name": "accountant"}}
        viewer = (await nurse.gql(VIEWER)).data["viewer"]
        assert viewer["role"] == "accountant"
        assert "visit:write" not in viewer["permissions"]
        async with tenant_scope(clinic.ref):
            assert await AuditEntry.find({"action": "membership.change_role"}).count() == 1

    async def test_it_holds_in_every_process(self, make_clinic: MakeClinic, server: Server) -> None:
        """One process changes a role and ends an access; another, which has served both people, knows at once."""
        clinic = await make_clinic()
        admin = await server.sign_in(clinic)
        tokens = [(await server.sign_in(clinic, role)).token for role in ("nurse", "receptionist")]
        with server_process(server.settings) as address:
            async with httpx.AsyncClient(base_url=address, headers={"host": clinic.host}) as http:
                nurse, receptionist = [Client(http, token) for token in tokens]
                for client in (nurse, receptionist):
                    assert (await client.gql(PATIENTS)).data["patients"]["totalCount"] == 0

                await change_role(admin, clinic, "nurse", "doctor")
                await remove(admin, clinic, "receptionist")

                assert (await nurse.gql(VIEWER)).data["viewer"]["role"] == "doctor"
                assert (await receptionist.gql(PATIENTS)).codes == ["TENANT_MISMATCH"]

    async def test_removing_access_keeps_the_profile_and_other_clinics(
        self, make_clinic: MakeClinic, server: Server
    ) -> None:
        clinic = await make_clinic()
        admin = await server.sign_in(clinic)

        await remove(admin, clinic, "nurse")

        assert (await remove(admin, clinic, "nurse")).codes == ["NOT_FOUND"]
        names = (await admin.gql(STAFF, filter={"search": "nurse"})).data["staff"]["edges"]
        assert [edge["node"]["name"] for edge in names] == ["Nurse Person"]

    async def test_the_last_admin_stays(self, make_clinic: MakeClinic, server: Server) -> None:
        clinic = await make_clinic()
        admin = await server.sign_in(clinic)

        for answer in (await remove(admin, clinic, "admin"), await change_role(admin, clinic, "admin", "nurse")):
            assert answer.codes == ["INVALID_STATE"]
        assert (await admin.gql(VIEWER)).data["viewer"]["role"] == "admin"

    @pytest.mark.parametrize("attempt", range(3))
    async def test_two_admins_who_remove_each_other_at_once_leave_one(
        self, make_clinic: MakeClinic, server: Server, attempt: int
    ) -> None:
        clinic = await make_clinic()
        other = await second_admin(server, clinic)
        first = await server.sign_in(clinic)

        answers = await asyncio.gather(
            remove(first, clinic, "doctor"),
            remove(other, clinic, "admin"),
            change_role(first, clinic, "doctor", "nurse"),
        )

        left = await Membership.find(
            {"clinic_id": clinic.tenant.id, "role": "admin", "status": MembershipStatus.ACTIVE.value}
        ).count()
        assert left == 1
        codes = {code for answer in answers for code in answer.codes}
        assert codes <= {"INVALID_STATE", "NOT_FOUND", "FORBIDDEN", "TENANT_MISMATCH"}

    async def test_an_admin_may_step_down_when_another_is_there(self, make_clinic: MakeClinic, server: Server) -> None:
        clinic = await make_clinic()
        admin = await server.sign_in(clinic)
        await second_admin(server, clinic)

        await change_role(admin, clinic, "admin", "doctor")

        assert (await admin.gql(VIEWER)).data["viewer"]["role"] == "doctor"

    async def test_nobody_gives_or_takes_more_than_they_have(self, make_clinic: MakeClinic, server: Server) -> None:
        clinic = await make_clinic()
        admin = await server.sign_in(clinic)
        made = await admin.gql(
            "mutation($input: CreateRoleInput!) { createRole(input: $input) { id } }",
            input={"name": "hr", "level": 60, "permissions": ["staff:read", "staff:manage", "role:read"]},
        )
        await admin.gql(
            CHANGE_ROLE, input={"staffId": str(clinic.staff["nurse"].id), "roleId": made.data["createRole"]["id"]}
        )
        hr = await server.sign_in(clinic, "nurse")

        above = [
            await change_role(hr, clinic, "receptionist", "admin"),  # a level above
            await change_role(hr, clinic, "receptionist", "accountant"),  # below, with rights they lack
            await change_role(hr, clinic, "nurse", "nurse"),
            await change_role(hr, clinic, "doctor", "hr"),  # somebody above
            await remove(hr, clinic, "doctor"),
            await remove(hr, clinic, "admin"),
        ]

        assert [answer.codes for answer in above] == [["FORBIDDEN"]] * 6
        assert not (await change_role(hr, clinic, "accountant", "hr")).errors
        assert not (await remove(hr, clinic, "receptionist")).errors

    async def test_another_clinics_people_and_roles_do_not_exist(
        self, admin: Client, clinic_a: Clinic, clinic_b: Clinic
    ) -> None:
        ours, theirs = str(clinic_a.staff["nurse"].id), str(clinic_b.staff["nurse"].id)
        nowhere = "0123456789abcdef01234567"
        nurse_here, nurse_there = await role_id(clinic_a, "nurse"), await role_id(clinic_b, "nurse")

        for staff in (theirs, nowhere, "nonsense"):
            for answer in (
                await admin.gql(CHANGE_ROLE, input={"staffId": staff, "roleId": nurse_here}),
                await admin.gql(REMOVE, input={"staffId": staff}),
            ):
                assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.staffId"])
        for role in (nurse_there, nowhere, "nonsense"):
            answer = await admin.gql(CHANGE_ROLE, input={"staffId": ours, "roleId": role})
            assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.roleId"])

    async def test_a_profile_without_an_account_has_no_role_to_change(self, admin: Client, clinic_a: Clinic) -> None:
        made = await admin.gql(CREATE, input={"kind": "OTHER", "name": "No Account"})
        answer = await admin.gql(
            CHANGE_ROLE,
            input={"staffId": made.data["createStaff"]["id"], "roleId": await role_id(clinic_a, "nurse")},
        )

        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.staffId"])


STAFF_WITH_ROLE = """query($filter: StaffFilter) {
    staff(first: 50, filter: $filter) { edges { node { id } } totalCount } }"""


async def test_staff_are_listed_by_the_role_by_which_they_have_access(make_clinic: MakeClinic, server: Server) -> None:
    clinic, other = await make_clinic(), await make_clinic()
    admin = await server.sign_in(clinic)
    roles = {row["name"]: str(row["_id"]) for row in await _roles(clinic)}
    foreign = {row["name"]: str(row["_id"]) for row in await _roles(other)}

    for name in ("nurse", "doctor"):
        shown = (await admin.gql(STAFF_WITH_ROLE, filter={"roleId": roles[name]})).data["staff"]
        assert [edge["node"]["id"] for edge in shown["edges"]] == [str(clinic.staff[name].id)]
        assert shown["totalCount"] == 1
    assert (await admin.gql(STAFF_WITH_ROLE, filter={"roleId": foreign["nurse"]})).data["staff"]["edges"] == []
    both = await admin.gql(STAFF_WITH_ROLE, filter={"roleId": roles["nurse"], "kind": "DOCTOR"})
    assert both.data["staff"]["edges"] == []


async def test_whoever_may_not_read_roles_learns_nobodys_by_listing(clinic_a: Clinic, server: Server) -> None:
    nurse = await server.sign_in(clinic_a, "nurse")
    [role] = [row for row in await _roles(clinic_a) if row["name"] == "admin"]
    assert (await nurse.gql(STAFF_WITH_ROLE, filter={"roleId": str(role["_id"])})).codes == ["FORBIDDEN"]


async def _roles(clinic: Clinic) -> list[dict[str, Any]]:
    async with tenant_scope(clinic.ref):
        return await Role.rows({}, projection=["name"])
