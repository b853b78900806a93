"""Every field of the API, asked by one clinic for what is another's: nothing is told, nothing is written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from itertools import islice, product
from random import Random
from typing import Any

import pytest
from bson import ObjectId

from app.graphql.fields import RowSpec
from app.graphql.paging import COUNT_CAP
from app.tenancy.crossing import tenant_scope
from models import (
    SHARED_DOCUMENTS,
    TENANT_DOCUMENTS,
    InventoryItem,
    Patient,
    PatientMerge,
    PortalSession,
    Prescription,
    Staff,
    Visit,
)
from models.references import references_of
from tests.contracts._schema import (
    Place,
    RootField,
    id_places,
    leaf_values,
    origin_of,
    places,
    root_fields,
    types_below,
)
from tests.contracts._values import collection_of, marked, variables
from tests.fixtures.clinics import Answer, Client
from tests.fixtures.mirror import BOOKKEEPING, OF_ONE_CLINIC, Generation, Mirror, Side
from tests.fixtures.servers import Servers

FIELDS = tuple(root for root in root_fields() if not root.is_above_clinics)
"""Those of the clinics; what is above them is walked in `test_platform_fields.py`."""
BY_NAME = {root.name: root for root in FIELDS}
WITH_IDS = [root for root in FIELDS if id_places(root)]
QUERIES = [root for root in FIELDS if not root.is_mutation]
CONNECTIONS = [root for root in QUERIES if root.is_connection]
GUARDED = [root for root in FIELDS if root.permission is not None]
FOR_PATIENTS = [root for root in FIELDS if root.is_for_patients]
CLINICAL = {*TENANT_DOCUMENTS, *SHARED_DOCUMENTS}
IN_THE_WAY = {
    "mergePatients": ["VALIDATION_FAILED"],
    "patientMergePreview": ["VALIDATION_FAILED"],
    "assignLabMessage": ["CONFLICT"],
    "deleteRole": ["INVALID_STATE"],
    "erasePatient": ["VALIDATION_FAILED"],
    "sharePatient": ["INVALID_STATE"],
    "confirmAppointment": ["INVALID_STATE"],
    "addAddendum": ["INVALID_STATE"],
    "reopenMedicalRecord": ["INVALID_STATE"],
    "signPrescription": ["VALIDATION_FAILED"],
    "replacePrescription": ["INVALID_STATE"],
    "holdPrescription": ["INVALID_STATE"],
    "resumePrescription": ["INVALID_STATE"],
    "completePrescription": ["INVALID_STATE"],
    "stopPrescription": ["INVALID_STATE"],
    "requestRefill": ["INVALID_STATE"],
    "approveRefill": ["INVALID_STATE"],
    "patientRequestRefill": ["INVALID_STATE"],
    "reportImaging": ["INVALID_STATE"],
    "releaseImaging": ["INVALID_STATE"],
    "stopProcedure": ["INVALID_STATE"],
    "acceptReferral": ["INVALID_STATE"],
    "declineReferral": ["INVALID_STATE"],
    "completeReferral": ["INVALID_STATE"],
    "undoCheckIn": ["INVALID_STATE"],
    "fulfilAppointment": ["INVALID_STATE"],
    "markNoShow": ["INVALID_STATE"],
    "recallQueueEntry": ["INVALID_STATE"],
    "startService": ["INVALID_STATE"],
    "finishService": ["INVALID_STATE"],
    "skipQueueEntry": ["INVALID_STATE"],
    "recordPayment": ["INVALID_STATE"],
    "refundPayment": ["INVALID_STATE"],
    "createCreditNote": ["INVALID_STATE"],
    "sendQuote": ["INVALID_STATE"],
    "acceptQuote": ["INVALID_STATE"],
    "declineQuote": ["INVALID_STATE"],
    "invoiceQuote": ["INVALID_STATE"],
    "enrollPatient": ["CONFLICT"],
    "moveTicket": ["INVALID_STATE"],
    "transferStock": ["VALIDATION_FAILED"],
    "dispenseMedicine": ["INVALID_STATE"],
    "dispenseWithoutPrescription": ["INVALID_STATE"],
    "captureSubscriptionOrder": ["INVALID_STATE"],
}
"""What stands in the way of a step on documents that were made for the test: a role that somebody has stays, a patient
without a day of birth is not shared, an appointment is agreed already and its day has not come, somebody who waits
was not called yet, drafts of invoices take no money, quotes are drafts whose last day is over, the patient has a
membership, a ticket is open already, what is kept is at one place, a medicine and its prescription a draft, nobody has
agreed to pay an order at PayPal, nobody is erased by a code that is not theirs, and what has just begun is not yet
where later steps lead from."""

UNDONE = (("restore", "archive"), ("enable", "disable"), ("release", "review"))
"""Steps that undo, or follow, another one, which must have been taken."""

THEIR_OWN = frozenset({"users", "email_tokens", "outbox", "passkey_challenges"})
"""What people may change about themselves wherever they are: their account, and the mail about it."""

DOCUMENTS: Sequence[Any] = TENANT_DOCUMENTS
OTHERS_AT_A_PLACE = 2
"""Of so many other collections each place is given ids."""
MORE_THAN_THEMSELVES = frozenset({"appointments", "appointment_series", "patient_merges", "patients"})
"""What is done with these looks at more than they point to: a patient's record, a doctor's hours."""
OF_PATIENTS = frozenset(
    {model.guarded_name() for model in DOCUMENTS if "patient_id" in references_of(model)}
    | {model.guarded_name() for model in SHARED_DOCUMENTS}
)
"""Collections of which each document is one patient's."""

