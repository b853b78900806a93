"""`make run`: a database, a demo, a simulator of PayPal and a server on this machine, all ended together by Ctrl-C."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, MappingProxyType

from dotenv import dotenv_values
from rich.console import Console

from app.config import (
    ConfigurationError,
    Settings,
    StartSettings,
    load_settings,
    load_start_settings,
)
from app.db.mongod import MongodError, embedded_mongod
from scripts.demo import DemoSummary, SignIn
from scripts.dev_paypal import paypal_simulator
from scripts.dev_server import ServerError, server
from scripts.serve import APPLICATION
from scripts.start_checks import StartError, check_mongodb, check_port

Prepare = Callable[[Settings], DemoSummary]
OWN_SECRETS = ("SESSION_SECRET", "AUDIT_SECRET", "ENCRYPTION_KEY")
"""Made at the first run and kept beside the database."""
FORMER_SECRETS = ("SESSION_SECRETS_OLD",)
"""Kept where a rotation has left them."""
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(application: str = APPLICATION, prepare: Prepare | None = None) -> int:
    """Runs until Ctrl-C and gives the exit code.

    `application` is `module:factory`; `prepare` makes the database ready before it is served.
    """
    console = Console(highlight=False, soft_wrap=True)
    for number in _ENDING_SIGNALS:
        signal.signal(number, _end_once)
    try:
        _run(console, application, prepare or prepare_database)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0
    except (ConfigurationError, MongodError, ServerError, StartError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(str(error), style="red")
        return 1
    return 0


def _end_once(_number: int, _frame: FrameType | None) -> None:
    """The first signal ends everything in order; those after it must not cut that short."""
    for number in _ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(console: Console, application: str, prepare: Prepare) -> None:
    start = load_start_settings()
    if start.environment != "development":
        raise StartError(
            f"make run is for development and ENVIRONMENT is {start.environment}: "
            "start the server with python -m scripts.serve."
        )
    check_port(start.host, start.port)
    with _database(start, console) as uri, paypal_simulator(start) as paypal, _dev_env(start, uri, paypal):
        settings = load_settings()
        console.print("Preparing the database")
        demo = prepare(settings)
        console.print("Starting the server")
        with server(application, settings) as running:
            running.wait_until_ready()
            _greet(console, settings, demo)
            if paypal:
                console.print(f"A simulator of PayPal: {paypal['PAYPAL_URL']}")
            console.print("\nCtrl-C ends it. The data stays.")
            running.wait()


@contextmanager
def _database(start: StartSettings, console: Console) -> Iterator[str | None]:
    """A local database, whose address it gives, or the one of MONGODB_URI, for which it gives None."""
    if start.mongodb_uri:
        check_mongodb(start.mongodb_uri)
        console.print("Using the database of MONGODB_URI")
        yield None
        return
    _make_folder(start.data_dir)
    console.print(f"Starting mongod on {start.data_dir / 'mongodb'}")
    with embedded_mongod(start.data_dir, report=console.print) as uri:
        yield uri


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"DATA_DIR={path} cannot be made ({error.strerror}): give another folder.") from None


@contextmanager
def _dev_env(start: StartSettings, uri: str | None, paypal: Mapping[str, str]) -> Iterator[None]:
    """Leaves what was chosen here where `load_settings` finds it: other commands then meet this database."""
    chosen = _chosen(start.dev_env)
    write_private(start.dev_env, chosen | ({"MONGODB_URI": uri} if uri else {}) | dict(paypal))
    try:
        yield
    finally:
        write_private(start.dev_env, _chosen(start.dev_env, chosen))  # a key may have been rotated meanwhile


def _chosen(file: Path, before: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    kept = {**before, **dotenv_values(file)}
    own = {name: kept.get(name) or secrets.token_urlsafe(48) for name in OWN_SECRETS}
    former = {name: value for name in FORMER_SECRETS if (value := kept.get(name))}
    return {**own, **former, "ROOT_DOMAIN": "localhost"}


def write_private(path: Path, values: Mapping[str, str]) -> None:
    """Writes settings where nobody but the owner of the file can read them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / ".gitignore").write_text("*\n")  # a data folder is never committed, wherever it lies
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    fresh.replace(path)


def prepare_database(settings: Settings) -> DemoSummary:
    """Puts indexes and validators on the database and, when it is empty, the demo of two clinics into it."""
    # Loaded late: the start has told of its first steps by then.
    from scripts.runtime import backend
    from scripts.seed_data import seed_demo

    with backend(settings) as ready:
        return seed_demo(ready)


def _greet(console: Console, settings: Settings, demo: DemoSummary) -> None:
    console.print()
    for clinic in demo.clinics:
        address = f"http://{clinic}.{settings.root_domain}:{settings.port}"
        console.print(f"[bold]{clinic}[/bold]  {address}/graphql")
        for person in demo.sign_ins:
            if person.clinic == clinic:
                console.print(f"    {person.role:<13} {person.email:<40} {person.password}", markup=False)
    if demo.sign_ins:
        console.print("\nTo paste there, one after the other:\n")
        console.print("\n\n".join(first_queries(demo.sign_ins[0])), markup=False)
    else:
        console.print(f"http://{settings.root_domain}:{settings.port}/graphql")
    if settings.mail_url is None:
        console.print(f"\nMail is left in {settings.data_dir / 'mail'}")


def first_queries(person: SignIn) -> tuple[str, str]:
    """Signs `person` in; then shows the patients of their clinic."""
    account = f'{{ email: "{person.email}", password: "{person.password}" }}'
    return (
        f"mutation {{\n  login(input: {account}) {{ viewer {{ name role clinic {{ name }} }} }}\n}}",
        "{\n  patients(first: 5) { totalCount edges { node { id name birthDate phone } } }\n}",
    )


if __name__ == "__main__":
    sys.exit(main())
