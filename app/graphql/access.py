"""Who may ask for a field. Every root field declares it; a class with one that does not cannot be defined."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import strawberry

from app.errors import Forbidden, TenantMismatch, TenantNotFound, Unauthenticated
from app.permissions import Permission
from app.tenancy.scope import Scope, current_scope

Resolver = TypeVar("Resolver", bound=Callable[..., Awaitable[Any]])


class Level(Enum):
    """Access that needs no permission of a clinic."""

    PUBLIC = "anybody"
    SIGNED_IN = "anybody who is signed in"


@dataclass(frozen=True, slots=True)
class Access:
    """What a root field asks of its caller; kept in the field's metadata for the contract tests."""

    rule: Permission | Level

    def check(self, scope: Scope) -> None:
        """Raises the `AppError` that says why the caller may not go on."""
        if self.rule is Level.PUBLIC:
            return
        if scope.actor is None:
            raise Unauthenticated
        if isinstance(self.rule, Permission):
            require(self.rule, scope)


def require(permission: Permission, scope: Scope | None = None) -> Scope:
    """Returns the scope when its actor holds `permission` at its tenant; raises an `AppError` otherwise."""
    scope = scope or current_scope()
    actor = scope.actor
    if actor is None:
        raise Unauthenticated
    if scope.tenant is None:
        raise TenantNotFound("This operation needs a clinic's own host.")
    if scope.mismatch:
        raise TenantMismatch
    if permission not in actor.permissions:
        raise Forbidden(f"This needs the permission {permission.value}.")
    return scope


def field(rule: Permission | Level, *, description: str) -> Callable[[Resolver], Any]:
    """Declares a root field together with who may ask for it. The check runs before the resolver does."""
    access = Access(rule)

    def declare(resolver: Resolver) -> Any:
        @functools.wraps(resolver)
        async def checked(*args: Any, **kwargs: Any) -> Any:
            access.check(current_scope())
            return await resolver(*args, **kwargs)

        return strawberry.field(
            resolver=checked, description=_with_rule(description, rule), metadata={"access": access}
        )

    return declare


def _with_rule(description: str, rule: Permission | Level) -> str:
    if isinstance(rule, Permission):
        return f"{description} Needs `{rule.value}`."
    return f"{description} For {rule.value}."
