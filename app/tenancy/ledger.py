"""The collection of audit entries: entries of several clinics may be stored by one command, and nothing else may.

Every request that looks at patients' data stores an entry, and storing one is the dearest thing that it does. Each
entry is made and stamped in its own clinic's scope; what several requests have ready at the same time is sent together.
The wall lets that one command pass, an insert of linked entries, and no other in its scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bson
from pymongo.errors import PyMongoError

from app.shared_commands import SharedCommands
from app.tenancy.collection import Insert, TenantCollection, stored_together
from app.tenancy.places import database_of
from app.tenancy.scope import Database, Scope, current_scope, open_scope


class LedgerCollection(TenantCollection):
    """As any collection of clinics, but for `insert_shared`, which inserts of all clinics share."""

    def __init__(self, name: str, home: Callable[[], Database], handling: None = None) -> None:
        super().__init__(name, home, handling)
        self._lone: SharedCommands[Insert, PyMongoError] = SharedCommands(self._insert_of_all)

    async def insert_shared(self, document: Mapping[str, Any]) -> None:
        """As `insert_one`, by a command that inserts of all clinics share which come while another is on its way."""
        own, _ = await self._enter_writing(None)
        row = self._new(own, document)
        bson.encode(row)  # what cannot be sent is nobody else's failure
        database = database_of(current_scope(), self._home)
        failure = await self._lone.get(Insert(row), place=database, at=id(database))
        if failure is not None:
            raise failure

    async def _insert_of_all(self, database: Database, inserts: Sequence[Insert]) -> Mapping[Insert, PyMongoError]:
        with open_scope(Scope(request_id="ledger", database=database, ledger=True)):
            return await stored_together(self._at(database), inserts)
