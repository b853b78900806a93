"""Does what runs without a request, by the settings, until SIGTERM or SIGINT: `python -m scripts.worker`.

Jobs by their schedule and, with JOBS_URL, the parts of jobs that other processes send; besides, the messages that wait
in the outbox and what laboratories and PayPal sent. Any number of workers may run, on any number of machines.
"""

from __future__ import annotations

import asyncio
import signal
from functools import partial

import typer

from app.config import Settings
from app.jobs.schedule import Schedule
from app.services import lab_sweeping
from app.services.dispatching import Dispatcher
from app.services.inbox import Sweeper
from app.services.subscription import events
from scripts.runtime import backend, explained, settings_or_stop

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


cli = typer.Typer(add_completion=False)


@cli.command(help=__doc__)
def main() -> None:
    """Exit codes: 0 it was told to end, 1 settings, database or queue do not allow a start."""
    settings = settings_or_stop()
    with explained(), backend(settings, with_schema=False) as ready:
        ready.run(work(settings))


async def work(settings: Settings) -> None:
    """Works until the process is told to end; what was begun then may finish for some seconds."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, ending.set)
    schedule = Schedule(settings)
    others = (
        Dispatcher(settings),
        Sweeper("lab-inbox", settings.lab_inbox_seconds, lab_sweeping.sweep),
        Sweeper("paypal-inbox", settings.paypal_inbox_seconds, partial(events.sweep, settings)),
    )
    await schedule.start()
    try:
        for one in others:
            await one.start()
        await ending.wait()
    finally:
        await asyncio.gather(schedule.stop(), *(one.stop() for one in others))


if __name__ == "__main__":
    cli()
