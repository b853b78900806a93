"""Files, by obstore: in a folder of this machine, or at a service that speaks S3, Google Cloud Storage or Azure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from app.addresses import is_loopback
from app.config import Settings
from app.errors import Unavailable
from app.late import late

if TYPE_CHECKING:
    import obstore
    from obstore import GetResult
    from obstore import exceptions as obstore_exceptions
    from obstore import store as obstore_store
    from obstore.store import AzureConfig, ClientConfig, GCSConfig, ObjectStore, RetryConfig, S3Config
else:
    obstore, obstore_exceptions, obstore_store = map(late, ("obstore", "obstore.exceptions", "obstore.store"))

PART = 5 * 1024 * 1024
"""What is sent at once: the least that S3 takes as a part of a file."""
PARTS_AT_ONCE = 2
READ = 256 * 1024
LISTED = 500
TIMEOUT = timedelta(seconds=60)
CONNECT = timedelta(seconds=5)
RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}


class BlobsDown(Unavailable):
    """The place where files are kept does not answer, or refuses us."""

    default_message = "The files cannot be reached. Try again shortly."


class BlobMissing(Exception):
    """There is no file of that name."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as its store lists it: `size` in bytes as it is kept, and when it was written."""

    path: str
    size: int
    modified: datetime


class Blobs:
    """Files by path. A file is there whole or not at all; what was broken off leaves nothing that can be read."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, path: str, parts: AsyncIterator[bytes]) -> None:
        """Writes a file from its parts as they come, some megabytes in memory at once.

        Raises `BlobsDown`, and whatever `parts` raise; then there is no file.
        """
        source = _Source(parts)
        try:
            with _reached():
                await obstore.put_async(
                    self._store, path, source.read(), use_multipart=True, chunk_size=PART, max_concurrency=PARTS_AT_ONCE
                )
        except Exception:
            if source.failure is not None:
                raise source.failure from None
            raise

    async def get(self, path: str) -> AsyncIterator[bytes]:
        """Opens a file, then gives its parts. Raises `BlobMissing` or `BlobsDown` before the first of them."""
        try:
            with _reached():
                found = await obstore.get_async(self._store, path)
        except FileNotFoundError:
            raise BlobMissing(path) from None
        return _parts(found)

    async def delete(self, paths: Sequence[str]) -> None:
        """Deletes files; those that are gone already are no failure. Raises `BlobsDown`."""
        for path in paths:
            try:
                with _reached():
                    await obstore.delete_async(self._store, path)
            except FileNotFoundError:
                continue

    async def exists(self, path: str) -> bool:
        """Whether there is a file of that name. Raises `BlobsDown`."""
        try:
            with _reached():
                await obstore.head_async(self._store, path)
        except FileNotFoundError:
            return False
        return True

    async def listed(self, prefix: str) -> AsyncIterator[list[Listed]]:
        """The files below a folder, some at a time. Raises `BlobsDown`."""
        with _reached():
            async for found in obstore.list(self._store, prefix, chunk_size=LISTED):
                yield [Listed(one["path"], one["size"], one["last_modified"]) for one in found]

    async def below(self, prefix: str) -> AsyncIterator[list[str]]:
        """The paths of the files below a folder, some at a time. Raises `BlobsDown`."""
        async for found in self.listed(prefix):
            yield [one.path for one in found]


class _Source:
    """The parts of a file on their way to the store, which has its own words for what goes wrong with them."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self.failure: Exception | None = None

    async def read(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._parts:
                yield part
        except Exception as error:
            self.failure = error
            raise


async def _parts(found: GetResult) -> AsyncIterator[bytes]:
    with _reached():
        async for part in found.stream(min_chunk_size=READ):
            yield bytes(part)


@contextmanager
def _reached() -> Iterator[None]:
    """Tells a store that is out of reach as what it is; its own text may hold addresses and names of files."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (obstore_exceptions.BaseError, OSError) as error:
        raise BlobsDown from error


# --- which store ------------------------------------------------------------------------------------------------------


def store_at(url: str) -> ObjectStore:
    """The store of a `BLOB_URL` that has been checked; see `app.addresses.blob_url_fault`."""
    if url.startswith("file:"):
        folder = Path(url.removeprefix("file:")).resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return obstore_store.LocalStore(folder, automatic_cleanup=False)
    parts = urlsplit(url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    user = unquote(parts.username) if parts.username else None
    secret = unquote(parts.password) if parts.password else None
    bucket, prefix = parts.hostname or "", parts.path.strip("/") or None
    endpoint = options.get("endpoint")
    client: ClientConfig = {
        "timeout": TIMEOUT,
        "connect_timeout": CONNECT,
        "allow_http": endpoint is not None and is_loopback(urlsplit(endpoint).hostname or ""),
    }
    if parts.scheme == "s3":
        s3 = _s3(user, secret, options)
        return obstore_store.S3Store(bucket, prefix=prefix, config=s3, client_options=client, retry_config=RETRY)
    if parts.scheme == "gs":
        gcs: GCSConfig = {"service_account": options["credentials"]} if "credentials" in options else {}
        return obstore_store.GCSStore(bucket, prefix=prefix, config=gcs, client_options=client, retry_config=RETRY)
    azure: AzureConfig = {"account_name": user, "account_key": secret} if user and secret else {}
    return obstore_store.AzureStore(bucket, prefix=prefix, config=azure, client_options=client, retry_config=RETRY)


def _s3(key: str | None, secret: str | None, options: Mapping[str, str]) -> S3Config:
    config: S3Config = {"region": options.get("region", "us-east-1")}
    if key and secret:
        config |= {"access_key_id": key, "secret_access_key": secret}
    if "endpoint" in options:
        config["endpoint"] = options["endpoint"]
    return config


class _Place:
    """Where this process keeps files. Nothing is opened before the first file comes or goes."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.opened: Blobs | None = None


_place = _Place()


def use_blobs(settings: Settings) -> None:
    """Says where this process keeps files, from here on."""
    _place.url, _place.opened = settings.blob_target, None


def blobs() -> Blobs:
    """Where this process keeps files. Raises RuntimeError before anybody said where, and `BlobsDown`."""
    if _place.url is None:
        raise RuntimeError("no place for files is set")
    if _place.opened is None:
        with _reached():
            _place.opened = Blobs(store_at(_place.url))
    return _place.opened
