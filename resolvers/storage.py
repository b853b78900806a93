"""How much room the clinic's files take, and cleaning it up."""

from __future__ import annotations

from decimal import Decimal

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import row_type, stored
from app.permissions import Permission
from app.services.documents import orphans, quota
from app.services.documents.limits import limits_of
from models.document import Room, StorageKind
from resolvers.base import Resolver, shown
from resolvers.values import described

described(
    StorageKind,
    "What files belong to.",
    DOCUMENTS="The clinic's own papers.",
    PATIENT_ATTACHMENTS="Papers and pictures of patients.",
    VISIT_FILES="What was filed with a visit.",
    LAB_FILES="What was filed with a laboratory order.",
)

LOOK_SECONDS = 8.0


@row_type("StorageRoom", description="The room that files of one kind take.")
class StorageRoomType:
    kind: StorageKind = stored(description="What they belong to.")
    bytes: Decimal = stored(description="Their bytes.")
    files: int = stored(description="How many there are, every content of a document counted.")


@row_type("StorageUsage", description="The room that the clinic's files take.")
class StorageUsageType:
    used: Decimal = stored(description="Bytes that count: of files that are kept, and of uploads under way.")
    limit: Decimal = stored(description="Bytes that the clinic may have.")
    free: Decimal = stored(description="Bytes that are left.")
    under_way: int = stored(description="Uploads under way; their room is taken before their first byte comes.")
    kinds: list[StorageRoomType] = stored(description="What is kept, by what it belongs to.")


@row_type("StorageCleanUp", description="What a look through the clinic's files found, and what was done about it.")
class StorageCleanUpType:
    dry_run: bool = stored(description="Whether it was a look alone.")
    complete: bool = stored(
        description="Whether everything was looked at. A clinic with very many files is looked through by whoever runs "
        "the system."
    )
    files: int = stored(description="Files that no document knows of, a day old at least.")
    bytes: Decimal = stored(description="The bytes that these take.")
    removed: int = stored(description="Those of them that were removed.")
    lost: int = stored(description="Contents of documents whose file is gone.")
    dropped: int = stored(description="Those of them that were dropped.")
    documents: list[strawberry.ID] = stored(description="Documents that have such contents, 100 at most.")


@strawberry.input(description="How to clean up.")
class CleanUpStorageInput:
    dry_run: bool = strawberry.field(default=True, description="Only look. Say false to remove what was told.")
    drop_lost: bool = strawberry.field(
        default=False,
        description="Also drop contents whose file is gone: a document shows the newest that is left, and is put away "
        "when none is.",
    )


@strawberry.type
class StorageQuery(Resolver):
    @field(Permission.SETTINGS_READ, description="How much room the clinic's files take, and how much there is.")
    async def storage_usage(self, info: Info) -> StorageUsageType:
        usage, limits = await quota.usage(), await limits_of(info.context.settings)
        rooms: dict[StorageKind, Room] = {kind: getattr(usage.kept, kind.value) for kind in StorageKind}
        return shown(
            {
                "used": Decimal(usage.used),
                "limit": Decimal(limits.clinic),
                "free": Decimal(max(0, limits.clinic - usage.used)),
                "under_way": len(usage.reserved),
                "kinds": [
                    {"kind": kind, "bytes": Decimal(room.bytes), "files": room.files} for kind, room in rooms.items()
                ],
            }
        )


@strawberry.type
class StorageMutation(Resolver):
    @field(
        Permission.SETTINGS_MANAGE,
        description="Finds files that no document knows of, and documents whose file is gone; cleans up if asked to.",
        without_plan=True,
    )
    async def clean_up_storage(self, input: CleanUpStorageInput) -> StorageCleanUpType:
        told = await orphans.clean_up(dry_run=input.dry_run, drop_lost=input.drop_lost, seconds=LOOK_SECONDS)
        return shown(
            {
                "dry_run": told.dry_run,
                "complete": told.complete,
                "files": told.files,
                "bytes": Decimal(told.bytes),
                "removed": told.removed,
                "lost": told.lost,
                "dropped": told.dropped,
                "documents": [str(one) for one in told.documents],
            }
        )
