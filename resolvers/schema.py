"""The whole schema, put together from the classes of each aggregate."""

from __future__ import annotations

from collections.abc import Sequence

import strawberry
from graphql import GraphQLSchema
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from app.errors import ErrorCode
from app.graphql.scalars import SCALARS
from resolvers.base import Resolver
from resolvers.clinic import ClinicMutation, ClinicQuery
from resolvers.patients import PatientMutation, PatientQuery
from resolvers.session import SessionMutation, SessionQuery

QUERIES: Sequence[type[Resolver]] = (SessionQuery, ClinicQuery, PatientQuery)
MUTATIONS: Sequence[type[Resolver]] = (SessionMutation, ClinicMutation, PatientMutation)


def build_schema() -> strawberry.Schema:
    """The schema of all aggregates. Root fields resolve against `Resolver()`, which holds the verbs."""
    return strawberry.Schema(
        query=merge_types("Query", tuple(QUERIES)),
        mutation=merge_types("Mutation", tuple(MUTATIONS)),
        types=[strawberry.enum(ErrorCode, description="Stable codes of `extensions.code`.")],
        config=StrawberryConfig(scalar_map=SCALARS, relay_max_results=100),
    )


def core_schema(schema: strawberry.Schema) -> GraphQLSchema:
    """The graphql-core schema below Strawberry's."""
    core: GraphQLSchema = schema._schema
    return core
