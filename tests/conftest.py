"""What every test stands on: one real mongod for the run, one database for each worker, known settings.

`MONGODB_URI` names the database to test against; without it a local mongod is started and thrown away. A second one,
`OTHER_MONGODB_URI`, is another cluster, on which some clinics live.
Fixtures of a subject live in `tests/fixtures/`, one module each; all of them are loaded here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from pymongo import MongoClient

from app.config import Settings
from app.db.mongod import embedded_mongod
from app.services.audit_chain import use_audit_keys

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

pytest_plugins = [
    f"tests.fixtures.{module.stem}"
    for module in sorted(Path(__file__).parent.glob("fixtures/*.py"))
    if not module.stem.startswith("_")
]

TEST_SECRET = "jX0v3Wq8-rT5nKz1_PdYb7hLs9uMfEcGa2iRoBt4"
OTHER_PASSWORD = "Wv7-never-to-be-seen-3Kq"
TEST_ENCRYPTION_KEY = "Q7mZ2xLr9-VbN4cKt8_JwHy3sDfGp6uTeXa1oRi5"

_EXTERNAL_URI = os.environ.get("MONGODB_URI")
_OTHER_EXTERNAL_URI = os.environ.get("OTHER_MONGODB_URI")
_running = pytest.StashKey[ExitStack]()
_uri = pytest.StashKey[str]()
_other_uri = pytest.StashKey[str]()

hypothesis_settings.register_profile("local", deadline=None)
hypothesis_settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    hypothesis_settings.load_profile("ci" if os.environ.get("CI") else "local")
    for name in Settings.model_fields:  # the developer's own settings must not change what is tested
        os.environ.pop(name.upper(), None)
    config.stash[_running] = ExitStack()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What kills processes and databases comes last: it wants the machine for itself."""
    items.sort(key=lambda item: item.path.parent.name == "failure")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Runs in the parent of the test processes: they share the mongod that it starts."""
    node.workerinput["mongodb_uri"] = _mongod_of(node.config)
    node.workerinput["other_mongodb_uri"] = _other_mongod_of(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if running := config.stash.get(_running, None):
        running.close()


@pytest.fixture(scope="session")
def mongodb_uri(request: pytest.FixtureRequest) -> str:
    """A replica set that takes writes."""
    handed_down: dict[str, Any] = getattr(request.config, "workerinput", {})
    return handed_down.get("mongodb_uri") or _mongod_of(request.config)


@pytest.fixture(scope="session")
def other_mongodb_uri(request: pytest.FixtureRequest) -> str:
    """Another cluster, to which a user with a password signs in."""
    handed_down: dict[str, Any] = getattr(request.config, "workerinput", {})
    return handed_down.get("other_mongodb_uri") or _other_mongod_of(request.config)


@pytest.fixture(scope="session")
def database_name(mongodb_uri: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of this test process alone; it, and each database that starts with its name, is dropped."""
    name = f"test_{uuid4().hex[:12]}"
    yield name
    handed_down: dict[str, Any] = getattr(request.config, "workerinput", {})
    other = handed_down.get("other_mongodb_uri") or request.config.stash.get(_other_uri, None)
    for uri in filter(None, (mongodb_uri, other)):
        with MongoClient[dict[str, Any]](uri) as client:
            for found in client.list_database_names():
                if found.startswith(name):
                    client.drop_database(found)


@pytest.fixture(scope="session")
def settings(mongodb_uri: str, database_name: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of a test server, whatever the environment says."""
    settings = Settings(
        environment="test",
        mongodb_uri=mongodb_uri,
        mongodb_database=database_name,
        session_secret=SecretStr(TEST_SECRET),
        encryption_key=SecretStr(TEST_ENCRYPTION_KEY),
        audit_secret=SecretStr(TEST_SECRET[::-1]),
        root_domain="polyclinic.test",
        loopback_providers=True,
        time_limit_ms=60_000,  # many tests share two cores
        outbox_seconds=0,
        cost_per_clinic=10**12,
        cost_per_person=10**12,
        cost_per_address=10**12,
        lab_inbox_seconds=0,
        jobs_seconds=0,
        paypal_inbox_seconds=0,
        blob_url=SecretStr(f"file:{tmp_path_factory.mktemp('blobs')}"),
    )
    use_audit_keys(settings)
    return settings


def _mongod_of(config: pytest.Config) -> str:
    """The connection string for the whole run; the first call starts the mongod."""
    if _uri not in config.stash:
        config.stash[_uri] = _EXTERNAL_URI or config.stash[_running].enter_context(_throwaway_mongod())
    return config.stash[_uri]


def _other_mongod_of(config: pytest.Config) -> str:
    """As `_mongod_of`, for the second one, whose address holds a password."""
    if _other_uri not in config.stash and _OTHER_EXTERNAL_URI:
        config.stash[_other_uri] = _OTHER_EXTERNAL_URI
    if _other_uri not in config.stash:
        uri = config.stash[_running].enter_context(_throwaway_mongod())
        with MongoClient[dict[str, Any]](uri) as client:
            client.admin.command("createUser", "clinics", pwd=OTHER_PASSWORD, roles=["root"])
        signed_in = uri.replace("mongodb://", f"mongodb://clinics:{OTHER_PASSWORD}@")
        config.stash[_other_uri] = f"{signed_in}&authSource=admin"
    return config.stash[_other_uri]


@contextmanager
def _throwaway_mongod() -> Iterator[str]:
    """Keeps its data in memory where the machine has a folder for that."""
    shared_memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
    folder = Path(tempfile.mkdtemp(prefix="polyclinic-", dir=shared_memory if _is_roomy(shared_memory) else None))
    try:
        with embedded_mongod(folder, cache_gb=0.5, keep=False) as uri:
            yield uri
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_roomy(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 2 * 1024**3
