"""How tests share patients: a form, a consent on it, a code, its redemption, and what is then read across."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Appointment, LabResult, PatientRecord
from models.values import now
from tests.fixtures.clinics import Answer, Client, Clinic
from tests.resolvers.patient_calls import register

BIRTH = "1980-05-17"
ALL = ["DEMOGRAPHICS", "APPOINTMENTS", "NOTES", "LAB_RESULTS"]

TEMPLATE = """{ id version name edition en { title text } es { title } categories purpose validDays
    archivedAt replacedAt }"""
NEW_TEMPLATE = f"mutation($input: CreateConsentTemplateInput!) {{ createConsentTemplate(input: $input) {TEMPLATE} }}"
REVISE = f"mutation($input: ReviseConsentTemplateInput!) {{ reviseConsentTemplate(input: $input) {TEMPLATE} }}"
TEMPLATES = (
    f"query($filter: ConsentTemplateFilter) {{ consentTemplates(filter: $filter) {{ edges {{ node {TEMPLATE} }} }} }}"
)
CONSENT = """{ id version state patientName edition language method receiver categories purpose validFrom validUntil
    revokedAt revokedBy revokeReason redemptions template { name edition } witness { name } patient { id } }"""
RECORD = f"mutation($input: RecordConsentInput!) {{ recordConsent(input: $input) {CONSENT} }}"
REVOKE = f"mutation($input: RevokeConsentInput!) {{ revokeConsent(input: $input) {CONSENT} }}"
CONSENTS = f"query($filter: ConsentFilter) {{ consents(filter: $filter) {{ edges {{ node {CONSENT} }} }} }}"
SHARE = """mutation($input: SharePatientInput!) { sharePatient(input: $input) { code qrSvg
    shareCode { id version state expiresAt until categories receiverName patient { id } consent { id } } } }"""
CODES = """query($filter: ShareCodeFilter) { shareCodes(filter: $filter) { edges { node {
    id version state receiverName usedAt } } } }"""
REVOKE_CODE = "mutation($input: RevokeShareCodeInput!) { revokeShareCode(input: $input) { id state version } }"
REDEEM = """mutation($input: RedeemPatientShareInput!) { redeemPatientShare(input: $input) {
    patient { id name version record { code notes } } alreadyHere duplicates { id }
    clinicName categories purpose until } }"""
RECEIVED = """query($patientId: ID!) { receivedShares(patientId: $patientId) { edges { node {
    clinicName categories purpose until } } } }"""
HISTORY = """query($patientId: ID!, $categories: [ShareCategory!]) {
    sharedHistory(patientId: $patientId, categories: $categories) { clinicName basis until
    appointments { startsAt status doctorName serviceName } notes { text }
    labResults { panel { name } comment observations { name value unit } } } }"""
VERSIONS = """query($patientId: ID!) { patientHistory(patientId: $patientId) { edges { node { patientVersion
    byAnotherClinic changedBy changed before { phone familyName birthDate address { city } } } } } }"""
BREAK = """mutation($input: BreakGlassInput!) { breakGlass(input: $input) {
    id version side personName reason note endsAt categories } }"""
END = "mutation($input: EndBreakGlassInput!) { endBreakGlass(input: $input) { id endedAt } }"
REVIEW = """mutation($input: ReviewBreakGlassInput!) { reviewBreakGlass(input: $input) {
    id version outcome reviewNote reviewedAt endedAt } }"""
REVIEWS = """query($filter: BreakGlassFilter) { breakGlassReviews(filter: $filter) { edges { node {
    id version side personName clinicName reason note outcome endedAt patient { id } } } } }"""


def nodes(answer: Answer) -> list[dict[str, Any]]:
    """The rows of a list."""
    [connection] = answer.data.values()
    return [edge["node"] for edge in connection["edges"]]


@dataclass(frozen=True, slots=True)
class Desk:
    """A clinic, and somebody signed in there."""

    clinic: Clinic
    client: Client

    async def patient(self, **values: Any) -> dict[str, Any]:
        return await register(self.client, **{"birthDate": BIRTH, "notes": "private to the clinic", **values})

    async def form(self, **values: Any) -> dict[str, Any]:
        given = {"name": f"Form {uuid4().hex[:8]}", "en": {"title": "Sharing", "text": "I agree."}}
        answer = await self.client.gql(
            NEW_TEMPLATE, input={**given, "categories": ALL, "purpose": "TREATMENT", **values}
        )
        made: dict[str, Any] = answer.data["createConsentTemplate"]
        return made

    async def try_consent(self, patient: dict[str, Any], form: dict[str, Any], **values: Any) -> Answer:
        given = {"patientId": patient["id"], "consentTemplateId": form["id"], "method": "PAPER"}
        return await self.client.gql(RECORD, input={**given, "witnessId": str(self.clinic.staff["nurse"].id), **values})

    async def consent(self, patient: dict[str, Any], **values: Any) -> dict[str, Any]:
        answer = await self.try_consent(patient, await self.form(), **values)
        made: dict[str, Any] = answer.data["recordConsent"]
        return made

    async def try_share(self, patient: dict[str, Any], **values: Any) -> Answer:
        given = {"patientId": patient["id"], "categories": ALL, "purpose": "TREATMENT"}
        return await self.client.gql(SHARE, input={**given, **values})

    async def share(self, patient: dict[str, Any], **values: Any) -> dict[str, Any]:
        made: dict[str, Any] = (await self.try_share(patient, **values)).data["sharePatient"]
        return made

    async def redeem(self, code: str, birth: str = BIRTH, **values: Any) -> Answer:
        return await self.client.gql(REDEEM, input={"code": code, "birthDate": birth, **values})

    async def history(self, patient: dict[str, Any], categories: list[str] | None = None) -> list[dict[str, Any]]:
        answer = await self.client.gql(HISTORY, patientId=patient["id"], categories=categories)
        seen: list[dict[str, Any]] = answer.data["sharedHistory"]
        return seen

    async def appointment(self, patient: dict[str, Any]) -> None:
        """A visit of the past, with what another clinic must not see of it."""
        start = now() - timedelta(days=3)
        async with tenant_scope(self.clinic.ref):
            await Appointment.model_validate(
                {
                    "patient_id": ObjectId(patient["id"]),
                    "doctor_id": self.clinic.staff["doctor"].key,
                    "starts_at": start,
                    "ends_at": start + timedelta(minutes=30),
                    "reason": "secret reason",
                    "notes": "secret appointment note",
                }
            ).insert()

    async def lab_result(self, patient: dict[str, Any], status: str, value: str) -> None:
        """What a laboratory found, in that state."""
        async with tenant_scope(self.clinic.ref):
            await LabResult.model_validate(
                {
                    "patient_id": ObjectId(patient["id"]),
                    "accession": f"accession {uuid4().hex}",
                    "panel": {"name": "Blood count"},
                    "observations": [{"name": "Haemoglobin", "value": value, "unit": "g/dL"}],
                    "performed_at": now(),
                    "reported_at": now(),
                    "status": status,
                }
            ).insert()

    async def record_of(self, patient: dict[str, Any]) -> dict[str, Any] | None:
        async with tenant_scope(self.clinic.ref):
            rows = await PatientRecord.rows({"patient_id": ObjectId(patient["id"])})
        return rows[0] if rows else None

    async def shared_with(self, other: Desk, patient: dict[str, Any], **values: Any) -> dict[str, Any]:
        """The whole way: consent here, code here, redeemed there."""
        consent = await self.consent(patient, **values)
        issued = await self.share(patient, consentId=consent["id"], categories=consent["categories"])
        answer = await other.redeem(issued["code"])
        assert answer.data["redeemPatientShare"]["patient"]["id"] == patient["id"]
        return {**issued, "consent": consent}
