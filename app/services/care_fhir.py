"""Visits, problems, prescriptions, orders and procedures of a patient's file as HL7 FHIR R4B resources.

Source: HL7 FHIR R4B (4.3.0): Encounter, Composition, Condition, Observation, MedicationRequest, ServiceRequest,
DiagnosticReport and Procedure; what was handed out is in `pharmacy.fhir`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from app.services.fhir_parts import Number, Resource, Row, reference, without_nothing
from app.services.pharmacy.fhir import dispensing_resource
from models.medical_record import RecordKind

_HL7 = "http://terminology.hl7.org/CodeSystem"
_LOINC = "http://loinc.org"
_SNOMED = "http://snomed.info/sct"
_ATC = "http://www.whocc.no/atc"

CODING_SYSTEMS: Mapping[str, str] = {
    "icd_10": "http://hl7.org/fhir/sid/icd-10",
    "icd_10_cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "icd_10_gm": "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "icd_11": "http://id.who.int/icd/release/11/mms",
    "cpt": "http://www.ama-assn.org/go/cpt",
    "icd_10_pcs": "http://www.cms.gov/Medicare/Coding/ICD10",
    "ops": "http://fhir.de/CodeSystem/bfarm/ops",
    "snomed_ct": _SNOMED,
}
ENCOUNTER_STATUS = {
    "open": "in-progress",
    "signed": "finished",
    "amended": "finished",
    "entered_in_error": "entered-in-error",
}
_NOTE_STATUS = {"open": "preliminary", "signed": "final", "amended": "amended", "entered_in_error": "entered-in-error"}
_SECTIONS = (
    ("subjective", "Subjective", "61150-9"),
    ("objective", "Objective", "61149-1"),
    ("assessment", "Assessment", "51848-0"),
    ("plan", "Plan", "18776-5"),
)
_VITALS = (
    ("temperature_celsius", "8310-5", "Body temperature", "Cel"),
    ("systolic_mmhg", "8480-6", "Systolic blood pressure", "mm[Hg]"),
    ("diastolic_mmhg", "8462-4", "Diastolic blood pressure", "mm[Hg]"),
    ("heart_rate", "8867-4", "Heart rate", "/min"),
    ("respiratory_rate", "9279-1", "Respiratory rate", "/min"),
    ("oxygen_saturation", "59408-5", "Oxygen saturation", "%"),
    ("weight_kg", "29463-7", "Body weight", "kg"),
    ("height_cm", "8302-2", "Body height", "cm"),
    ("pain", "72514-3", "Pain severity 0-10", "{score}"),
)
_PRESCRIPTION_STATUS = {"on_hold": "on-hold"}
_PROCEDURE_STATUS = {
    "planned": "preparation",
    "in_progress": "in-progress",
    "cancelled": "not-done",
    "entered_in_error": "entered-in-error",
}
_DONE = frozenset({"released", "completed", "declined"})
_CATEGORIES = {"lab_orders": ("108252007", "Laboratory procedure"), "imaging": ("363679005", "Imaging")}


def care_resources(records: Mapping[str, Sequence[Row]], patient: Row) -> Iterator[Resource]:
    """The resources of the care that a clinic's records tell of."""
    for visit in records.get("visits", ()):
        yield from _visit(visit, patient)
    for entry in records.get("medical_records", ()):
        if entry["kind"] in (RecordKind.PROBLEM, RecordKind.PAST_ILLNESS):
            yield _problem(entry, patient)
    for prescription in records.get("prescriptions", ()):
        yield from (_medication(prescription, item, patient) for item in prescription["items"])
    yield from (dispensing_resource(one, _subject(patient)) for one in records.get("dispensings", ()))
    for order in records.get("lab_orders", ()):
        codes = [{"text": panel["name"], "loinc": panel.get("loinc")} for panel in order["panels"]]
        yield _order("lab_orders", order, patient, codes, order["ordered_at"])
    for study in records.get("imaging", ()):
        text = " ".join(filter(None, (study["modality"], study["body_site"], study.get("laterality"))))
        yield _order("imaging", study, patient, [{"text": text}], study["ordered_at"])
        if study.get("reports"):
            yield _imaging_report(study, text, patient)
    for referral in records.get("referrals", ()):
        yield _order("referrals", referral, patient, [{"text": referral["reason"]}], referral["written_at"])
    yield from (_procedure(one, patient) for one in records.get("procedures", ()))


def practitioners_of(records: Mapping[str, Sequence[Row]]) -> set[Any]:
    """The ids of the staff whom these resources name."""
    named = ("visits", "prescriptions", "lab_orders", "imaging", "procedures", "referrals")
    return {row["doctor_id"] for name in named for row in records.get(name, ())}


def _subject(patient: Row) -> Resource:
    return reference("Patient", patient["_id"])


def _doctor(row: Row) -> Resource:
    return reference("Practitioner", row["doctor_id"])


def _encounter_of(row: Row) -> Resource | None:
    return reference("Encounter", row["visit_id"]) if row.get("visit_id") else None


