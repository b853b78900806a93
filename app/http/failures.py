"""Failures that only HTTP knows. Each is an expected one with a status of its own."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import ValidationFailed


class BadRequest(ValidationFailed):
    """The request itself is malformed: its host, its headers or its body."""

    default_message = "The request is malformed."


class PayloadTooLarge(ValidationFailed):
    """The body is over the limit."""

    http_status = 413
    default_message = "The request body is too large."


class UnsupportedMediaType(ValidationFailed):
    """A state-changing request of another content type than its route takes."""

    http_status = 415
    default_message = "Content-Type must be application/json."


class HeadersTooLarge(ValidationFailed):
    """More header fields, or longer ones, than anything of ours sends."""

    http_status = 431
    default_message = "The request has too many or too long headers."


class MethodNotAllowed(ValidationFailed):
    """The path exists, but not with this method; `allowed` are the ones it has."""

    http_status = 405
    default_message = "This method is not allowed here."

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__()
        self.allowed = tuple(allowed)
