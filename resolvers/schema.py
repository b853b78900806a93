"""The whole schema, put together from the classes of each aggregate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass

import strawberry
from graphql import GraphQLField, GraphQLNonNull, GraphQLSchema
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from app.errors import ErrorCode
from app.graphql.arguments import convert_once
from app.graphql.nulls import refuse_nulls
from app.graphql.scalars import SCALARS
from resolvers.appointments import AppointmentMutation, AppointmentQuery
from resolvers.arrivals import ArrivalMutation
from resolvers.audit import AuditQuery
from resolvers.availability import AvailabilityMutation, AvailabilityQuery
from resolvers.base import Resolver
from resolvers.clinic import ClinicMutation, ClinicQuery
from resolvers.closures import ClosureMutation, ClosureQuery
from resolvers.consents import ConsentMutation, ConsentQuery
from resolvers.conversations import ConversationMutation, ConversationQuery
from resolvers.dispensing import DispensingMutation, DispensingQuery
from resolvers.dispensing_statistics import DispensingStatisticsQuery
from resolvers.documents import DocumentMutation, DocumentQuery
from resolvers.emergencies import EmergencyMutation, EmergencyQuery
from resolvers.erasure import ErasureMutation, ErasureQuery
from resolvers.imaging import ImagingMutation, ImagingQuery
from resolvers.inventory import InventoryMutation, InventoryQuery
from resolvers.invitations import InvitationMutation, InvitationQuery
from resolvers.invoices import InvoiceMutation, InvoiceQuery
from resolvers.lab import LabMutation, LabQuery
from resolvers.lab_orders import LabOrderMutation, LabOrderQuery
from resolvers.medical_records import MedicalRecordMutation, MedicalRecordQuery
from resolvers.medicines import MedicineMutation, MedicineQuery
from resolvers.memberships import MembershipMutation, MembershipQuery
from resolvers.notifications import NotificationMutation, NotificationQuery
from resolvers.patient_merges import PatientMergeMutation, PatientMergeQuery
from resolvers.patient_versions import PatientVersionQuery
from resolvers.patients import PatientMutation, PatientQuery
from resolvers.payments import PaymentMutation, PaymentQuery
from resolvers.people import PeopleMutation
from resolvers.platform import PlatformMutation, PlatformQuery
from resolvers.platform_jobs import PlatformJobsMutation, PlatformJobsQuery
from resolvers.portal import PortalMutation, PortalQuery
from resolvers.portal_care import PortalCareMutation, PortalCareQuery
from resolvers.portal_conversations import PortalConversationMutation, PortalConversationQuery
from resolvers.portal_patient import PortalPatientMutation, PortalPatientQuery
from resolvers.prescriptions import PrescriptionMutation, PrescriptionQuery
from resolvers.procedures import ProcedureMutation, ProcedureQuery
from resolvers.queue import QueueMutation, QueueQuery
from resolvers.quotes import QuoteMutation, QuoteQuery
from resolvers.referrals import ReferralMutation, ReferralQuery
from resolvers.refills import RefillMutation, RefillQuery
from resolvers.revenue import RevenueMutation, RevenueQuery
from resolvers.roles import RoleMutation, RoleQuery
from resolvers.rooms import RoomMutation, RoomQuery
from resolvers.security import SecurityMutation, SecurityQuery
from resolvers.series import SeriesMutation, SeriesQuery
from resolvers.service_categories import ServiceCategoryMutation, ServiceCategoryQuery
from resolvers.services import ServiceMutation, ServiceQuery
from resolvers.session import SessionMutation, SessionQuery
from resolvers.sharing import SharingMutation, SharingQuery
from resolvers.single_sign_on import SingleSignOnMutation, SingleSignOnQuery
from resolvers.specializations import SpecializationMutation, SpecializationQuery
from resolvers.staff import StaffMutation, StaffQuery
from resolvers.statistics import StatisticsQuery
from resolvers.storage import StorageMutation, StorageQuery
from resolvers.subscription import SubscriptionMutation, SubscriptionQuery
from resolvers.tickets import PortalTicketMutation, PortalTicketQuery, TicketMutation, TicketQuery
from resolvers.timeline import TimelineQuery
from resolvers.values import described
from resolvers.visits import VisitMutation, VisitQuery

QUERIES: Sequence[type[Resolver]] = (
    SessionQuery,
    SecurityQuery,
    ClinicQuery,
    PatientQuery,
    StaffQuery,
    InvitationQuery,
    SpecializationQuery,
    RoleQuery,
    RoomQuery,
    ServiceQuery,
    ConsentQuery,
    SharingQuery,
    PatientVersionQuery,
    PatientMergeQuery,
    EmergencyQuery,
    AppointmentQuery,
    SeriesQuery,
    ServiceCategoryQuery,
    ClosureQuery,
    StatisticsQuery,
    QueueQuery,
    PortalQuery,
    PortalPatientQuery,
    AvailabilityQuery,
    LabQuery,
    AuditQuery,
    PlatformQuery,
    PlatformJobsQuery,
    SingleSignOnQuery,
    ErasureQuery,
    InvoiceQuery,
    PaymentQuery,
    QuoteQuery,
    MembershipQuery,
    RevenueQuery,
    DocumentQuery,
    StorageQuery,
    ConversationQuery,
    PortalConversationQuery,
    NotificationQuery,
    TicketQuery,
    PortalTicketQuery,
    MedicineQuery,
    InventoryQuery,
    DispensingQuery,
    DispensingStatisticsQuery,
    VisitQuery,
    MedicalRecordQuery,
    PrescriptionQuery,
    RefillQuery,
    LabOrderQuery,
    ImagingQuery,
    ProcedureQuery,
    ReferralQuery,
    TimelineQuery,
    PortalCareQuery,
    SubscriptionQuery,
)
MUTATIONS: Sequence[type[Resolver]] = (
    SessionMutation,
    SecurityMutation,
    ClinicMutation,
    PatientMutation,
    PatientMergeMutation,
    StaffMutation,
    InvitationMutation,
    PeopleMutation,
    SpecializationMutation,
    RoleMutation,
    RoomMutation,
    ServiceMutation,
    ConsentMutation,
    SharingMutation,
    EmergencyMutation,
    AppointmentMutation,
    ArrivalMutation,
    SeriesMutation,
    ServiceCategoryMutation,
    ClosureMutation,
    QueueMutation,
    PortalMutation,
    PortalPatientMutation,
    AvailabilityMutation,
    ErasureMutation,
    LabMutation,
    PlatformMutation,
    PlatformJobsMutation,
    SingleSignOnMutation,
    InvoiceMutation,
    PaymentMutation,
    QuoteMutation,
    MembershipMutation,
    RevenueMutation,
    DocumentMutation,
    StorageMutation,
    ConversationMutation,
    PortalConversationMutation,
    NotificationMutation,
    TicketMutation,
    PortalTicketMutation,
    MedicineMutation,
    InventoryMutation,
    DispensingMutation,
    VisitMutation,
    MedicalRecordMutation,
    PrescriptionMutation,
    RefillMutation,
    LabOrderMutation,
    ImagingMutation,
    ProcedureMutation,
    ReferralMutation,
    PortalCareMutation,
    SubscriptionMutation,
)


described(
    ErrorCode,
    "Stable codes of `extensions.code`.",
    UNAUTHENTICATED="Nobody is signed in, or the session has ended.",
    FORBIDDEN="The person is known and may not do this.",
    TENANT_NOT_FOUND="No active clinic answers on this host.",
    TENANT_MISMATCH="The session has not entered the clinic of this host: call `switchTenant` there.",
    NOT_FOUND="This clinic has no such thing; `fields` says which id.",
    VALIDATION_FAILED="The input is wrong; `fields` says where.",
    CONFLICT="It was changed in the meantime, or a unique value is taken.",
    SLOT_TAKEN="The time is taken; `alternatives` are the next free starts.",
    INVALID_STATE="The present state does not allow this step.",
    OUT_OF_STOCK="There is not enough in stock; `available` is how many units can be had.",
    RATE_LIMITED="Too many tries; `retryAfter` is in seconds.",
    QUOTA_EXCEEDED="The clinic has used up what its plan gives.",
    PLAN_REQUIRED="The clinic's plan has ended, or does not include this.",
    IDEMPOTENCY_CONFLICT="The idempotency key was used with another input.",
    QUERY_TOO_COMPLEX="The document goes over a bound; the message names it.",
    PERSISTED_QUERY_NOT_FOUND="No document is kept under this hash: send it once more together with its text.",
    PERSISTED_QUERY_NOT_SUPPORTED="No documents are kept here: send their text.",
    PERSISTED_QUERY_REQUIRED="Only registered documents run here, and this is none of them.",
    UNAVAILABLE="The service is busy: try again shortly.",
    INTERNAL="Something unforeseen; the request id finds it in the logs.",
)

USUAL_ARGUMENTS: Mapping[str, str] = {
    "id": "The opaque id of the one that is meant.",
    "input": "What is to be done, and with what.",
    "patientId": "The patient.",
    "filter": "Which ones; all conditions must hold.",
    "sort": "The order.",
}


def build_schema() -> strawberry.Schema:
    """The schema of all aggregates. Root fields resolve against `Resolver()`, which holds the verbs."""
    schema = strawberry.Schema(
        query=merge_types("Query", tuple(QUERIES)),
        mutation=merge_types("Mutation", tuple(MUTATIONS)),
        types=[ErrorCode],
        config=StrawberryConfig(scalar_map=SCALARS, relay_max_results=100),
    )
    for root in (schema._schema.query_type, schema._schema.mutation_type):
        for field in root.fields.values() if root else ():
            _finish(field)
    _lighten(schema)
    return schema


def _lighten(schema: strawberry.Schema) -> None:
    """Drops what is generated for each type and used by none: hundreds of methods that compare and show objects."""
    for kept in schema.schema_converter.type_map.values():
        origin = getattr(kept.definition, "origin", None)
        for method in {"__repr__", "__eq__"} & (vars(origin).keys() if is_dataclass(origin) else set()):
            delattr(origin, method)


def _finish(field: GraphQLField) -> None:
    """What holds for every root field: one that fails is null alone, so the data of its neighbours still comes;
    and arguments that mean the same everywhere are described, where the field says nothing of its own."""
    if isinstance(field.type, GraphQLNonNull):
        field.type = field.type.of_type
    for name, argument in field.args.items():
        argument.description = argument.description or USUAL_ARGUMENTS.get(name)


def core_schema(schema: strawberry.Schema) -> GraphQLSchema:
    """The graphql-core schema below Strawberry's, with the checks that only it can make."""
    core: GraphQLSchema = schema._schema
    convert_once(schema)
    refuse_nulls(core)
    return core
