"""Transactions over two clusters: one effect on both, or none, whatever breaks on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import InvalidState, TenantGuardRefused, Unavailable
from app.jobs.runs import run_job
from app.services.placement import commits, moving
from app.services.placement.commits import SURE, TOO_OLD, follow
from app.services.placement.moving import Waits, clinic_to_move
from app.services.placement.provisioning import Goal
from app.services.tenant_checks import check_columns
from app.tenancy import spanning
from app.tenancy.clusters import Clusters
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database, Scope, open_scope
from app.tenancy.spanning import COMMIT_LOG, MARKS, Settled
from models import Counter, JobLock, Membership, Room
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic, Server

AT_ONCE = Waits(timedelta(0), timedelta(0))


class Died(BaseException):
    """The process is killed here."""


@dataclass(slots=True)
class Site:
    """A clinic on another cluster, what is stored there and at home, and work that writes at both."""

    clinic: Clinic
    home: Database
    own: Database
    runs: int = 0

    def row(self) -> dict[str, Any]:
        """As the clinic's row is read."""
        placement = self.clinic.tenant.placement.model_dump()
        return {"_id": self.clinic.tenant.id, "subdomain": self.clinic.tenant.subdomain, "placement": placement}

    def work(self, name: str) -> Callable[[AsyncClientSession], Awaitable[None]]:
        async def write(session: AsyncClientSession) -> None:
            self.runs += 1
            await Room(name=name, name_key=name).insert(session=session)
            await JobLock.guarded().update_one({"_id": name}, {"$inc": {"count": 1}}, upsert=True, session=session)

        return write

    async def write(self, name: str) -> None:
        async with tenant_scope(self.clinic.ref):
            await in_transaction(self.work(name))

    async def counts(self, name: str) -> tuple[int, int]:
        """How often it is at the clinic, and at home."""
        at_home = await self.home["job_locks"].find_one({"_id": name})
        return await self.own["rooms"].count_documents({"name": name}), at_home["count"] if at_home else 0

    async def left(self) -> list[dict[str, Any]]:
        return await self.own[COMMIT_LOG].find({}).to_list()

    async def settle(self) -> list[Settled]:
        with open_scope(Scope(request_id="test")):
            return await follow(self.row(), sure=timedelta(0))


@pytest_asyncio.fixture
async def site(
    make_clinic: MakeClinic, on_another_cluster: Goal, other_mongodb_uri: str, raw: Database
) -> AsyncIterator[Site]:
    clinic = await make_clinic(on_another_cluster)
    async with AsyncMongoClient[dict[str, Any]](other_mongodb_uri, tz_aware=True) as client:
        yield Site(clinic, raw, client[str(clinic.tenant.placement.database)])


@pytest.fixture
def name() -> str:
    return uuid4().hex


def when_home_commits(patch: pytest.MonkeyPatch, act: Callable[[AsyncClientSession], Awaitable[None]]) -> None:
    """Does something in the place of home's commit, once the clinic's is done; once."""
    commit, done = spanning._commit_one, list[bool]()
    home = JobLock.home_database().client

    async def instead(session: AsyncClientSession) -> None:
        if session.client is home and not done:
            done.append(True)
            await act(session)
            return
        await commit(session)

    patch.setattr(spanning, "_commit_one", instead)


async def lost(session: AsyncClientSession) -> None:
    """What a cluster answers that has another primary by now."""
    await session.abort_transaction()
    raise OperationFailure("no such transaction", 251, {"errorLabels": [spanning.TRANSIENT]})


async def killed(_: AsyncClientSession) -> None:
    raise Died


async def test_both_are_written_and_nothing_is_left_to_do(site: Site, name: str) -> None:
    await site.write(name)
    assert await site.counts(name) == (1, 1)
    assert site.runs == 1
    assert await site.left() == []


async def test_a_failure_leaves_nothing_on_either(site: Site, name: str) -> None:
    async def breaks(session: AsyncClientSession) -> None:
        await site.work(name)(session)
        raise KeyError("on purpose")

    async with tenant_scope(site.clinic.ref):
        with pytest.raises(KeyError):
            await in_transaction(breaks)
    assert await site.counts(name) == (0, 0)
    assert await site.left() == []


