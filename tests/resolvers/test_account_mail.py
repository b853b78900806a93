"""Links mailed to people about their own account: each good once, for a while, and telling strangers nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest

from app.services.email_tokens import RESET_LASTS
from models import EmailToken, OutboxMessage, PlatformAudit, Session, User
from models.user import UserStatus
from models.values import now
from tests.fixtures.clinics import PASSWORD, Answer, Client, Clinic, MakeClinic, Server
from tests.fixtures.mailbox import Mailbox

FORGOT = "mutation($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) }"
RESET = "mutation($input: ResetPasswordInput!) { resetPassword(input: $input) }"
ASK = "mutation { requestEmailVerification }"
VERIFY = "mutation($input: VerifyEmailInput!) { verifyEmail(input: $input) }"
CHANGE = "mutation($input: RequestEmailChangeInput!) { requestEmailChange(input: $input) }"
LOGIN = "mutation($input: LoginInput!) { login(input: $input) { token } }"
CHANGE_PASSWORD = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { token } }"
VIEWER = "{ viewer { email } }"
NEW_PASSWORD = "a staple for batteries 7"


async def user_of(email: str) -> User:
    found = await User.find_one({"email": email})
    assert found is not None
    return found


async def forget(server: Server, clinic: Clinic, email: str, address: str = "127.7.0.1") -> Answer:
    return await server.client(clinic.host, address=address).gql(FORGOT, input={"email": email})


async def reset(server: Server, clinic: Clinic, token: str, password: str = NEW_PASSWORD) -> Answer:
    return await server.client(clinic.host).gql(RESET, input={"token": token, "newPassword": password})


async def sign_in(server: Server, clinic: Clinic, email: str, password: str) -> Answer:
    return await server.client(clinic.host, address="127.7.0.9").gql(
        LOGIN, input={"email": email, "password": password}
    )


class TestForgottenPassword:
    async def test_a_new_password_ends_all_sessions_and_signs_nobody_in(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        email = clinic.emails["nurse"]
        old = await server.sign_in(clinic, "nurse")
        assert (await forget(server, clinic, email)).data == {"requestPasswordReset": True}
        done = await reset(server, clinic, await mailbox.token(email))
        assert done.data == {"resetPassword": True}
        assert "token" not in done.response.text
        assert (await old.gql(VIEWER)).data["viewer"] is None
        assert await Session.rows({"user_id": (await user_of(email)).key, "revoked_at": None}) == []
        assert (await sign_in(server, clinic, email, PASSWORD)).codes == ["UNAUTHENTICATED"]
        assert not (await sign_in(server, clinic, email, NEW_PASSWORD)).errors
        assert (await mailbox.last(email))["Subject"] == "Your password was changed"
        actions = [row["action"] for row in await PlatformAudit.rows({"actor": str((await user_of(email)).key)})]
        assert {"user.request_password_reset", "user.reset_password"} <= set(actions)

    async def test_the_link_is_good_once_even_for_five_at_once(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        email = clinic.emails["nurse"]
        await forget(server, clinic, email)
        token = await mailbox.token(email)
        passwords = [f"a staple for batteries {number}" for number in range(5)]
        answers = await asyncio.gather(*(reset(server, clinic, token, one) for one in passwords))
        assert sum(not answer.errors for answer in answers) == 1
        [won] = [one for one, answer in zip(passwords, answers, strict=True) if not answer.errors]
        assert {code for answer in answers for code in answer.codes} <= {"NOT_FOUND", "UNAVAILABLE"}
        assert not (await sign_in(server, clinic, email, won)).errors

    @pytest.mark.parametrize("how", ["newer request", "password change", "expired", "disabled", "address changed"])
    async def test_a_link_that_was_overtaken_is_like_one_that_never_was(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox, how: str
    ) -> None:
        clinic = await make_clinic()
        email = clinic.emails["nurse"]
        client = await server.sign_in(clinic, "nurse")
        await forget(server, clinic, email)
        token = await mailbox.token(email)
        user = await user_of(email)
        match how:
            case "newer request":
                await forget(server, clinic, email)
            case "password change":
                input = {"currentPassword": PASSWORD, "newPassword": "another staple 99"}
                assert not (await client.gql(CHANGE_PASSWORD, input=input)).errors
            case "expired":
                [row] = await EmailToken.rows({"user_id": user.key})
                assert row["expires_at"] - now() <= RESET_LASTS
                await EmailToken.guarded().update_one({"_id": row["_id"]}, {"$set": {"expires_at": now()}})
            case "disabled":
                await user.set({"status": UserStatus.DISABLED})
            case _:
                await user.set({"email": f"moved-{uuid4().hex}@example.com"})
        before = (await User.rows({"_id": user.key}))[0]["password_hash"]
        refused, unknown = await reset(server, clinic, token), await reset(server, clinic, "Sample")
        assert refused.codes == unknown.codes == ["NOT_FOUND"]
        assert refused.errors[0]["message"] == unknown.errors[0]["message"]
        assert (await User.rows({"_id": user.key}))[0]["password_hash"] == before

    async def test_a_weak_password_leaves_the_link_good(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        await forget(server, clinic, clinic.emails["nurse"])
        token = await mailbox.token(clinic.emails["nurse"])
        assert (await reset(server, clinic, token, "short")).paths == ["input.newPassword"]
        assert not (await reset(server, clinic, token)).errors

    async def test_requests_for_nobody_meet_each_other_like_those_for_somebody(
        self, server: Server, make_clinic: MakeClinic
    ) -> None:
        """Several at once wait for each other; were it otherwise for unknown addresses, the time would tell."""
        clinic, email = await make_clinic(), f"unknown-{uuid4().hex}@example.com"
        before = await EmailToken.guarded().count_documents({})
        answers = await asyncio.gather(*(forget(server, clinic, email) for _ in range(3)))
        assert [answer.data for answer in answers] == [{"requestPasswordReset": True}] * 3
        assert await EmailToken.guarded().count_documents({}) == before + 1

    async def test_nobody_learns_whether_an_address_is_known(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        known, unknown = clinic.emails["nurse"], f"nobody-{uuid4().hex}@example.com"

        async def effects(email: str) -> tuple[Any, dict[str, int]]:
            models = (EmailToken, OutboxMessage, PlatformAudit)
            before = [await model.guarded().count_documents({}) for model in models]
            answer = await forget(server, clinic, email, "127.7.0.2")
            after = [await model.guarded().count_documents({}) for model in models]
            grown = [now - then for now, then in zip(after, before, strict=True)]
            return (answer.data, answer.status), dict(zip([model.__name__ for model in models], grown, strict=True))

        assert await effects(known) == await effects(unknown)
        assert await mailbox.arrived(unknown) == []
        assert await mailbox.arrived("nobody@example.com") == []
        assert len(await mailbox.arrived(known)) == 1

    async def test_known_and_unknown_take_as_long(self, server: Server, make_clinic: MakeClinic) -> None:
        clinic = await make_clinic()
        spent: dict[str, list[float]] = {"known": [], "unknown": []}
        for number in range(8):
            pairs = (("known", clinic.emails["nurse"]), ("unknown", f"u{uuid4().hex}@example.com"))
            for kind, email in pairs:
                started = time.perf_counter()
                await forget(server, clinic, email, f"127.7.{number + 10}.2")
                spent[kind].append(time.perf_counter() - started)
        known, unknown = (sorted(times)[len(times) // 2] for times in spent.values())
        assert 0.4 < known / unknown < 2.5

    async def test_one_persons_mailbox_cannot_be_filled_and_the_answer_stays_the_same(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        email = clinic.emails["nurse"]
        answers = [await forget(server, clinic, email, f"127.6.{n}.1") for n in range(6)]
        assert [answer.data for answer in answers] == [{"requestPasswordReset": True}] * 6
        assert len(await mailbox.arrived(email)) == 3

    async def test_one_network_cannot_ask_without_end(self, server: Server, clinic_a: Clinic) -> None:
        codes = [
            (await forget(server, clinic_a, f"{n}@{uuid4().hex}.example.com", "127.6.200.1")).codes for n in range(21)
        ]
        assert codes[:20] == [[]] * 20
        assert codes[20] == ["RATE_LIMITED"]

    async def test_a_disabled_person_gets_no_mail(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        email = clinic.emails["nurse"]
        await (await user_of(email)).set({"status": UserStatus.DISABLED})
        assert (await forget(server, clinic, email, "127.6.201.1")).data == {"requestPasswordReset": True}
        assert await mailbox.arrived(email) == []


class TestAddress:
    async def test_an_address_is_confirmed_by_its_link_once(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        email = clinic.emails["nurse"]
        client = await server.sign_in(clinic, "nurse")
        assert (await client.gql(ASK)).data == {"requestEmailVerification": True}
        token = await mailbox.token(email)
        anybody = server.client(clinic.host)
        assert (await anybody.gql(VERIFY, input={"token": token})).data == {"verifyEmail": True}
        assert (await user_of(email)).email_verified_at is not None
        assert (await anybody.gql(VERIFY, input={"token": token})).codes == ["NOT_FOUND"]
        assert (await client.gql(ASK)).codes == ["INVALID_STATE"]

    async def test_a_link_for_one_purpose_is_none_for_another(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        client = await server.sign_in(clinic, "nurse")
        await client.gql(ASK)
        verification = await mailbox.token(clinic.emails["nurse"])
        assert (await reset(server, clinic, verification)).codes == ["NOT_FOUND"]
        await forget(server, clinic, clinic.emails["doctor"])
        forgotten = await mailbox.token(clinic.emails["doctor"])
        assert (await client.gql(VERIFY, input={"token": forgotten})).codes == ["NOT_FOUND"]

    async def test_a_new_address_counts_once_it_is_proven_and_the_old_one_is_told(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        old, new = clinic.emails["nurse"], f"new-{uuid4().hex}@example.com"
        client = await server.sign_in(clinic, "nurse")
        assert (await client.gql(CHANGE, input={"newEmail": new, "password": "wrong one 123"})).paths == [
            "input.password"
        ]
        assert (await client.gql(CHANGE, input={"newEmail": "no address", "password": PASSWORD})).paths == [
            "input.newEmail"
        ]
        assert not (await client.gql(CHANGE, input={"newEmail": new, "password": PASSWORD})).errors
        assert not (await sign_in(server, clinic, old, PASSWORD)).errors, "nothing changes before it is proven"
        await forget(server, clinic, old)
        forgotten = await mailbox.token(old)
        assert not (await client.gql(VERIFY, input={"token": await mailbox.token(new)})).errors
        assert (await sign_in(server, clinic, old, PASSWORD)).codes == ["UNAUTHENTICATED"]
        assert not (await sign_in(server, clinic, new, PASSWORD)).errors
        assert "Your e-mail address was changed" in [str(one["Subject"]) for one in await mailbox.arrived(old)]
        assert (await reset(server, clinic, forgotten)).codes == ["NOT_FOUND"], "the old mailbox has no say any more"

    async def test_an_address_of_somebody_else_is_answered_alike_and_never_taken(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic = await make_clinic()
        client = await server.sign_in(clinic, "nurse")
        theirs = clinic.emails["doctor"]
        answer = await client.gql(CHANGE, input={"newEmail": theirs, "password": PASSWORD})
        assert answer.data == {"requestEmailChange": True}
        assert await mailbox.arrived(theirs) == []

    async def test_an_address_that_was_taken_meanwhile_stays_with_its_owner(
        self, server: Server, make_clinic: MakeClinic, mailbox: Mailbox
    ) -> None:
        clinic, wanted = await make_clinic(), f"wanted-{uuid4().hex}@example.com"
        client = await server.sign_in(clinic, "nurse")
        await client.gql(CHANGE, input={"newEmail": wanted, "password": PASSWORD})
        token = await mailbox.token(wanted)
        await User(email=wanted, name="Faster", password_hash="none").insert()
        assert (await client.gql(VERIFY, input={"token": token})).codes == ["NOT_FOUND"]
        assert (await user_of(wanted)).name == "Faster"
        assert (await user_of(clinic.emails["nurse"])).name != "Faster"

    async def test_verification_mails_are_limited(self, server: Server, make_clinic: MakeClinic) -> None:
        clinic = await make_clinic()
        client: Client = await server.sign_in(clinic, "nurse")
        codes = [(await client.gql(ASK)).codes for _ in range(6)]
        assert codes == [*([[]] * 5), ["RATE_LIMITED"]]