# --- visits -------------------------------------------------------------------------------------------------------


def _visit(row: Row, patient: Row) -> Iterator[Resource]:
    conditions = [_condition(row, number, patient) for number in range(len(row.get("diagnoses") or ()))]
    ended = row.get("ended_at")
    yield without_nothing(
        {
            "resourceType": "Encounter",
            "id": str(row["_id"]),
            "status": ENCOUNTER_STATUS[row["status"]],
            "class": {"system": f"{_HL7}/v3-ActCode", "code": row["encounter_class"]},
            "subject": _subject(patient),
            "participant": [{"individual": _doctor(row)}],
            "appointment": [reference("Appointment", row["appointment_id"])] if row.get("appointment_id") else None,
            "period": without_nothing(
                {"start": row["started_at"].isoformat(), "end": ended.isoformat() if ended else None}
            ),
            "reasonCode": [{"text": row["reason"]}] if row.get("reason") else None,
            "diagnosis": [{"condition": reference("Condition", one["id"])} for one in conditions],
        }
    )
    yield from conditions
    yield from _vitals(row, patient)
    yield from _note(row, patient)


def _note(row: Row, patient: Row) -> Iterator[Resource]:
    """The note with its addenda, where anything is written."""
    parts = [(title, code, row[name]) for name, title, code in _SECTIONS if row.get(name)]
    sections = [{"title": title, "code": _loinc(code), "text": _narrative(text)} for title, code, text in parts]
    sections += [
        {"title": f"Addendum of {one['at'].isoformat()}", "text": _narrative(one["text"])}
        for one in row.get("addenda") or ()
    ]
    if sections:
        yield {
            "resourceType": "Composition",
            "id": f"{row['_id']}-note",
            "status": _NOTE_STATUS[row["status"]],
            "type": _loinc("11506-3"),
            "title": "Progress note",
            "subject": _subject(patient),
            "encounter": reference("Encounter", row["_id"]),
            "date": (row.get("signed_at") or row["updated_at"]).isoformat(),
            "author": [_doctor(row)],
            "section": sections,
        }


def _narrative(text: str) -> Resource:
    lines = "<br/>".join(escape(text).splitlines())
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>'}


def _vitals(row: Row, patient: Row) -> Iterator[Resource]:
    measured = row.get("vitals") or {}
    for name, code, text, unit in _VITALS:
        if measured.get(name) is not None:
            yield {
                "resourceType": "Observation",
                "id": f"{row['_id']}-{code}",
                "status": "preliminary" if row["status"] == "open" else "final",
                "category": [{"coding": [{"system": f"{_HL7}/observation-category", "code": "vital-signs"}]}],
                "code": {**_loinc(code), "text": text},
                "subject": _subject(patient),
                "encounter": reference("Encounter", row["_id"]),
                "effectiveDateTime": row["started_at"].isoformat(),
                "valueQuantity": {
                    "value": Number(measured[name]),
                    "unit": unit,
                    "system": "http://unitsofmeasure.org",
                    "code": unit,
                },
            }


def _condition(row: Row, number: int, patient: Row) -> Resource:
    diagnosis = row["diagnoses"][number]
    return _as_condition(f"{row['_id']}-{number}", diagnosis, "encounter-diagnosis", patient) | {
        "encounter": reference("Encounter", row["_id"]),
        "recordedDate": row["started_at"].isoformat(),
        **_certainty(diagnosis, wrong=row["status"] == "entered_in_error"),
    }


def _problem(row: Row, patient: Row) -> Resource:
    wrong = row["status"] == "entered_in_error"
    state = {"coding": [{"system": f"{_HL7}/condition-clinical", "code": row["status"]}]}
    return without_nothing(
        _as_condition(str(row["_id"]), row["diagnosis"], "problem-list-item", patient)
        | {
            "clinicalStatus": None if wrong else state,
            "onsetDateTime": row.get("onset"),
            "abatementDateTime": None if wrong else row.get("resolved_on"),
            "recordedDate": row["created_at"].isoformat(),
            "note": [{"text": row["note"]}] if row.get("note") else None,
            **_certainty(row["diagnosis"], wrong=wrong),
        }
    )


def _as_condition(id: str, diagnosis: Row, category: str, patient: Row) -> Resource:
    return {
        "resourceType": "Condition",
        "id": id,
        "category": [{"coding": [{"system": f"{_HL7}/condition-category", "code": category}]}],
        "code": _coded(diagnosis, diagnosis["text"]),
        "subject": _subject(patient),
    }


def _certainty(diagnosis: Row, *, wrong: bool) -> Resource:
    code = "entered-in-error" if wrong else diagnosis["certainty"]
    return {"verificationStatus": {"coding": [{"system": f"{_HL7}/condition-ver-status", "code": code}]}}


