"""What the desk says to the queue."""

from __future__ import annotations

from typing import Any

from tests.fixtures.clinics import Answer, Client

ENTRY = """{
    id version ticket day status priority priorityReason desk waitingSince calledAt calls startedAt finishedAt
    history { status reason by { name } } place { position estimatedMinutes }
    patient { id } doctor { id } room { id } service { id } callRoom { id name } appointment { id status }
}"""
_INPUTS = {
    "enqueuePatient": "EnqueuePatientInput",
    "callNext": "CallNextInput",
    "recallQueueEntry": "RecallQueueEntryInput",
    "startService": "QueueStepInput",
    "finishService": "QueueStepInput",
    "skipQueueEntry": "SkipQueueEntryInput",
    "leaveQueue": "LeaveQueueInput",
    "transferQueueEntry": "TransferQueueEntryInput",
    "prioritiseQueueEntry": "PrioritiseQueueEntryInput",
}
QUEUE = (
    f"query($filter: QueueFilter) {{ queue(filter: $filter, first: 100) {{ edges {{ node {ENTRY} }} totalCount }} }}"
)
LOG = f"query($filter: QueueLogFilter) {{ queueLog(filter: $filter) {{ edges {{ node {ENTRY} }} }} }}"
WAITS = """{ queueWaits {
    desk waiting called inService served left waitingMinutes averageMinutes longestMinutes serviceMinutes doctor { id }
} }"""


async def say(client: Client, name: str, **values: Any) -> Answer:
    """One mutation of the queue."""
    text = f"mutation($input: {_INPUTS[name]}!) {{ {name}(input: $input) {ENTRY} }}"
    return await client.gql(text, input=values)


async def done(client: Client, name: str, **values: Any) -> Any:
    """What a mutation that must succeed answers with."""
    return (await say(client, name, **values)).data[name]


async def waiting(client: Client, **queue: Any) -> list[dict[str, Any]]:
    """Who is in a queue now."""
    answer = await client.gql(QUEUE, filter={"queue": queue})
    return [edge["node"] for edge in answer.data["queue"]["edges"]]