pytestmark = pytest.mark.usefixtures("days_early")
named = partial(pytest.mark.parametrize, ids=str)


def own(generation: Generation, place: Place) -> str:
    """The id that belongs at a place, among the documents of one generation."""
    return str(generation[collection_of(place)])


def shape(answer: Answer) -> tuple[int, str | None, str]:
    """The whole answer but for what each request has of its own, and what is left of the asking person's budget."""
    body = re.sub(r'"requestId":"[^"]*"', '"requestId":""', answer.response.text)
    body = re.sub(r'"cost":\{"requested":(\d+)[^}]*\}', r'"cost":\1', body)
    return answer.status, answer.response.headers.get("content-type"), body


def said(answer: Answer) -> str:
    """Every byte that came back, headers too, but for the random request id, which might look like anything."""
    headers = [value for name, value in answer.response.headers.items() if name != "x-request-id"]
    return " ".join([shape(answer)[2], *headers])


def shows_nothing(answer: Answer) -> bool:
    return not any((answer.body.get("data") or {}).values())


async def ask(client: Client, root: RootField, given: dict[str, Any], *, fully: bool = False) -> Answer:
    """Asks; an answer that was not worked out, or broke, would show nothing and prove nothing."""
    answer = await client.gql(root.fully if fully else root.briefly, **given)
    assert not {"QUERY_TOO_COMPLEX", "INTERNAL", "UNAVAILABLE", "RATE_LIMITED"} & set(answer.codes), answer.body
    return answer


async def asker(root: RootField, side: Side, generation: Generation | None = None) -> Client:
    """Who may ask for a field at a clinic: its admin, or the patient of a generation (the latest)."""
    return await side.patient(generation) if root.is_for_patients else side.admin


# --- ids --------------------------------------------------------------------------------------------------------------


@named("root", WITH_IDS)
async def test_an_id_of_another_clinic_is_answered_as_one_that_does_not_exist(
    root: RootField, mirror: Mirror, servers: Servers
) -> None:
    """By both executors: all ids by the one that compiles, the one that would fit by the other too."""
    before, (compiled, reference) = await mirror.digest(), servers.both(await asker(root, mirror.a))
    for client, most in ((compiled, None), (reference, 1)):
        for place in id_places(root):
            pick = partial(own, mirror.a.latest)
            nobody = await ask(client, root, variables(root, pick, place, str(ObjectId())), fully=True)
            _blames(nobody, place)
            for foreign in islice(ids_to_try(mirror, place), most):
                answer = await ask(client, root, variables(root, pick, place, foreign), fully=True)
                assert shape(answer) == shape(nobody), place
    assert await mirror.digest() == before, f"{root} wrote something"


