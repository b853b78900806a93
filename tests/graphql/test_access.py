"""A field that does not say who may ask for it, or where it comes from, cannot be defined."""

from __future__ import annotations

import pytest
import strawberry
from bson import ObjectId

from app.errors import Forbidden, TenantMismatch, TenantNotFound, Unauthenticated
from app.graphql.access import Access, Level, field
from app.graphql.fields import row_type, stored
from app.permissions import Permission
from app.tenancy.scope import Actor, Scope, TenantId, TenantRef
from resolvers.base import Resolver
from resolvers.schema import MUTATIONS, QUERIES

CLINIC = TenantRef(TenantId(ObjectId()), "alpha", "Alpha")


def actor(*permissions: Permission) -> Actor:
    return Actor(ObjectId(), "session", "Ada", "ada@example.com", permissions=frozenset(permissions))


class TestDefining:
    def test_a_field_without_access_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"Leak\.patients declares neither a permission nor that it is public"):

            class Leak(Resolver):
                @strawberry.field
                async def patients(self) -> list[str]:
                    return []

    def test_a_bare_attribute_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"Leak\.patients is a bare attribute"):

            class Leak(Resolver):
                patients: list[str]

    def test_a_helper_on_the_class_is_refused(self) -> None:
        """Root fields run against `Resolver()` itself, so a subclass's own methods are never there."""
        with pytest.raises(TypeError, match=r"Lost\._helper"):

            class Lost(Resolver):
                async def _helper(self) -> None: ...

    def test_a_field_with_access_is_taken(self) -> None:
        class Fine(Resolver):
            @field(Permission.PATIENT_READ, description="Fine.")
            async def patients(self) -> list[str]:
                return []

        assert Fine.__dict__["patients"].metadata["access"] == Access(Permission.PATIENT_READ)
        assert Fine.__dict__["patients"].description == "Fine. Needs `patient:read`."

    def test_every_root_field_of_the_schema_declares_its_access(self) -> None:
        for cls in (*QUERIES, *MUTATIONS):
            for declared in cls.__strawberry_definition__.fields:  # type: ignore[attr-defined]
                assert isinstance(declared.metadata["access"], Access), f"{cls.__name__}.{declared.python_name}"

    def test_a_row_type_must_say_where_each_field_comes_from(self) -> None:
        with pytest.raises(TypeError, match=r"Guess\.name does not say where it comes from"):

            @row_type("Guess", description="A guess.")
            class Guess:
                id: str = stored("_id", description="Id.")
                name: str = strawberry.field(description="From where?")


class TestChecking:
    @pytest.mark.parametrize(
        ("scope", "failure"),
        [
            (Scope("r", tenant=CLINIC), Unauthenticated),
            (Scope("r", actor=actor(Permission.PATIENT_READ)), TenantNotFound),
            (Scope("r", tenant=CLINIC, actor=actor(Permission.PATIENT_READ), mismatch=True), TenantMismatch),
            (Scope("r", tenant=CLINIC, actor=actor(Permission.PATIENT_UPDATE)), Forbidden),
        ],
    )
    def test_a_permission_needs_a_person_a_clinic_and_the_right(self, scope: Scope, failure: type[Exception]) -> None:
        with pytest.raises(failure):
            Access(Permission.PATIENT_READ).check(scope)

    def test_who_has_the_right_may_go_on(self) -> None:
        Access(Permission.PATIENT_READ).check(Scope("r", tenant=CLINIC, actor=actor(Permission.PATIENT_READ)))
        Access(Level.SIGNED_IN).check(Scope("r", actor=actor()))
        Access(Level.PUBLIC).check(Scope("r"))

    def test_signed_in_means_signed_in(self) -> None:
        with pytest.raises(Unauthenticated):
            Access(Level.SIGNED_IN).check(Scope("r", tenant=CLINIC))
