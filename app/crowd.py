"""How many requests this process is at: what costs a little time and spares much work pays only among many."""

from __future__ import annotations


class Crowd:
    """Counts the requests that have come in and are not answered yet."""

    __slots__ = ("here",)

    def __init__(self) -> None:
        self.here = 0


crowd = Crowd()
"""That of this process."""
