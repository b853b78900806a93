"""Signing in, entering clinics, and what ends a session."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from app.auth.passwords import hash_password, verify_password
from app.errors import ErrorCode
from app.services import sign_in
from app.tenancy.crossing import tenant_scope
from models import Membership, Role, Session, User
from models.user import MembershipStatus, UserStatus
from tests.fixtures.clinics import PASSWORD, Clinic, MakeClinic, Server

LOGIN = """mutation($input: LoginInput!) {
    login(input: $input) { token viewer { name role permissions clinic { subdomain } } }
}"""
VIEWER = "{ viewer { email role permissions clinic { subdomain } } }"
PATIENTS = "{ patients { totalCount edges { node { id } } } }"
MY_CLINICS = "{ myClinics { role entered current clinic { subdomain name } } }"
SWITCH = "mutation { switchTenant { token viewer { role clinic { subdomain } } } }"


async def also_works_at(clinic: Clinic, other: Clinic, role: str) -> None:
    """Makes the person with that role at `clinic` a receptionist of `other` too."""
    user = await User.find_one({"email": clinic.emails[role]})
    assert user is not None
    async with tenant_scope(other.ref):
        receptionist = await Role.find_one({"name": "receptionist"})
    assert receptionist is not None
    await Membership(
        user_id=user.key, clinic_id=other.tenant.key, role_id=receptionist.key, role=receptionist.name
    ).insert()


async def test_login_on_a_clinics_host_enters_that_clinic(server: Server, clinic_a: Clinic) -> None:
    client = server.client(clinic_a.host)

    answer = await client.gql(LOGIN, input={"email": clinic_a.emails["doctor"].upper(), "password": PASSWORD})

    viewer = answer.data["login"]["viewer"]
    assert viewer["clinic"] == {"subdomain": clinic_a.tenant.subdomain}
    assert viewer["role"] == "doctor"
    assert "visit:sign" in viewer["permissions"]


@pytest.mark.parametrize("typed", [" Ute{n}@straße.example.com", "ute{n}@xn--strae-oqa.example.com"])
async def test_an_address_is_known_however_it_is_written(server: Server, typed: str) -> None:
    number = uuid4().hex
    user = User(email=f"ute{number}@straße.example.com", name="Ute", password_hash=await hash_password(PASSWORD))
    await user.insert()
    login = "mutation($input: LoginInput!) { login(input: $input) { viewer { id } } }"

    answer = await server.client().gql(login, input={"email": typed.format(n=number), "password": PASSWORD})

    assert answer.data["login"]["viewer"]["id"] == str(user.id)


async def test_login_on_the_root_host_enters_none_and_lists_where_to_go(server: Server, clinic_a: Clinic) -> None:
    client = server.client()
    answer = await client.gql(LOGIN, input={"email": clinic_a.emails["nurse"], "password": PASSWORD})
    client.token = answer.data["login"]["token"]

    clinics = (await client.gql(MY_CLINICS)).data["myClinics"]

    assert answer.data["login"]["viewer"]["clinic"] is None
    assert [(one["clinic"]["subdomain"], one["role"], one["entered"]) for one in clinics] == [
        (clinic_a.tenant.subdomain, "nurse", False)
    ]


@pytest.mark.parametrize(
    ("email", "password"),
    [("nobody@nowhere.example.com", PASSWORD), ("{nurse}", "wrong password"), ("", ""), ("{nurse}", "x" * 100_000)],
)
async def test_wrong_credentials_get_one_and_the_same_answer(
    server: Server, clinic_a: Clinic, email: str, password: str
) -> None:
    client = server.client(clinic_a.host)

    answer = await client.gql(LOGIN, input={"email": email.format(**clinic_a.emails), "password": password})

    assert answer.status == 401
    assert answer.codes == [ErrorCode.UNAUTHENTICATED]
    assert answer.errors[0]["message"] == "E-mail or password is wrong."
    assert "set-cookie" not in answer.response.headers


async def test_a_disabled_person_cannot_sign_in_and_their_session_ends(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic, "nurse")
    await User.find_one({"email": clinic.emails["nurse"]}).update({"$set": {"status": UserStatus.DISABLED}})

    used = await client.gql(PATIENTS)
    again = await server.client(clinic.host).gql(LOGIN, input={"email": clinic.emails["nurse"], "password": PASSWORD})

    assert used.codes == again.codes == [ErrorCode.UNAUTHENTICATED]


async def test_too_many_tries_for_one_account_are_refused_even_with_the_right_password(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client = server.client(clinic.host)
    email = clinic.emails["accountant"]
    for _ in range(10):
        await client.gql(LOGIN, input={"email": email, "password": "wrong password"})

    answer = await client.gql(LOGIN, input={"email": email, "password": PASSWORD})

    assert answer.status == 429
    assert answer.codes == [ErrorCode.RATE_LIMITED]
    assert answer.errors[0]["extensions"]["retryAfter"] > 0


async def test_browsers_get_the_token_as_cookie_alone(server: Server, clinic_a: Clinic) -> None:
    client = server.client(clinic_a.host)
    body = {"query": LOGIN, "variables": {"input": {"email": clinic_a.emails["nurse"], "password": PASSWORD}}}

    response = await client.http.post("/graphql", json=body)

    assert response.json()["data"]["login"]["token"] is None
    cookie, _ = response.headers.get_list("set-cookie")
    assert cookie.startswith("session=ey")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"} <= set(cookie.split("; "))
    follow_up = await client.http.post(
        "/graphql", json={"query": VIEWER}, headers={"Origin": f"http://{clinic_a.host}"}
    )
    assert follow_up.json()["data"]["viewer"]["email"] == clinic_a.emails["nurse"]


async def test_nobody_signed_in_is_told_so(server: Server, clinic_a: Clinic) -> None:
    client = server.client(clinic_a.host)

    answer = await client.gql(PATIENTS)

    assert (answer.status, answer.codes) == (401, [ErrorCode.UNAUTHENTICATED])
    assert (await client.gql(VIEWER)).data == {"viewer": None}


async def test_a_session_of_one_clinic_is_a_mismatch_at_another(
    server: Server, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    here = await server.sign_in(clinic_a, "admin")
    there = server.client(clinic_b.host, here.token)

    answer = await there.gql(PATIENTS)
    switched = await there.gql(SWITCH)

    assert (answer.status, answer.codes) == (403, [ErrorCode.TENANT_MISMATCH])
    assert switched.codes == [ErrorCode.FORBIDDEN]
    assert (await there.gql(PATIENTS)).codes == [ErrorCode.TENANT_MISMATCH]


async def test_switching_lets_several_tabs_on_several_clinics_stay_signed_in(
    server: Server, make_clinic: MakeClinic
) -> None:
    one, two = await make_clinic(), await make_clinic()
    await also_works_at(one, two, "admin")
    first_tab = await server.sign_in(one, "admin")
    second_tab = server.client(two.host, first_tab.token)
    assert (await second_tab.gql(PATIENTS)).codes == [ErrorCode.TENANT_MISMATCH]

    switched = (await second_tab.gql(SWITCH)).data["switchTenant"]
    second_tab.token = switched["token"]

    assert switched["viewer"] == {"role": "receptionist", "clinic": {"subdomain": two.tenant.subdomain}}
    assert (await second_tab.gql(PATIENTS)).data["patients"]["totalCount"] == 0
    assert (await first_tab.gql(VIEWER)).data["viewer"]["role"] == "admin"
    first_tab.token = second_tab.token
    assert (await first_tab.gql(VIEWER)).data["viewer"]["role"] == "admin"
    entered = (await first_tab.gql(MY_CLINICS)).data["myClinics"]
    assert all(clinic["entered"] for clinic in entered)
    assert len(entered) == 2


async def test_switching_is_in_the_clinics_audit_log(server: Server, make_clinic: MakeClinic) -> None:
    from models import AuditEntry

    one, two = await make_clinic(), await make_clinic()
    await also_works_at(one, two, "doctor")
    client = await server.sign_in(one, "doctor")
    await server.client(two.host, client.token).gql(SWITCH)

    async with tenant_scope(two.ref):
        entries = await AuditEntry.find({"action": "session.enter"}).to_list()

    assert len(entries) == 1


async def test_a_removed_membership_holds_from_the_next_request_in_every_process(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic, "nurse")
    other_process = server.variant().client(clinic.host, client.token)
    assert (await client.gql(PATIENTS)).status == (await other_process.gql(PATIENTS)).status == 200

    user = await User.find_one({"email": clinic.emails["nurse"]})
    assert user is not None
    await Membership.find_one({"user_id": user.id}).update({"$set": {"status": MembershipStatus.REMOVED}})

    for tab in (client, other_process):
        answer = await tab.gql(PATIENTS)
        assert (answer.status, answer.codes) == (403, [ErrorCode.TENANT_MISMATCH])


async def test_signing_out_everywhere_ends_every_session(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    phone, desk = await server.sign_in(clinic), await server.sign_in(clinic)

    assert (await phone.gql("mutation { signOutEverywhere }")).data == {"signOutEverywhere": True}

    assert (await phone.gql(VIEWER)).data == (await desk.gql(VIEWER)).data == {"viewer": None}


async def test_logout_ends_this_session_alone_and_removes_the_cookie(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    phone, desk = await server.sign_in(clinic), await server.sign_in(clinic)

    answer = await phone.gql("mutation { logout }")

    assert "Max-Age=0" in answer.response.headers["set-cookie"]
    assert (await phone.gql(VIEWER)).data == {"viewer": None}
    assert (await desk.gql(VIEWER)).data["viewer"] is not None


async def test_changing_the_password_ends_other_sessions_and_renews_this_one(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    phone, desk = await server.sign_in(clinic), await server.sign_in(clinic)
    change = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { token } }"
    new = {"currentPassword": PASSWORD, "newPassword": "another battery 77"}

    wrong = await phone.gql(change, input={**new, "currentPassword": "not it"})
    weak = await phone.gql(change, input={**new, "newPassword": "12345678"})
    right = await phone.gql(change, input=new)

    assert (wrong.paths, weak.paths) == (["input.currentPassword"], ["input.newPassword"])
    assert (await phone.gql(VIEWER)).data == (await desk.gql(VIEWER)).data == {"viewer": None}
    phone.token = right.data["changePassword"]["token"]
    assert (await phone.gql(VIEWER)).data["viewer"]["role"] == "admin"
    old = await server.client(clinic.host).gql(LOGIN, input={"email": clinic.emails["admin"], "password": PASSWORD})
    assert old.codes == [ErrorCode.UNAUTHENTICATED]


async def test_a_session_that_is_ended_meanwhile_changes_no_password_and_opens_no_other(
    server: Server, make_clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds a stolen session and the password must not outlive its owner's signing out everywhere."""
    clinic = await make_clinic()
    thief, owner = await server.sign_in(clinic), await server.sign_in(clinic)

    async def meanwhile(password: str) -> str:
        assert (await owner.gql("mutation { signOutEverywhere }")).data == {"signOutEverywhere": True}
        return await hash_password(password)

    monkeypatch.setattr(sign_in, "hash_password", meanwhile)
    change = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { token } }"
    refused = await thief.gql(change, input={"currentPassword": PASSWORD, "newPassword": "another battery 77"})

    assert refused.codes == [ErrorCode.UNAUTHENTICATED]
    user = await User.find_one({"email": clinic.emails["admin"]})
    assert user is not None
    assert await Session.guarded().count_documents({"user_id": user.key, "revoked_at": None}) == 0
    assert await verify_password(user.password_hash, PASSWORD), "the password is the former one"


