"""Each list, in each order and by each of its filters, is read along an index: no collection is walked, nothing is
gathered first and sorted then, and little more is looked at than is shown.

The server's own explanation says so, at two clinics with many documents of every model. Lists are found in the schema,
with all values of their arguments, each by itself and each two together. What else a page needs is judged too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from tests.contracts._lists import BRIEFLY, PAGES, Question, arguments_of, asking, page, questions, with_relations
from tests.contracts._plans import READS, Plan, plan_of
from tests.contracts._schema import RootField
from tests.fixtures.commands import AROUND, Commands
from tests.fixtures.multitude import Multitude

BESIDE = frozenset({*AROUND, "portal_sessions", "tenant_keys", "tenants"}) - {"audit_entries"}
"""Where requests look before they do what they were asked for."""
ENOUGH, TIMES = 10, 3
"""A plan may look at this many documents, and at so many times as many as come."""

CATALOGUES = frozenset({"consentTemplates", "medicines", "membershipPlans", "roles", "rooms", "serviceCategories"}) | {
    "inventoryItems", "lowStock", "services", "specializations", "staff"
}  # fmt: skip
"""Lists that a clinic writes for itself, as long as people keep in mind: walking one costs less than one more index."""

MAY_WALK: Mapping[str, Mapping[str, str]] = {
    "auditLog": {
        "action": "walks back through time; an index for it would cost each of all entries",
        "result": "walks back through time; an index for it would cost each of all entries",
    },
    "breakGlassReviews": {
        "reviewed": "emergencies are few",
        "side": "emergencies are few",
    },
    "consents": {"state": "follows from two times and the clock; all but live ones are looked for seldom"},
    "documents": {"archived": "what was put away is looked for seldom"},
    "invoices": {"overdue": "walks what is owed"},
    "medicalRecords": {"kind": "walks one patient's"},
    "patientAccessLog": {"includeOwn": "walks one patient's entries, and their own acts are few beside the clinic's"},
    "patients": {"search": "sorts up to `FEW` that match by one of several names or numbers"},
    "quotes": {"status": "whether a quote that was sent has expired follows from the clock: walks those sent"},
    "shareCodes": {"state": "follows from two times and the clock; codes last for hours"},
}
"""List → argument → why it may look at more than it shows."""

ONE_OF_A_NUMBER = {"number": "the one of that number"}
MAY_SORT: Mapping[str, Mapping[str, str]] = {
    "creditNotes": ONE_OF_A_NUMBER,
    "documents": {
        "category": "by title within a category: walks the titles where many fit, sorts where few do",
        "patientId": "by title: sorts one patient's",
        "visitId": "by title: sorts one visit's",
        "labOrderId": "by title: sorts one order's",
    },
    "imagingStudies": ONE_OF_A_NUMBER,
    "invoices": {**ONE_OF_A_NUMBER, "overdue": "in a state in which nothing is owed: nothing is read"},
    "labOrders": ONE_OF_A_NUMBER,
    "patients": {
        "birthDate": "sorts those born on one day",
        "status": "the order of registration of those archived: sorts them, who are few",
        "search": "two names, a number or an address each have an index of their own: sorts what fits where few do",
    },
    "payments": ONE_OF_A_NUMBER,
    "prescriptions": ONE_OF_A_NUMBER,
    "queue": {"status": "nobody is in the queue in a state in which they have left it: nothing is read"},
    "queueLog": {
        "queue": "sorts one day's turns",
        "status": "sorts one day's turns",
    },
    "quotes": ONE_OF_A_NUMBER,
    "staff": {"roleId": "by name within a role: sorts those who have it"},
}
"""List → argument → why what fits may be sorted."""

SORTED_FOR = {
    "queue_entries": "the place of each who waits: sorts those who wait",
    "stock_lots": "two indexes begin with the item: one has the order, by the other an item's few lots are sorted",
}
"""What is read beside the rows of a list, and sorted."""

named = partial(pytest.mark.parametrize, ids=str)


@named("root", PAGES)
async def test_a_list_is_read_along_an_index_in_each_order_and_by_each_filter(
    root: RootField, multitude: Multitude, commands: Commands
) -> None:
    asked = await asking(root, multitude)
    answered, faults = 0, []
    for question in questions(root, asked):
        commands.clear()
        answer = await asked.client.gql(root.document(BRIEFLY), **question.given)
        assert set(answer.codes) <= {"VALIDATION_FAILED"}, answer.body  # some of two arguments exclude each other
        answered += not answer.errors
        async for command, plan in plans(commands, multitude):
            faults += [f"{question}: {fault}, {command}: {plan}" for fault in judged(root, question, command, plan)]
    assert not faults, "\n".join(faults)
    assert answered


@named("root", PAGES)
async def test_the_page_behind_a_cursor_and_all_that_its_rows_point_to_are_read_along_indexes(
    root: RootField, multitude: Multitude, commands: Commands
) -> None:
    asked = await asking(root, multitude)
    [plain, *_] = questions(root, asked)
    begun = (await asked.client.gql(page(root, 5, "{ pageInfo { endCursor } }"), **plain.given)).data[root.name]
    commands.clear()
    given = {**plain.given, "after": begun["pageInfo"]["endCursor"]}
    answer = await asked.client.gql(page(root, 20, with_relations(root.name)), **given)
    assert answer.data[root.name]["edges"]
    faults = [
        f"{fault}, {command}: {plan}"
        async for command, plan in plans(commands, multitude)
        for fault in judged(root, plain, command, plan)
    ]
    assert not faults, "\n".join(faults)


async def plans(commands: Commands, multitude: Multitude) -> Any:
    """What was asked of the database for a request itself, each as (`command collection`, its plan)."""
    for name, command in list(commands.seen):
        if name in READS and command[name] not in BESIDE:
            kind = "count" if name == "count" or _counts(command) else name
            yield f"{kind} {command[name]}", await plan_of(multitude.raw, command)


def _counts(command: Mapping[str, Any]) -> bool:
    """Whether it is what the driver makes of `count_documents`, which this application caps."""
    return any(stage.get("$group", {}).get("_id") == 1 for stage in command.get("pipeline", ()))


def judged(root: RootField, question: Question, command: str, plan: Plan) -> Iterator[str]:
    """What is wrong with a plan."""
    kind, collection = command.split(" ", 1)
    if plan.scans_collection:
        yield "walks the whole collection"
    if plan.sorts and collection not in SORTED_FOR and not _excused(MAY_SORT, root, question):
        yield "sorts"
    most = TIMES * plan.returned + ENOUGH
    if kind != "count" and plan.examined > most and not _by_id(plan) and not _may_walk(root, question):
        yield "looks at much more than it shows"


def _by_id(plan: Plan) -> bool:
    """Whether documents were read by their ids, some of which were no longer wanted."""
    return set(plan.bounded) == {("_id",)}


def _may_walk(root: RootField, question: Question) -> bool:
    return bool(question.arguments and root.name in CATALOGUES) or _excused(MAY_WALK, root, question)


def _excused(excuses: Mapping[str, Mapping[str, str]], root: RootField, question: Question) -> bool:
    return any(argument in excuses.get(root.name, {}) for argument in question.arguments)


# --- how the walk itself is kept honest -------------------------------------------------------------------------------


def test_each_excuse_is_for_an_argument_that_there_is() -> None:
    by_name = {root.name: root for root in PAGES}
    assert by_name.keys() >= CATALOGUES
    for excuses in (MAY_WALK, MAY_SORT):
        for name, arguments in excuses.items():
            assert arguments_of(by_name[name]) >= arguments.keys(), name


async def test_what_has_no_index_is_caught(multitude: Multitude) -> None:
    """Without this, an explanation that nobody understands would excuse every list."""
    [root] = [root for root in PAGES if root.name == "appointments"]
    own = {"tenant_id": multitude.wide.clinic.tenant.key}
    wrong: dict[str, dict[str, Any]] = {
        "walks the whole collection": {"find": "appointments", "filter": {"reason": "none"}},
        "sorts": {"find": "appointments", "filter": own, "sort": {"ends_at": 1}},
        "looks at much more than it shows": {"find": "appointments", "filter": {**own, "reason": "none"}},
    }
    joined = {"from": "rooms", "localField": "reason", "foreignField": "name", "as": "found"}
    gathered = [{"$match": own}, {"$group": {"_id": "$doctor_id", "count": {"$sum": 1}}}, {"$sort": {"count": 1}}]
    more = {
        "walks the whole collection": [{"$match": own}, {"$lookup": joined}],
        "sorts": gathered,
    }
    for fault, command in wrong.items():
        assert fault in judged(root, Question((), {}), "find appointments", await plan_of(multitude.raw, command))
    for fault, pipeline in more.items():
        aggregate = {"aggregate": "appointments", "pipeline": pipeline, "cursor": {}}
        plan = await plan_of(multitude.raw, aggregate)
        assert fault in judged(root, Question((), {}), "aggregate appointments", plan), plan
    right = {"find": "appointments", "filter": own, "sort": {"starts_at": 1, "_id": 1}, "limit": 20}
    assert not list(judged(root, Question((), {}), "find appointments", await plan_of(multitude.raw, right)))
