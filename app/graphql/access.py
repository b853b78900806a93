"""Who may ask for a field. Every root field declares it; a class with one that does not cannot be defined."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.errors import (
    AppError,
    ErrorCode,
    Forbidden,
    Internal,
    PlanRequired,
    SecondFactorRequired,
    TenantMismatch,
    TenantNotFound,
    Unauthenticated,
)
from app.graphql.failures import expected
from app.permissions import PLATFORM_ROLES, Permission, PlatformRight
from app.plans import Feature
from app.tenancy.scope import Scope, current_scope, forget_patient, narrowed
from app.tenancy.trail import Act
from models.values import now

Resolver = TypeVar("Resolver", bound=Callable[..., Awaitable[Any]])


class Level(Enum):
    """Access that needs no permission of a clinic."""

    PUBLIC = "anybody"
    SIGNED_IN = "anybody who is signed in"
    PATIENT = "the patient who is signed in, about themselves"


Rule = Permission | PlatformRight | Level


@dataclass(slots=True)
class Access:
    """What a root field asks of its caller and of the clinic's plan; kept in the field's metadata for the contract
    tests.

    A mutation needs a plan that has not ended, unless it says `without_plan`: signing in and out, paying, what protects
    people and what the law gives them. Queries only read, and so never need one.
    """

    rule: Rule
    without_plan: bool = False
    feature: Feature | None = None
    """What the clinic's plan must include."""
    changes: bool = False
    """Whether it is a mutation; the class that it stands in says so (`resolvers.base.Resolver`)."""

    def check(self, scope: Scope) -> None:
        """Raises the `AppError` that says why the caller may not go on."""
        self._check_caller(scope)
        if self.changes and not self.without_plan:
            require_plan(scope, self.feature)

    def _check_caller(self, scope: Scope) -> None:
        if self.rule is Level.PUBLIC:
            return
        if self.rule is Level.PATIENT:
            require_patient(scope)
        elif scope.actor is None:
            raise Unauthenticated
        elif isinstance(self.rule, Permission):
            require(self.rule, scope)
        elif isinstance(self.rule, PlatformRight):
            require_platform(self.rule, scope)
        elif scope.actor.confined:
            raise Forbidden("This session is for this clinic alone. Sign in with your password for your own account.")


def require(permission: Permission, scope: Scope | None = None) -> Scope:
    """Returns the scope when its actor holds `permission` at its tenant; raises an `AppError` otherwise."""
    scope = scope or current_scope()
    actor = scope.actor
    if actor is None:
        raise Unauthenticated
    if scope.tenant is None:
        raise TenantNotFound("This operation needs a clinic's own host.")
    if scope.tenant.policy.second_factor and not actor.second_factor:
        raise SecondFactorRequired
    if scope.mismatch:
        raise TenantMismatch
    if permission not in actor.permissions:
        raise Forbidden(f"This needs the permission {permission.value}.")
    return scope


def require_plan(scope: Scope | None = None, feature: Feature | None = None) -> None:
    """Raises PLAN_REQUIRED when the plan of the scope's clinic has ended, or does not include `feature`.

    Whatever changes something comes through here: root fields by their declaration, uploads by a call.
    """
    tenant = (scope or current_scope()).tenant
    if tenant is None:
        return
    if not tenant.standing.is_good(now()):
        raise PlanRequired
    if feature is not None and feature not in tenant.standing.plan.features:
        plan = tenant.standing.plan.name.name
        raise PlanRequired(f"The plan {plan} does not include this: it needs {feature.name}.")


def require_platform(right: PlatformRight, scope: Scope | None = None) -> Scope:
    """Returns the scope when its actor holds a right above the clinics, on the root host; raises otherwise."""
    scope = scope or current_scope()
    role = scope.signed_in.platform_role
    if scope.tenant is not None:
        raise Forbidden("This is for the system's own host.")
    if role is None or right not in PLATFORM_ROLES[role]:
        raise Forbidden(f"This needs the platform right {right.value}.")
    return scope


def require_patient(scope: Scope | None = None) -> Scope:
    """Returns the scope when a patient is signed in at its clinic; raises otherwise. Staff are no patients."""
    scope = scope or current_scope()
    if scope.patient is None:
        raise Unauthenticated
    if scope.tenant is None:
        raise TenantNotFound("This operation needs a clinic's own host.")
    return scope


def field(
    rule: Rule, *, description: str, without_plan: bool = False, feature: Feature | None = None
) -> Callable[[Resolver], Any]:
    """Declares a root field together with who may ask for it, and what it asks of the clinic's plan. The check runs
    before the resolver does."""
    access = Access(rule, without_plan, feature)

    def declare(resolver: Resolver) -> Any:
        action = to_camel_case(resolver.__name__)

        @functools.wraps(resolver)
        async def checked(*args: Any, **kwargs: Any) -> Any:
            scope = current_scope()
            act = scope.trail.begin(action) if scope.trail is not None else None
            try:
                access.check(scope)
                if rule is Level.PATIENT:
                    return await _as_patient(resolver(*args, **kwargs))
                return await resolver(*args, **kwargs)
            except Exception as error:
                if act is not None:
                    _refused(act, expected(error) or Internal(), scope)
                raise

        return strawberry.field(
            resolver=checked,
            description=_with_feature(_with_rule(description, rule), feature),
            metadata={"access": access},
        )

    return declare


async def _as_patient(work: Awaitable[Any]) -> Any:
    """Runs a patient's own field with nobody of the staff in scope, though the same browser may hold such a session:
    neither rights nor the audit may take one for the other."""
    with narrowed(actor=None, mismatch=False):
        result = await work
        signed_out = current_scope().patient is None
    if signed_out:
        forget_patient()
    return result


def _refused(act: Act, error: AppError, scope: Scope) -> None:
    """Notes how the act ended. A member who may not do it is told of, whether or not they touched anything."""
    act.result = error.code.value
    member = scope.tenant is not None and scope.actor is not None and not scope.mismatch
    if member and error.code is ErrorCode.FORBIDDEN:
        act.at(scope)


def _with_rule(description: str, rule: Rule) -> str:
    if isinstance(rule, Permission):
        return f"{description} Needs `{rule.value}`."
    if isinstance(rule, PlatformRight):
        return f"{description} Needs the platform right `{rule.value}`, on the root host."
    return f"{description} For {rule.value}."


def _with_feature(description: str, feature: Feature | None) -> str:
    return f"{description} The plan must include {feature.name}." if feature else description