@named("root", WITH_IDS)
async def test_an_id_does_not_lead_into_or_out_of_a_clinics_own_database(root: RootField, mirror: Mirror) -> None:
    """Between a clinic in the shared database and one in its own, either way."""
    for asking, other in ((mirror.a, mirror.apart), (mirror.apart, mirror.a)):
        client, pick = await asker(root, asking), partial(own, asking.latest)
        for place in id_places(root):
            nobody = await ask(client, root, variables(root, pick, place, str(ObjectId())), fully=True)
            foreign = str(other.latest[collection_of(place)])
            answer = await ask(client, root, variables(root, pick, place, foreign), fully=True)
            assert shape(answer) == shape(nobody), (place, asking.marker)


def ids_to_try(mirror: Mirror, place: Place) -> Iterator[str]:
    """The other clinic's id that would fit, and ids of other collections: the other clinic's, and this clinic's own.

    Of those of other collections each place tries a few, and the places together all of them.
    """
    fitting = collection_of(place)
    yield str(mirror.b.latest[fitting])
    if place.root.is_for_patients and fitting in OF_PATIENTS:
        yield str(mirror.a.generations[0][fitting])  # another patient's of the same clinic
    yield str(mirror.b.clinic.tenant.key)
    others = [name for name in mirror.b.latest if name != fitting]
    chosen = Random(str(place)).sample(others, OTHERS_AT_A_PLACE)
    yield from (str(side.latest[name]) for side in (mirror.b, mirror.a) for name in chosen)


def _blames(answer: Answer, place: Place) -> None:
    """The id, and nothing else of the input, is what the answer judged: a list is empty, all else is not found."""
    if not answer.errors and not place.root.is_mutation:
        return
    path = r"(\.\d+)?\.".join(map(re.escape, place.path))  # within lists, which of their items it is
    assert answer.codes == ["NOT_FOUND"], (
        f"{place}: a nonexistent id gave {answer.body}. If another value is at fault, give it a valid one in NAMED "
        "of tests/contracts/_values.py"
    )
    assert any(re.fullmatch(rf"{path}(\.\d+)?", told) for told in answer.paths), answer.body


@named("root", WITH_IDS)
async def test_the_same_call_with_the_clinics_own_ids_is_let_through(
    root: RootField, mirror: Mirror, servers: Servers
) -> None:
    """Without this, a field that finds nothing at all would pass the test above."""
    aimed = id_places(root)
    wanted = {collection_of(one) for one in aimed}
    whole = root.is_for_patients or wanted & MORE_THAN_THEMSELVES
    generation: Generation = {}
    for place, executor in [*product(aimed, (0,)), *product(aimed[:1], (1,))]:
        if root.is_mutation or not generation:  # what reads leaves it as it is for the next
            generation = await mirror.spare.grow_what_leads_to(None if whole else wanted)
        pick = partial(own, generation)
        made = marked(variables(root, pick, place, own(generation, place)), f"Sample {executor} {generation['users']}")
        await prepare(root, made, mirror.spare)
        client = servers.both(await asker(root, mirror.spare, generation))[executor]
        nobody = await ask(client, root, variables(root, pick, place, str(ObjectId())))
        answer = await ask(client, root, made, fully=True)
        assert answer.codes == IN_THE_WAY.get(root.name, []), f"{place}: {answer.body}; see tests/contracts/_values.py"
        assert shape(answer) != shape(nobody), place


