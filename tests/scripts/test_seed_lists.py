"""`python -m scripts.seed_medicines` and `seed_specializations`: lists that follow the models' rules, added once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from pymongo.database import Database

from app.config import Settings
from app.services.medicines import keyed
from app.services.starter import lists
from models import Medicine, Specialization
from models.medicine import atc_levels
from models.values import search_key
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.scripts.commands import run

Stored = Database[dict[str, Any]]


@pytest.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


def test_the_lists_are_of_useful_size_and_say_nothing_twice() -> None:
    medicines: list[Mapping[str, Any]] = list(lists.medicines())
    fields: list[Mapping[str, Any]] = list(lists.specializations())
    names = [one["name"] for one in fields]
    assert len(medicines) > 300
    assert len({one for row in medicines for one in row["ingredients"]}) > 280
    assert max(Counter((one["name"], one["form"], one["strength"]) for one in medicines).values()) == 1
    assert len(names) == len(set(names)) > 60
    for one in medicines:
        Medicine(**keyed({**one, "name_key": search_key(one["name"])}))
        assert len(atc_levels(one["atc_code"])) >= 4, f"{one['name']}: name its ATC code to the fourth level at least"
    for one in fields:
        Specialization(**{"name_key": "x", **one})


def test_one_substance_has_one_code_for_each_way_in_which_it_is_used() -> None:
    """Tablets and the like of one strength after the other are the same to ATC."""
    oral = ("tablet", "capsule")
    codes: dict[str, set[Any]] = {}
    for one in lists.medicines():
        if one["form"] in oral:
            codes.setdefault(str(one["name"]), set()).add(one["atc_code"])
    assert {name: found for name, found in codes.items() if len(found) > 1 and name != "Budesonide"} == {}


@pytest.mark.parametrize(
    ("command", "collection", "least"),
    [("seed_medicines", "medicines", 300), ("seed_specializations", "specializations", 60)],
)
def test_a_second_run_adds_nothing_and_what_was_changed_stays(
    settings: Settings, stored: Stored, clinic: Clinic, command: str, collection: str, least: int
) -> None:
    own = {"tenant_id": clinic.tenant.id}
    first = run(settings, command, "--tenant", clinic.tenant.subdomain)
    assert first.returncode == 0, first.stderr
    added = stored[collection].count_documents(own)
    assert added >= least
    assert f"{clinic.tenant.subdomain}: {added} {collection} added" in first.stdout
    one = stored[collection].find_one(own)
    assert one is not None
    stored[collection].update_one({"_id": one["_id"]}, {"$set": {"archived_at": one["created_at"]}})
    before = list(stored[collection].find(own, sort=[("_id", 1)]))

    second = run(settings, command, "--tenant", clinic.tenant.subdomain)

    assert f": 0 {collection} added" in second.stdout
    assert list(stored[collection].find(own, sort=[("_id", 1)])) == before
    noun = collection.removesuffix("s")
    assert stored["audit_entries"].count_documents({**own, "action": f"{noun}.seed"}) == 1


def test_every_active_clinic_gets_them_and_an_unknown_one_is_told(settings: Settings, own_settings: Settings) -> None:
    for name in ("hill", "dale"):
        made = run(
            own_settings, "onboard_tenant", *("--name", f"{name} Clinic", "--subdomain", name, "--admin-name", "Alma"),
            *("--admin-email", f"alma@{name}.example.com", "--json"),
            POLYCLINIC_ADMIN_PASSWORD="wide meadow 71",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
    done = run(own_settings, "seed_specializations")
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["dale", "hill"]
    unknown = run(own_settings, "seed_medicines", "--tenant", "nowhere")
    assert (unknown.returncode, unknown.stderr.strip()) == (1, "There is no clinic nowhere.")
