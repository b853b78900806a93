"""The three bases of everything that is stored, and what all of it has in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, ClassVar, Self, cast, get_args

from beanie import Document, PydanticObjectId
from beanie.odm.utils.encoder import Encoder
from beanie.odm.utils.parsing import parse_obj
from bson import ObjectId
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import Conflict, NotFound, TenantGuardRefused
from app.tenancy.catalog_collection import CatalogCollection
from app.tenancy.claimed import ClaimedCollection
from app.tenancy.collection import GuardedCollection, PlatformCollection, SharedCollection, TenantCollection
from app.tenancy.cursor import tenant_in_scope
from app.tenancy.kinds import ARCHIVED_FIELD, HIDDEN_FIELDS, TENANT_FIELD, Kind, register
from app.tenancy.ledger import LedgerCollection
from app.tenancy.listener import LEDGER
from app.tenancy.queries import BoundBulkWriter, BoundFindMany, BoundFindOne
from app.tenancy.rows import RowHandling
from app.tenancy.scope import Database, TenantId, current_scope
from app.tenancy.sealing import register_seals
from models.references import references_of
from models.values import now

SETTINGS_ALLOWED = frozenset(
    {
        "bson_encoders",
        "indexes",
        "keep_nulls",
        "max_nesting_depth",
        "name",
        "use_state_management",
        "validate_on_save",
    }
)
"""What a document's `Settings` may say. Beanie's cache knows no tenants, a union or view goes around the
guard, roots and children share a collection, and its revisions are replaced by `Versioned`."""


PATIENTS = "patients"
TELLING_OF_PATIENTS = frozenset({"audit_entries", "audit_pending"})
"""Collections that tell of acts on patients' data: about the acts, and kept when a patient goes."""
SIGNING_IN = frozenset({"portal_codes", "portal_sessions", "portal_tickets"})
"""What patients sign in by: touching it tells nothing of anybody's health and leads to no entry by itself."""


class Versioned(BaseModel):
    """Optimistic locking: `version` counts the changes made by `change`. Times are aware and in UTC."""

    version: int = 1
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


