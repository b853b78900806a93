"""Clinics' subscriptions, for those who run the system: shows one, gives a plan, or takes a gift back.

Exit codes: 0 done, 1 it cannot be done, 2 the command was called wrongly.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from app.plans import PlanName
from app.services.clinics import clinic_to_change
from app.services.subscription.course import Course
from app.services.subscription.granting import LONGEST, grant, revoke, shown
from scripts.runtime import backend, explained, settings_or_stop

cli = typer.Typer(add_completion=False, no_args_is_help=True)
Subdomain = Annotated[str, typer.Argument(help="The clinic's subdomain.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why, in 10 to 500 characters; kept in the platform's audit.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FLAGS = {"input.plan": "--plan", "input.until": "--until or --days", "input.reason": "--reason"}


@cli.command("show")
def show(subdomain: Subdomain, as_json: AsJson = False) -> None:
    """Show how a clinic stands, and what it paid."""
    with explained(as_json=as_json), backend(settings_or_stop(as_json=as_json)) as ready:
        subscription, payments = ready.run(shown(ready.run(clinic_to_change(subdomain))))
    told = {name: _text(subscription.get(name)) for name in ("plan", "status", "billing_cycle", "expires_at")}
    given = subscription.get("grant")
    told["granted"] = f"{given['plan']} until {_text(given['until'])}" if given else None
    paid = [_payment(row) for row in payments]
    if as_json:
        typer.echo(json.dumps({**told, "payments": paid}))
        return
    for name, value in told.items():
        typer.echo(f"{name}: {value or '-'}")
    for row in paid:
        typer.echo("  ".join(f"{name}={value}" for name, value in row.items()))


@cli.command("grant")
def give(
    subdomain: Subdomain,
    plan: Annotated[PlanName, typer.Option(help="Which plan.")],
    reason: Reason,
    days: Annotated[
        int | None, typer.Option(help="For so many days from now.", min=1, max=LONGEST.days, show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Until then (UTC), such as 2027-01-31.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a clinic a plan for a time, beside whatever it pays. It takes the place of an earlier gift."""
    if (days is None) is (until is None):
        raise typer.BadParameter("say either --days or --until")
    ends = until.replace(tzinfo=UTC) if until else datetime.now(UTC) + timedelta(days=days or 0)
    with explained(as_json=as_json, flags=FLAGS), backend(settings_or_stop(as_json=as_json)) as ready:
        course = ready.run(grant(ready.run(clinic_to_change(subdomain)), plan, ends, reason))
    _tell(course, as_json=as_json)


@cli.command("revoke")
def take_back(subdomain: Subdomain, reason: Reason, as_json: AsJson = False) -> None:
    """Take a gift back at once: from then on counts what the clinic pays."""
    with explained(as_json=as_json, flags=FLAGS), backend(settings_or_stop(as_json=as_json)) as ready:
        course = ready.run(revoke(ready.run(clinic_to_change(subdomain)), reason))
    _tell(course, as_json=as_json)


def _tell(course: Course, *, as_json: bool) -> None:
    ends = _text(course.expires_at)
    if as_json:
        typer.echo(json.dumps({"plan": course.plan, "status": course.status, "expiresAt": ends}))
        return
    typer.echo(f"{course.plan.name}, {course.status.name}" + (f", until {ends}" if ends else ""))


def _payment(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "paid": _text(row["paid_at"]),
        "transaction": row["transaction_id"],
        "state": row["state"],
        "plan": f"{row['plan']} {row['billing_cycle']}",
        "amount": f"{row['amount'].to_decimal()} {row['currency']}",
        "refunded": str(row["refunded"].to_decimal()),
    }


def _text(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


if __name__ == "__main__":
    cli()