async def test_who_reads_at_one_and_writes_at_the_other_leaves_no_note(site: Site, name: str) -> None:
    before = await site.home[MARKS].count_documents({})

    async def at_the_clinic(session: AsyncClientSession) -> None:
        assert await Membership.guarded().find_one({"clinic_id": site.clinic.tenant.id}, session=session) is not None
        await Counter(name=name).insert(session=session)

    async def at_home(session: AsyncClientSession) -> None:
        assert await Counter.guarded().find_one({"name": name}, session=session) is not None
        await JobLock.guarded().update_one({"_id": name}, {"$inc": {"count": 1}}, upsert=True, session=session)

    async with tenant_scope(site.clinic.ref):
        await in_transaction(at_the_clinic)
        await in_transaction(at_home)
    assert await site.counts(name) == (0, 1)
    assert await site.own["counters"].count_documents({"name": name}) == 1
    assert await site.home[MARKS].count_documents({}) == before


async def test_a_transaction_sees_what_it_has_written_there_and_nobody_else_does(site: Site, name: str) -> None:
    async def work(session: AsyncClientSession) -> None:
        await Room(name=name, name_key=name).insert(session=session)
        assert await Room.guarded().count_documents({"name": name}, session=session) == 1
        assert await Room.guarded().count_documents({"name": name}) == 0

    async with tenant_scope(site.clinic.ref):
        await in_transaction(work)


