"""Medical representatives come in by a way of their own, and see nothing of patients whatever role they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from app.auth.passwords import hash_password
from app.permissions import REPRESENTATIVE
from app.tenancy.crossing import tenant_scope
from models import Membership, Role, RolePermission, Session, Staff, User
from models.staff import StaffKind
from models.user import MembershipStatus
from tests.fixtures.clinics import PASSWORD, Client, Clinic, MakeClinic, Server

LOGIN = "/api/medical-representatives/login"
CREATE = "mutation { createRepresentativeRole { id name level permissions } }"
VIEWER = "{ viewer { role permissions } }"
GIVE = "mutation($input: ChangeStaffRoleInput!) { changeStaffRole(input: $input) { id } }"
KIND = "mutation($input: UpdateStaffInput!) { updateStaff(input: $input) { kind version } }"
ROLE = "mutation($input: UpdateRoleInput!) { updateRole(input: $input) { permissions } }"


@dataclass(frozen=True, slots=True)
class Representative:
    """Somebody of another company, let into a clinic; `admin` is the clinic's."""

    server: Server
    clinic: Clinic
    admin: Client
    role_id: str
    user: User
    staff: Staff

    async def login(self, *, clinic: Clinic | None = None, address: str = "", **body: Any) -> httpx.Response:
        place = address or f"2001:db8:{self.user.email[3:7]}::1"
        client = self.server.client((clinic or self.clinic).host, address=place)
        asked = {"email": self.user.email, "password": PASSWORD, **body}
        return await client.http.post(LOGIN, json=asked, headers={"X-Polyclinic-Client": "tests"})

    async def client(self) -> Client:
        return self.server.client(self.clinic.host, (await self.login()).json()["token"])


async def member(clinic: Clinic, kind: StaffKind, role_id: Any, *, profile: bool = True) -> tuple[User, Staff]:
    name = f"rep{uuid4().hex[:8]}"
    user = await User(email=f"{name}@example.com", name=name, password_hash=await hash_password(PASSWORD)).insert()
    async with tenant_scope(clinic.ref):
        staff = Staff(kind=kind, name=name, name_key=name, user_id=user.key if profile else None)
        await staff.insert()
        role = await Role.find_one({"_id": role_id})
        assert role is not None
    await Membership(
        user_id=user.key, clinic_id=clinic.tenant.key, role_id=role.key, role=role.name, staff_id=staff.key
    ).insert()
    return user, staff


@pytest_asyncio.fixture
async def rep(server: Server, make_clinic: MakeClinic) -> Representative:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    role = (await admin.gql(CREATE)).data["createRepresentativeRole"]
    async with tenant_scope(clinic.ref):
        held = await Role.find_one({"name": REPRESENTATIVE.name})
    assert held is not None
    user, staff = await member(clinic, StaffKind.MEDICAL_REPRESENTATIVE, held.key)
    return Representative(server, clinic, admin, role["id"], user, staff)


def told(answer: httpx.Response) -> tuple[int, Any]:
    body = answer.json()
    body["error"].pop("requestId")
    return answer.status_code, body


async def test_the_role_is_narrow_and_made_once(rep: Representative) -> None:
    again = (await rep.admin.gql(CREATE)).data["createRepresentativeRole"]
    assert again == {
        "id": rep.role_id, "name": "medical representative", "level": 10,
        "permissions": ["availability:read", "medicine:read", "notification:read", "message:read", "message:write"],
    }  # fmt: skip
    assert not [right for right in REPRESENTATIVE.permissions if right.resource in ("patient", "appointment", "visit")]


async def test_a_representative_comes_in_and_sees_no_patients(rep: Representative) -> None:
    answer = await rep.login()

    assert answer.status_code == 200
    assert answer.headers["set-cookie"].startswith("session=")
    client = rep.server.client(rep.clinic.host, answer.json()["token"])
    viewer = (await client.gql(VIEWER)).data["viewer"]
    assert viewer["role"] == "medical representative"
    assert set(viewer["permissions"]) == {right.value for right in REPRESENTATIVE.permissions}
    assert (await client.gql("{ patients { totalCount } }")).codes == ["FORBIDDEN"]