async def prepare(root: RootField, given: dict[str, Any], side: Side) -> None:
    """Does what must have happened before: only what was archived can be restored, only a free profile taken over, and
    only an appointment without a visit leads to one, only what is used up is kept no longer; patients see no drafts."""
    if root.name == "inviteStaff" and "staffId" in given["input"]:
        async with tenant_scope(side.clinic.ref):
            await Staff.guarded().update_one({"_id": ObjectId(given["input"]["staffId"])}, {"$unset": {"user_id": ""}})
    if root.name in ("archiveInventoryItem", "restoreInventoryItem"):
        async with tenant_scope(side.clinic.ref):
            await InventoryItem.guarded().update_many({}, {"$set": {"stock": 0}})
    if root.name == "startVisit":
        async with tenant_scope(side.clinic.ref):
            await Visit.guarded().update_many({}, {"$unset": {"appointment_id": "", "queue_entry_id": ""}})
    if root.name == "unmergePatients":
        async with tenant_scope(side.clinic.ref):
            copied = (await Patient.rows({}, limit=1))[0]
            former = {**copied, "_id": ObjectId(), "given_name": "Ana", "family_name": "Sample"}
            await PatientMerge.guarded().update_one(
                {"_id": ObjectId(given["input"]["id"])}, {"$set": {"patient": former}}
            )
    if root.name == "patientRequestRefill":
        async with tenant_scope(side.clinic.ref):
            await Prescription.guarded().update_many({}, {"$set": {"status": "active"}})
    before = next((BY_NAME.get(root.name.replace(*pair)) for pair in UNDONE if root.name.startswith(pair[0])), None)
    if before is not None:
        assert not (await ask(side.admin, before, given)).errors
        if "version" in given["input"]:
            given["input"]["version"] += 1


# --- lists, searches, counts ------------------------------------------------------------------------------------------


@named("root", QUERIES)
async def test_nothing_of_another_clinic_shows_in_any_byte(root: RootField, mirror: Mirror, servers: Servers) -> None:
    foreign = await mirror.ids_of(mirror.b) - await mirror.ids_of(mirror.a)
    compiled, reference = servers.both(await asker(root, mirror.a))
    asked = list(questions(root, mirror))
    for client, given in [*product((compiled,), asked), (reference, asked[0])]:
        answer = await ask(client, root, given, fully=True)
        text = said(answer)
        assert not [trace for trace in mirror.b.marker.traces if trace in text.lower()], (given, text)
        assert not [one for one in foreign if one in text], (given, text)


@named("root", QUERIES)
async def test_nothing_crosses_between_the_shared_and_an_own_database(root: RootField, mirror: Mirror) -> None:
    for asking, other in ((mirror.a, mirror.apart), (mirror.apart, mirror.a)):
        given = variables(root, partial(own, asking.latest))
        text = said(await ask(await asker(root, asking), root, given, fully=True))
        assert not [trace for trace in other.marker.traces if trace in text.lower()], text


def questions(root: RootField, mirror: Mirror) -> Iterator[dict[str, Any]]:
    """A field's variables: the plain ones, then each filter in turn, searches for the other clinic's words too."""
    pick = partial(own, mirror.a.latest)
    yield variables(root, pick)
    for place in places(root):
        for value in leaf_values(place):
            yield variables(root, pick, place, value)
        if place.type.name == "String":
            for word in (*mirror.b.marker.texts(1), *mirror.b.marker.traces, mirror.b.clinic.emails["admin"]):
                yield variables(root, pick, place, word)
        if place.type.name == "ID":
            yield variables(root, pick, place, own(mirror.a.latest, place))


async def test_a_reference_that_leads_to_another_clinic_leads_nowhere(mirror: Mirror, servers: Servers) -> None:
    strays = await mirror.spare.strays(mirror.b.latest)
    foreign = await mirror.ids_of(mirror.b)
    for root in QUERIES:
        for client in servers.both(await asker(root, mirror.spare, mirror.b.latest)):
            answer = await ask(client, root, variables(root, partial(own, strays)), fully=True)
            assert not [trace for trace in mirror.b.marker.traces if trace in said(answer).lower()], (root, answer.body)
            assert not [one for one in foreign if one in said(answer)], (root, answer.body)


@named("root", CONNECTIONS)
async def test_each_list_shows_and_counts_the_clinics_own_documents_alone(
    root: RootField, mirror: Mirror, servers: Servers
) -> None:
    assert root.model in {*CLINICAL, *OF_ONE_CLINIC}, f"{root} lists documents that belong to no clinic"
    for side, executor in ((mirror.a, 0), (mirror.a, 1), (mirror.b, 0), (mirror.b, 1), (mirror.apart, 0)):
        generation = side.latest
        client = servers.both(await asker(root, side))[executor]
        pages = [page async for page in pages_of(client, root, variables(root, partial(own, generation)))]
        ids = [edge["node"]["id"] for page in pages for edge in page["edges"]]
        assert str(generation[root.model.guarded_name()]) in ids, "the clinic does not see its own"
        assert len(ids) == len(set(ids)) <= await mirror.count_of(root.model, side)
        assert pages[0]["totalCount"] == min(len(ids), COUNT_CAP)  # the tests themselves fill the audit
        assert pages[0]["totalCountIsExact"] is (len(ids) <= COUNT_CAP)


