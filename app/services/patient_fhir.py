"""A patient's file as an HL7 FHIR R4B bundle, of the resources for which the clinic has something to say.

Source: HL7 FHIR R4B (4.3.0), resources Bundle, Organization, Patient, Practitioner, Appointment, AllergyIntolerance,
DiagnosticReport, Observation, Consent, DocumentReference and Invoice; those of visits, prescriptions and orders are in
`care_fhir`. Each is checked by the field's own library before it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from app.services.billing.fhir import invoice_resource
from app.services.care_fhir import care_resources, practitioners_of
from app.services.fhir_parts import DECIMAL, Number, Resource, Row, digits, reference, url, without_nothing
from app.services.patient_export import PatientFile
from models import Staff
from models.values import now

APPOINTMENT_STATUS = {
    "held": "proposed",
    "requested": "pending",
    "booked": "booked",
    "checked_in": "checked-in",
    "fulfilled": "fulfilled",
    "cancelled": "cancelled",
    "no_show": "noshow",
    "entered_in_error": "entered-in-error",
}
FLAGS = {"normal": "N", "low": "L", "high": "H", "critical_low": "LL", "critical_high": "HH", "abnormal": "A"}
_FLAG_SYSTEM = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_RECORD_NUMBER = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
_LOINC = "http://loinc.org"


async def as_fhir(found: PatientFile) -> str:
    """The bundle (type `collection`) as JSON text."""
    from fhir.resources.R4B.bundle import Bundle  # loaded when first asked for: the models are many

    doctors = {one["doctor_id"] for one in found.records.get("appointments", ())} | practitioners_of(found.records)
    people = await Staff.rows({"_id": {"$in": list(doctors)}}, projection=["name", "title"]) if doctors else []
    resources = [*_resources(found), *(_practitioner(one) for one in people)]
    entries = [{"fullUrl": url(one["resourceType"], one["id"]), "resource": one} for one in resources]
    bundle = {"resourceType": "Bundle", "type": "collection", "timestamp": now().isoformat(), "entry": entries}
    Bundle.model_validate(bundle)
    return orjson.dumps(bundle, default=digits, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode()


def _resources(found: PatientFile) -> Iterator[Resource]:
    yield _organization(found.clinic)
    yield _patient(found)
    yield from (_former(one, found) for one in merged(found))
    yield from (_allergy(found, number) for number in range(len(found.patient.get("allergies") or ())))
    yield from (_appointment(one, found.patient) for one in found.records.get("appointments", ()))
    for result in found.records.get("lab_results", ()):
        if result.get("current", True):
            yield from _report(result, found.patient)
    yield from (_document(one, found.patient) for one in found.records.get("documents", ()))
    yield from (_consent(one, found) for one in found.records.get("consents", ()))
    yield from care_resources(found.records, found.patient)
    subject, issuer = reference("Patient", found.patient["_id"]), reference("Organization", found.clinic["_id"])
    yield from (invoice_resource(one, subject, issuer, Number) for one in found.records.get("invoices", ()))


def _organization(clinic: Row) -> Resource:
    named = {"resourceType": "Organization", "id": str(clinic["_id"]), "name": clinic["name"]}
    return without_nothing({**named, "telecom": _telecom(clinic), "address": _address(clinic)})


def _patient(found: PatientFile) -> Resource:
    patient = found.patient
    codes = [("usual", one["code"]) for one in found.records.get("patient_records", ())]
    codes += [("old", one["former_code"]) for one in merged(found)]
    return without_nothing(
        {
            "resourceType": "Patient",
            "id": str(patient["_id"]),
            "identifier": [
                {
                    "use": use,
                    "type": _RECORD_NUMBER,
                    "value": code,
                    "assigner": reference("Organization", found.clinic["_id"]),
                }
                for use, code in codes
            ],
            "name": [{"use": "official", "family": patient["family_name"], "given": [patient["given_name"]]}],
            "telecom": _telecom(patient),
            "gender": patient.get("sex") or "unknown",
            "birthDate": patient.get("birth_date"),
            "address": _address(patient),
            "contact": [_contact(one) for one in patient.get("contacts") or ()],
            "managingOrganization": reference("Organization", found.clinic["_id"]),
            "link": [{"other": reference("Patient", one["former_id"]), "type": "replaces"} for one in merged(found)],
        }
    )


def merged(found: PatientFile) -> list[Row]:
    """The merges by which other files of the patient came into this one and are still part of it."""
    return [one for one in found.records.get("patient_merges", ()) if one["undone_at"] is None]


def _former(merge: Row, found: PatientFile) -> Resource:
    """The file that was merged into the patient's: nothing is kept under its id any more."""
    return {
        "resourceType": "Patient",
        "id": merge["former_id"],
        "active": False,
        "link": [{"other": reference("Patient", found.patient["_id"]), "type": "replaced-by"}],
    }


def _contact(contact: Row) -> Resource:
    relationship = contact.get("relationship")
    return without_nothing(
        {
            "name": {"text": contact["name"]},
            "relationship": [{"text": relationship}] if relationship else None,
            "telecom": _telecom(contact),
        }
    )


def _telecom(row: Row) -> list[Resource]:
    return [{"system": system, "value": row[system]} for system in ("phone", "email") if row.get(system)]


def _address(row: Row) -> list[Resource]:
    address = row.get("address") or {}
    given = {
        "line": [address["street"]] if address.get("street") else None,
        "city": address.get("city"),
        "state": address.get("state"),
        "postalCode": address.get("zip_code"),
        "country": address.get("country"),
    }
    shown = without_nothing(given)
    return [shown] if shown else []


