"""How tests speak to what is done with patients."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId

from app.services.medicines import keyed
from app.tenancy.crossing import tenant_scope
from models import Appointment, Medicine, QueueEntry
from models.appointment import AppointmentStatus
from models.medicine import DosageForm
from models.queue import QueueStatus
from models.values import now, search_key
from tests.fixtures.clinics import Answer, Client, Clinic

Row = dict[str, Any]

VISIT = """{ id version status encounterClass startedAt endedAt reason subjective objective assessment plan
    vitals { temperatureCelsius systolicMmhg diastolicMmhg heartRate weightKg heightCm pain }
    diagnoses { system edition code text certainty primary } signedAt signedBy { name }
    addenda { text by { name } } history { status reason by { name } byPatient }
    patient { id } doctor { id name } appointment { id } }"""
START = f"mutation($input: StartVisitInput!) {{ startVisit(input: $input) {VISIT} }}"
WRITE = f"mutation($input: UpdateVisitInput!) {{ updateVisit(input: $input) {VISIT} }}"
ADD = f"mutation($input: AddAddendumInput!) {{ addAddendum(input: $input) {VISIT} }}"
RECORD = """{ id version kind status diagnosis { system edition code text } note onset resolvedOn
    history { status reason } visits { id } patient { id } recordedBy { name } }"""


def only(answer: Answer) -> Any:
    """The one field of an answer that must have succeeded."""
    [shown] = answer.data.values()
    return shown


async def step(client: Client, name: str, document: Row, fields: str = "{ id version status }", **more: Any) -> Answer:
    """A step by its mutation's name, which takes `StepInput` or, with a reason, `ReasonedStepInput`."""
    kind = "ReasonedStepInput" if "reason" in more else "StepInput"
    text = f"mutation($input: {kind}!) {{ {name}(input: $input) {fields} }}"
    return await client.gql(text, input={"id": document["id"], "version": document["version"], **more})


async def started(client: Client, patient_id: str, **values: Any) -> Row:
    found: Row = only(await client.gql(START, input={"patientId": patient_id, **values}))
    return found


async def written(client: Client, visit: Row, **values: Any) -> Row:
    found: Row = only(await client.gql(WRITE, input={"id": visit["id"], "version": visit["version"], **values}))
    return found


async def signed(client: Client, visit: Row) -> Row:
    found: Row = only(await step(client, "signVisit", visit, VISIT))
    return found


async def appointment(clinic: Clinic, patient_id: str, status: str = "checked_in") -> str:
    """An appointment of the patient with the clinic's doctor that began just now."""
    async with tenant_scope(clinic.ref):
        made = await Appointment(
            patient_id=PydanticObjectId(patient_id),
            doctor_id=clinic.staff["doctor"].key,
            starts_at=now(),
            ends_at=now() + timedelta(minutes=30),
            status=AppointmentStatus(status),
        ).insert()
    return str(made.key)


async def queued(clinic: Clinic, patient_id: str, status: str = "called", **values: Any) -> str:
    """The patient's place in a queue of their own."""
    async with tenant_scope(clinic.ref):
        made = await QueueEntry(
            patient_id=PydanticObjectId(patient_id),
            queue_key=f"desk:{patient_id}",
            day=now().date().isoformat(),
            ticket=int(patient_id[-6:], 16) + 1,
            waiting_since=now(),
            status=QueueStatus(status),
            **values,
        ).insert()
    return str(made.key)


async def stored(clinic: Clinic, model: Any, id: str) -> Row:
    async with tenant_scope(clinic.ref):
        [row] = await model.rows({"_id": ObjectId(id)})
    return dict(row)


# --- prescriptions ------------------------------------------------------------------------------------------------

RX = """{ id version status number note signedAt signedBy { name }
    items { number name form strength atcCode dose route frequency asNeeded durationDays quantity refills refillsLeft
        instructions medicine { id } }
    openWarnings { key kind itemNumber text severe } warnings { key kind text severe reason by { name } }
    history { status reason } patient { id } doctor { name } visit { id } replaces { id status } }"""
PRESCRIBE = f"mutation($input: PrescribeInput!) {{ prescribeMedicines(input: $input) {RX} }}"
SIGN = f"mutation($input: SignPrescriptionInput!) {{ signPrescription(input: $input) {RX} }}"
REPLACE = f"mutation($input: ReplacePrescriptionInput!) {{ replacePrescription(input: $input) {RX} }}"
REASON = "The benefit is greater than the risk."


