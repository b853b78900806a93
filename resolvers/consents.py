"""Consents of patients, and the forms that they are given on."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import catalog
from app.services.sharing import consents as service
from app.services.sharing import templates
from models import Consent, ConsentTemplate
from models.consent import ConsentMethod, ConsentState, RevokedBy, ShareCategory, SharePurpose
from models.tenant import Language
from resolvers.base import Resolver, shown
from resolvers.patients import PatientType
from resolvers.staff import StaffType
from resolvers.values import NAME_ORDERS, ArchiveInput, NameSort, described

described(
    ShareCategory,
    "A kind of data that a clinic may let another one see.",
    DEMOGRAPHICS="Who the patient is: name, day of birth, contacts, allergies. Part of every share.",
    APPOINTMENTS="When the patient was seen, by whom, for what service.",
    NOTES="The clinic's notes on the patient.",
    VISITS="Visits and what was found.",
    LAB_RESULTS="Lab results that were released.",
    PRESCRIPTIONS="Prescriptions.",
    IMAGING="Imaging and reports.",
    PROCEDURES="Procedures.",
    REFERRALS="Referrals.",
    DOCUMENTS="Documents.",
)
described(
    SharePurpose,
    "What shared data may be used for.",
    TREATMENT="Treating the patient.",
    REFERRAL="A referral.",
    SECOND_OPINION="A second opinion.",
    CARE_COORDINATION="Clinics that treat the patient side by side.",
    CHANGE_OF_CLINIC="The patient moves to the other clinic.",
)
described(
    ConsentMethod,
    "How the patient agreed.",
    PAPER="By signing on paper.",
    TABLET="By signing on a screen at the clinic.",
    PORTAL="In the patient portal.",
)
described(
    ConsentState,
    "Where a consent stands at this moment.",
    NOT_YET="It begins later.",
    LIVE="It is in force.",
    EXPIRED="Its time is over.",
    REVOKED="It was taken back.",
)
described(RevokedBy, "Who took a consent back.", PATIENT="The patient.", CLINIC="The clinic.")


@row_type("LocalText", description="A form in one language.")
class LocalTextType:
    title: str = stored(description="The title.")
    text: str = stored(description="What the patient reads.")


@row_type(
    "ConsentTemplate",
    model=ConsentTemplate,
    read=Permission.CONSENT_READ,
    description="One edition of a form for consents. What it says never changes.",
)
class ConsentTemplateType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when revising or archiving.")
    name: str = stored(description="Name, for the clinic.")
    edition: int = stored(description="Which edition of the form this is, from 1.")
    en: LocalTextType = stored(description="In English.")
    es: LocalTextType | None = stored(description="In Spanish.")
    categories: list[ShareCategory] = stored(description="What may be shared.")
    purpose: SharePurpose = stored(description="What for.")
    valid_days: int = stored(description="How many days a consent lasts unless another end is agreed.")
    archived_at: datetime | None = stored(description="When it was put out of use.")
    replaced_at: datetime | None = stored(description="When a later edition took its place.")


@row_type("Consent", model=Consent, read=Permission.CONSENT_READ, description="What a patient agreed to.")
class ConsentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when revoking.")
    patient: PatientType | None = related(lambda: PatientType, key="patient_id", description="Who agreed.")
    patient_name: str = stored(description="The patient's name when they agreed.")
    template: ConsentTemplateType | None = related(
        lambda: ConsentTemplateType, key="consent_template_id", description="The edition that was signed."
    )
    edition: int = stored(description="Which edition of the form was signed.")
    language: Language = stored(description="The language that was signed.")
    method: ConsentMethod = stored(description="How the patient agreed.")
    witness: StaffType | None = related(lambda: StaffType, key="witness_id", description="Who saw them sign.")
    receiver: str | None = stored(
        description="The subdomain of the clinic that may see the data; null for the one where a code is redeemed."
    )
    categories: list[ShareCategory] = stored(description="What may be shared.")
    purpose: SharePurpose = stored(description="What for.")
    valid_from: datetime = stored(description="From when.")
    valid_until: datetime = stored(description="Until when.")
    state: ConsentState = computed(
        "revoked_at", "valid_from", "valid_until", by=service.state_of, description="Where it stands now."
    )
    revoked_at: datetime | None = stored(description="When it was taken back.")
    revoked_by: RevokedBy | None = stored(description="Who took it back.")
    revoke_reason: str | None = stored(description="Why it was taken back.")
    redemptions: int = stored(description="How many share codes under it were redeemed.")
    created_at: datetime = stored(description="When it was recorded.")


@strawberry.input(name="LocalTextInput", description="A form in one language.")
class LocalTextInput:
    title: str = strawberry.field(description="The title.")
    text: str = strawberry.field(description="What the patient reads, up to 5,000 characters.")


@strawberry.input(description="Which forms to list. All conditions must hold.")
class ConsentTemplateFilter:
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    archived: bool = strawberry.field(default=False, description="Those out of use instead of those in use.")


@strawberry.input(description="A new form.")
class CreateConsentTemplateInput:
    name: str = strawberry.field(description="Name, for the clinic; no other form in use has it.")
    en: LocalTextInput = strawberry.field(description="In English.")
    categories: list[ShareCategory] = strawberry.field(description="What may be shared.")
    purpose: SharePurpose = strawberry.field(description="What for.")
    es: LocalTextInput | None = strawberry.field(default=None, description="In Spanish.")
    valid_days: int = strawberry.field(default=365, description="How many days a consent lasts, up to 3,650.")


@strawberry.input(description="The next edition of a form. What is left out stays as it is; null clears it.")
class ReviseConsentTemplateInput:
    id: strawberry.ID = strawberry.field(description="The present edition.")
    version: int = strawberry.field(description="The version that the revision is based on.")
    name: Maybe[str] = strawberry.field(description="Name, for the clinic.")
    en: Maybe[LocalTextInput] = strawberry.field(description="In English.")
    es: Maybe[LocalTextInput | None] = strawberry.field(description="In Spanish.")
    categories: Maybe[list[ShareCategory]] = strawberry.field(description="What may be shared.")
    purpose: Maybe[SharePurpose] = strawberry.field(description="What for.")
    valid_days: Maybe[int] = strawberry.field(description="How many days a consent lasts, up to 3,650.")


@strawberry.input(description="Which consents to list. All conditions must hold.")
class ConsentFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    state: ConsentState | None = strawberry.field(default=None, description="Standing so at this moment.")


@strawberry.input(description="A consent that a patient gave at the clinic.")
class RecordConsentInput:
    patient_id: strawberry.ID = strawberry.field(description="Who agreed.")
    consent_template_id: strawberry.ID = strawberry.field(description="The edition of the form that was signed.")
    method: ConsentMethod = strawberry.field(description="How they agreed.")
    witness_id: strawberry.ID = strawberry.field(description="Who of the staff saw it.")
    language: Language = strawberry.field(default=Language.EN, description="The language that was signed.")
    receiver: str | None = strawberry.field(
        default=None, description="The subdomain of the one clinic that is meant; else where a code is redeemed."
    )
    categories: list[ShareCategory] | None = strawberry.field(
        default=None, description="Fewer than the form names, where the patient struck some out."
    )
    valid_from: datetime | None = strawberry.field(default=None, description="From when; else from now.")
    valid_until: datetime | None = strawberry.field(default=None, description="Until when; else as the form says.")


@strawberry.input(description="A consent that is taken back.")
class RevokeConsentInput:
    id: strawberry.ID = strawberry.field(description="The consent.")
    version: int = strawberry.field(description="The version that the step is based on.")
    by: RevokedBy = strawberry.field(default=RevokedBy.PATIENT, description="Who takes it back.")
    reason: str | None = strawberry.field(default=None, description="Why.")


@strawberry.type
class ConsentQuery(Resolver):
    @field(Permission.CONSENT_READ, description="One form for consents.")
    async def consent_template(self, info: Info, id: strawberry.ID) -> ConsentTemplateType:
        return await self.one(info, ConsentTemplateType, id)

    @field(Permission.CONSENT_READ, description="The clinic's forms for consents.")
    async def consent_templates(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: ConsentTemplateFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[ConsentTemplateType]:
        chosen = filter or ConsentTemplateFilter()
        where = catalog.listed(search=chosen.search, archived=chosen.archived)
        return await self.page(info, ConsentTemplateType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)

    @field(Permission.CONSENT_READ, description="One consent.")
    async def consent(self, info: Info, id: strawberry.ID) -> ConsentType:
        return await self.one(info, ConsentType, id)

    @field(Permission.CONSENT_READ, description="Consents given at this clinic, the latest first.")
    async def consents(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: ConsentFilter | None = None
    ) -> Connection[ConsentType]:
        chosen = filter or ConsentFilter()
        where = service.in_state(chosen.state)
        if chosen.patient_id is not None:
            where["patient_id"] = object_id(chosen.patient_id, "filter.patientId")
        return await self.page(info, ConsentType, where=where, sort=service.NEWEST, first=first, after=after)


@strawberry.type
class ConsentMutation(Resolver):
    @field(Permission.CONSENT_WRITE, description="Adds a form for consents.")
    async def create_consent_template(self, input: CreateConsentTemplateInput) -> ConsentTemplateType:
        return await self.create(ConsentTemplateType, given(input))

    @field(Permission.CONSENT_WRITE, description="Makes the next edition of a form; the present one is put out of use.")
    async def revise_consent_template(self, input: ReviseConsentTemplateInput) -> ConsentTemplateType:
        changes = given(input)
        key = object_id(changes.pop("id"), "input.id")
        return shown(await templates.revise(key, changes.pop("version"), changes))

    @field(Permission.CONSENT_WRITE, description="Puts a form out of use. Consents given on it stay in force.")
    async def archive_consent_template(self, input: ArchiveInput) -> ConsentTemplateType:
        return await self.archive(ConsentTemplateType, input.id, input.version)

    @field(Permission.CONSENT_WRITE, description="Takes a form back into use, unless a later edition took its place.")
    async def restore_consent_template(self, input: ArchiveInput) -> ConsentTemplateType:
        return shown(await templates.restore(object_id(input.id, "input.id"), input.version))

    @field(Permission.CONSENT_WRITE, description="Records a consent that a patient gave at the clinic.")
    async def record_consent(self, input: RecordConsentInput) -> ConsentType:
        values = ids(given(input), "patient_id", "consent_template_id", "witness_id")
        return shown(await service.record_consent(values))

    @field(
        Permission.CONSENT_WRITE, description="Takes a consent back; from then on it opens nothing.", without_plan=True
    )
    async def revoke_consent(self, input: RevokeConsentInput) -> ConsentType:
        key = object_id(input.id, "input.id")
        return shown(await service.revoke_consent(key, input.version, by=input.by, reason=input.reason))
