"""A new model without tenant governance fails the build: each way of getting one past the guard is tried here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from beanie import Document, PydanticObjectId, UnionDoc, View
from pymongo import ASCENDING, IndexModel

from app.errors import TenantGuardRefused
from models import ALL_DOCUMENTS, PLATFORM_DOCUMENTS, SHARED_DOCUMENTS, TENANT_DOCUMENTS, Room
from models.base import PlatformDocument, SharedDocument, TenantDocument
from tests.contracts._governance import classes_of, complaints

Define = Callable[..., Any]


def by_tenant(field: str = "tenant_id", *, unique: bool = False) -> IndexModel:
    return IndexModel([(field, ASCENDING)], name="by", unique=unique)


def rogue(*bases: type[Any], module: str = "models.rogue", fields: dict[str, Any] | None = None, **options: Any) -> Any:
    """A class as a class statement in that module would make it; `options` are its Settings."""
    place = {"__module__": module, "__qualname__": "Rogue.Settings"}
    settings = type("Settings", (), {"name": f"rogue_{uuid4().hex}", **options, **place})
    body = {"__module__": module, "__qualname__": "Rogue", "__annotations__": fields or {}}
    return type("Rogue", bases, body if bases == (UnionDoc,) else {**body, "Settings": settings})


@pytest.fixture
def define() -> Iterator[Define]:
    """Defines a class as if it stood in a module of `models`; forgotten as one when the test ends."""
    made: list[Any] = []

    def one(*bases: type[Any], indexes: tuple[IndexModel, ...] = (), **fields: Any) -> Any:
        made.append(rogue(*bases, fields=fields, indexes=indexes))
        return made[-1]

    yield one
    for forgotten in made:
        forgotten.__module__ = "forgotten"


# --- the models that are there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", classes_of(), ids=lambda one: one.__name__)
def test_each_model_is_governed(document: type[Any]) -> None:
    assert complaints(document) == []


def test_the_registry_holds_the_models_and_nothing_else() -> None:
    assert set(ALL_DOCUMENTS) == set(classes_of())
    assert len(ALL_DOCUMENTS) == len(set(ALL_DOCUMENTS)) > 15


@pytest.mark.parametrize(
    ("documents", "base"),
    [(TENANT_DOCUMENTS, TenantDocument), (SHARED_DOCUMENTS, SharedDocument), (PLATFORM_DOCUMENTS, PlatformDocument)],
)
def test_each_part_of_the_registry_holds_its_kind(documents: tuple[type[Any], ...], base: type[Any]) -> None:
    assert all(issubclass(document, base) for document in documents)


# --- rogue ones -------------------------------------------------------------------------------------------------------


def test_a_well_made_model_that_is_registered_is_let_through(define: Define) -> None:
    model = define(TenantDocument, indexes=(by_tenant(),), label=str)
    assert complaints(model, registry=[model]) == []


def test_a_model_that_is_not_registered_is_caught(define: Define) -> None:
    model = define(TenantDocument, indexes=(by_tenant(),))
    assert model in classes_of()
    assert complaints(model) == ["Rogue is not in ALL_DOCUMENTS"]


@pytest.mark.parametrize("base", [Document, View])
def test_a_model_that_goes_around_the_guard_is_caught(define: Define, base: type[Any]) -> None:
    model = define(base, label=str)
    assert model in classes_of()
    assert "derives from none" in complaints(model)[0]


def test_a_union_of_models_is_caught(define: Define) -> None:
    model = define(UnionDoc)
    assert model in classes_of()
    assert "derives from none" in complaints(model)[0]


def test_an_id_that_says_not_where_it_points_is_caught(define: Define) -> None:
    model = define(TenantDocument, indexes=(by_tenant(),), visit_id=PydanticObjectId)
    assert "visit_id" in complaints(model, registry=[model])[0]


def test_uniqueness_across_clinics_is_caught(define: Define) -> None:
    model = define(
        TenantDocument, indexes=(by_tenant(), IndexModel([("label", 1)], name="label", unique=True)), label=str
    )
    assert "tells one clinic what another has" in complaints(model, registry=[model])[0]


@pytest.mark.parametrize(("base", "field"), [(TenantDocument, "label"), (SharedDocument, "tenant_id")])
def test_an_index_that_no_clinic_can_use_is_caught(define: Define, base: type[Any], field: str) -> None:
    model = define(base, indexes=(by_tenant(field),), label=str)
    assert "no clinic can use it" in complaints(model, registry=[model])[0]


def test_a_model_without_any_index_is_caught(define: Define) -> None:
    model = define(TenantDocument, label=str)
    assert "walk all clinics" in complaints(model, registry=[model])[0]


def test_a_model_below_another_model_cannot_be_defined(define: Define) -> None:
    with pytest.raises(TenantGuardRefused, match="directly from one of the three"):
        define(Room)


def test_a_model_of_two_kinds_cannot_be_defined(define: Define) -> None:
    with pytest.raises(TenantGuardRefused, match="directly from one of the three"):
        define(TenantDocument, PlatformDocument)


def test_a_platform_model_cannot_take_a_clinics_collection() -> None:
    with pytest.raises(TenantGuardRefused, match="already registered"):
        rogue(PlatformDocument, module="forgotten", name=Room.guarded_name())


@pytest.mark.parametrize("option", [{"use_cache": True}, {"is_root": True}, {"union_doc": UnionDoc}], ids=str)
def test_settings_that_weaken_the_guard_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(TenantGuardRefused, match="may not set"):
        rogue(TenantDocument, module="forgotten", **option)
