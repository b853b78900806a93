"""What the commands share: settings, a database made ready, and failures as one sentence and an exit code.

Exit codes: 0 done, 1 it cannot be done (the sentence says why), 2 the command was called wrongly.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar, cast
from uuid import uuid4

import typer
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from app.config import ConfigurationError, Settings, load_settings
from app.db.client import make_client
from app.db.documents import init_documents
from app.db.failures import is_database_down
from app.db.schema import SchemaError, apply_schema
from app.errors import AppError, RateLimited, Unavailable
from app.integrations.blobs import use_blobs
from app.integrations.paypal import close_paypal
from app.logging import configure_logging
from app.plans import use_plans
from app.services.audit_chain import drain as drain_audit
from app.services.audit_chain import use_audit_keys
from app.services.placement.clusters import use_clusters
from app.services.talk.channels import use_channels
from app.services.tenant_keys import TenantKeys, use_tenant_keys
from app.tenancy.clusters import clusters
from app.tenancy.scope import Scope, open_scope
from scripts.start_checks import StartError, check_mongodb

T = TypeVar("T")

PASSWORD_VARIABLE = "POLYCLINIC_ADMIN_PASSWORD"
UNREACHABLE = "The database does not answer: check MONGODB_URI, and that it is running."
REFUSED_IN_PRODUCTION = "is refused in production (ENVIRONMENT=production)."
_LONGEST_PASSWORD_FILE = 4_096

PasswordCheck = Callable[[str], str | None]
"""What is wrong with a password ("is too short"), or None."""


class Backend:
    """The database, ready for use. `run` does one piece of work on it; questions may be asked in between."""

    def __init__(
        self,
        settings: Settings,
        client: AsyncMongoClient[dict[str, Any]],
        runner: asyncio.Runner,
        keys: TenantKeys,
    ) -> None:
        self.settings = settings
        self.keys = keys
        self.client = client
        self._runner = runner
        self._request_id = uuid4().hex

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs the work in a scope without clinic and without actor: that of whoever runs the system."""
        with open_scope(Scope(request_id=self._request_id)):
            return self._runner.run(work, context=copy_context())


@contextmanager
def backend(settings: Settings, *, with_schema: bool = True) -> Iterator[Backend]:
    """Connects by the settings; puts the schema on a database that lacks it, unless told not to.

    What is logged goes to stderr: stdout is the command's answer. Raises `StartError` with one sentence when the
    database cannot be used.
    """
    configure_logging(settings, cast(BinaryIO, sys.__stderr__.buffer) if sys.__stderr__ else None)
    check_mongodb(settings.mongodb_uri)
    use_audit_keys(settings)
    use_plans(required=settings.subscriptions)
    keys = use_tenant_keys(settings)
    use_clusters(settings)
    use_blobs(settings)
    use_channels(settings)
    with asyncio.Runner() as runner:
        client = runner.run(_connected(settings, with_schema=with_schema))
        try:
            yield Backend(settings, client, runner, keys)
        finally:
            runner.run(drain_audit())
            runner.run(close_paypal())
            runner.run(keys.close())
            runner.run(clusters.close())
            runner.run(client.close())


async def _connected(settings: Settings, *, with_schema: bool) -> AsyncMongoClient[dict[str, Any]]:
    client = make_client(settings)
    await init_documents(client[settings.mongodb_database])
    if with_schema:
        await apply_schema(client[settings.mongodb_database])
    return client


@contextmanager
def explained(*, as_json: bool = False, flags: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turns what may go wrong into one sentence on stderr (with `as_json`, an object on stdout) and exit code 1.

    `flags` are the command's names for the fields of the input.
    """
    try:
        yield
    except AppError as error:
        stop(error, as_json=as_json, flags=flags)
    except (ConfigurationError, StartError, SchemaError) as error:
        stop(Unavailable(str(error)), as_json=as_json)
    except PyMongoError as error:
        if not is_database_down(error):
            raise
        stop(Unavailable(UNREACHABLE), as_json=as_json)


def stop(error: AppError, *, code: int = 1, as_json: bool = False, flags: Mapping[str, str] | None = None) -> NoReturn:
    """Says what is wrong and ends the command."""
    if as_json:
        fields = [{"path": field.path, "message": field.message} for field in error.fields]
        told = {"code": error.code.value, "message": error.message, "fields": fields}
        typer.echo(json.dumps({"error": told}))
    else:
        typer.echo(in_words(error, flags or {}), err=True)
    raise typer.Exit(code)


def in_words(error: AppError, flags: Mapping[str, str]) -> str:
    """The failure as text, one line for each wrong field."""
    lines = [f"  {flags.get(field.path, field.path)}: {field.message}" for field in error.fields]
    if isinstance(error, RateLimited):
        lines.append(f"  Try again in {error.retry_after} seconds.")
    return "\n".join([error.message, *lines])


def settings_or_stop(*, as_json: bool = False) -> Settings:
    """This command's settings."""
    with explained(as_json=as_json):
        return load_settings()


def given_password(file: Path | None) -> str | None:
    """The password of the file, else of the environment, else None. It never comes as an argument, where every
    user of the machine could read it. Raises `typer.BadParameter` (exit code 2) for a file that cannot be read."""
    if file is None:
        return os.environ.get(PASSWORD_VARIABLE) or None
    try:
        with file.open("rb") as opened:
            text = opened.read(_LONGEST_PASSWORD_FILE).decode()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--password-file") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not UTF-8 text", param_hint="--password-file") from None
    return text.removesuffix("\n").removesuffix("\r")


def ask_new_password(text: str, problem_with: PasswordCheck) -> str:
    """Asks, unseen, until the password will do and was repeated alike."""
    while True:
        password: str = typer.prompt(text, hide_input=True)
        if problem := problem_with(password):
            typer.echo(f"  The password {problem}.")
        elif typer.prompt("The same again", hide_input=True) != password:
            typer.echo("  The two differ.")
        else:
            return password


def clinic_url(settings: Settings, subdomain: str) -> str:
    """Where the clinic's people sign in."""
    host = f"{subdomain}.{settings.root_domain}"
    return f"https://{host}" if settings.is_production else f"http://{host}:{settings.port}"
