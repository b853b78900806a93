"""Authenticator apps and recovery codes: what a stolen password alone no longer opens."""

from __future__ import annotations

import asyncio
import time
from base64 import b32decode
from datetime import timedelta

import pyotp
import pytest
from pydantic import SecretStr

from app.integrations.kms import masters_of
from app.services.second_factors import CODES, apps_under_former_keys, rewrap_app
from models import RateBucket, SecondFactor, User
from tests.fixtures.clinics import PASSWORD, Clinic, MakeClinic, Server
from tests.resolvers.second_factor_calls import (
    BEGIN,
    CONFIRM,
    DISABLE,
    FACTORS,
    LOGIN,
    REGENERATE,
    VIEWER,
    begun,
    enrolled,
    log_in,
    secret_in,
)


async def factor_of(clinic: Clinic, role: str = "admin") -> SecondFactor | None:
    user = await User.find_one({"email": clinic.emails[role]})
    assert user is not None
    return await SecondFactor.find_one({"user_id": user.id})


async def test_an_app_counts_only_once_it_has_shown_a_code(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)

    app = await begun(client)
    unconfirmed = await log_in(server, clinic)
    wrong = await client.gql(CONFIRM, input={"code": app.wrong()})

    assert unconfirmed.data["login"]["viewer"]["secondFactor"] is False
    assert (wrong.codes, wrong.paths) == (["VALIDATION_FAILED"], ["input.code"])
    assert (await client.gql(FACTORS)).data["secondFactors"]["totpSince"] is None


async def test_the_setup_is_shown_as_address_and_picture_and_needs_the_password(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)

    refused = await client.gql(BEGIN, input={"password": "not the password"})
    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.password"])
    assert await factor_of(clinic) is None

    told = (await client.gql(BEGIN, input={"password": PASSWORD})).data["beginTotp"]
    assert told["uri"].startswith("otpauth://totp/Polyclinic:")
    assert told["qrSvg"].startswith("<svg ")
    stored = await factor_of(clinic)
    assert stored is not None
    assert stored.wrapped is not None
    assert b32decode(secret_in(told["uri"])) not in stored.wrapped
    assert "wrapped" not in repr(stored)


