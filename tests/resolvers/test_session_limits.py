"""How long sessions last and may rest: everywhere, and at a clinic that allows less. Keys that sign them change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.auth.session_limits import SEEN_EVERY, is_over
from app.auth.tokens import STAFF, tokens_of
from app.config import Settings
from app.tenancy.scope import SignInPolicy
from models import Session, Tenant
from models.values import now
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.resolvers.second_factor_calls import heard
from tests.resolvers.test_session import PATIENTS, SWITCH, VIEWER, also_works_at

NEW_SECRET = SecretStr("Kt7-2mBqLx9sVz4wRy8Ac3Oe6Uh0In5Qd_Gf")


async def session_of(server: Server, client: Client) -> Session:
    assert client.token is not None
    claims = tokens_of(server.settings, STAFF).read(client.token)
    assert claims is not None
    found = await Session.find_one({"_id": claims.session_id})
    assert found is not None
    return found


async def rest(server: Server, client: Client, minutes: float) -> None:
    """Makes it look as if the session had not been used for so long."""
    session = await session_of(server, client)
    await Session.guarded().update_one(
        {"_id": session.id}, {"$set": {"last_seen_at": now() - timedelta(minutes=minutes)}}
    )


async def set_policy(server: Server, clinic: Clinic, **policy: Any) -> None:
    values = {f"security.{name}": value for name, value in policy.items()}
    await Tenant.guarded().update_one({"_id": clinic.tenant.key}, {"$set": values})
    await heard(server, clinic, **policy)


async def is_known(client: Client) -> bool:
    return (await client.gql(VIEWER)).data["viewer"] is not None


# --- everywhere -------------------------------------------------------------------------------------------------------


async def test_a_session_that_rested_too_long_is_none_and_does_not_come_back(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    limit = server.settings.session_idle_minutes

    await rest(server, client, limit - 1)
    assert await is_known(client)
    await rest(server, client, limit + 2)

    assert (await client.gql(PATIENTS)).codes == ["UNAUTHENTICATED"]
    assert not await is_known(client), "the refused request was no use of it"
    assert not await is_known(server.variant().client(clinic.host, client.token)), "nor is it one elsewhere"


async def test_using_it_starts_the_rest_anew_with_one_write_a_minute(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    await rest(server, client, 0.5)
    before = (await session_of(server, client)).last_seen_at
    await client.gql(VIEWER)
    assert (await session_of(server, client)).last_seen_at == before

    await rest(server, client, 2)
    await client.gql(VIEWER)
    after = await session_of(server, client)

    assert now() - after.last_seen_at < timedelta(seconds=30)
    assert 110 <= after.longest_rest <= 150


@given(st.integers(5, 10_080), st.integers(0, 59), st.integers(-50, 50))
def test_nobody_is_put_out_within_the_limit_and_nobody_stays_longer_than_a_minute_beyond(
    limit: int, unwritten: int, offset: int
) -> None:
    """The last use may have been up to a minute after what is stored of it."""
    settings = Settings.model_construct(session_idle_minutes=limit)
    last_use = now()
    stored = last_use - timedelta(seconds=unwritten)
    moment = last_use + timedelta(minutes=limit, seconds=offset)
    row = {"last_seen_at": stored, "expires_at": moment + timedelta(days=1), "created_at": stored}

    over = is_over(row, None, settings, moment)

    assert not (over and offset <= 0), "put out within the limit"
    assert over or moment - last_use <= timedelta(minutes=limit) + SEEN_EVERY


# --- at a clinic ------------------------------------------------------------------------------------------------------


async def test_a_clinics_shorter_rest_holds_on_its_own_host_alone(server: Server, make_clinic: MakeClinic) -> None:
    strict, lax = await make_clinic(), await make_clinic()
    await also_works_at(strict, lax, "nurse")
    client = await server.sign_in(strict, "nurse")
    there = server.client(lax.host, client.token)
    there.token = (await there.gql(SWITCH)).data["switchTenant"]["token"]
    await set_policy(server, strict, idle_minutes=15)

    await rest(server, client, 14)
    assert await is_known(client)
    await rest(server, client, 20)

    assert not await is_known(client)
    assert (await there.gql(VIEWER)).data["viewer"]["role"] == "receptionist"


async def test_a_detour_over_another_host_does_not_freshen_a_session_up_for_a_strict_clinic(
    server: Server, make_clinic: MakeClinic
) -> None:
    """A device lay unattended: whoever picks it up must not get in by first asking where more is allowed."""
    strict, lax = await make_clinic(), await make_clinic()
    await also_works_at(strict, lax, "nurse")
    client = await server.sign_in(strict, "nurse")
    await set_policy(server, strict, idle_minutes=15)
    await rest(server, client, 20)

    assert await is_known(server.client("polyclinic.test", client.token))
    entered = (await server.client(lax.host, client.token).gql(SWITCH)).data["switchTenant"]["token"]

    assert not await is_known(client)
    assert (await client.gql(SWITCH)).codes == ["UNAUTHENTICATED"]
    assert (await server.client(strict.host, entered).gql(PATIENTS)).codes == ["UNAUTHENTICATED"]


async def test_a_clinics_hours_count_from_the_sign_in(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    session = await session_of(server, client)
    await Session.guarded().update_one({"_id": session.id}, {"$set": {"created_at": now() - timedelta(hours=9)}})
    assert await is_known(client)

    await set_policy(server, clinic, session_hours=8)
    assert not await is_known(client)
    await set_policy(server, clinic, session_hours=10)
    assert await is_known(client)


@pytest.mark.parametrize("policy", [{"session_hours": 720}, {"idle_minutes": 10_080}])
async def test_a_clinic_cannot_lengthen_anything(
    server: Server, make_clinic: MakeClinic, policy: dict[str, int]
) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    await set_policy(server, clinic, **policy)

    await rest(server, client, server.settings.session_idle_minutes + 2)
    assert not await is_known(client)
    await rest(server, client, 0)
    assert await is_known(client)
    session = await session_of(server, client)
    await Session.guarded().update_one({"_id": session.id}, {"$set": {"expires_at": now() - timedelta(seconds=1)}})
    assert not await is_known(client)


@given(
    st.lists(st.integers(0, 18_000), min_size=1, max_size=8),
    st.integers(5, 120),
)
def test_one_rest_beyond_a_clinics_limit_is_enough(rests: Sequence[int], limit: int) -> None:
    """However a session is used in between, on whatever hosts."""
    settings = Settings.model_construct(session_idle_minutes=10_080)
    policy, start = SignInPolicy(idle_minutes=limit), now()
    row: dict[str, Any] = {"created_at": start, "last_seen_at": start, "expires_at": start + timedelta(days=30)}
    moment, over = start, False
    for seconds in rests:
        moment += timedelta(seconds=seconds)
        pause = moment - row["last_seen_at"]
        over |= pause > timedelta(minutes=limit) + SEEN_EVERY
        assert is_over(row, policy, settings, moment) is over
        if pause > SEEN_EVERY:
            row |= {"last_seen_at": moment, "longest_rest": max(row.get("longest_rest", 0), int(pause.total_seconds()))}


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_rotating_the_key_signs_nobody_out(server: Server, make_clinic: MakeClinic) -> None:
    clinic = await make_clinic()
    client = await server.sign_in(clinic)
    prepared = server.variant(session_secrets_old=(NEW_SECRET,))
    rotated = server.variant(session_secret=NEW_SECRET, session_secrets_old=(server.settings.session_secret,))
    finished = server.variant(session_secret=NEW_SECRET)

    fresh = await rotated.sign_in(clinic, "nurse")

    assert await is_known(rotated.client(clinic.host, client.token))
    assert await is_known(prepared.client(clinic.host, fresh.token)), "a server that does not sign by it yet"
    assert not await is_known(server.client(clinic.host, fresh.token)), "a server that was not told of it"
    assert await is_known(finished.client(clinic.host, fresh.token))
    assert not await is_known(finished.client(clinic.host, client.token))
