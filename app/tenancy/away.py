"""Databases on other clusters than the home one, and the part of a transaction that runs there.

A transaction is one session of the home cluster's client, and so it is named everywhere. Here, below the guard, that
session stands for the one of the other client: it is opened when the transaction first comes to this cluster, with the
same options, and ends with it (`app.tenancy.spanning`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from app.errors import TenantGuardRefused

Document = dict[str, Any]
Client = AsyncMongoClient[Document]
Method = TypeVar("Method", bound=Callable[..., Any])

OPTIONS: dict[str, Any] = {
    "read_concern": ReadConcern("snapshot"),
    "write_concern": WriteConcern("majority"),
    "read_preference": ReadPreference.PRIMARY,
}
"""What every transaction holds to: it sees one moment, and is there for good once it is answered."""


@dataclass(slots=True)
class Part:
    """What of a transaction is at another cluster. `wrote` tells whether it has changed anything there."""

    database: AwayDatabase
    session: AsyncClientSession
    wrote: bool = False


@dataclass(slots=True)
class Parts:
    """The part of one try of a transaction that is not at home; there is one at most, for a transaction is one
    clinic's."""

    away: Part | None = None

    def at(self, database: AwayDatabase) -> Part:
        """The part at that cluster, begun now if need be. Raises `TenantGuardRefused` for a second cluster."""
        if self.away is None:
            session = database.client.start_session()
            _begin(session)
            self.away = Part(database, session)
        if self.away.database.client is not database.client:
            raise TenantGuardRefused("a transaction does not span two clinics' clusters")
        return self.away


def _begin(session: AsyncClientSession) -> None:
    """Starts a transaction. Nothing is sent before its first command, so the driver's coroutine ends at once: cursors
    are made where nothing can be waited for."""
    starting = session.start_transaction(**OPTIONS)
    try:
        starting.send(None)
    except StopIteration:
        return
    raise RuntimeError("the driver waits where a transaction starts")


_running: WeakKeyDictionary[AsyncClientSession, Parts | None] = WeakKeyDictionary()


def joined(session: AsyncClientSession) -> Parts:
    """Lets a transaction of the home cluster reach others; for `app.tenancy.spanning`."""
    parts = _running[session] = Parts()
    return parts


def kept_home(session: AsyncClientSession) -> None:
    """Says that a transaction is of a clinic at home, and reaches no other cluster."""
    _running[session] = None


def parted(session: AsyncClientSession) -> None:
    """The transaction is over."""
    _running.pop(session, None)


def _session_at(database: AwayDatabase, session: Any, *, writes: bool) -> Any:
    """The session that stands for `session` at the database's cluster; its own ones stand for themselves."""
    if session is None or session.client is database.client:
        return session
    if session not in _running:  # it began before this process knew of any cluster, and begins anew
        raise OperationFailure("a cluster was opened meanwhile", details={"errorLabels": ["TransientTransactionError"]})
    parts = _running[session]
    if parts is None:
        raise TenantGuardRefused("this transaction does not reach the clinic's cluster")
    part = parts.at(database)
    part.wrote = part.wrote or writes
    return part.session


def _here(method: Method, *, writes: bool = False) -> Method:
    """The driver's operation, in the part of a transaction that is at this cluster."""

    @wraps(method)
    def run(collection: Any, *args: Any, session: Any = None, **options: Any) -> Any:
        session = _session_at(collection.database, session, writes=writes)
        return method(collection, *args, session=session, **options)

    return run  # type: ignore[return-value]


class AwayCollection(AsyncCollection[Document]):
    """A collection on another cluster. What the guard and those who stand beside it may do takes part in
    transactions."""

    aggregate = _here(AsyncCollection.aggregate)
    count_documents = _here(AsyncCollection.count_documents)
    distinct = _here(AsyncCollection.distinct)
    find = _here(AsyncCollection.find)
    find_one = _here(AsyncCollection.find_one)
    bulk_write = _here(AsyncCollection.bulk_write, writes=True)
    delete_many = _here(AsyncCollection.delete_many, writes=True)
    delete_one = _here(AsyncCollection.delete_one, writes=True)
    find_one_and_delete = _here(AsyncCollection.find_one_and_delete, writes=True)
    find_one_and_update = _here(AsyncCollection.find_one_and_update, writes=True)
    insert_many = _here(AsyncCollection.insert_many, writes=True)
    insert_one = _here(AsyncCollection.insert_one, writes=True)
    replace_one = _here(AsyncCollection.replace_one, writes=True)
    update_many = _here(AsyncCollection.update_many, writes=True)
    update_one = _here(AsyncCollection.update_one, writes=True)


class AwayDatabase(AsyncDatabase[Document]):
    """A clinic's own database on another cluster."""

    def __init__(self, client: Client, name: str, cluster: str) -> None:
        super().__init__(client, name)
        self._cluster = cluster

    @property
    def cluster(self) -> str:
        """By what name the cluster is known."""
        return self._cluster

    def __getitem__(self, name: str) -> AwayCollection:
        return AwayCollection(self, name)

    def get_collection(self, name: str, codec_options: Any = None, *options: Any, **more: Any) -> AwayCollection:
        return AwayCollection(self, name, False, codec_options, *options, **more)


def full_name(database: AsyncDatabase[Document]) -> str:
    """A database's name, behind that of its cluster where it is not the home one."""
    cluster = cluster_of(database)
    return database.name if cluster is None else f"{cluster}/{database.name}"


def cluster_of(database: Any) -> str | None:
    """The cluster of a database; None for the home one."""
    return database.cluster if isinstance(database, AwayDatabase) else None
