"""The clinic's catalogue of medicines."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, row_type, stored
from app.graphql.inputs import given, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import medicines as service
from models import Medicine
from models.medicine import DosageForm
from resolvers.base import Resolver, shown
from resolvers.values import NAME_ORDERS, ArchiveInput, NameSort, described

described(
    DosageForm,
    "What a medicine is given as.",
    TABLET="Tablet.",
    CAPSULE="Capsule.",
    ORAL_LIQUID="Syrup, suspension or solution to drink.",
    POWDER="Powder or granules.",
    INJECTION="Injection or infusion.",
    DROPS="Drops.",
    INHALER="Inhaler.",
    SPRAY="Spray.",
    CREAM="Cream.",
    OINTMENT="Ointment.",
    GEL="Gel.",
    SOLUTION="Solution that is not drunk.",
    PATCH="Patch.",
    SUPPOSITORY="Suppository.",
    PESSARY="Pessary.",
    OTHER="Something else.",
)


def is_active(row: Row) -> bool:
    """Whether an entry of a catalogue is in use."""
    return row.get("archived_at") is None


@row_type("Medicine", model=Medicine, read=Permission.MEDICINE_READ, description="One form and strength of a medicine.")
class MedicineType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Name.")
    form: DosageForm = stored(description="What it is given as.")
    strength: str | None = stored(description="How much of the active substance is in it.")
    atc_code: str | None = stored(description="Code of the WHO's ATC classification.")
    ingredients: list[str] = stored(description="Active substances, by their international names.")
    active: bool = computed("archived_at", by=is_active, description="Whether it can be prescribed.")
    archived_at: datetime | None = stored(description="When it was taken off the catalogue.")


@strawberry.input(description="Which medicines to list. All conditions must hold.")
class MedicineFilter:
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    atc_code: str | None = strawberry.field(
        default=None, description="A whole ATC code, or a group of any level such as `A10B`."
    )
    ingredient: str | None = strawberry.field(default=None, description="With this active substance, in full.")
    form: DosageForm | None = strawberry.field(default=None, description="Given as this.")
    archived: bool = strawberry.field(default=False, description="Those archived instead of those in use.")


@strawberry.input(description="A new medicine.")
class CreateMedicineInput:
    name: str = strawberry.field(description="Name; no other one in use has it with the same form and strength.")
    form: DosageForm = strawberry.field(description="What it is given as.")
    ingredients: list[str] = strawberry.field(description="Active substances, by their international names.")
    strength: str | None = strawberry.field(default=None, description="How much is in it, such as `500 mg`.")
    atc_code: str | None = strawberry.field(default=None, description="Code of the WHO's ATC classification.")


@strawberry.input(description="Changes to a medicine. What is left out stays as it is; null clears it.")
class UpdateMedicineInput:
    id: strawberry.ID = strawberry.field(description="The medicine.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: Maybe[str] = strawberry.field(description="Name.")
    form: Maybe[DosageForm] = strawberry.field(description="What it is given as.")
    ingredients: Maybe[list[str]] = strawberry.field(description="Active substances; replaces the list.")
    strength: Maybe[str | None] = strawberry.field(description="How much is in it.")
    atc_code: Maybe[str | None] = strawberry.field(description="Code of the WHO's ATC classification.")


@strawberry.type
class MedicineQuery(Resolver):
    @field(Permission.MEDICINE_READ, description="One medicine.")
    async def medicine(self, info: Info, id: strawberry.ID) -> MedicineType:
        return await self.one(info, MedicineType, id)

    @field(Permission.MEDICINE_READ, description="The clinic's catalogue of medicines.")
    async def medicines(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: MedicineFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[MedicineType]:
        chosen = filter or MedicineFilter()
        where = service.listed(
            search=chosen.search,
            atc_code=chosen.atc_code,
            ingredient=chosen.ingredient,
            form=chosen.form,
            archived=chosen.archived,
        )
        return await self.page(info, MedicineType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)


@strawberry.type
class MedicineMutation(Resolver):
    @field(Permission.MEDICINE_MANAGE, description="Adds a medicine to the catalogue.")
    async def create_medicine(self, input: CreateMedicineInput) -> MedicineType:
        return shown(await service.create(given(input)))

    @field(Permission.MEDICINE_MANAGE, description="Changes a medicine. What was prescribed stays as it was.")
    async def update_medicine(self, input: UpdateMedicineInput) -> MedicineType:
        changes = given(input)
        key = object_id(changes.pop("id"), "input.id")
        return shown(await service.change(key, changes.pop("version"), changes))

    @field(Permission.MEDICINE_MANAGE, description="Takes a medicine off the catalogue.")
    async def archive_medicine(self, input: ArchiveInput) -> MedicineType:
        return await self.archive(MedicineType, input.id, input.version)

    @field(Permission.MEDICINE_MANAGE, description="Puts a medicine back on the catalogue.")
    async def restore_medicine(self, input: ArchiveInput) -> MedicineType:
        return await self.restore(MedicineType, input.id, input.version)