class GuardedDocument(Document):
    """Common to the three bases below; derive from one of those."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    _find_many_query_class: ClassVar[type] = BoundFindMany
    _find_one_query_class: ClassVar[type] = BoundFindOne
    patient_column: ClassVar[str | None] = None
    """The stored field that holds the patient, or patients, whom a document is about; None where it is about none."""
    database_rules: ClassVar[Mapping[str, Any]] = {}
    """What the database itself asks of stored fields, beside the clinic: field → the part of `$jsonSchema` for it."""
    remembered: ClassVar[bool] = False
    """Whether processes may keep rows in memory (`app.tenancy.remembered`): few rows, seldom changed, about nobody's
    health."""
    claimed: ClassVar[bool] = False
    """Whether its `claims` take the time of people who may work at several clinics (`app.tenancy.claimed`)."""
    _facade: ClassVar[type[GuardedCollection]]
    _guard: ClassVar[GuardedCollection]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if GuardedDocument in cls.__bases__:
            return
        name = _checked_name(cls)
        register(name, cls._facade.kind)
        sealed = register_seals(name, cls._facade.kind, cls)
        cls.patient_column = _patients_of(cls, name)
        handling = RowHandling(name, None if name in SIGNING_IN else cls.patient_column, sealed)
        special = cls._facade.kind is not Kind.PLATFORM and (handling.patients or handling.sealed)
        if cls.remembered and (special or cls._facade is not TenantCollection):
            raise TenantGuardRefused(f"{cls.__name__} may not be remembered: it is about patients, sealed or shared")
        cls._guard = _facade_of(cls, name)(name, cls.home_database, handling if special else None)

    @property
    def key(self) -> PydanticObjectId:
        """The id of a document that is stored or was given one. Raises ValueError for one that has none yet."""
        if self.id is None:
            raise ValueError(f"this {type(self).__name__} has no id yet")
        return self.id

    @classmethod
    def home_database(cls) -> Database:
        """The platform's database, where documents live unless the scope names another one."""
        database: Any = cls.get_settings().pymongo_db
        return cast(Database, database)

    @classmethod
    def set_collection(cls, collection: Any) -> None:
        """Beanie would keep the driver's collection in the settings; nobody needs it there."""

    @classmethod
    def guarded_name(cls) -> str:
        """The name of the stored collection."""
        return cls._guard.name

    @classmethod
    def get_pymongo_collection(cls) -> Any:
        """The guarded collection: all of Beanie's data paths come through here."""
        return cls._guard

    @classmethod
    async def rows(
        cls,
        filter: Mapping[str, Any] | None = None,
        *,
        projection: Mapping[str, Any] | Sequence[str] | None = None,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int = 0,
        skip: int = 0,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Stored rows as plain dicts with `_id`; the cheap way to read lists. `limit=0` means all."""
        cursor = cls._guard.find(filter, projection, sort=sort, limit=limit, skip=skip, session=session, **options)
        return await cursor.to_list()

    @classmethod
    async def change(
        cls,
        id: ObjectId,
        expected_version: int | None,
        set: Mapping[str, Any],
        *,
        unset: Iterable[str] = (),
        filter: Mapping[str, Any] | None = None,
        session: AsyncClientSession | None = None,
    ) -> Self:
        """Compare-and-set in one atomic step: sets stored fields, counts `version` up, returns the new one.

        `expected_version=None` skips the comparison; `filter` adds conditions (a state, for instance).
        Raises `NotFound` when there is no such one here, `Conflict` when the version or `filter` differs.
        """
        if "version" not in cls.model_fields:
            raise TypeError(f"{cls.__name__} is not Versioned")
        asked: dict[str, Any] = {"_id": id, **(filter or {})}
        if expected_version is not None:
            asked["version"] = expected_version
        stored = await cls._guard.find_one_and_update(
            asked, cls._changes(set, unset), return_document=ReturnDocument.AFTER, session=session
        )
        if stored is not None:
            return cast(Self, parse_obj(cls, stored))
        if await cls._guard.find_one({"_id": id}, {"_id": 1}, session=session) is None:
            raise NotFound
        raise Conflict

    @classmethod
    def _changes(cls, set: Mapping[str, Any], unset: Iterable[str]) -> dict[str, Any]:
        dropped = dict.fromkeys(unset, "")
        for path in [*set, *dropped]:
            name = path.partition(".")[0]
            if name not in cls.model_fields or name in ("id", "version", TENANT_FIELD):
                raise ValueError(f"{cls.__name__}.{path} cannot be changed")
        values = Encoder(custom_encoders=cls.get_settings().bson_encoders).encode(dict(set))
        update: dict[str, Any] = {"$set": {"updated_at": now(), **values}, "$inc": {"version": 1}}
        if dropped:
            update["$unset"] = dropped
        return update

    async def update(self, *args: Any, **kwargs: Any) -> Self:
        """As Beanie's; raises `NotFound` when the document is not here (any more)."""
        return await super().update(*args, must_exist=True, **kwargs)

    @classmethod
    def bulk_writer(
        cls,
        session: AsyncClientSession | None = None,
        ordered: bool = True,
        bypass_document_validation: bool | None = False,
        comment: Any | None = None,
    ) -> BoundBulkWriter:
        """Queues operations for the clinic in scope and sends them when the block ends."""
        return BoundBulkWriter(session, ordered, cls, bypass_document_validation, comment)


def _facade_of(cls: type[GuardedDocument], name: str) -> type[GuardedCollection]:
    if cls.remembered:
        return CatalogCollection
    if cls.claimed:
        return ClaimedCollection
    return LedgerCollection if name == LEDGER else cls._facade


def _patients_of(cls: type[BaseModel], name: str) -> str | None:
    """The column of a document that holds its patient, or patients; `_id` where it is the patient."""
    if name == PATIENTS:
        return "_id"
    if name in TELLING_OF_PATIENTS:
        return None
    columns = [field for field, mark in references_of(cls).items() if mark.collection == PATIENTS]
    if len(columns) > 1:
        raise TenantGuardRefused(f"{cls.__name__} names patients in {columns}: one column says whose a document is")
    return columns[0] if columns else None


def _checked_name(cls: type[GuardedDocument]) -> str:
    """The collection's name. Raises `TenantGuardRefused` for a definition that the guard could not hold."""
    bases = [base for base in cls.__bases__ if issubclass(base, Document)]
    if bases not in ([TenantDocument], [SharedDocument], [PlatformDocument]):
        raise TenantGuardRefused(f"{cls.__name__} must derive directly from one of the three document bases")
    settings = cls.__dict__.get("Settings")
    name = getattr(settings, "name", None)
    if not isinstance(name, str) or not name:
        raise TenantGuardRefused(f"{cls.__name__}.Settings must name its collection")
    unknown = {attribute for attribute in dir(settings) if not attribute.startswith("__")} - SETTINGS_ALLOWED
    if unknown:
        raise TenantGuardRefused(f"{cls.__name__}.Settings may not set: {', '.join(sorted(unknown))}")
    if cls.model_config.get("extra") == "allow":
        raise TenantGuardRefused(f"{cls.__name__} may not allow extra fields")
    if days := [name for name, field in cls.model_fields.items() if _is_day(field.annotation)]:
        raise TenantGuardRefused(f"{cls.__name__} may not hold dates, which MongoDB has not: make {days} a `Day`")
    if not HIDDEN_FIELDS.isdisjoint(cls.model_fields) and bases == [SharedDocument]:
        raise TenantGuardRefused(f"{cls.__name__} may not declare the fields that the guard keeps")
    return name


def _is_day(annotation: Any) -> bool:
    """Whether a plain `date` stands in an annotation, at whatever depth."""
    return annotation is date or any(_is_day(part) for part in get_args(annotation))


class TenantDocument(GuardedDocument):
    """Belongs to one clinic for ever. `tenant_id` comes from the scope when the document is made."""

    _facade: ClassVar[type[GuardedCollection]] = TenantCollection

    tenant_id: PydanticObjectId | None = Field(
        default_factory=lambda: PydanticObjectId(own) if (own := tenant_in_scope()) else None, frozen=True
    )

    @field_validator(TENANT_FIELD, mode="after")
    @classmethod
    def _never_from_outside(cls, value: PydanticObjectId | None) -> PydanticObjectId | None:
        own = tenant_in_scope()
        if own is not None and value is not None and value != own:
            raise TenantGuardRefused("a document is not made for another clinic")
        return value

    @classmethod
    def guarded(cls) -> TenantCollection:
        """The guarded collection, for raw rows and atomic updates."""
        return cast(TenantCollection, cls._guard)


class SharedDocument(GuardedDocument):
    """May belong to several clinics. Which ones is stored beside the fields and never read back."""

    _facade: ClassVar[type[GuardedCollection]] = SharedCollection

    @classmethod
    def guarded(cls) -> SharedCollection:
        """The guarded collection, which also shares, leaves, archives and restores."""
        return cast(SharedCollection, cls._guard)

    @staticmethod
    def active_here() -> dict[str, Any]:
        """Filter: not archived by the clinic in scope."""
        own: TenantId = current_scope().tenant_id
        return {ARCHIVED_FIELD: {"$ne": own}}

    @staticmethod
    def archived_here() -> dict[str, Any]:
        """Filter: archived by the clinic in scope."""
        own: TenantId = current_scope().tenant_id
        return {ARCHIVED_FIELD: own}


class PlatformDocument(GuardedDocument):
    """Above the clinics: tenants, users, memberships, sessions. Lives in the platform's database."""

    _facade: ClassVar[type[GuardedCollection]] = PlatformCollection

    @classmethod
    def guarded(cls) -> PlatformCollection:
        """The platform's collection: an allow-list of operations without a tenant."""
        return cast(PlatformCollection, cls._guard)