async def medicine(clinic: Clinic, name: str, atc_code: str | None = None, *ingredients: str) -> str:
    """A medicine of the catalogue, which may be there already."""
    async with tenant_scope(clinic.ref):
        rows = await Medicine.rows({"name_key": search_key(name), "archived_at": None}, projection=["_id"], limit=1)
        if rows:
            return str(rows[0]["_id"])
        values = keyed({"atc_code": atc_code, "ingredients": list(ingredients or [name])})
        made = await Medicine(name=name, name_key=search_key(name), form=DosageForm.TABLET, **values).insert()
    return str(made.key)


def item(medicine_id: str, **changes: Any) -> Row:
    return {"medicineId": medicine_id, "dose": "1 tablet", "frequency": "twice a day", "quantity": 20, **changes}


async def prescribed(client: Client, patient_id: str, *items: Row, **values: Any) -> Row:
    found: Row = only(await client.gql(PRESCRIBE, input={"patientId": patient_id, "items": list(items), **values}))
    return found


async def rx_signed(client: Client, draft: Row, reason: str = REASON) -> Row:
    """The draft, signed over all its warnings."""
    acknowledged = [{"key": one["key"], "reason": reason} for one in draft["openWarnings"]]
    input = {"id": draft["id"], "version": draft["version"], "acknowledgements": acknowledged}
    found: Row = only(await client.gql(SIGN, input=input))
    return found


# --- a day of care ------------------------------------------------------------------------------------------------


async def fully_treated(client: Client, clinic: Clinic, patient_id: str) -> dict[str, Row]:
    """One of each: a signed visit, a signed prescription, a released study, a procedure done, a referral sent; and
    one of each that is not ready to be seen by others, whose texts say `unfinished`."""
    visit = await started(client, patient_id, reason="Knee pain")
    diagnosis = {"system": "ICD_10", "edition": "2019", "code": "M25.5", "text": "Pain in joint", "primary": True}
    vitals = {"systolicMmhg": 120, "diastolicMmhg": 80, "temperatureCelsius": "36.60", "weightKg": "70.5"}
    note = {"subjective": "Fell <on> ice", "objective": "Swollen", "assessment": "Bruise", "plan": "Rest & ice"}
    visit = await written(client, visit, diagnoses=[diagnosis], vitals=vitals, **note)
    visit = await signed(client, visit)
    visit = only(await client.gql(ADD, input={"visitId": visit["id"], "version": visit["version"], "text": "Better."}))
    await written(client, await started(client, patient_id, reason="unfinished"), plan="unfinished")

    line = item(await medicine(clinic, "Ibuprofen", "M01AE01"), refills=1, instructions="With meals")
    rx = await rx_signed(client, await prescribed(client, patient_id, line, visitId=visit["id"]))
    await prescribed(client, patient_id, item(await medicine(clinic, "Loratadine", "R06AX13"), dose="unfinished"))

    study = await _study(client, patient_id, "Knee", visit, "No fracture.")
    study = only(await step(client, "releaseImaging", study))
    await _study(client, patient_id, "Hip", visit, "unfinished")

    plan = "mutation($input: PlanProcedureInput!) { planProcedure(input: $input) { id version } }"
    done = "mutation($input: CompleteProcedureInput!) { completeProcedure(input: $input) { id version } }"
    procedure = only(await client.gql(plan, input={"patientId": patient_id, "name": "Joint puncture"}))
    procedure = only(await client.gql(done, input={**procedure, "outcome": "Clear fluid"}))
    await client.gql(plan, input={"patientId": patient_id, "name": "unfinished"})

    write = "mutation($input: WriteReferralInput!) { writeReferral(input: $input) { id version } }"
    asked = {"patientId": patient_id, "reason": "Knee MRI?", "recipient": {"name": "Dr. Bone"}}
    referral = only(await client.gql(write, input=asked))
    referral = only(await step(client, "sendReferral", referral))
    await client.gql(write, input={**asked, "reason": "unfinished"})
    return {"visit": visit, "prescription": rx, "imaging": study, "procedure": procedure, "referral": referral}


async def _study(client: Client, patient_id: str, site: str, visit: Row, findings: str) -> Row:
    order = "mutation($input: OrderImagingInput!) { orderImaging(input: $input) { id version } }"
    make = "mutation($input: PerformImagingInput!) { performImaging(input: $input) { id version } }"
    report = "mutation($input: ReportImagingInput!) { reportImaging(input: $input) { id version } }"
    asked = {"patientId": patient_id, "modality": "DX", "bodySite": site, "visitId": visit["id"]}
    study = only(await client.gql(make, input=only(await client.gql(order, input=asked))))
    found: Row = only(await client.gql(report, input={**study, "findings": findings}))
    return found
