"""Every marked field of every model: nothing of it is plain in the database or on the way there; and every field whose
name says that it is sensitive is marked, or says here why it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import bson
import pytest
from bson import ObjectId
from pydantic import BaseModel
from pymongo import MongoClient

from app.config import Settings
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from app.tenancy.seal_marks import outline_of, places
from app.tenancy.sealing import is_sealed, sealed_in
from models import ALL_DOCUMENTS, TENANT_DOCUMENTS
from models.base import GuardedDocument, TenantDocument
from tests.contracts._samples import Marker, Sampler
from tests.fixtures.clinics import MakeClinic
from tests.fixtures.commands import Commands

MARKED = [model for model in TENANT_DOCUMENTS if sealed_in(model.guarded_name())]

SENSITIVE = re.compile(
    r"(national|insurance|passport|tax)_(id|number)|ssn|iban|(^|_)(secret|password|token|private_key|credential)s?$"
    r"|(^|_)(body|note|notes|payload|subjective|objective|assessment|plan|diagnosis|anamnesis)$"
)

UNMARKED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "tenants.subscription.plan",
            "tenants.subscription.grant.plan",
            "tenants.subscription.history.plan",
            "paypal_orders.plan",
            "subscription_payments.plan",
        ),
        "the name of what the clinic pays for",
    ),
    "rooms.notes": "says what to know about a room, nothing about a person",
}
"""`collection.path` → why a field with such a name is stored as it is."""


def sensitive_fields(model: type[BaseModel], above: str = "", seen: tuple[Any, ...] = ()) -> Iterator[str]:
    """Paths of the fields, also inside of embedded values, whose name says that they are sensitive."""
    for name, info in model.model_fields.items():
        if SENSITIVE.search(name):
            yield f"{above}{name}"
        for part in _inside(info.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
                yield from sensitive_fields(part, f"{above}{name}.", (*seen, part))


def _inside(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _inside(argument)


def unmarked(model: type[GuardedDocument]) -> set[str]:
    """The sensitive fields of a model that no mark covers."""
    name = model.guarded_name()
    marks = sealed_in(name)
    return {
        f"{name}.{path}"
        for path in sensitive_fields(model)
        if not any(path == mark or path.startswith(f"{mark}.") for mark in marks)
    }


# --- by name ----------------------------------------------------------------------------------------------------------

_DOCUMENTS: tuple[Any, ...] = ALL_DOCUMENTS


@pytest.mark.parametrize("model", _DOCUMENTS, ids=lambda model: model.__name__)
def test_what_sounds_sensitive_is_sealed_or_says_why_not(model: type[GuardedDocument]) -> None:
    left = unmarked(model) - UNMARKED.keys()
    assert not left, f"{left}: mark them with Sealed(), or give a reason in UNMARKED of {__file__}"


def test_no_reason_outlives_its_field() -> None:
    assert UNMARKED.keys() <= {path for model in _DOCUMENTS for path in unmarked(model)}


@pytest.mark.parametrize(
    "name", ["national_id", "insurance_number", "ssn", "client_secret", "notes", "body", "api_token", "plan"]
)
def test_the_look_sees(name: str) -> None:
    assert SENSITIVE.search(name)


@pytest.mark.parametrize("name", ["name", "plan_id", "notes_count", "anybody", "secretary_id"])
def test_the_look_does_not_see_everything(name: str) -> None:
    assert not SENSITIVE.search(name)


# --- by what is stored ------------------------------------------------------------------------------------------------


def test_there_are_marks() -> None:
    assert {"patient_records", "appointments"} <= {model.guarded_name() for model in MARKED}


def _with_secrets(model: type[TenantDocument], secret: Marker) -> Any:
    """A document of the clinic in scope, each marked text of which carries the secret, and no other does."""

    def values(marker: Marker) -> dict[str, Any]:
        sampler = Sampler(marker, 7_000_000, lambda _mark: ObjectId())
        return sampler.values(model, skip=("id", "tenant_id", "revision_id"))

    plain, hidden = values(Marker.fresh("plain")), values(secret)
    for place in places(outline_of(model.guarded_name()), hidden):
        _put(plain, place.path, place.value)
    return model(**plain)


def _put(values: Any, path: str, value: Any) -> None:
    top, _, rest = path.partition(".")
    for one in values if isinstance(values, list) else [values]:
        if not rest:
            one[top] = value
        elif one.get(top) is not None:
            _put(one[top], rest, value)


@pytest.mark.parametrize("model", MARKED, ids=lambda model: model.__name__)
async def test_nothing_of_a_marked_field_is_plain_anywhere(
    model: type[TenantDocument], make_clinic: MakeClinic, raw: Database, commands: Commands, settings: Settings
) -> None:
    secret = Marker.fresh("sealed")
    clinic = await make_clinic()
    commands.clear()
    async with tenant_scope(clinic.ref):
        document = _with_secrets(model, secret)
        id = (await document.insert()).key
        assert secret.text in str(await model.rows({"_id": id})), "the clinic reads it"
        again = await model.get(id)
        assert again is not None
        await again.save()
    try:
        sent = b"".join(bson.encode(dict(command)) for _, command in commands.seen)
        assert id.binary in sent, "the commands were seen"
        assert secret.text.encode() not in sent
        stored = await raw[model.guarded_name()].find_one({"_id": id})
        assert stored is not None
        assert all(is_sealed(place.value) for place in places(outline_of(model.guarded_name()), stored))
        assert _where(settings, secret) == []
    finally:
        await raw[model.guarded_name()].delete_one({"_id": id})


def _where(settings: Settings, secret: Marker) -> list[str]:
    """Each collection of the server, the log of its replica set among them, in which the secret stands plain."""
    needle = secret.text.encode()
    with MongoClient[Any](settings.mongodb_uri) as client:
        own = client[settings.mongodb_database]
        found = [name for name in own.list_collection_names() for row in own[name].find() if needle in bson.encode(row)]
        log = client["local"]["oplog.rs"].find({"ns": {"$regex": f"^{settings.mongodb_database}\\."}})
        return found + ["oplog" for entry in log.sort("$natural", -1).limit(500) if needle in bson.encode(entry)]