async def pages_of(client: Client, root: RootField, given: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Every page of a list, from its beginning."""
    selection = "{ edges { node { id } } pageInfo { hasNextPage endCursor } totalCount totalCountIsExact }"
    after: str | None = None
    while True:
        answer = await client.gql(root.document(selection), **{**given, "after": after})
        page = answer.data[root.name]
        yield page
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


@named("root", [root for root in QUERIES if root.model in CLINICAL])
async def test_a_clinic_finds_its_own_mark_where_the_other_must_not(
    root: RootField, mirror: Mirror, servers: Servers
) -> None:
    """Without this, a list that never shows any text would pass the test of bytes."""
    if root.model is PortalSession:  # a page shows the latest, and the tests have opened many
        marked = mirror.b.latest[PortalSession.guarded_name()]
        others = {"tenant_id": mirror.b.clinic.tenant.key, "_id": {"$ne": marked}}
        await mirror.raw[PortalSession.guarded_name()].delete_many(others)
    for client in servers.both(await asker(root, mirror.b)):
        answers = [await ask(client, root, given, fully=True) for given in own_questions(root, mirror.b)]
        seen = " ".join(answer.response.text for answer in answers)
        ids = [str(one) for one in mirror.b.latest.values()]
        assert mirror.b.marker.text in seen or any(one in seen for one in ids), seen


def own_questions(root: RootField, side: Side) -> Iterator[dict[str, Any]]:
    pick = partial(own, side.latest)
    yield variables(root, pick)
    for place in places(root):
        if place.type.name == "String":
            yield from (variables(root, pick, place, word) for word in side.marker.texts(1))


@named("root", CONNECTIONS)
async def test_a_cursor_of_another_clinic_is_refused(root: RootField, mirror: Mirror, servers: Servers) -> None:
    theirs = await (await asker(root, mirror.b)).gql(
        root.document("{ pageInfo { endCursor } }"), **variables(root, partial(own, mirror.b.latest))
    )
    cursor = theirs.data[root.name]["pageInfo"]["endCursor"]
    assert cursor
    given = {**variables(root, partial(own, mirror.a.latest)), "after": cursor}
    for client in servers.both(await asker(root, mirror.a)):
        answer = await ask(client, root, given, fully=True)
        assert answer.codes == ["VALIDATION_FAILED"]
        assert answer.paths == ["after"]


# --- who asks ---------------------------------------------------------------------------------------------------------


def nowhere(_: Place) -> str:
    return str(ObjectId())


@named("root", [root for root in FIELDS if not root.is_public])
async def test_nobody_gets_an_answer_without_a_session(root: RootField, mirror: Mirror, servers: Servers) -> None:
    before = await mirror.digest()
    for stranger in servers.both(mirror.a.server.client(mirror.a.clinic.host)):
        answer = await ask(stranger, root, variables(root, nowhere))
        assert answer.codes == ["UNAUTHENTICATED"]
        assert shows_nothing(answer)
    assert await mirror.digest() == before


@named("root", GUARDED)
async def test_a_session_of_another_clinic_is_told_that_it_has_not_entered(
    root: RootField, mirror: Mirror, servers: Servers
) -> None:
    before = await mirror.digest()
    for intruder in servers.both(mirror.a.server.client(mirror.a.clinic.host, mirror.b.admin.token)):
        answer = await ask(intruder, root, variables(root, partial(own, mirror.a.latest)))
        assert answer.codes == ["TENANT_MISMATCH"]
        assert shows_nothing(answer)
    assert await mirror.digest() == before


@named("root", [root for root in FIELDS if root.permission is None])
async def test_a_field_without_a_permission_tells_a_strangers_session_nothing_of_the_clinic(
    root: RootField, mirror: Mirror
) -> None:
    """Such fields are about the person, or about what the clinic tells everybody."""
    before = await mirror.digest(without={*BOOKKEEPING, *THEIR_OWN})
    member = mirror.b.clinic.staff["receptionist"].user_id
    assert member is not None
    intruder = mirror.a.server.client(mirror.a.clinic.host, await mirror.b.session(member))
    answer = await ask(intruder, root, variables(root, nowhere), fully=True)
    known = await mirror.ids_of(mirror.a) - {str(mirror.a.clinic.tenant.key)}
    assert not [one for one in known if one in said(answer)]
    after = await mirror.digest(without={*BOOKKEEPING, *THEIR_OWN})
    assert after == before


# --- patients ---------------------------------------------------------------------------------------------------------


@named("root", FOR_PATIENTS)
async def test_nothing_of_another_patient_of_the_same_clinic_shows_or_changes(
    root: RootField, mirror: Mirror, servers: Servers
) -> None:
    """All documents of a patient's neighbour, asked for by every id that a field takes."""
    before, clients = await mirror.digest(), servers.both(await asker(root, mirror.a))
    neighbour = mirror.a.generations[0]
    theirs = [str(neighbour[name]) for name in OF_PATIENTS]
    pick = partial(own, neighbour)
    asked = [variables(root, partial(own, mirror.a.latest))] if not root.is_mutation else []
    aimed = [place for place in id_places(root) if collection_of(place) in OF_PATIENTS]
    asked += [variables(root, pick, place, own(neighbour, place)) for place in aimed]
    for client, given in product(clients, asked):
        answer = await ask(client, root, given, fully=True)
        assert not [one for one in theirs if one in said(answer)], (given, answer.body)
    assert await mirror.digest() == before


@named("root", FOR_PATIENTS)
async def test_staff_are_no_patients(root: RootField, mirror: Mirror) -> None:
    before = await mirror.digest()
    answer = await ask(mirror.a.admin, root, variables(root, partial(own, mirror.a.latest)))
    assert answer.codes == ["UNAUTHENTICATED"]
    assert shows_nothing(answer)
    assert await mirror.digest() == before


@named("root", FOR_PATIENTS)
async def test_a_patient_of_another_clinic_is_nobody_here(root: RootField, mirror: Mirror) -> None:
    before, token = await mirror.digest(), (await mirror.b.patient()).token
    answer = await ask(
        mirror.a.server.client(mirror.a.clinic.host, token), root, variables(root, partial(own, mirror.a.latest))
    )
    assert answer.codes == ["UNAUTHENTICATED"]
    assert shows_nothing(answer)
    assert await mirror.digest() == before


@named("root", [root for root in FIELDS if not root.is_public and not root.is_for_patients])
async def test_a_patient_is_nobody_to_what_is_for_staff(root: RootField, mirror: Mirror) -> None:
    before, client = await mirror.digest(), await mirror.a.patient()
    answer = await ask(client, root, variables(root, partial(own, mirror.a.latest)))
    assert answer.codes == ["UNAUTHENTICATED"]
    assert shows_nothing(answer)
    assert await mirror.digest() == before


@named("root", FOR_PATIENTS)
def test_what_a_patient_asks_names_no_patient(root: RootField) -> None:
    """Whose data it is comes from the session, so there is no id that could be somebody else's."""
    assert not [place for place in id_places(root) if place.name == "patientId"], "take the patient of the scope"


@named("root", FOR_PATIENTS)
def test_patients_are_shown_types_of_their_own(root: RootField) -> None:
    """A type that staff read by a permission would show patients whatever is added to it for staff."""
    for type_ in types_below(root.answer_type):
        spec: RowSpec | None = getattr(origin_of(type_), "__row__", None)
        assert spec is None or spec.read is None, f"{root} shows {type_}, which is for staff"


# --- how the walk itself is kept honest -------------------------------------------------------------------------------


def test_the_walk_sees_the_whole_schema() -> None:
    operations = Counter(root.operation for root in FIELDS)
    assert operations["query"] > 10
    assert operations["mutation"] > 20
    assert len(WITH_IDS) > 20
    assert len(CONNECTIONS) > 5