@pytest.mark.parametrize("by", ["changing", "signing in"])
async def test_a_password_that_was_set_meanwhile_is_not_overwritten(
    server: Server, make_clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Neither by a change that was proven by the former one, nor by a sign-in that stores that one's hash anew."""
    clinic = await make_clinic()
    admin = {"email": clinic.emails["admin"]}
    client, newest = await server.sign_in(clinic), await hash_password("newest battery 78")

    async def meanwhile(password: str) -> str:
        await User.guarded().update_one(admin, {"$set": {"password_hash": newest}})
        return await hash_password(password)

    monkeypatch.setattr(sign_in, "hash_password", meanwhile)
    monkeypatch.setattr(sign_in, "outdated", lambda _: True)
    if by == "changing":
        change = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { token } }"
        new = {"currentPassword": PASSWORD, "newPassword": "another battery 77"}
        assert (await client.gql(change, input=new)).paths == ["input.currentPassword"]
    else:
        await client.gql(LOGIN, input={**admin, "password": PASSWORD})

    user = await User.find_one(admin)
    assert user is not None
    assert user.password_hash == newest


async def test_a_session_that_ran_out_on_the_server_is_no_session(server: Server, make_clinic: MakeClinic) -> None:
    from datetime import timedelta

    from models.values import now

    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    user = await User.find_one({"email": clinic.emails["admin"]})
    assert user is not None
    await Session.find_one({"user_id": user.id}).update({"$set": {"expires_at": now() - timedelta(seconds=1)}})

    assert (await client.gql(VIEWER)).data == {"viewer": None}


async def test_parallel_requests_of_two_clinics_never_cross(server: Server, clinic_a: Clinic, clinic_b: Clinic) -> None:
    clients = [await server.sign_in(clinic_a), await server.sign_in(clinic_b)]

    answers = await asyncio.gather(*(clients[i % 2].gql(VIEWER) for i in range(200)))

    shown = [answer.data["viewer"]["clinic"]["subdomain"] for answer in answers]
    assert shown == [clinic_a.tenant.subdomain, clinic_b.tenant.subdomain] * 100


async def test_what_follows_a_logout_in_one_request_runs_as_nobody(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    create = 'createPatient(input: {givenName: "After", familyName: "Logout"}) { id }'

    for ending in ("logout", "signOutEverywhere"):
        client = await server.sign_in(clinic)
        answer = await client.gql(f"mutation {{ {ending} {create} }}")
        assert answer.body["data"] == {ending: True, "createPatient": None}
        assert answer.codes == [ErrorCode.UNAUTHENTICATED]

    assert (await (await server.sign_in(clinic)).gql(PATIENTS)).data["patients"]["totalCount"] == 0