async def test_a_browser_is_not_told_the_token(rep: Representative) -> None:
    client = rep.server.client(rep.clinic.host, address="2001:db8:90::1")
    answer = await client.http.post(LOGIN, json={"email": rep.user.email, "password": PASSWORD})
    assert answer.json() == {"success": True}
    assert "httponly" in answer.headers["set-cookie"].lower()


async def test_everybody_else_is_answered_as_with_a_wrong_password(rep: Representative, clinic_b: Clinic) -> None:
    wrong = told(await rep.login(password="not the password"))
    before = await Session.guarded().count_documents({})

    doctor = told(await rep.login(email=rep.clinic.emails["doctor"]))
    admin = told(await rep.login(email=rep.clinic.emails["admin"]))
    nobody = told(await rep.login(email="nobody@nowhere.example.com"))
    elsewhere = told(await rep.login(clinic=clinic_b))

    assert doctor == admin == nobody == elsewhere == wrong
    assert wrong[0] == 401
    assert await Session.guarded().count_documents({}) == before


@pytest.mark.parametrize("how", ["membership", "profile"])
async def test_whose_access_was_ended_is_not_let_in(rep: Representative, how: str) -> None:
    if how == "membership":
        await Membership.guarded().update_one(
            {"user_id": rep.user.key}, {"$set": {"status": MembershipStatus.DISABLED.value}}
        )
    else:
        archive = "mutation($input: ArchiveInput!) { archiveStaff(input: $input) { id } }"
        await rep.admin.gql(archive, input={"id": str(rep.staff.key), "version": 1})
    assert (await rep.login()).status_code == 401


async def test_the_usual_sign_in_works_as_well_and_gives_no_more(rep: Representative) -> None:
    login = "mutation($input: LoginInput!) { login(input: $input) { viewer { permissions } } }"
    client = rep.server.client(rep.clinic.host, address="2001:db8:91::1")
    answer = await client.gql(login, input={"email": rep.user.email, "password": PASSWORD})
    assert set(answer.data["login"]["viewer"]["permissions"]) == {one.value for one in REPRESENTATIVE.permissions}


@pytest.mark.parametrize("role", ["doctor", "nurse", "receptionist", "accountant", "admin"])
async def test_no_role_that_reads_patients_can_be_given_to_a_representative(rep: Representative, role: str) -> None:
    async with tenant_scope(rep.clinic.ref):
        other = await Role.find_one({"name": role})
    assert other is not None

    answer = await rep.admin.gql(GIVE, input={"staffId": str(rep.staff.key), "roleId": str(other.key)})

    assert answer.codes == ["INVALID_STATE"]
    held = await Membership.find_one({"user_id": rep.user.key})
    assert held is not None
    assert str(held.role_id) == rep.role_id


async def test_nor_can_one_be_invited_with_it(rep: Representative) -> None:
    async with tenant_scope(rep.clinic.ref):
        doctor = await Role.find_one({"name": "doctor"})
    assert doctor is not None
    invite = "mutation($input: InviteStaffInput!) { inviteStaff(input: $input) { id } }"
    asked = {"email": f"{uuid4().hex}@example.com", "name": "Rita Rep", "kind": "MEDICAL_REPRESENTATIVE"}
    assert (await rep.admin.gql(invite, input={**asked, "roleId": str(doctor.key)})).codes == ["INVALID_STATE"]
    assert not (await rep.admin.gql(invite, input={**asked, "roleId": rep.role_id})).errors


