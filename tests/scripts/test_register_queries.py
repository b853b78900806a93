"""`python -m scripts.register_queries`: a front end's documents are registered, all of them or none."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from app.config import Settings
from scripts.query_files import read_files
from tests.scripts.commands import run

Stored = Database[dict[str, Any]]

FILES = {
    "rooms.graphql": "# The list of rooms.\nquery Rooms($n: Int) {\n"
    "  rooms(first: $n) { edges { node { ...Room } } }\n}\n\n"
    "query RoomCount {\n  rooms { totalCount }\n}\n",
    "parts/room.gql": "fragment Room on Room {\n  id\n  name\n}\n",
    "README.md": "not a document",
}


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


def rows(stored: Stored) -> dict[str, dict[str, Any]]:
    return {row["_id"]: row for row in stored["persisted_documents"].find({})}


def test_each_operation_of_a_folder_becomes_one_document_with_its_fragments(
    own_settings: Settings, own_stored: Stored, tmp_path: Path
) -> None:
    done = run(own_settings, "register_queries", str(folder(tmp_path, FILES)), "--client", "web", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    kept = rows(own_stored)
    assert set(told["operations"]) == {"Rooms", "RoomCount"}
    assert {name: kept[id]["operations"] for name, id in told["operations"].items()} == {
        "Rooms": ["Rooms"],
        "RoomCount": ["RoomCount"],
    }
    for id, row in kept.items():
        assert id == row["sha256"] == sha256(row["text"].encode()).hexdigest()
        assert row["clients"] == ["web"]
    assert "fragment Room on Room" in kept[told["operations"]["Rooms"]]["text"]
    assert "fragment" not in kept[told["operations"]["RoomCount"]]["text"]

    again = json.loads(run(own_settings, "register_queries", str(tmp_path), "--client", "web", "--json").stdout)
    assert (again["added"], again["kept"], again["operations"]) == (0, 2, told["operations"])


def test_one_wrong_document_keeps_all_out_and_is_told_by_file_and_line(
    own_settings: Settings, own_stored: Stored, tmp_path: Path
) -> None:
    folder(tmp_path, {**FILES, "parts/wrong.graphql": "\n\nquery Wrong {\n  viewer { role }\n  nowhere\n}\n"})
    done = run(own_settings, "register_queries", str(tmp_path))

    assert done.returncode == 2
    assert f"{tmp_path}/parts/wrong.graphql:5: Wrong: Cannot query field 'nowhere'" in done.stderr
    assert "Nothing was registered." in done.stderr
    assert rows(own_stored) == {}


def test_a_dry_run_stores_nothing_and_pruning_drops_what_is_gone(
    own_settings: Settings, own_stored: Stored, tmp_path: Path
) -> None:
    path = str(folder(tmp_path, FILES))
    assert "2 would be added" in run(own_settings, "register_queries", path, "--dry-run").stdout
    assert rows(own_stored) == {}
    assert run(own_settings, "register_queries", path).returncode == 0
    (tmp_path / "rooms.graphql").write_text("query RoomCount {\n  rooms { totalCount }\n}\n")

    assert "1 would be dropped" in run(own_settings, "register_queries", path, "--prune", "--dry-run").stdout
    assert len(rows(own_stored)) == 2
    assert "1 dropped" in run(own_settings, "register_queries", path, "--prune").stdout
    assert [row["operations"] for row in rows(own_stored).values()] == [["RoomCount"]]


VIEWER = "query Viewer { viewer { role } }"


def test_the_manifests_of_apollo_and_relay_are_understood(
    own_settings: Settings, own_stored: Stored, tmp_path: Path
) -> None:
    digest = sha256(VIEWER.encode()).hexdigest()
    operation = {"id": digest, "name": "Viewer", "type": "query", "body": VIEWER}
    apollo = {"format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation]}
    relay = {"5d41402abc4b2a76b9719d911017c592": "query Names { rooms { totalCount } }"}
    folder(tmp_path, {"apollo.json": json.dumps(apollo), "relay.json": json.dumps(relay)})

    assert run(own_settings, "register_queries", str(tmp_path / "apollo.json")).returncode == 0
    assert run(own_settings, "register_queries", str(tmp_path / "relay.json"), "--client", "app").returncode == 0
    kept = rows(own_stored)
    assert kept[digest]["text"] == VIEWER
    assert kept["5d41402abc4b2a76b9719d911017c592"]["clients"] == ["app"]

    relay["5d41402abc4b2a76b9719d911017c592"] = VIEWER
    folder(tmp_path, {"relay.json": json.dumps(relay)})
    taken = run(own_settings, "register_queries", str(tmp_path / "relay.json"), "--client", "app")
    assert taken.returncode == 1
    assert "another text is registered under this id" in taken.stderr
    assert rows(own_stored) == kept


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.graphql", "query A {\n viewer {", ":2: Syntax Error"),
        ("a.graphql", "{ viewer { role } }", ":1: an operation needs a name"),
        ("a.graphql", "query A { viewer { role } }\nquery A { viewer { role } }", ":2: A is defined twice"),
        ("a.graphql", "type A { b: Int }", ":1: is neither an operation nor a fragment"),
        ("a.graphql", "query A {" * 3_000, "nested too deeply"),
        ("a.txt", VIEWER, "is neither a .graphql file nor a manifest"),
        ("a.json", "{\n\n nonsense", ":3: is not valid JSON"),
        ("a.json", "[]", "must map ids to documents"),
        ("a.json", '{"a b": "query A { viewer { role } }"}', "cannot be an id"),
        ("a.json", '{"operations": []}', "is no apollo-persisted-query-manifest of version 1"),
        ("a.json", json.dumps({"x": "query A {"}), "x: Syntax Error"),
        ("a.json", json.dumps({"0" * 64: VIEWER}), "is not the SHA-256 of its text"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_at_its_line(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    folder(tmp_path, {name: text})
    found, faults = read_files(tmp_path / name)

    assert complaint in " ".join(map(str, faults))
    assert str(faults[0]).startswith(f"{tmp_path / name}:")
    assert name.endswith(".json") or not found or "twice" in complaint


def test_a_file_that_is_not_there_or_empty_is_told(own_settings: Settings, tmp_path: Path) -> None:
    gone = run(own_settings, "register_queries", str(tmp_path / "gone.graphql"))
    empty = run(own_settings, "register_queries", str(tmp_path))

    assert (gone.returncode, empty.returncode) == (2, 2)
    assert "No such file" in gone.stderr
    assert "holds no operations" in empty.stderr


def test_bounds_hold_for_registered_documents_too(own_settings: Settings, tmp_path: Path) -> None:
    wide = "query Wide { viewer { " + " ".join(f"a{i}: role" for i in range(200)) + " } }"
    done = run(own_settings, "register_queries", str(folder(tmp_path, {"a.graphql": wide})))

    assert done.returncode == 2
    assert "too many aliases" in done.stderr
