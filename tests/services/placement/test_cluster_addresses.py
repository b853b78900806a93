"""What makes a cluster known: an address that will do, and none that will not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.config import Settings
from app.errors import Conflict, InvalidState, NotFound, ValidationFailed
from app.integrations.kms import masters_of
from app.services.placement import clusters
from app.services.placement.clusters import clusters_under_former_keys, rewrap_cluster, use_clusters
from app.services.placement.provisioning import Goal
from app.tenancy.scope import Database, Scope, open_scope
from models import Cluster
from models.tenant import PlacementKind
from tests.conftest import OTHER_PASSWORD, TEST_ENCRYPTION_KEY
from tests.fixtures.clinics import MakeClinic, Server


@pytest_asyncio.fixture(autouse=True)
async def scope(server: Server) -> AsyncIterator[None]:
    with open_scope(Scope(request_id="test")):
        yield


@pytest.fixture
def name() -> str:
    return f"c{uuid4().hex[:8]}"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("postgres://clinics:s3cret@somewhere", "cannot be read"),
        ("mongodb://clinics:s3c ret@127.0.0.1:abc", "cannot be read"),
        ("mongodb://clinics:s3c@ret@127.0.0.1:1", "cannot be read"),
        ("mongodb://clinics:s3cret@127.0.0.1:9/", "does not answer"),
        ("", "cannot be read"),
    ],
    ids=["another-scheme", "no-address", "not-escaped", "nobody-there", "nothing"],
)
async def test_an_address_that_will_not_do_is_refused_without_being_repeated(
    settings: Settings, raw: Database, name: str, uri: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "ANSWER_MS", 500)
    with pytest.raises(ValidationFailed) as refused:
        await clusters.add(name, uri, settings, actor="tests")
    [wrong] = refused.value.fields
    assert wrong.path == "uri"
    assert told in wrong.message
    assert "s3c" not in wrong.message
    assert await raw["clusters"].count_documents({"name": name}) == 0


async def test_a_wrong_password_the_home_cluster_and_a_wrong_name_are_refused(
    settings: Settings, name: str, other_mongodb_uri: str
) -> None:
    wrong = other_mongodb_uri.replace(OTHER_PASSWORD, "another")
    for called, uri, told in (
        (name, wrong, "refuses the user or password"),
        (name, settings.mongodb_uri, "leads to the home cluster"),
        ("No Such Name", other_mongodb_uri, ""),
    ):
        with pytest.raises(ValidationFailed) as refused:
            await clusters.add(called, uri, settings, actor="tests")
        assert told in refused.value.fields[0].message


async def test_a_name_is_given_once_and_an_unknown_one_is_told(
    settings: Settings, name: str, other_mongodb_uri: str
) -> None:
    await clusters.add(name, other_mongodb_uri, settings, actor="tests")
    with pytest.raises(Conflict):
        await clusters.add(name, other_mongodb_uri, settings, actor="tests")
    assert (await clusters.check(name)).problem is None
    await clusters.remove(name, actor="tests")
    for asking in (clusters.remove(name, actor="tests"), clusters.change(name, "x", settings, actor="tests")):
        with pytest.raises(NotFound):
            await asking
    assert (await clusters.check(f"{name}-2")).problem == "is not known"


async def test_a_cluster_with_clinics_is_not_removed_and_an_address_elsewhere_is_refused(
    settings: Settings, make_clinic: MakeClinic, name: str, other_mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clusters.add(name, other_mongodb_uri, settings, actor="tests")
    clinic = await make_clinic(Goal(PlacementKind.CLUSTER, name))
    with pytest.raises(InvalidState, match=clinic.tenant.subdomain):
        await clusters.remove(name, actor="tests")
    await clusters.change(name, f"{other_mongodb_uri}&appname=x", settings, actor="tests")

    async def none_there(*_: object) -> list[str]:
        return [clinic.tenant.subdomain]

    monkeypatch.setattr(clusters, "_missing", none_there)
    with pytest.raises(ValidationFailed):
        await clusters.change(name, other_mongodb_uri, settings, actor="tests")


async def test_an_address_is_wrapped_anew_by_the_present_master(
    settings: Settings, name: str, other_mongodb_uri: str
) -> None:
    await clusters.add(name, other_mongodb_uri, settings, actor="tests")
    turned = Settings(
        **{
            **settings.model_dump(),
            "encryption_key": SecretStr(TEST_ENCRYPTION_KEY[::-1]),
            "encryption_keys_old": [SecretStr(TEST_ENCRYPTION_KEY)],
        }
    )
    [row] = [one for one in await clusters_under_former_keys(masters_of(turned)) if one["name"] == name]
    assert await rewrap_cluster(masters_of(turned), row)
    assert not await rewrap_cluster(masters_of(turned), row), "it was changed meanwhile"
    use_clusters(settings)
    assert "ENCRYPTION_KEYS_OLD" in str((await clusters.check(name)).problem)
    use_clusters(turned)
    assert (await clusters.check(name)).problem is None
    use_clusters(settings)
    await Cluster.guarded().delete_one({"name": name})