async def test_rights_that_their_role_is_given_later_do_not_reach_representatives(rep: Representative) -> None:
    client = await rep.client()
    async with tenant_scope(rep.clinic.ref):
        role = await Role.find_one({"name": REPRESENTATIVE.name})
    assert role is not None
    more = sorted({right.value for right in REPRESENTATIVE.permissions} | {"patient:read", "service:read"})

    changed = await rep.admin.gql(ROLE, input={"id": rep.role_id, "version": role.version, "permissions": more})

    assert "patient:read" in changed.data["updateRole"]["permissions"]
    assert (await client.gql("{ patients { totalCount } }")).codes == ["FORBIDDEN"]
    assert (await client.gql("{ services { totalCount } }")).codes == ["FORBIDDEN"]


async def test_a_role_that_reaches_them_by_any_other_way_gives_no_more(rep: Representative) -> None:
    """As a restored backup or a bug of tomorrow might: what counts is judged at each request."""
    async with tenant_scope(rep.clinic.ref):
        doctor = await Role.find_one({"name": "doctor"})
        assert doctor is not None
        assert await RolePermission.find({"role_id": doctor.key}).count() > 0
    await Membership.guarded().update_one(
        {"user_id": rep.user.key}, {"$set": {"role_id": doctor.key, "role": "doctor"}, "$inc": {"version": 1}}
    )
    client = await rep.client()
    viewer = (await client.gql(VIEWER)).data["viewer"]
    assert set(viewer["permissions"]) <= {right.value for right in REPRESENTATIVE.permissions}
    assert (await client.gql("{ patients { totalCount } }")).codes == ["FORBIDDEN"]


async def test_somebody_with_a_wider_role_does_not_become_a_representative(rep: Representative) -> None:
    nurse = rep.clinic.staff["nurse"]
    answer = await rep.admin.gql(
        KIND, input={"id": str(nurse.key), "version": nurse.version, "kind": "MEDICAL_REPRESENTATIVE"}
    )
    assert answer.codes == ["INVALID_STATE"]
    async with tenant_scope(rep.clinic.ref):
        stored = await Staff.get(nurse.key)
    assert stored is not None
    assert stored.kind is StaffKind.NURSE


async def test_whoever_stops_representing_has_what_their_role_gives_at_once(rep: Representative) -> None:
    client = await rep.client()
    async with tenant_scope(rep.clinic.ref):
        role = await Role.find_one({"name": REPRESENTATIVE.name})
    assert role is not None
    await rep.admin.gql(ROLE, input={"id": rep.role_id, "version": role.version, "permissions": ["service:read"]})
    assert (await client.gql("{ services { totalCount } }")).codes == ["FORBIDDEN"]

    changed = await rep.admin.gql(KIND, input={"id": str(rep.staff.key), "version": 1, "kind": "OTHER"})

    assert changed.data["updateStaff"] == {"kind": "OTHER", "version": 2}
    assert not (await client.gql("{ services { totalCount } }")).errors


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_form_of_another_site_signs_nobody_in(rep: Representative, content_type: str) -> None:
    client = rep.server.client(rep.clinic.host, address="2001:db8:92::1")
    body = f'{{"email": "{rep.user.email}", "password": "{PASSWORD}"}}'
    answer = await client.http.post(LOGIN, content=body, headers={"content-type": content_type})
    assert answer.status_code == 415
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("body", [{"email": 1}, {"password": None}, {"password": "x" * 1_001}, {"code": 5}])
async def test_what_is_no_text_is_told_with_its_place(rep: Representative, body: dict[str, Any]) -> None:
    answer = await rep.login(**body)
    assert answer.status_code == 400
    assert [one["path"] for one in answer.json()["error"]["fields"]] == list(body)


async def test_the_root_host_lets_none_in(server: Server) -> None:
    answer = await server.client().http.post(LOGIN, json={"email": "a@b.example.com", "password": "x"})
    assert answer.status_code == 404


async def test_guessing_is_stopped(rep: Representative) -> None:
    codes = [(await rep.login(password="wrong", address="2001:db8:93::1")).status_code for _ in range(11)]
    assert codes == [401] * 10 + [429]
