"""What must hold before a server or a command begins: a port that is free, and a database that can be used."""

from __future__ import annotations

import socket
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConfigurationError as BadUri
from pymongo.errors import InvalidURI, OperationFailure, PyMongoError

ANSWER_TIMEOUT_MS = 5000


class StartError(Exception):
    """It cannot begin. The text is one sentence that says what to do."""


def check_port(host: str, port: int) -> None:
    """Raises `StartError` when nobody can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError:
            raise StartError(f"Port {port} is for root alone: choose another, such as PORT=8000.") from None
        except socket.gaierror:
            raise StartError(f"HOST={host} is no address of this machine: try HOST=127.0.0.1.") from None
        except OSError as error:
            other = port + 1 if port < 65535 else 8000
            raise StartError(
                f"Port {port} on {host} is not free ({error.strerror}): choose another, such as PORT={other}."
            ) from None


def check_mongodb(uri: str) -> None:
    """Raises `StartError` unless `uri` leads to a replica set or a sharded cluster that lets us in."""
    try:
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=ANSWER_TIMEOUT_MS) as client:
            hello = client.admin.command("hello")
    except (InvalidURI, BadUri, ValueError) as error:
        raise StartError(f"MONGODB_URI cannot be read: {error}.") from None
    except OperationFailure:
        raise StartError("MONGODB_URI's user or password is refused: correct it, then try again.") from None
    except PyMongoError:
        raise StartError(
            f"MONGODB_URI does not answer within {ANSWER_TIMEOUT_MS // 1000} s: start that MongoDB, or correct "
            "the address; in development, leave MONGODB_URI empty and make run starts a local one."
        ) from None
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise StartError("MONGODB_URI is a lone server: transactions need a replica set (mongod --replSet rs0).")
