"""Inviting people to a clinic: a link is good once, there alone, for that address, while the inviter could give it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from app.tenancy.crossing import tenant_scope
from models import AuditEntry, AuditPending, Invitation, Membership, Role, RolePermission, Session, Staff, Tenant, User
from models.invitation import InvitationStatus
from models.staff import StaffKind
from models.tenant import Language, SecurityPolicy
from models.user import MembershipStatus
from models.values import now
from tests.fixtures.clinics import PASSWORD, Answer, Client, Clinic, MakeClinic, Server
from tests.fixtures.mailbox import Mailbox, text_of

INVITE = "mutation($input: InviteStaffInput!) { inviteStaff(input: $input) { id email state role { name } } }"
RESEND = "mutation($input: InvitationInput!) { resendInvitation(input: $input) { id state } }"
REVOKE = "mutation($input: InvitationInput!) { revokeInvitation(input: $input) { id state } }"
LIST = "{ invitations { totalCount edges { node { id email name state role { name } staff { id } acceptedAt } } } }"
CHECK = """query($input: CheckInvitationInput!) { checkInvitation(input: $input) {
    clinic { name } email isKnown expiresAt } }"""
ACCEPT = """mutation($input: AcceptInvitationInput!) { acceptInvitation(input: $input) {
    token viewer { id name email role permissions clinic { name } } } }"""
PATIENTS = "{ patients { totalCount } }"
NEW_PASSWORD = "a staple for batteries 7"
_numbers = count(1)


def fresh_email() -> str:
    return f"new-{uuid4().hex[:10]}@example.com"


async def role_id(clinic: Clinic, name: str) -> str:
    async with tenant_scope(clinic.ref):
        role = await Role.find_one({"name": name})
    assert role is not None
    return str(role.id)


async def invite(client: Client, clinic: Clinic, email: str, role: str = "nurse", **more: Any) -> Answer:
    input = {"email": email, "name": "Nina Nurse", "kind": "NURSE", "roleId": await role_id(clinic, role), **more}
    return await client.gql(INVITE, input=input)


async def accept(server: Server, clinic: Clinic, token: str, **input: Any) -> Answer:
    client = server.client(clinic.host, address=f"127.9.{next(_numbers)}.1")
    return await client.gql(ACCEPT, input={"token": token, **input})


class TestInviting:
    async def test_the_mail_names_the_clinic_in_its_language_and_hides_the_token_from_servers(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        await Tenant.guarded().update_one(
            {"_id": clinic.tenant.key}, {"$set": {"settings.language": Language.ES.value}}
        )
        made = (await invite(await server.sign_in(clinic), clinic, email)).data["inviteStaff"]
        assert (made["email"], made["state"], made["role"]) == (email, "OPEN", {"name": "nurse"})
        message = await mailbox.last(email)
        assert message["Subject"] == f"Invitación de {clinic.ref.name}"
        assert f"http://{clinic.host}:{server.settings.port}/invitation#token=" in text_of(message)

    async def test_the_stored_invitation_cannot_be_used(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        await invite(await server.sign_in(clinic), clinic, email)
        token = await mailbox.token(email)
        async with tenant_scope(clinic.ref):
            [row] = await Invitation.rows({})
        assert token not in str(row)
        assert (await accept(server, clinic, row["token_hash"], password=NEW_PASSWORD)).codes == ["NOT_FOUND"]

    async def test_nobody_invites_above_their_own_rights(self, server: Server, make_clinic: MakeClinic) -> None:
        clinic = await make_clinic()
        async with tenant_scope(clinic.ref):
            nurse = await Role.find_one({"name": "nurse"})
            assert nurse is not None
            grant = await RolePermission.find_one({"role_id": nurse.key, "resource": "staff"})
            assert grant is not None
            await grant.set({"actions": ["read", "manage"]})
        desk = await server.sign_in(clinic, "nurse")
        for role in ("admin", "doctor"):
            answer = await invite(desk, clinic, fresh_email(), role)
            assert answer.codes == ["FORBIDDEN"]
            assert answer.errors[0]["message"] == "This role stands above yours."
        lower = await invite(desk, clinic, fresh_email(), "receptionist")
        assert lower.errors[0]["message"] == "This role permits more than yours."
        async with tenant_scope(clinic.ref):
            assert await Invitation.rows({}) == []

    async def test_only_the_clinics_domains_are_invited(self, server: Server, make_clinic: MakeClinic) -> None:
        clinic = await make_clinic()
        policy = SecurityPolicy(email_domains=["hospital.org"])
        await Tenant.guarded().update_one({"_id": clinic.tenant.key}, {"$set": {"security": policy.model_dump()}})
        admin = await server.sign_in(clinic)
        async with asyncio.timeout(5):  # until the directory has seen the change
            while (answer := await invite(admin, clinic, "eve@hospital.org.evil.com")).codes != ["VALIDATION_FAILED"]:
                await asyncio.sleep(0.05)
        assert answer.paths == ["input.email"]
        assert not (await invite(admin, clinic, f"n{uuid4().hex}@hospital.org")).errors

    async def test_a_second_invitation_replaces_the_first(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        admin = await server.sign_in(clinic)
        await invite(admin, clinic, email)
        first = await mailbox.token(email)
        await invite(admin, clinic, email, "doctor")
        second = next(token for token in await _tokens(mailbox, email) if token != first)
        assert (await accept(server, clinic, first, password=NEW_PASSWORD)).codes == ["NOT_FOUND"]
        assert (await accept(server, clinic, second, password=NEW_PASSWORD)).data["acceptInvitation"]["viewer"][
            "role"
        ] == "doctor"

    async def test_two_invitations_of_one_address_at_once_leave_one_open(
        self, server: Server, make_clinic: MakeClinic
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        admin = await server.sign_in(clinic)
        await asyncio.gather(*(invite(admin, clinic, email) for _ in range(5)))
        async with tenant_scope(clinic.ref):
            assert len(await Invitation.rows({"status": "open"})) == 1

    async def test_somebody_who_works_here_is_not_invited_again(self, server: Server, make_clinic: MakeClinic) -> None:
        clinic = await make_clinic()
        assert (await invite(await server.sign_in(clinic), clinic, clinic.emails["doctor"])).codes == ["INVALID_STATE"]

    async def test_whether_an_address_is_known_elsewhere_does_not_show(
        self, server: Server, make_clinic: MakeClinic, clinic_b: Clinic
    ) -> None:
        clinic = await make_clinic()
        admin = await server.sign_in(clinic)
        known = (await invite(admin, clinic, clinic_b.emails["nurse"])).data["inviteStaff"]
        unknown = (await invite(admin, clinic, fresh_email())).data["inviteStaff"]
        assert known.keys() == unknown.keys()
        assert known["state"] == unknown["state"]

    async def test_a_clinic_cannot_fill_a_mailbox(self, server: Server, make_clinic: MakeClinic) -> None:
        clinic, email = await make_clinic(), fresh_email()
        admin = await server.sign_in(clinic)
        codes = [(await invite(admin, clinic, email)).codes for _ in range(21)]
        assert codes[:20] == [[]] * 20
        assert codes[20] == ["RATE_LIMITED"]

    async def test_the_list_tells_where_each_stands(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, admin = (made := await make_clinic()), await server.sign_in(made)
        emails = [fresh_email() for _ in range(4)]
        ids = [(await invite(admin, clinic, email)).data["inviteStaff"]["id"] for email in emails]
        await accept(server, clinic, await mailbox.token(emails[0]), password=NEW_PASSWORD)
        await admin.gql(REVOKE, input={"id": ids[1]})
        async with tenant_scope(clinic.ref):
            await Invitation.guarded().update_one({"email": emails[2]}, {"$set": {"expires_at": now()}})
        nodes = [edge["node"] for edge in (await admin.gql(LIST)).data["invitations"]["edges"]]
        assert {node["email"]: node["state"] for node in nodes} == dict(
            zip(emails, ["ACCEPTED", "REVOKED", "EXPIRED", "OPEN"], strict=True)
        )

    async def test_a_link_sent_again_is_a_new_one_and_revives_one_that_ran_out(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        admin = await server.sign_in(clinic)
        id = (await invite(admin, clinic, email)).data["inviteStaff"]["id"]
        first = await mailbox.token(email)
        async with tenant_scope(clinic.ref):
            await Invitation.guarded().update_one({"email": email}, {"$set": {"expires_at": now()}})
        assert (await accept(server, clinic, first, password=NEW_PASSWORD)).codes == ["NOT_FOUND"]
        assert (await admin.gql(RESEND, input={"id": id})).data["resendInvitation"]["state"] == "OPEN"
        second = next(token for token in await _tokens(mailbox, email) if token != first)
        assert (await accept(server, clinic, first, password=NEW_PASSWORD)).codes == ["NOT_FOUND"]
        assert not (await accept(server, clinic, second, password=NEW_PASSWORD)).errors

    async def test_revoking_kills_the_link_and_cannot_be_done_twice(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        admin = await server.sign_in(clinic)
        id = (await invite(admin, clinic, email)).data["inviteStaff"]["id"]
        token = await mailbox.token(email)
        assert (await admin.gql(REVOKE, input={"id": id})).data["revokeInvitation"]["state"] == "REVOKED"
        for again in (REVOKE, RESEND):
            assert (await admin.gql(again, input={"id": id})).codes == ["INVALID_STATE"]
        assert (await accept(server, clinic, token, password=NEW_PASSWORD)).codes == ["NOT_FOUND"]
        assert await User.find_one({"email": email}) is None


async def _tokens(mailbox: Mailbox, email: str) -> list[str]:
    found = [text_of(message).partition("#token=")[2][:43] for message in await mailbox.arrived(email)]
    assert all(len(token) == 43 for token in found)
    return found


class TestAccepting:
    async def test_somebody_new_chooses_a_password_and_is_in(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        await invite(await server.sign_in(clinic), clinic, email)
        token = await mailbox.token(email)

        look = (await server.client(clinic.host).gql(CHECK, input={"token": token})).data["checkInvitation"]
        assert (look["clinic"]["name"], look["email"], look["isKnown"]) == (
            clinic.tenant.name,
            "n***@example.com",
            False,
        )
        joined = (await accept(server, clinic, token, password=NEW_PASSWORD, name="Nina Neu")).data["acceptInvitation"]

        assert (joined["viewer"]["name"], joined["viewer"]["role"]) == ("Nina Neu", "nurse")
        assert joined["viewer"]["clinic"]["name"] == clinic.tenant.name
        inside = server.client(clinic.host, joined["token"])
        assert not (await inside.gql(PATIENTS)).errors
        user = await User.find_one({"email": email})
        assert user is not None
        assert user.email_verified_at is not None, "who followed the link reads the mail"
        async with tenant_scope(clinic.ref):
            staff = await Staff.find_one({"user_id": user.key})
            assert staff is not None
            assert (staff.name, staff.kind) == ("Nina Neu", StaffKind.NURSE)
            entries = [row["action"] for row in await AuditEntry.rows({"user_id": user.key})]
            waiting = [row["entry"]["action"] for row in await AuditPending.rows({})]
        assert "invitation.accept" in entries + waiting

    @pytest.mark.parametrize("input", [{}, {"password": "short"}, {"password": "password123"}])
    async def test_a_bad_password_leaves_the_invitation_open(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox, input: dict[str, str]
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        await invite(await server.sign_in(clinic), clinic, email)
        token = await mailbox.token(email)
        refused = await accept(server, clinic, token, **input)
        assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.password"])
        assert await User.find_one({"email": email}) is None
        assert not (await accept(server, clinic, token, password=NEW_PASSWORD)).errors

    async def test_a_link_is_good_once_even_for_ten_at_once(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        await invite(await server.sign_in(clinic), clinic, email)
        token = await mailbox.token(email)
        answers = await asyncio.gather(*(accept(server, clinic, token, password=NEW_PASSWORD) for _ in range(10)))
        assert sum(not answer.errors for answer in answers) == 1
        assert {code for answer in answers for code in answer.codes} <= {"NOT_FOUND", "CONFLICT", "UNAVAILABLE"}
        users = await User.rows({"email": email})
        assert len(users) == 1
        assert len(await Membership.rows({"user_id": users[0]["_id"]})) == 1
        async with tenant_scope(clinic.ref):
            assert len(await Staff.rows({"user_id": users[0]["_id"]})) == 1

    async def test_on_another_clinics_host_the_link_does_not_exist(
        self, server: Server, make_clinic: MakeClinic, clinic_b: Clinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        await invite(await server.sign_in(clinic), clinic, email)
        token = await mailbox.token(email)

        async def said(host: str, secret: str, query: str, **input: str) -> Any:
            body = (await server.client(host).gql(query, input={"token": secret, **input})).body
            body["errors"][0]["extensions"].pop("requestId")
            return body["errors"], body["data"]

        for host in (clinic_b.host, "polyclinic.test"):
            for query, more in ((CHECK, {}), (ACCEPT, {"password": NEW_PASSWORD})):
                assert await said(host, token, query, **more) == await said(host, "Sample", query, **more)
        assert await User.find_one({"email": email}) is None
        assert not (await accept(server, clinic, token, password=NEW_PASSWORD)).errors

    async def test_somebody_known_proves_it_by_their_password_and_keeps_it(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        home, clinic = await make_clinic(), await make_clinic()
        email = home.emails["nurse"]
        await invite(await server.sign_in(clinic), clinic, email)
        token = await mailbox.token(email)
        look = (await server.client(clinic.host).gql(CHECK, input={"token": token})).data["checkInvitation"]
        assert look["isKnown"] is True
        wrong = await accept(server, clinic, token, password="not the password 1")
        assert wrong.codes == ["UNAUTHENTICATED"]
        assert (await accept(server, clinic, token)).paths == ["input.password"]
        joined = (await accept(server, clinic, token, password=PASSWORD)).data["acceptInvitation"]
        assert joined["viewer"]["role"] == "nurse"
        assert not (await server.client(clinic.host, joined["token"]).gql(PATIENTS)).errors
        assert not (await (await server.sign_in(home, "nurse")).gql(PATIENTS)).errors

    async def test_guessing_a_known_persons_password_by_a_link_is_throttled_with_their_account(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        home, clinic = await make_clinic(), await make_clinic()
        email = home.emails["nurse"]
        await invite(await server.sign_in(clinic), clinic, email)
        token = await mailbox.token(email)
        client = server.client(clinic.host, address="127.8.8.8")
        codes = [
            (await client.gql(ACCEPT, input={"token": token, "password": f"wrong guess {n}"})).codes for n in range(11)
        ]
        assert codes[:10] == [["UNAUTHENTICATED"]] * 10
        assert codes[10] == ["RATE_LIMITED"]

    async def test_somebody_signed_in_accepts_without_a_password_but_not_for_another_address(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        home, clinic = await make_clinic(), await make_clinic()
        await invite(await server.sign_in(clinic), clinic, home.emails["nurse"])
        token = await mailbox.token(home.emails["nurse"])
        other = await server.sign_in(home, "doctor")
        refused = await server.client(clinic.host, other.token).gql(ACCEPT, input={"token": token})
        assert refused.paths == ["input.password"]
        own = await server.sign_in(home, "nurse")
        joined = await server.client(clinic.host, own.token).gql(ACCEPT, input={"token": token})
        session = joined.data["acceptInvitation"]["token"]
        assert not (await server.client(clinic.host, session).gql(PATIENTS)).errors
        assert not (await server.client(home.host, session).gql(PATIENTS)).errors, "the same session, one more clinic"

    async def test_a_failed_acceptance_leaves_no_session_behind(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        home, clinic = await make_clinic(), await make_clinic()
        email = home.emails["nurse"]
        admin = await server.sign_in(clinic)
        await invite(admin, clinic, email)
        token = await mailbox.token(email)
        user = await User.find_one({"email": email})
        assert user is not None
        admin_user = await User.find_one({"email": clinic.emails["admin"]})
        assert admin_user is not None
        await Membership.guarded().update_one(
            {"user_id": admin_user.key}, {"$set": {"status": MembershipStatus.REMOVED.value}}
        )
        assert (await accept(server, clinic, token, password=PASSWORD)).codes == ["INVALID_STATE"]
        assert await Session.rows({"user_id": user.key, "revoked_at": None}) == []

    @pytest.mark.parametrize(
        "change",
        ["role deleted", "inviter removed", "inviter demoted", "inviter disabled everywhere", "right taken away"],
    )
    async def test_an_invitation_does_not_outlive_the_right_it_was_sent_with(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox, change: str
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        admin = await server.sign_in(clinic)
        await invite(admin, clinic, email, "doctor")
        token = await mailbox.token(email)
        inviter = await User.find_one({"email": clinic.emails["admin"]})
        assert inviter is not None
        here = {"user_id": inviter.key, "clinic_id": clinic.tenant.key}
        async with tenant_scope(clinic.ref):
            doctor = await Role.find_one({"name": "doctor"})
            nurse = await Role.find_one({"name": "nurse"})
            own = await Role.find_one({"name": "admin"})
            assert doctor
            assert nurse
            assert own
            if change == "role deleted":
                await Role.guarded().delete_one({"_id": doctor.key})
            elif change == "inviter removed":
                await Membership.guarded().update_one(here, {"$set": {"status": "removed"}})
            elif change == "inviter disabled everywhere":
                await User.guarded().update_one({"_id": inviter.key}, {"$set": {"status": "disabled"}})
            elif change == "inviter demoted":
                await Membership.guarded().update_one(here, {"$set": {"role_id": nurse.key, "role": "nurse"}})
            else:
                await RolePermission.guarded().delete_one({"role_id": own.key, "resource": "staff"})
        refused = await accept(server, clinic, token, password=NEW_PASSWORD)
        assert refused.codes == ["INVALID_STATE"]
        assert await User.find_one({"email": email}) is None
        async with tenant_scope(clinic.ref):
            assert await Staff.find_one({"email": email}) is None
            [row] = await Invitation.rows({"email": email})
        assert row["status"] == InvitationStatus.OPEN

    async def test_somebody_who_left_comes_back_to_their_own_profile(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        admin = await server.sign_in(clinic)
        staff, email = clinic.staff["nurse"], clinic.emails["nurse"]
        await admin.gql(
            "mutation($input: RemoveStaffAccessInput!) { removeStaffAccess(input: $input) { id } }",
            input={"staffId": str(staff.id)},
        )
        await invite(admin, clinic, email, "doctor")
        joined = await accept(server, clinic, await mailbox.token(email), password=PASSWORD)
        assert joined.data["acceptInvitation"]["viewer"]["role"] == "doctor"
        async with tenant_scope(clinic.ref):
            rows = await Staff.rows({"user_id": staff.user_id})
        assert [row["_id"] for row in rows] == [staff.id]

    async def test_whoever_is_removed_has_no_open_invitation_to_come_back_by(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        """Invited at an address that became theirs only afterwards, so that they work here and the link stays open."""
        clinic, email = await make_clinic(), fresh_email()
        admin = await server.sign_in(clinic)
        await invite(admin, clinic, email, "doctor")
        token, staff = await mailbox.token(email), clinic.staff["nurse"]
        await User.guarded().update_one({"_id": staff.user_id}, {"$set": {"email": email}})
        removed = await admin.gql(
            "mutation($input: RemoveStaffAccessInput!) { removeStaffAccess(input: $input) { id } }",
            input={"staffId": str(staff.id)},
        )
        assert not removed.errors

        assert (await accept(server, clinic, token, password=PASSWORD)).codes == ["NOT_FOUND"]

        [row] = await Membership.rows({"user_id": staff.user_id, "clinic_id": clinic.tenant.key})
        assert row["status"] == MembershipStatus.REMOVED

    async def test_a_link_that_ran_out_is_like_one_that_never_was(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, email = await make_clinic(), fresh_email()
        await invite(await server.sign_in(clinic), clinic, email)
        token = await mailbox.token(email)
        async with tenant_scope(clinic.ref):
            [row] = await Invitation.rows({})
            assert timedelta(days=6) < row["expires_at"] - now() <= timedelta(days=7)
            await Invitation.guarded().update_one({"_id": row["_id"]}, {"$set": {"expires_at": now()}})
        assert (await accept(server, clinic, token, password=NEW_PASSWORD)).codes == ["NOT_FOUND"]
