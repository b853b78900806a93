"""How the commands that write exports are told to seal them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.config import Settings
from app.services.moving.folders import Lock

PassphraseFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Seal the export under the passphrase in this file. Default: EXPORT_PASSPHRASE."),
]
Plain = Annotated[bool, typer.Option("--plain", help="Write the export unsealed: everybody who has it reads it.")]
_LONGEST = 4_096


def given_passphrase(settings: Settings, file: Path | None) -> str | None:
    """The passphrase of the file, else of the settings, else None. Raises `typer.BadParameter` (exit code 2) for a file
    that cannot be read."""
    if file is None:
        return settings.export_passphrase.get_secret_value() if settings.export_passphrase else None
    try:
        with file.open("rb") as opened:
            text = opened.read(_LONGEST).decode()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--passphrase-file") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not UTF-8 text", param_hint="--passphrase-file") from None
    return text.removesuffix("\n").removesuffix("\r")


def lock_for(settings: Settings, file: Path | None, *, plain: bool) -> Lock | None:
    """What to seal an export with; None for a plain one, which must be asked for. Raises `typer.BadParameter` when
    nobody said which, and VALIDATION_FAILED for a passphrase that is too short."""
    if plain:
        if file is not None:
            raise typer.BadParameter("say --passphrase-file or --plain, not both")
        return None
    passphrase = given_passphrase(settings, file)
    if passphrase is None:
        raise typer.BadParameter(
            "an export holds patients' data: name a --passphrase-file to seal it under (or set EXPORT_PASSPHRASE), or "
            "say --plain"
        )
    return Lock.fresh(passphrase)
