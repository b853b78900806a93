"""The same files in a folder and at a server that speaks S3."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from moto.server import ThreadedMotoServer

from app.addresses import blob_url_fault
from app.integrations.blobs import PART, BlobMissing, Blobs, BlobsDown, store_at

KEY = "AKIATESTKEY"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket at a local server, with a place for a folder."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    answer = httpx.put(f"{endpoint}/clinic-files")
    assert answer.status_code == 200
    yield f"s3://{KEY}:test%2Bsecret%2Fof%3Dstore@clinic-files/%s?region=us-east-1&endpoint={endpoint}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    url = f"file:{tmp_path / 'kept'}"
    if request.param == "s3":
        url = request.getfixturevalue("s3").replace("%s", uuid4().hex)
    assert blob_url_fault(url) is None
    return Blobs(store_at(url))


async def parts(count: int, size: int = 100_000, *, fails: bool = False) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size
    if fails:
        raise ValueError("the sender has gone")


async def content(store: Blobs, path: str) -> bytes:
    return b"".join([part async for part in await store.get(path)])


async def listed(store: Blobs, folder: str) -> list[str]:
    return sorted([path async for paths in store.below(folder) for path in paths])


@pytest.mark.parametrize("count", [0, 1, 2 * PART // 100_000 + 7])
async def test_a_file_comes_back(store: Blobs, count: int) -> None:
    await store.put("clinics/a/x", parts(count))
    assert await content(store, "clinics/a/x") == b"".join([part async for part in parts(count)])


async def test_what_breaks_off_is_not_there(store: Blobs) -> None:
    with pytest.raises(ValueError, match="the sender has gone"):
        await store.put("clinics/a/x", parts(2 * PART // 100_000, fails=True))
    with pytest.raises(BlobMissing):
        await store.get("clinics/a/x")
    assert await listed(store, "clinics") == []


async def test_files_are_listed_by_folder_and_deleted_more_than_once(store: Blobs) -> None:
    for path in ("clinics/a/1", "clinics/a/2", "clinics/ab/3"):
        await store.put(path, parts(1, 10))
    assert await listed(store, "clinics/a") == ["clinics/a/1", "clinics/a/2"]
    await store.delete(["clinics/a/1", "clinics/a/1", "clinics/a/never"])
    assert await listed(store, "clinics/a") == ["clinics/a/2"]


async def test_a_store_that_is_out_of_reach_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("no folder")
    with pytest.raises(OSError, match="kept"):
        store_at(f"file:{tmp_path / 'kept'}")
    gone = Blobs(store_at("s3://k:s@nobody/x?endpoint=http://127.0.0.1:9"))
    with pytest.raises(BlobsDown) as told:
        await gone.get("clinics/a/x")
    assert "127.0.0.1" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "file:",
        "/var/files",
        "s3://",
        "s3://key@bucket",
        "s3://bucket?color=red",
        "s3://bucket?endpoint=http://store.example.com",
        "ftp://bucket/x",
        "s3://bucket:99/x",
        "az://container?region=x",
        "s3://bucket?%",
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    fault = blob_url_fault(url)
    assert fault is not None
    assert "bucket/x" not in fault


@pytest.mark.parametrize("url", ["s3://bucket", "gs://bucket/folder", "az://account:a2V5@container/folder"])
def test_each_kind_of_store_is_made(url: str) -> None:
    assert blob_url_fault(url) is None
    assert type(store_at(url)).__name__ == {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}[url[:2]]
