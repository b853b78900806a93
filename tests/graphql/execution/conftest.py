"""Both executors on the small schema."""

from __future__ import annotations

import pytest

from tests.graphql.execution.things import Toys


@pytest.fixture(scope="package")
def toys() -> Toys:
    return Toys()
