"""Every id that a document holds says where it points, so that no check and no deletion can overlook it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from bson import ObjectId
from pydantic import BaseModel

from models import ALL_DOCUMENTS, PLATFORM_DOCUMENTS, SHARED_DOCUMENTS, TENANT_DOCUMENTS
from models.base import GuardedDocument, PlatformDocument
from models.references import Mark, PlatformReference, Reference, WhenGone, pointers_of

COLLECTIONS = {document.Settings.name: document for document in ALL_DOCUMENTS}
OWN = {"id", "tenant_id", "revision_id"}


def undeclared_ids(model: type[BaseModel]) -> Iterator[str]:
    """Fields that hold an id without a mark, at any depth."""
    for name, field in model.model_fields.items():
        if issubclass(model, GuardedDocument) and name in OWN:
            continue
        parts = [field.annotation, *field.metadata, *inside(field.annotation)]
        holds_id = any(isinstance(part, type) and issubclass(part, ObjectId) for part in parts)
        if holds_id and not any(isinstance(part, Mark) for part in parts):
            yield name
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from (f"{name}.{inner}" for inner in undeclared_ids(part))


def inside(annotation: Any) -> Iterator[Any]:
    for argument in get_args(annotation):
        yield argument
        yield from inside(argument)


@pytest.mark.parametrize("document", ALL_DOCUMENTS, ids=lambda document: document.__name__)
def test_each_id_is_declared(document: type[GuardedDocument]) -> None:
    assert list(undeclared_ids(document)) == []


@pytest.mark.parametrize("document", ALL_DOCUMENTS, ids=lambda document: document.__name__)
def test_each_reference_names_a_collection_of_the_right_kind(document: type[GuardedDocument]) -> None:
    for pointer in pointers_of(document):
        target = COLLECTIONS[pointer.mark.collection]
        kind = (
            PLATFORM_DOCUMENTS if isinstance(pointer.mark, PlatformReference) else TENANT_DOCUMENTS + SHARED_DOCUMENTS
        )
        assert target in kind


@pytest.mark.parametrize("document", PLATFORM_DOCUMENTS, ids=lambda document: document.__name__)
def test_a_platform_document_says_what_a_deletion_does_to_it(document: type[PlatformDocument]) -> None:
    for pointer in pointers_of(document):
        if isinstance(pointer.mark, PlatformReference):
            assert pointer.mark.when_gone is not None, pointer.path


@pytest.mark.parametrize("document", PLATFORM_DOCUMENTS, ids=lambda document: document.__name__)
def test_a_platform_document_that_points_into_a_clinic_names_the_clinic_once(document: type[PlatformDocument]) -> None:
    pointers = pointers_of(document)
    if any(isinstance(pointer.mark, Reference) for pointer in pointers):
        owners = [one for one in pointers if one.mark == PlatformReference("tenants", WhenGone.DELETE)]
        assert len(owners) == 1


@pytest.mark.parametrize("document", TENANT_DOCUMENTS + SHARED_DOCUMENTS, ids=lambda document: document.__name__)
def test_a_clinics_document_names_no_other_clinic(document: type[GuardedDocument]) -> None:
    assert [one.path for one in pointers_of(document) if one.mark.collection == "tenants"] == []
