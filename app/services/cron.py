"""The jobs, by the name under which a scheduler or a person starts them. Add yours at the end.

Work that is done clinic by clinic is called in the scope of each; see `jobs.Job` for what it must keep to.
"""

from __future__ import annotations

from datetime import timedelta

from app.config import Settings
from app.errors import Unavailable
from app.services import audit, lab_sweeping
from app.services.dispatching import dispatch_outbox
from app.services.documents import removal
from app.services.documents.recount import recount
from app.services.erasure import COMPLETED_AT_ONCE, erase_what_is_due
from app.services.jobs import DAILY, HOURLY, JOBS, MINUTE, Counts, More, job
from app.services.merging import following
from app.services.moving.folders import Lock
from app.services.offboarding import Exports, run_due
from app.services.placement import commits
from app.services.queue.turns import CLOSED_AT_ONCE, close_stale
from app.services.removal_notes import note_missing
from app.services.subscription import events, keeping, reminders
from app.services.talk.reminders import remind
from app.tenancy.scope import current_scope

__all__ = ["JOBS", "job"]

FREQUENTLY = 5 * MINUTE
INTERRUPTED = timedelta(hours=1)
"""A deletion that began so long ago, and has not ended, is no longer at work on another machine."""


def _batch(counts: Counts, *, full: bool) -> Counts | More:
    """What a batch did; a full one leaves more to do."""
    return More(counts) if full else counts


@job("dispatch-outbox", "Sends the messages that are due.", per_clinic=False, every=MINUTE)
async def _dispatch_outbox(settings: Settings) -> Counts:
    return await dispatch_outbox(settings)


@job("retry-lab-inbox", "Handles laboratories' reports that were stored and not handled.", every=FREQUENTLY)
async def _retry_lab_inbox(_: Settings) -> Counts | More:
    done = await lab_sweeping.retry_batch()
    return _batch(done, full=done.total() >= lab_sweeping.BATCH)


@job("purge-lab-inbox", "Drops the contents of laboratories' messages that were settled 90 days ago.", every=DAILY)
async def _purge_lab_inbox(_: Settings) -> Counts:
    return await lab_sweeping.purge_contents()


@job("mark-lab-results", "Notes of results from before that was kept whether a value is abnormal.", every=DAILY)
async def _mark_lab_results(_: Settings) -> Counts | More:
    done = await lab_sweeping.mark_abnormal()
    return _batch({"marked": done}, full=done >= lab_sweeping.BATCH)


@job("complete-erasures", "Erases what the law held of erased patients, once its time is over.", every=DAILY)
async def _complete_erasures(_: Settings) -> Counts | More:
    done = await erase_what_is_due()
    noted = await note_missing(current_scope().tenant_id)
    return _batch({"completed": done, "noted": noted}, full=done >= COMPLETED_AT_ONCE)


@job(
    "follow-merges", "Moves what was on its way to a patient while they were merged into another one.", every=FREQUENTLY
)
async def _follow_merges(_: Settings) -> Counts:
    return await following.follow_all()


@job("chain-audit", "Brings entries into the audit's chain that a process left beside it.", every=HOURLY)
async def _chain_audit(_: Settings) -> Counts:
    return {"chained": await audit.sweep()}


@job("close-queues", "Takes those out of the queues whom nobody took out on an earlier day.", every=HOURLY)
async def _close_queues(_: Settings) -> Counts | More:
    done = await close_stale()
    return _batch({"closed": done}, full=done >= CLOSED_AT_ONCE)


@job("sweep-files", "Deletes files that must go, and gives back the room of uploads whose process died.", every=HOURLY)
async def _sweep_files(_: Settings) -> Counts:
    dead = await removal.drop_dead_uploads()
    return {"uploads": dead, "files": await removal.delete_doomed()}


@job(
    "remind-appointments", "Reminds patients of their appointments of tomorrow, once each.", every=HOURLY, from_hour=12
)
async def _remind_appointments(settings: Settings) -> Counts | More:
    return await remind(settings)


@job("recount-storage", "Counts anew how much room files take, and puts the count right where it differs.", every=DAILY)
async def _recount_storage(_: Settings) -> Counts:
    return {"repaired": int((await recount(repair=True)).differs)}


@job(
    "offboard-clinics",
    "Writes out clinics that are to be deleted, deletes those whose grace is over, and ends deletions that broke off.",
    per_clinic=False,
    every=DAILY,
)
async def _offboard_clinics(settings: Settings) -> Counts:
    def lock() -> Lock:
        if settings.export_passphrase is None:
            raise Unavailable("Set EXPORT_PASSPHRASE, or run `python -m scripts.offboard_tenant run-due`.")
        return Lock.fresh(settings.export_passphrase.get_secret_value())

    done = await run_due(Exports(settings.data_dir / "exports", lock), patience=INTERRUPTED)
    if done.failed:
        raise Unavailable("; ".join(f"{clinic}: {why}" for clinic, why in sorted(done.failed.items())))
    return {"exported": len(done.exported), "deleted": len(done.deleted)}


@job(
    "follow-commits",
    "Does at home what transactions with clinics on other clusters have left to do there.",
    per_clinic=False,
    every=FREQUENTLY,
)
async def _follow_commits(_: Settings) -> Counts:
    return await commits.follow_all()


@job("move-subscriptions", "Notes which trials and plans have ended.", every=HOURLY)
async def _move_subscriptions(_: Settings) -> Counts:
    return await keeping.bring_along()


@job(
    "remind-subscriptions", "Tells clinics' admins that their trial or plan ends or has ended, once each.", every=HOURLY
)
async def _remind_subscriptions(settings: Settings) -> Counts:
    return await reminders.remind(settings)


@job(
    "retry-paypal-events",
    "Handles events of PayPal that were stored and not handled.",
    per_clinic=False,
    every=FREQUENTLY,
)
async def _retry_paypal_events(settings: Settings) -> Counts:
    return await events.sweep(settings)
