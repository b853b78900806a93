"""What was handed out to a patient, as HL7 FHIR R4B: by a prescription, a MedicationDispense; else a SupplyDelivery.

Source: HL7 FHIR R4B (4.3.0), resources MedicationDispense and SupplyDelivery.
"""

from __future__ import annotations

from app.services.fhir_parts import Resource, Row, reference, without_nothing


def dispensing_resource(row: Row, subject: Resource) -> Resource:
    """The resource of a dispensing; its quantity is what did not come back."""
    at, stays = row["dispensed_at"].isoformat(), row["quantity"] - row["returned"]
    quantity = {"value": stays or row["quantity"], "unit": row["unit"]}
    if row.get("prescription_id") is None:
        return {
            "resourceType": "SupplyDelivery",
            "id": str(row["_id"]),
            "status": "completed" if stays else "abandoned",
            "patient": subject,
            "suppliedItem": {"quantity": quantity, "itemCodeableConcept": {"text": row["name"]}},
            "occurrenceDateTime": at,
        }
    item = f"{row['prescription_id']}-{row['prescription_item']}"
    return without_nothing(
        {
            "resourceType": "MedicationDispense",
            "id": str(row["_id"]),
            "status": "completed" if stays else "cancelled",
            "medicationCodeableConcept": {"text": row["name"]},
            "subject": subject,
            "authorizingPrescription": [reference("MedicationRequest", item)],
            "quantity": quantity,
            "whenHandedOver": at,
            "note": [{"text": row["note"]}] if row.get("note") else None,
        }
    )
