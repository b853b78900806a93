"""Settings of the servers that are measured. Their secrets are made once and stay with the data."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.config import Settings

SECRETS = ("session_secret", "audit_secret", "encryption_key")
PLENTY = 10**12
"""Points: the budgets are counted and never used up."""


def bench_settings(folder: Path, uri: str, database: str) -> Settings:
    """The settings for one of the data sets in `folder`."""
    kept: dict[str, Any] = {name: SecretStr(value) for name, value in _secrets(folder).items()}
    return Settings(
        environment="test",
        mongodb_uri=uri,
        mongodb_database=database,
        root_domain="localhost",
        log_level="error",
        outbox_seconds=0,
        lab_inbox_seconds=0,
        jobs_seconds=0,
        cost_per_clinic=PLENTY,
        cost_per_person=PLENTY,
        cost_per_address=PLENTY,
        **kept,
    )


def as_environment(settings: Settings) -> dict[str, str]:
    """The same for a process of its own."""
    plain = ("environment", "mongodb_uri", "mongodb_database", "root_domain", "log_level", "outbox_seconds")
    more = ("lab_inbox_seconds", "jobs_seconds", "cost_per_clinic", "cost_per_person", "cost_per_address")
    told = {name.upper(): str(getattr(settings, name)) for name in (*plain, *more)}
    return told | {name.upper(): getattr(settings, name).get_secret_value() for name in SECRETS}


def _secrets(folder: Path) -> dict[str, str]:
    file = folder / "secrets.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            json.dump({name: secrets.token_urlsafe(48) for name in SECRETS}, opened)
        fresh.replace(file)
    kept: dict[str, str] = json.loads(file.read_text())
    return kept
