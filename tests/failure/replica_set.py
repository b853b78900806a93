"""Three mongods on this machine that are one replica set, of which the tests kill, stop and revive some."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.db import mongod

PATIENCE = 60.0
CACHE_GB = 0.25
Client = MongoClient[dict[str, Any]]
T = TypeVar("T")


class Node:
    """One mongod; its data stays when it is killed."""

    def __init__(self, folder: Path) -> None:
        (folder / "mongodb").mkdir(parents=True)
        self._folder = folder
        self.process, self.port = mongod._start(mongod.find_mongod(), folder, CACHE_GB, lambda _: None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def hello(self) -> dict[str, Any]:
        """What it says of itself; nothing while it does not answer."""
        with suppress(PyMongoError), mongod._connect(self.port, 1) as client:
            return client.admin.command("hello")
        return {}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """It keeps its connections and says nothing any more."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def mend(self) -> None:
        """It goes on, or starts again on its data and at its port."""
        if self.process.poll() is None:
            self.go_on()
        else:
            self.process = mongod._launch(mongod.find_mongod(), self._folder, CACHE_GB, self.port)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.go_on()
        self.kill()


class ReplicaSet:
    """The nodes, as they stand at the moment."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @property
    def uri(self) -> str:
        return f"mongodb://{','.join(node.address for node in self.nodes)}/?replicaSet={mongod.REPLICA_SET}"

    def primary(self) -> Node:
        """The node that takes writes."""
        return wait_for(lambda: next((node for node in self.nodes if node.hello().get("isWritablePrimary")), None))

    @contextmanager
    def mended(self) -> Iterator[None]:
        """Whatever is done to the nodes meanwhile is made good in the end."""
        try:
            yield
        finally:
            for node in self.nodes:
                node.mend()

    def wait_until_whole(self) -> None:
        """Until all of them have the data."""

        def are_there() -> bool:
            told = [node.hello() for node in self.nodes]
            return sum(bool(one.get("secondary")) for one in told) == len(self.nodes) - 1

        self.primary()
        wait_for(are_there)


def wait_for(look: Callable[[], T | None]) -> T:
    """What the look finds, once it finds something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "the replica set does not come to that state"
        time.sleep(0.05)
    return found


@contextmanager
def replica_set() -> Iterator[ReplicaSet]:
    """One with the settings of MongoDB itself: after 10 s without a primary the others elect one."""
    room = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
    folder = Path(tempfile.mkdtemp(prefix="polyclinic-set-", dir=room if room.is_dir() else None))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        nodes = []
        for number in range(3):
            nodes.append(Node(folder / str(number)))
            stack.callback(nodes[-1].end)
        members = [{"_id": number, "host": node.address} for number, node in enumerate(nodes)]
        with mongod._connect(nodes[0].port, PATIENCE) as client:
            client.admin.command("replSetInitiate", {"_id": mongod.REPLICA_SET, "members": members})
        made = ReplicaSet(nodes)
        made.wait_until_whole()
        yield made
