"""Setting a clinic's identity provider: what is refused, and that its secret is never shown to anybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from app.tenancy.crossing import tenant_scope
from models import AuditEntry, IdentityProvider
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.people import SignedIn
from tests.oidc_provider import Provider, running_provider

SET = """mutation($input: SetIdentityProviderInput!) { setIdentityProvider(input: $input) {
    version issuer clientId hasClientSecret scopes emailDomains trustsSecondFactor enabled
} }"""
REMOVE = "mutation($input: RemoveIdentityProviderInput!) { removeIdentityProvider(input: $input) }"
READ = "{ identityProvider { version hasClientSecret enabled } }"
SECRET = "only-the-provider-and-we-know"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


def given(issuer: str, **more: Any) -> dict[str, Any]:
    return {"issuer": issuer, "clientId": "us", "clientSecret": SECRET, "emailDomains": ["Clinic.Example.org"], **more}


async def stored(clinic: Clinic) -> IdentityProvider | None:
    async with tenant_scope(clinic.ref):
        return await IdentityProvider.find_one({})


async def test_a_provider_is_set_changed_and_removed_and_its_secret_shown_to_nobody(
    server: Server, make_clinic: MakeClinic, provider: Provider, raw: AsyncDatabase[dict[str, Any]]
) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)

    made = await admin.gql(SET, input=given(provider.url, scopes=["profile"]))
    changed = await admin.gql(SET, input={"version": 1, "enabled": False})
    stale = await admin.gql(SET, input={"version": 1, "enabled": True})
    again = await admin.gql(SET, input=given(provider.url))

    assert made.data["setIdentityProvider"] == {
        "version": 1,
        "issuer": provider.url,
        "clientId": "us",
        "hasClientSecret": True,
        "scopes": ["openid", "email", "profile"],
        "emailDomains": ["clinic.example.org"],
        "trustsSecondFactor": False,
        "enabled": True,
    }
    assert (changed.data["setIdentityProvider"]["enabled"], changed.data["setIdentityProvider"]["hasClientSecret"]) == (
        False,
        True,
    )
    assert (stale.codes, stale.paths, again.codes) == (["CONFLICT"], ["input.version"], ["INVALID_STATE"])
    kept = await raw["identity_providers"].find_one({"tenant_id": clinic.tenant.id})
    assert kept is not None
    assert SECRET not in str(kept)
    assert SECRET not in made.response.text + changed.response.text
    found = await stored(clinic)
    assert found is not None
    assert found.client_secret == SECRET
    assert SECRET not in repr(found)
    assert (await admin.gql(REMOVE, input={"version": 1})).codes == ["CONFLICT"]
    assert (await admin.gql(REMOVE, input={"version": 2})).data == {"removeIdentityProvider": True}
    assert (await admin.gql(READ)).data == {"identityProvider": None}
    async with tenant_scope(clinic.ref):
        acts = [entry.action for entry in await AuditEntry.find({}).sort("seq").to_list()]
    assert [act for act in acts if act.startswith("identity_provider.")] == [
        "identity_provider.create",
        "identity_provider.change",
        "identity_provider.remove",
    ]


async def test_the_secret_of_one_issuer_is_not_kept_for_another(
    server: Server, make_clinic: MakeClinic, provider: Provider
) -> None:
    """Else whoever may change the settings could have it sent to a server of their own."""
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    await admin.gql(SET, input=given(provider.url))
    with running_provider() as other:
        moved = await admin.gql(SET, input={"version": 1, "issuer": other.url})
    assert moved.data["setIdentityProvider"]["hasClientSecret"] is False
    found = await stored(clinic)
    assert found is not None
    assert found.client_secret is None


@pytest.mark.parametrize(
    "issuer",
    [
        "https://169.254.169.254/latest",
        "https://10.0.0.1",
        "https://[::ffff:10.0.0.1]",
        "http://login.example.org",
        "https://user:pass@login.example.org",
        "https://login.example.org?x=1",
        "https://login.example.org#x",
        "not an address",
        "http://127.0.0.1:1",
        "https://no-such-host.invalid",
    ],
)
async def test_an_issuer_that_cannot_or_must_not_be_called_is_refused(
    server: Server, clinic_a: Clinic, signed_in: SignedIn, issuer: str
) -> None:
    answer = await (await signed_in(clinic_a)).gql(SET, input=given(issuer))
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.issuer"])
    assert await stored(clinic_a) is None


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"emailDomains": []}, "input.emailDomains"),
        ({"emailDomains": ["not a domain"]}, "input.emailDomains.0"),
        ({"clientId": ""}, "input.clientId"),
        ({"scopes": ["a b"]}, "input.scopes.0"),
        ({"clientSecret": "x\ny"}, "input.clientSecret"),
    ],
)
async def test_wrong_values_are_refused_at_their_path(
    clinic_a: Clinic, signed_in: SignedIn, provider: Provider, changed: dict[str, Any], path: str
) -> None:
    answer = await (await signed_in(clinic_a)).gql(SET, input=given(provider.url, **changed))
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert await stored(clinic_a) is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://accounts.example.org"},
        {"token_endpoint": "http://169.254.169.254/latest"},
        {"jwks_uri": "https://10.0.0.1/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
    ],
    ids=str,
)
async def test_a_provider_whose_own_document_leads_astray_is_refused(
    clinic_a: Clinic, signed_in: SignedIn, provider: Provider, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    try:
        answer = await (await signed_in(clinic_a)).gql(SET, input=given(provider.url))
    finally:
        provider.metadata = {}
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.issuer"])
    assert await stored(clinic_a) is None


async def test_a_server_without_the_setting_calls_no_provider_on_its_own_machine(
    server: Server, make_clinic: MakeClinic, provider: Provider
) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    before = len(provider.asked)
    strict = server.variant(loopback_providers=False).client(clinic.host, admin.token)
    for issuer in (provider.url, provider.url.replace("127.0.0.1", "localhost")):
        answer = await strict.gql(SET, input=given(issuer))
        assert answer.paths == ["input.issuer"]
    assert len(provider.asked) == before


async def test_whoever_only_reads_the_settings_sees_the_provider_and_changes_nothing(
    clinic_a: Clinic, signed_in: SignedIn, provider: Provider
) -> None:
    receptionist = await signed_in(clinic_a, "receptionist")
    assert (await receptionist.gql(READ)).status == 200
    assert (await receptionist.gql(SET, input=given(provider.url))).codes == ["FORBIDDEN"]
    assert (await (await signed_in(clinic_a, "nurse")).gql(READ)).codes == ["FORBIDDEN"]
    assert await stored(clinic_a) is None