def _allergy(found: PatientFile, number: int) -> Resource:
    allergy = found.patient["allergies"][number]
    reaction = allergy.get("reaction")
    return without_nothing(
        {
            "resourceType": "AllergyIntolerance",
            "id": f"{found.patient['_id']}-{number}",
            "patient": reference("Patient", found.patient["_id"]),
            "code": {"text": allergy["substance"]},
            "criticality": "high" if allergy.get("severe") else "unable-to-assess",
            "reaction": [{"manifestation": [{"text": reaction}]}] if reaction else None,
        }
    )


def _practitioner(staff: Row) -> Resource:
    name = without_nothing({"text": staff["name"], "prefix": [staff["title"]] if staff.get("title") else None})
    return {"resourceType": "Practitioner", "id": str(staff["_id"]), "name": [name]}


def _appointment(row: Row, patient: Row) -> Resource:
    return without_nothing(
        {
            "resourceType": "Appointment",
            "id": str(row["_id"]),
            "status": APPOINTMENT_STATUS[row["status"]],
            "start": row["starts_at"].isoformat(),
            "end": row["ends_at"].isoformat(),
            "description": row.get("reason"),
            "comment": row.get("notes"),
            "participant": [
                {"actor": reference("Patient", patient["_id"]), "status": "accepted"},
                {"actor": reference("Practitioner", row["doctor_id"]), "status": "accepted"},
            ],
        }
    )


def _report(result: Row, patient: Row) -> Iterator[Resource]:
    observations = [_observation(result, number, patient) for number in range(len(result["observations"]))]
    seen, order = result["status"] in {"reviewed", "released"}, result.get("lab_order_id")
    yield without_nothing(
        {
            "resourceType": "DiagnosticReport",
            "id": str(result["_id"]),
            "status": ("corrected" if result.get("report_version", 1) > 1 else "final") if seen else "preliminary",
            "code": _coded(result["panel"]),
            "subject": reference("Patient", patient["_id"]),
            "effectiveDateTime": result["performed_at"].isoformat(),
            "issued": result["reported_at"].isoformat(),
            "identifier": [{"value": result["accession"]}],
            "basedOn": [reference("ServiceRequest", order)] if order else None,
            "conclusion": result.get("comment"),
            "result": [reference("Observation", one["id"]) for one in observations],
        }
    )
    yield from observations


def _observation(result: Row, number: int, patient: Row) -> Resource:
    one = result["observations"][number]
    flag, usual, comment = one.get("flag"), one.get("reference_range"), one.get("comment")
    return without_nothing(
        {
            "resourceType": "Observation",
            "id": f"{result['_id']}-{number}",
            "status": "final" if result["status"] in {"reviewed", "released"} else "preliminary",
            "code": _coded(one),
            "subject": reference("Patient", patient["_id"]),
            "effectiveDateTime": result["performed_at"].isoformat(),
            **_value(one),
            "interpretation": [{"coding": [{"system": _FLAG_SYSTEM, "code": FLAGS[flag]}]}] if flag else None,
            "referenceRange": [{"text": usual}] if usual else None,
            "note": [{"text": comment}] if comment else None,
        }
    )


def _value(observation: Row) -> Resource:
    """A quantity where the laboratory wrote a plain number with a unit, else its words."""
    value, unit = observation["value"], observation.get("unit")
    if not unit or not DECIMAL.fullmatch(value):
        return {"valueString": value}
    return {"valueQuantity": {"value": Number(value), "unit": unit}}


def _coded(named: Row) -> Resource:
    loinc = named.get("loinc")
    return without_nothing({"text": named["name"], "coding": [{"system": _LOINC, "code": loinc}] if loinc else None})


def _document(row: Row, patient: Row) -> Resource:
    """What is known of a file; the file itself comes by `/api/documents/{id}/content`."""
    file = row["current"]
    attachment = {
        "contentType": file["content_type"],
        "size": file["size"],
        "title": row["title"],
        "creation": row["last_uploaded_at"].isoformat(),
    }
    return without_nothing(
        {
            "resourceType": "DocumentReference",
            "id": str(row["_id"]),
            "status": "superseded" if row.get("archived_at") else "current",
            "type": {"text": row["category"]},
            "subject": reference("Patient", patient["_id"]),
            "date": row["created_at"].isoformat(),
            "description": row.get("description"),
            "content": [{"attachment": attachment}],
        }
    )


def _consent(row: Row, found: PatientFile) -> Resource:
    ended = row.get("revoked_at") or (row["valid_until"] if row["valid_until"] <= now() else None)
    period = {"start": row["valid_from"].isoformat(), "end": (ended or row["valid_until"]).isoformat()}
    scope = "http://terminology.hl7.org/CodeSystem/consentscope"
    category = {"system": "http://loinc.org", "code": "59284-0", "display": "Patient Consent"}
    return {
        "resourceType": "Consent",
        "id": str(row["_id"]),
        "status": "inactive" if ended else "active",
        "scope": {"coding": [{"system": scope, "code": "patient-privacy"}]},
        "category": [{"coding": [category]}],
        "patient": reference("Patient", found.patient["_id"]),
        "dateTime": row["created_at"].isoformat(),
        "organization": [reference("Organization", found.clinic["_id"])],
        "policyRule": {"text": row["purpose"]},
        "provision": {"type": "permit", "period": period, "code": [{"text": one} for one in row["categories"]]},
    }
