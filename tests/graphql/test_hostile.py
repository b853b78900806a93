"""Documents that were made to take long are refused by their code, after few steps, and over HTTP too.

Times are printed by `make bench ARGS=hostile`; here it is work that is counted, which is the same on every machine.
"""

from __future__ import annotations

from typing import Any

import pytest
from graphql.validation import validate as core_validate
from graphql.validation.rules import overlapping_fields_can_be_merged

from app.graphql import operations as module
from app.graphql.failures import render
from app.graphql.limits import BOUNDS, Collisions, Measurer
from app.graphql.operations import Operations
from tests.contracts._schema import schema
from tests.fixtures.clinics import Client
from tests.graphql.hostile import HOSTILE, Hostile

MOST_STEPS = 60_000
"""Of measuring, counting and comparing together. One takes about a microsecond."""


class Work:
    """Counts what refusing a document takes, in steps of each of its parts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        self.validated = 0
        self._count(monkeypatch, Measurer, "_selection")
        self._count(monkeypatch, Measurer, "_value")
        collect = Collisions._collect

        def collecting(counter: Any, node: Any, *rest: Any) -> None:
            self.steps += len(node.selections) if node else 0
            collect(counter, node, *rest)

        monkeypatch.setattr(Collisions, "_collect", collecting)
        spend = overlapping_fields_can_be_merged.spend_complexity_budget

        def spending(context: Any, cost: int) -> None:
            self.steps += cost
            spend(context, cost)

        monkeypatch.setattr(overlapping_fields_can_be_merged, "spend_complexity_budget", spending)

        def validating(*args: Any, **options: Any) -> Any:
            self.validated += 1
            return core_validate(*args, **options)

        monkeypatch.setattr(module, "validate", validating)

    def _count(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.steps += 1
            return inner(*args, **options)

        monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_document_is_refused_by_its_code_after_few_steps(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(monkeypatch)

    refused = Operations(schema(), root=None, introspection=False).prepare(hostile.make())

    assert refused.document is None
    shown = [render(error, "request") for error in refused.errors]
    assert {one["extensions"]["code"] for one in shown} == {hostile.code}
    assert work.steps <= MOST_STEPS
    assert work.validated == (hostile.code == "VALIDATION_FAILED" and "Syntax Error" not in shown[0]["message"])
    assert len(shown) <= module.MAX_VALIDATION_ERRORS + 1
    assert all(len(one["message"]) <= module.LONGEST_MESSAGE + 1 for one in shown), "it comes back larger than it came"


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=list(HOSTILE))
async def test_over_http_it_is_told_by_code_and_request_id_alone(hostile: Hostile, admin: Client) -> None:
    answer = await admin.gql(hostile.make())

    assert answer.status == 400
    assert set(answer.codes) == {hostile.code}
    assert "data" not in answer.body
    assert all(error["extensions"]["requestId"] for error in answer.errors)
    assert len(answer.response.content) < 20_000
    assert answer.body["extensions"]["cost"]["requested"] > 0


async def test_a_batch_is_refused_by_a_sentence_of_its_own(admin: Client) -> None:
    headers = {"X-Polyclinic-Client": "tests", "Authorization": f"Bearer {admin.token}"}
    batch: Any = [{"query": "{ viewer { role } }"}] * 2
    answer = await admin.http.post("/graphql", json=batch, headers=headers)

    assert answer.status_code == 400
    assert "Batches are not taken" in answer.json()["errors"][0]["message"]


def test_the_bounds_do_not_stand_in_the_way_of_an_honest_document() -> None:
    """As a front end writes it: a component's fragment for each part, and most of them ask for the id and the name."""
    parts = [f"fragment Part{i} on Patient {{ id version givenName field{i}: familyName }}" for i in range(25)]
    page = "patients(first: 50) { edges { node { " + " ".join(f"...Part{i}" for i in range(25)) + " } } totalCount }"
    document = " ".join([f"query Page {{ {page} viewer {{ name role }} }}", *parts])

    prepared = Operations(schema(), root=None, introspection=False).prepare(document)

    assert prepared.errors == ()
    assert len(document) < BOUNDS.characters
