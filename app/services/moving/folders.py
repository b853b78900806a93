"""The folder that a clinic is written into: files whose hashes stand in a manifest, sealed under a passphrase or plain.

Sealed, each file is encrypted by the construction of `sealed_files` under a key of its own, and the manifest carries a
MAC: neither can be changed, swapped or cut off by anybody who does not have the passphrase. Plain, hashes show damage
alone; the manifest's own hash, the fingerprint, shows changes to whoever kept it elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from app.errors import FieldError, ValidationFailed
from app.services.documents.sealed_files import FileBroken, opened, sealed
from app.tenancy.keyring import derived

FORMAT = 3
FILES = "files"
MANIFEST = "manifest.json"
SEALED = ".sealed"
READ = 256 * 1024
LEAST_PASSPHRASE = 12
_SCRYPT = {"n": 2**16, "r": 8, "p": 1}
_MOST_MEMORY = 256 * 1024 * 1024
_NAME = re.compile(r"(?:[a-z][a-z_]{0,62}\.ndjson|files/[0-9a-f]{24})(?:\.sealed)?")


class ExportBroken(ValidationFailed):
    """A folder is not a whole and unchanged export. The text says what is wrong with which of its files."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of the export; `sha256` in hex and `bytes` are of the file as it lies there. What lies in `files` is one
    document's content, under the id that it has in `document_contents`."""

    name: str
    documents: int
    bytes: int
    sha256: str


class Lock:
    """Seals and opens the files of one export. Shows nothing of its key in its `repr`."""

    __slots__ = ("_key", "told")

    def __init__(self, passphrase: str, told: Mapping[str, Any]) -> None:
        """`told` is what a manifest says of how the key came from the passphrase."""
        self.told = dict(told)
        salt = bytes.fromhex(told["salt"])
        cost = {name: int(told[name]) for name in _SCRYPT}
        self._key = hashlib.scrypt(passphrase.encode(), salt=salt, dklen=32, maxmem=_MOST_MEMORY, **cost)

    @classmethod
    def fresh(cls, passphrase: str) -> Lock:
        """For a new export. Raises VALIDATION_FAILED at `passphrase` for one that is too short."""
        if len(passphrase) < LEAST_PASSPHRASE:
            raise ValidationFailed.at("passphrase", f"must have at least {LEAST_PASSPHRASE} characters")
        return cls(passphrase, {"kdf": "scrypt", **_SCRYPT, "salt": secrets.token_hex(16)})

    def key_of(self, name: str) -> bytes:
        """The key of one file."""
        return derived(self._key, f"export file {name}")

    def mac_of(self, manifest: Mapping[str, Any]) -> str:
        """What shows that a manifest was written by somebody with the passphrase; in hex."""
        said = json.dumps({name: value for name, value in manifest.items() if name != "mac"}, sort_keys=True)
        return hmac.digest(derived(self._key, "export manifest"), said.encode(), sha256().name).hex()


# --- writing ------------------------------------------------------------------------------------------------------