async def test_with_an_app_the_password_alone_opens_nothing_and_says_what_may_come(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    app = await enrolled(await server.sign_in(clinic))

    bare = await log_in(server, clinic)
    wrong_code = await log_in(server, clinic, code=app.wrong())
    wrong_password = await server.client(clinic.host).gql(
        LOGIN, input={"email": clinic.emails["admin"], "password": "wrong password", "code": app.code()}
    )
    good = await log_in(server, clinic, code=app.code())

    for answer in (bare, wrong_code):
        assert (answer.status, answer.codes) == (401, ["UNAUTHENTICATED"])
        assert answer.errors[0]["extensions"]["secondFactor"] == ["totp", "recovery_code"]
        assert "set-cookie" not in answer.response.headers
    assert wrong_password.codes == ["UNAUTHENTICATED"]
    assert wrong_password.errors[0]["message"] == "E-mail or password is wrong."
    assert "secondFactor" not in wrong_password.errors[0]["extensions"]
    assert good.data["login"]["viewer"]["secondFactor"] is True


async def test_confirming_renews_this_session_and_ends_those_opened_with_less(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    phone, desk = await server.sign_in(clinic), await server.sign_in(clinic)
    old = server.client(clinic.host, phone.token)

    await enrolled(phone)

    assert phone.token != old.token
    assert (await phone.gql(VIEWER)).data["viewer"]["secondFactor"] is True
    assert (await phone.gql(VIEWER)).data["viewer"]["role"] == "admin"
    assert (await old.gql(VIEWER)).data == (await desk.gql(VIEWER)).data == {"viewer": None}


async def test_a_code_is_good_once_even_for_two_at_the_same_instant(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    app = await enrolled(await server.sign_in(clinic))
    code = app.code()

    racers = await asyncio.gather(*(log_in(server, clinic, code=code) for _ in range(6)))
    again = await log_in(server, clinic, code=code)

    assert sorted(racer.status for racer in racers) == [200, 401, 401, 401, 401, 401]
    assert again.status == 401


async def test_the_code_that_confirmed_the_app_does_not_sign_in_as_well(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    app = await begun(client)
    code = app.code()
    await client.gql(CONFIRM, input={"code": code})

    assert (await log_in(server, clinic, code=code)).status == 401
    assert (await log_in(server, clinic, code=app.code())).status == 200


@pytest.mark.parametrize("shift", [-4, 4])
async def test_codes_far_from_now_are_wrong(server: Server, make_clinic: MakeClinic, shift: int) -> None:
    clinic = await make_clinic()
    app = await enrolled(await server.sign_in(clinic))
    step = int(time.time()) // 30 + shift

    assert (await log_in(server, clinic, code=pyotp.TOTP(app.secret).generate_otp(step))).status == 401


async def test_a_recovery_code_signs_in_once_however_it_is_typed(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    app = await enrolled(client)
    code = app.recovery[3]

    racers = await asyncio.gather(*(log_in(server, clinic, code=f" {code.upper()} ") for _ in range(4)))

    assert len(set(app.recovery)) == 10
    assert sorted(racer.status for racer in racers) == [200, 401, 401, 401]
    assert (await client.gql(FACTORS)).data["secondFactors"]["recoveryCodesLeft"] == 9
    stored = await factor_of(clinic)
    assert stored is not None
    assert not set(app.recovery) & set(stored.recovery)


async def test_a_recovery_code_of_another_person_is_wrong(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    await enrolled(await server.sign_in(clinic, "admin"))
    other = await enrolled(await server.sign_in(clinic, "nurse"))

    assert (await log_in(server, clinic, "admin", code=other.recovery[0])).status == 401
    assert (await log_in(server, clinic, "nurse", code=other.recovery[0])).status == 200


async def test_new_recovery_codes_void_the_former_ones(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    assert (await client.gql(REGENERATE, input={"password": PASSWORD})).codes == ["INVALID_STATE"]
    app = await enrolled(client)
    assert (await client.gql(REGENERATE, input={"password": "wrong password"})).paths == ["input.password"]

    fresh = (await client.gql(REGENERATE, input={"password": PASSWORD})).data["regenerateRecoveryCodes"]

    assert len(fresh) == 10
    assert (await log_in(server, clinic, code=app.recovery[0])).status == 401
    assert (await log_in(server, clinic, code=fresh[0])).status == 200


async def test_turning_it_off_needs_password_and_code(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    app = await enrolled(client)

    no_password = await client.gql(DISABLE, input={"password": "wrong password", "code": app.recovery[0]})
    no_code = await client.gql(DISABLE, input={"password": PASSWORD, "code": app.wrong()})
    assert (no_password.paths, no_code.paths) == (["input.password"], ["input.code"])
    assert (await log_in(server, clinic)).status == 401

    assert (await client.gql(DISABLE, input={"password": PASSWORD, "code": app.code()})).data == {"disableTotp": True}
    assert (await log_in(server, clinic)).data["login"]["viewer"]["secondFactor"] is False
    assert (await client.gql(VIEWER)).data["viewer"]["secondFactor"] is False
    assert await factor_of(clinic) is None


async def test_an_app_in_use_is_not_replaced_by_whoever_holds_the_session(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    app = await enrolled(client)

    assert (await client.gql(BEGIN, input={"password": PASSWORD})).codes == ["INVALID_STATE"]
    assert (await client.gql(CONFIRM, input={"code": app.code()})).codes == ["INVALID_STATE"]
    assert (await log_in(server, clinic, code=app.code())).status == 200


async def test_guessing_codes_is_stopped_for_whoever_has_the_password(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    app = await enrolled(await server.sign_in(clinic))
    user = await User.find_one({"email": clinic.emails["admin"]})
    assert user is not None
    await RateBucket.guarded().delete_many({"_id": f"{CODES.name}:platform:{user.id}"})

    tries = [await log_in(server, clinic, code=app.wrong()) for _ in range(CODES.tries)]
    stopped = await log_in(server, clinic, code=app.code())

    assert [answer.status for answer in tries] == [401] * CODES.tries
    assert (stopped.status, stopped.codes) == (429, ["RATE_LIMITED"])


async def test_a_secret_that_was_put_into_another_persons_place_opens_nothing(
    server: Server, make_clinic: MakeClinic
) -> None:
    """Somebody who can write to the database, and has an app of their own, is still not somebody else."""
    clinic = await make_clinic()
    await enrolled(await server.sign_in(clinic, "admin"))
    mine = await enrolled(await server.sign_in(clinic, "nurse"))
    own, target = await factor_of(clinic, "nurse"), await factor_of(clinic, "admin")
    assert own is not None
    assert target is not None
    await SecondFactor.guarded().update_one({"_id": target.id}, {"$set": {"wrapped": own.wrapped}})

    answer = await log_in(server, clinic, "admin", code=mine.code())

    assert answer.status == 500
    assert "set-cookie" not in answer.response.headers


async def test_a_former_encryption_key_still_opens_the_secrets_that_it_closed(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    app = await enrolled(await server.sign_in(clinic))
    own = server.settings.encryption_key
    fresh = SecretStr("Zt5nKz1PdYb7hLs9uMfE-cGa2iRoBt4_jX0v3Wq8r")

    later = server.variant(encryption_key=fresh, encryption_keys_old=(own,))
    lost = server.variant(encryption_key=fresh)

    assert (await log_in(later, clinic, code=app.code())).status == 200
    assert (await log_in(lost, clinic, code=app.code())).status == 500


async def test_a_new_master_key_takes_the_secrets_of_apps_along(server: Server, make_clinic: MakeClinic) -> None:
    """What `rotate_keys --master --all` does for each of them: after it, the former key is no longer needed."""
    clinic = await make_clinic()
    app = await enrolled(await server.sign_in(clinic))
    own = server.settings.encryption_key
    fresh = SecretStr("Zt5nKz1PdYb7hLs9uMfE-cGa2iRoBt4_jX0v3Wq8r")
    stored = await factor_of(clinic)
    assert stored is not None
    masters = masters_of(server.variant(encryption_key=fresh, encryption_keys_old=(own,)).settings)

    [row] = [row for row in await apps_under_former_keys(masters) if row["_id"] == stored.id]
    assert await rewrap_app(masters, row)

    assert not [row for row in await apps_under_former_keys(masters) if row["_id"] == stored.id]
    assert not await rewrap_app(masters, row), "it was changed meanwhile"
    assert (await log_in(server.variant(encryption_key=fresh), clinic, code=app.code())).status == 200


async def test_a_new_password_keeps_the_second_factor_of_the_session(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    await enrolled(client)
    change = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { token } }"

    answer = await client.gql(change, input={"currentPassword": PASSWORD, "newPassword": "another battery 77"})
    client.token = answer.data["changePassword"]["token"]

    assert (await client.gql(VIEWER)).data["viewer"]["secondFactor"] is True


def test_limits_leave_a_guesser_no_hope() -> None:
    from app.services.second_factors import CODES_A_DAY

    assert CODES_A_DAY.window == timedelta(days=1)
    assert CODES_A_DAY.tries * 3 * 365 < 1_000_000 * 0.06
