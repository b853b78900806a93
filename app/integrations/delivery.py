"""How a delivery to an outside system fails: for now, or for good."""

from __future__ import annotations


class DeliveryFailed(Exception):
    """The outside system did not take the message. `reason` is a type or a code, never a text of the other side.

    `final` failures would fail again: the address does not exist, the message is refused.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
