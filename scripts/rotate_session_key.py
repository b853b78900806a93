"""A new key for session tokens, without signing anybody out.

In development it changes the secret that `make run` keeps. Elsewhere it changes nothing: it makes a secret and says
what to set, in which order, and when the former one may go. The former secret is never shown.

Exit codes: 0 done (or told), 1 it cannot be done, 2 the command was called wrongly.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer
from dotenv import dotenv_values
from pydantic import SecretStr

from app.auth.patient_tokens import PATIENT
from app.auth.tokens import STAFF, Tokens
from app.config import Settings, load_start_settings, secret_weakness
from app.errors import InvalidState
from scripts.dev import write_private
from scripts.runtime import explained, settings_or_stop, stop

cli = typer.Typer(add_completion=False)
PRESENT, FORMER = "SESSION_SECRET", "SESSION_SECRETS_OLD"


@cli.command()
def main(
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Somebody may know the present secret: keep nothing that it signed.")
    ] = False,
    finish: Annotated[bool, typer.Option("--finish", help="End a rotation: the former secrets go.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only tell by which keys this server signs and reads.")
    ] = False,
) -> None:
    """Rotate the key that signs session tokens."""
    if compromised + finish + status > 1:
        raise typer.BadParameter("say one of --compromised, --finish and --status")
    with explained():
        start = load_start_settings()
        file = start.dev_env if start.environment == "development" and start.dev_env.is_file() else None
    if status:
        _tell_keys(*(_kept_ring(file) if file else settings_or_stop().session_ring))
    elif file is not None and PRESENT in dotenv_values(file):
        _in_development(file, compromised=compromised, finish=finish)
    else:
        _instruct(settings_or_stop(), compromised=compromised, finish=finish)


def _fresh() -> str:
    """A secret that the settings accept: random text may hold a common word by chance."""
    while secret_weakness(made := secrets.token_urlsafe(48)):
        pass
    return made


def _tell_keys(*ring: SecretStr) -> None:
    """Key ids tell nothing of the secrets; a token's header carries them as `kid`."""
    staff = [Tokens(STAFF, [secret]).key_id for secret in ring]
    patients = [Tokens(PATIENT, [secret]).key_id for secret in ring]
    for name, (first, *others) in (("staff", staff), ("patients", patients)):
        also = f", and reads {', '.join(others)} too" if others else ""
        typer.echo(f"{name}: signs by key {first}{also}")


# --- development ------------------------------------------------------------------------------------------------------


def _kept_ring(file: Path) -> list[SecretStr]:
    kept = dotenv_values(file)
    texts = [kept.get(PRESENT) or "", *(kept.get(FORMER) or "").split(",")]
    return [SecretStr(text) for text in texts if text]


def _in_development(file: Path, *, compromised: bool, finish: bool) -> None:
    values = {name: value for name, value in dotenv_values(file).items() if value}
    ring = [secret.get_secret_value() for secret in _kept_ring(file)]
    former = values.pop(FORMER, None)
    if finish:
        if former is None:
            stop(InvalidState("There is no former secret: no rotation is under way."))
    else:
        values[PRESENT] = _fresh()
        if not compromised:
            values[FORMER] = ",".join(ring)
    write_private(file, values)
    _tell_keys(*_kept_ring(file))
    typer.echo(f"{file} is changed. Restart make run, if it runs.")


# --- elsewhere --------------------------------------------------------------------------------------------------------


def _instruct(settings: Settings, *, compromised: bool, finish: bool) -> None:
    _tell_keys(*settings.session_ring)
    if finish:
        _tell_finish(settings)
    elif compromised:
        _tell_compromised()
    else:
        _tell_rotation(settings)


def _tell_finish(settings: Settings) -> None:
    if not settings.session_secrets_old:
        stop(InvalidState(f"{FORMER} is empty: no rotation is under way."))
    typer.echo(
        f"\nTake {FORMER} away on every server and restart them. Whoever signed in before the rotation, and "
        "not since, is signed out by that."
    )


def _tell_compromised() -> None:
    typer.echo(
        f"""
Set on every server, and restart them all at once:

  {PRESENT}={_fresh()}
  {FORMER}=

Everybody is signed out, and no token that was made with the former secret opens anything. Mail that waits to be
sent is lost with it: ask `python -m scripts.outbox` what could not be sent."""
    )


def _tell_rotation(settings: Settings) -> None:
    kept = f", followed by a comma and what {FORMER} holds now" if settings.session_secrets_old else ""
    also = ",<what it holds now>" if settings.session_secrets_old else ""
    fresh = _fresh()
    typer.echo(
        f"""
1. On every server, then restart them one after the other. From now on each reads tokens of the new key, and
   none signs by it:

  {FORMER}={fresh}{also}

2. When step 1 is done on all of them, on every server again, one after the other:

  {PRESENT}={fresh}
  {FORMER}=<the value that {PRESENT} had until now{kept}>

   `python -m scripts.rotate_session_key --status` tells on each server by which key it signs.

3. After {_longest_days(settings)} days nobody has a token of the former key. Take {FORMER} away and restart
   (`--finish` tells this again). Keep neither of the values anywhere else."""
    )


def _longest_days(settings: Settings) -> int:
    """How long a token may be in use, staff's or a patient's."""
    return max(settings.session_days, -(-settings.patient_session_hours // 24))


if __name__ == "__main__":
    cli()