async def test_what_home_loses_is_done_again_without_the_work(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_home_commits(monkeypatch, lost)
    await site.write(name)
    assert await site.counts(name) == (1, 1)
    assert site.runs == 1
    assert await site.left() == []


async def test_a_process_that_is_killed_between_the_commits_leaves_one_effect(
    site: Site, name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        when_home_commits(patched, killed)
        with pytest.raises(Died):
            await site.write(name)
    assert await site.counts(name) == (1, 0)
    [left] = await site.left()

    with open_scope(Scope(request_id="test")):
        assert await follow(site.row()) == [], "whoever is at it is let alone"
    await site.own[COMMIT_LOG].update_one({"_id": left["_id"]}, {"$set": {"at": now() - SURE}})
    with open_scope(Scope(request_id="test")):
        done = await run_job("follow-commits", settings)
    assert done.counts["done"] >= 1
    assert await site.counts(name) == (1, 1)
    assert await site.left() == []
    assert await site.settle() == []


async def test_what_was_done_at_home_is_not_done_twice(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stays(*_: Any) -> None:
        """The note is not taken away: the process died behind the last commit."""

    with monkeypatch.context() as patched:
        patched.setattr(spanning, "_forget", stays)
        await site.write(name)
    [left] = await site.left()
    assert await site.settle() == [Settled.DONE_BEFORE]
    assert await site.left() == []
    assert await site.counts(name) == (1, 1)
    assert await site.home[MARKS].count_documents({"_id": left["_id"]}) == 1


async def test_two_who_follow_up_at_once_do_it_once(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        when_home_commits(patched, killed)
        with pytest.raises(Died):
            await site.write(name)
    await asyncio.gather(*(site.settle() for _ in range(4)))
    assert await site.counts(name) == (1, 1)
    assert await site.left() == []


async def test_what_no_longer_fits_is_kept_and_told_until_somebody_judges(
    site: Site, name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def insert(session: AsyncClientSession) -> None:
        await Room(name=name, name_key=name).insert(session=session)
        await JobLock.guarded().insert_one({"_id": name, "count": 1}, session=session)

    with monkeypatch.context() as patched:
        when_home_commits(patched, killed)
        async with tenant_scope(site.clinic.ref):
            with pytest.raises(Died):
                await in_transaction(insert)
    await site.home["job_locks"].insert_one({"_id": name, "count": 7})

    assert await site.settle() == [Settled.IN_DOUBT]
    assert await site.settle() == [], "it is tried once"
    assert await site.counts(name) == (1, 7)
    with open_scope(Scope(request_id="test")):
        [doubt] = await commits.doubts(site.row())
        assert (doubt.clinic, doubt.commands) == (
            site.clinic.tenant.subdomain,
            ("findAndModify on tenants", "insert on job_locks"),
        )
        found = [str(one) for one in await check_columns(site.home.client, settings)]
        assert any("is in doubt: insert on job_locks" in one and str(doubt.id) in one for one in found)
        with pytest.raises(InvalidState, match="are not settled"):
            await moving.move(await clinic_to_move(doubt.clinic), Goal(), actor="tests", waits=AT_ONCE)

        await site.home["job_locks"].delete_one({"_id": name})
        assert await commits.judge(doubt.clinic, doubt.id, again=True) is Settled.DONE_NOW
        assert await site.counts(name) == (1, 1)
        moved = await moving.move(await clinic_to_move(doubt.clinic), Goal(), actor="tests", waits=AT_ONCE)
        assert moved.tenant.placement.cluster is None


async def test_a_note_that_nothing_tells_of_any_more_is_for_somebody_to_judge(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        when_home_commits(patched, killed)
        with pytest.raises(Died):
            await site.write(name)
    await site.own[COMMIT_LOG].update_one({}, {"$set": {"at": now() - TOO_OLD - timedelta(days=1)}})
    assert await site.settle() == [Settled.IN_DOUBT]
    assert await site.counts(name) == (1, 0)
    with open_scope(Scope(request_id="test")):
        [doubt] = await commits.doubts(site.row())
        assert await commits.judge(doubt.clinic, doubt.id, again=False) is None
    assert await site.left() == []


async def test_home_that_stays_away_is_told_and_followed_up_later(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> bool:
        raise OperationFailure("no primary", 11602, {"errorLabels": [spanning.TRANSIENT]})

    with monkeypatch.context() as patched:
        when_home_commits(patched, lost)
        patched.setattr(spanning, "_redo", away)
        with pytest.raises(Unavailable):
            await site.write(name)
    assert site.runs == 1, "what is done at the clinic is not done again"
    assert await site.counts(name) == (1, 0)
    assert await site.settle() == [Settled.DONE_NOW]
    assert await site.counts(name) == (1, 1)


async def test_ids_that_the_server_gave_stay_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ObjectId] = []
    key = f"test {ObjectId()}"

    async def work(session: AsyncClientSession) -> None:
        await Room(name=key, name_key=key).insert(session=session)
        new = {"$set": {"role": key}}
        done = await Membership.guarded().update_one({"role": key}, new, upsert=True, session=session)
        made.append(done.upserted_id)

    when_home_commits(monkeypatch, lost)
    async with tenant_scope(site.clinic.ref):
        await in_transaction(work)
    stored = await site.home["memberships"].find_one({"role": key})
    await site.home["memberships"].delete_many({"role": key})
    assert stored is not None
    assert stored["_id"] == made[0]


async def test_clinics_in_the_pool_pay_nothing(server: Server, clinic_a: Clinic, site: Site, commands: Any) -> None:
    name = uuid4().hex
    async with tenant_scope(clinic_a.ref):
        commands.clear()
        await in_transaction(site.work(name))
    sent = [one for one, _ in commands.seen]
    assert sent.count("commitTransaction") == 1
    assert not commands.on(COMMIT_LOG)
    assert not commands.on(MARKS)


async def test_a_transaction_of_a_clinic_at_home_does_not_reach_another_cluster(clinic_a: Clinic, site: Site) -> None:
    async def work(session: AsyncClientSession) -> None:
        async with tenant_scope(site.clinic.ref):
            await Room(name="Far", name_key="far").insert(session=session)

    async with tenant_scope(clinic_a.ref):
        with pytest.raises(TenantGuardRefused):
            await in_transaction(work)


async def test_a_transaction_that_began_before_any_cluster_was_known_begins_anew(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has been nowhere else yet handles an event, say, of a clinic on another cluster."""
    known = iter([False])
    monkeypatch.setattr(Clusters, "in_use", property(lambda _: next(known, True)))

    async def work(session: AsyncClientSession) -> None:
        async with tenant_scope(site.clinic.ref):
            await site.work(name)(session)

    with open_scope(Scope(request_id="test")):
        await in_transaction(work)
    assert site.runs == 2
    assert await site.counts(name) == (1, 1)