class Writer:
    """Writes the files of an export, readable by their owner alone, and last the manifest."""

    def __init__(self, folder: Path, lock: Lock | None) -> None:
        self._folder = folder
        self._lock = lock
        self.files: list[ExportedFile] = []

    async def write(self, name: str, documents: int, parts: AsyncIterator[bytes]) -> None:
        """One file of `documents` documents; see `counted` for one whose number is not known before."""
        path = self._folder / (stored := name + SEALED if self._lock else name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        digest, size = sha256(), 0
        kept = sealed(parts, self._lock.key_of(name), name) if self._lock else parts
        with private(path) as file:
            async for part in kept:
                file.write(part)
                digest.update(part)
                size += len(part)
            sync(file)
        self.files.append(ExportedFile(stored, documents, size, digest.hexdigest()))

    def counted(self, documents: int) -> None:
        """Says how many documents the latest file has."""
        self.files[-1] = ExportedFile(**{**asdict(self.files[-1]), "documents": documents})

    def finish(self, about: Mapping[str, Any]) -> str:
        """Writes the manifest; gives its SHA-256 in hex, by which the whole export is known."""
        told: dict[str, Any] = {"format": FORMAT, **about, "files": [asdict(file) for file in self.files]}
        if self._lock is not None:
            told["encryption"] = self._lock.told
            told["mac"] = self._lock.mac_of(told)
        content = json.dumps(told, indent=2).encode()
        with private(self._folder / MANIFEST) as file:
            file.write(content)
            sync(file)
        sync_folder(self._folder)
        return sha256(content).hexdigest()


def private(path: Path) -> BinaryIO:
    """A new file that its owner alone may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def sync(file: BinaryIO) -> None:
    """Has a file's content on disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Has the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading ------------------------------------------------------------------------------------------------------


class Reader:
    """An export that was found whole and unchanged."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], fingerprint: str, lock: Lock | None) -> None:
        self._folder = folder
        self._lock = lock
        self.manifest = manifest
        self.fingerprint = fingerprint
        self.files = {file["name"].removesuffix(SEALED): ExportedFile(**file) for file in manifest["files"]}

    async def parts(self, name: str) -> AsyncIterator[bytes]:
        """The plain content of one file; nothing for one that the export has not. Raises `ExportBroken`."""
        file = self.files.get(name)
        if file is None:
            return
        stored = _read(self._folder / file.name)
        try:
            async for part in opened(stored, self._lock.key_of(name), name) if self._lock else stored:
                yield part
        except FileBroken:
            raise _broken(file.name, "does not open: it was changed") from None

    async def lines(self, name: str) -> AsyncIterator[bytes]:
        """The lines of one file, each a document."""
        rest = b""
        async for part in self.parts(name):
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield line
        if rest:
            raise _broken(name, "ends within a line")


async def open_export(folder: Path, passphrase: str | None, *, fingerprint: str | None = None) -> Reader:
    """Reads every file of an export and holds it against the manifest, and that against the passphrase or the
    fingerprint. Raises `ExportBroken`, and VALIDATION_FAILED at `passphrase` for a wrong or missing one."""
    manifest, found = _manifest(folder)
    if fingerprint is not None and not hmac.compare_digest(found, fingerprint.strip().lower()):
        raise _broken("fingerprint", f"is not that of this export, which is {found}")
    lock = _lock_of(manifest, passphrase)
    reader = Reader(folder, manifest, found, lock)
    _check_names(folder, reader)
    for file in reader.files.values():
        await _check(folder, file)
    if lock is not None:
        for name in reader.files:
            async for _ in reader.parts(name):
                pass
    return reader


def _manifest(folder: Path) -> tuple[dict[str, Any], str]:
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = json.loads(content)
        shaped = manifest["format"] == FORMAT and {"tenant", "files", "made_at"} <= manifest.keys()
        names = [ExportedFile(**file).name for file in manifest["files"]]
    except FileNotFoundError:
        raise _broken(MANIFEST, "is missing: this is no export, or one that was not finished") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise _broken(MANIFEST, "cannot be read") from None
    if not shaped:
        raise _broken(MANIFEST, f"is not of format {FORMAT}, which this version reads")
    if wrong := [name for name in names if not _NAME.fullmatch(name)]:
        raise _broken(MANIFEST, f"names a file that no export has: {wrong[0]!r}")
    return manifest, sha256(content).hexdigest()


def _lock_of(manifest: Mapping[str, Any], passphrase: str | None) -> Lock | None:
    told = manifest.get("encryption")
    if told is None:
        return None
    if not passphrase:
        raise ValidationFailed.at("passphrase", "is needed: this export is sealed")
    try:
        lock = Lock(passphrase, told)
    except (KeyError, TypeError, ValueError, MemoryError):
        raise _broken(MANIFEST, "does not say how it was sealed") from None
    if not hmac.compare_digest(lock.mac_of(manifest), str(manifest.get("mac"))):
        raise ValidationFailed.at("passphrase", "is wrong, or the manifest was changed")
    return lock


def _check_names(folder: Path, reader: Reader) -> None:
    """Raises `ExportBroken` for files that are missing, that nobody named, or that are plain in a sealed export."""
    named = {file.name for file in reader.files.values()}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    if missing := sorted(named - there):
        raise _broken(missing[0], "is missing")
    if more := sorted(there - named):
        raise _broken(more[0], "does not belong to the export")
    is_sealed = reader.manifest.get("encryption") is not None
    if odd := sorted(name for name in named if name.endswith(SEALED) is not is_sealed):
        raise _broken(odd[0], "is not sealed as the others are")


async def _check(folder: Path, file: ExportedFile) -> None:
    digest, size = sha256(), 0
    async for part in _read(folder / file.name):
        digest.update(part)
        size += len(part)
    if (size, digest.hexdigest()) != (file.bytes, file.sha256):
        raise _broken(file.name, "is not as it was written")


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(READ):
            yield part


def _broken(name: str, what: str) -> ExportBroken:
    return ExportBroken("The export cannot be used.", [FieldError(name, what)])
