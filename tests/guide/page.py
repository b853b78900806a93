"""The operations of a page of the guide, by name: what the page shows is what the test sends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from graphql import OperationDefinitionNode, parse

from tests.fixtures.clinics import Answer, Client

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
_BLOCK = re.compile(r"```graphql\n(.*?)```", re.DOTALL)


class Page:
    """One page. `used` are the operations that were sent so far."""

    def __init__(self, name: str) -> None:
        text = (GUIDE / f"{name}.md").read_text(encoding="utf-8")
        self.operations = dict(self._named(block) for block in _BLOCK.findall(text))
        self.used: set[str] = set()

    @staticmethod
    def _named(block: str) -> tuple[str, str]:
        definition = parse(block).definitions[0]  # fragments follow it
        assert isinstance(definition, OperationDefinitionNode)
        assert definition.name, f"an operation of the guide needs a name: {block}"
        return definition.name.value, block

    async def ask(self, client: Client, operation: str, **variables: Any) -> Answer:
        """Sends an operation of the page."""
        self.used.add(operation)
        return await client.gql(self.operations[operation], **variables)

    async def told(self, client: Client, operation: str, **variables: Any) -> Any:
        """What the one root field of an operation answers with, which must succeed."""
        [value] = (await self.ask(client, operation, **variables)).data.values()
        return value
