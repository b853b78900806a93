"""The whole schema, put together from the classes of each aggregate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import strawberry
from graphql import GraphQLField, GraphQLNonNull, GraphQLSchema
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from app.errors import ErrorCode
from app.graphql.nulls import refuse_nulls
from app.graphql.scalars import SCALARS
from resolvers.appointments import AppointmentMutation, AppointmentQuery
from resolvers.availability import AvailabilityMutation, AvailabilityQuery
from resolvers.base import Resolver
from resolvers.clinic import ClinicMutation, ClinicQuery
from resolvers.patients import PatientMutation, PatientQuery
from resolvers.roles import RoleMutation, RoleQuery
from resolvers.rooms import RoomMutation, RoomQuery
from resolvers.services import ServiceMutation, ServiceQuery
from resolvers.session import SessionMutation, SessionQuery
from resolvers.specializations import SpecializationMutation, SpecializationQuery
from resolvers.staff import StaffMutation, StaffQuery
from resolvers.values import described

QUERIES: Sequence[type[Resolver]] = (
    SessionQuery,
    ClinicQuery,
    PatientQuery,
    StaffQuery,
    SpecializationQuery,
    RoleQuery,
    RoomQuery,
    ServiceQuery,
    AppointmentQuery,
    AvailabilityQuery,
)
MUTATIONS: Sequence[type[Resolver]] = (
    SessionMutation,
    ClinicMutation,
    PatientMutation,
    StaffMutation,
    SpecializationMutation,
    RoleMutation,
    RoomMutation,
    ServiceMutation,
    AppointmentMutation,
    AvailabilityMutation,
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
    RATE_LIMITED="Too many tries; `retryAfter` is in seconds.",
    QUOTA_EXCEEDED="The clinic has used up what its plan gives.",
    PLAN_REQUIRED="The clinic's plan does not include this.",
    IDEMPOTENCY_CONFLICT="The idempotency key was used with another input.",
    QUERY_TOO_COMPLEX="The document goes over a bound; the message names it.",
    UNAVAILABLE="The service is busy: try again shortly.",
    INTERNAL="Something unforeseen; the request id finds it in the logs.",
)

USUAL_ARGUMENTS: Mapping[str, str] = {
    "id": "The opaque id of the one that is meant.",
    "input": "What is to be done, and with what.",
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
    return schema


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
    refuse_nulls(core)
    return core