def _coded(named: Row, text: str) -> Resource:
    """A code of whatever classification, with its edition, and the same in words."""
    system = CODING_SYSTEMS.get(named.get("system") or "")
    coding = {"system": system, "version": named.get("edition"), "code": named.get("code")}
    return without_nothing({"text": text, "coding": [without_nothing(coding)] if named.get("code") else None})


def _loinc(code: str) -> Resource:
    return {"coding": [{"system": _LOINC, "code": code}]}


# --- what is prescribed, ordered and done -------------------------------------------------------------------------


def _medication(row: Row, item: Row, patient: Row) -> Resource:
    name = " ".join(filter(None, (item["name"], item.get("strength"))))
    code = item.get("atc_code")
    days = item.get("duration_days")
    told = ", ".join(filter(None, (item["dose"], item["frequency"], item.get("instructions"))))
    return without_nothing(
        {
            "resourceType": "MedicationRequest",
            "id": f"{row['_id']}-{item['number']}",
            "groupIdentifier": {"value": row["number"]} if row.get("number") else None,
            "status": _PRESCRIPTION_STATUS.get(row["status"], row["status"]),
            "intent": "order",
            "medicationCodeableConcept": without_nothing(
                {"text": name, "coding": [{"system": _ATC, "code": code}] if code else None}
            ),
            "subject": _subject(patient),
            "encounter": _encounter_of(row),
            "authoredOn": row["prescribed_at"].isoformat(),
            "requester": _doctor(row),
            "priorPrescription": reference("MedicationRequest", f"{row['replaces_id']}-1")
            if row.get("replaces_id")
            else None,
            "dosageInstruction": [
                {"text": told, "route": {"text": item["route"]}, "asNeededBoolean": item.get("as_needed", False)}
            ],
            "dispenseRequest": without_nothing(
                {
                    "numberOfRepeatsAllowed": item["refills"],
                    "quantity": {"value": item["quantity"]},
                    "expectedSupplyDuration": {"value": days, "unit": "d"} if days else None,
                }
            ),
        }
    )


def _order(kind: str, row: Row, patient: Row, codes: Sequence[Row], at: Any) -> Resource:
    category = _CATEGORIES.get(kind, ("3457005", "Patient referral"))
    status = {"draft": "draft", "cancelled": "revoked"}.get(row["status"])
    coding = [{"system": _LOINC, "code": one["loinc"]} for one in codes if one.get("loinc")]
    return without_nothing(
        {
            "resourceType": "ServiceRequest",
            "id": str(row["_id"]),
            "identifier": [{"value": row["number"]}] if row.get("number") else None,
            "status": status or ("completed" if row["status"] in _DONE else "active"),
            "intent": "order",
            "category": [{"coding": [{"system": _SNOMED, "code": category[0], "display": category[1]}]}],
            "priority": row["priority"],
            "code": without_nothing({"text": "; ".join(one["text"] for one in codes), "coding": coding}),
            "subject": _subject(patient),
            "encounter": _encounter_of(row),
            "authoredOn": at.isoformat(),
            "requester": _doctor(row),
            "reasonCode": [{"text": row["reason"]}] if row.get("reason") else None,
        }
    )


def _imaging_report(row: Row, text: str, patient: Row) -> Resource:
    report = row["reports"][-1]
    told = "\n\n".join(filter(None, (report["findings"], report.get("impression"))))
    corrected = len(row["reports"]) > 1
    return without_nothing(
        {
            "resourceType": "DiagnosticReport",
            "id": f"{row['_id']}-report",
            "basedOn": [reference("ServiceRequest", row["_id"])],
            "status": ("corrected" if corrected else "final") if row["status"] == "released" else "preliminary",
            "category": [{"coding": [{"system": f"{_HL7}/v2-0074", "code": "RAD"}]}],
            "code": {"text": text},
            "subject": _subject(patient),
            "encounter": _encounter_of(row),
            "effectiveDateTime": row["performed_at"].isoformat() if row.get("performed_at") else None,
            "issued": report["at"].isoformat(),
            "conclusion": told,
        }
    )


def _procedure(row: Row, patient: Row) -> Resource:
    began, ended = row.get("started_at"), row.get("ended_at")
    told = [{"text": row[name]} for name in ("findings", "complications") if row.get(name)]
    period = {"start": began.isoformat() if began else None, "end": ended.isoformat() if ended else None}
    return without_nothing(
        {
            "resourceType": "Procedure",
            "id": str(row["_id"]),
            "status": _PROCEDURE_STATUS.get(row["status"], row["status"]),
            "code": _coded(row.get("coding") or {}, row["name"]),
            "subject": _subject(patient),
            "encounter": _encounter_of(row),
            "performedPeriod": without_nothing(period),
            "performer": [{"actor": _doctor(row)}],
            "reasonCode": [{"text": row["reason"]}] if row.get("reason") else None,
            "bodySite": [{"text": " ".join(filter(None, (row.get("laterality"), row["body_site"])))}]
            if row.get("body_site")
            else None,
            "outcome": {"text": row["outcome"]} if row.get("outcome") else None,
            "note": told,
        }
    )
