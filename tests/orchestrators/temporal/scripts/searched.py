"""Memos, search attributes, what workflows know of themselves, lists and counts: more scripts."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from tests.orchestrators.temporal.scripts.scripts import SCRIPTS, script, told
from tests.orchestrators.temporal.scripts.workflows import WORKFLOWS

__all__ = ["SCRIPTS"]

CUSTOMER = SearchAttributeKey.for_keyword("Customer")
CENTS = SearchAttributeKey.for_int("Cents")
TAGS = SearchAttributeKey.for_keyword_list("Tags")
PAID = SearchAttributeKey.for_bool("Paid")
UNKNOWN = SearchAttributeKey.for_keyword("NoSuchAttribute")
TYPES = {"Customer": 2, "Cents": 3, "Paid": 5, "Tags": 7}
"""Numbers of `IndexedValueType`."""


def seen() -> list[Any]:
    """What a workflow knows of itself, but for what a clock or chance chose."""
    info = workflow.info()
    searched = {pair.key.name: pair.value for pair in info.typed_search_attributes}
    return [
        dict(workflow.memo()), searched, info.continued_run_id is not None,
        info.first_execution_run_id == info.run_id, info.parent and info.parent.workflow_id,
        info.root and info.root.workflow_id, info.attempt, info.workflow_type, info.task_queue,
        info.namespace, info.get_current_history_length(), info.is_continue_as_new_suggested(),
    ]  # fmt: skip


@workflow.defn
class SearchedChild:
    """Says what it was given."""

    @workflow.run
    async def run(self) -> list[Any]:
        return seen()


@workflow.defn
class Searched:
    """Changes its memo and its search attributes, goes on as new, starts a child."""

    @workflow.run
    async def run(self, round: int) -> list[Any]:
        workflow.upsert_memo({"round": round, "gone": None})
        workflow.upsert_search_attributes([CENTS.value_set(round), PAID.value_set(True)])
        if round == 1:
            workflow.continue_as_new(2)
        workflow.upsert_search_attributes([CUSTOMER.value_unset(), TAGS.value_set(["a", "b"])])
        child = await workflow.execute_child_workflow(
            SearchedChild.run,
            id=f"{workflow.info().workflow_id}-child",
            memo={"from": "parent"},
            search_attributes=TypedSearchAttributes([SearchAttributePair(CUSTOMER, "kid")]),
        )
        if workflow.patched("more"):  # it leaves a search attribute of its own
            workflow.upsert_search_attributes([CENTS.value_set(7)])
        return [*seen(), child]


@workflow.defn
class Misnamed:
    """Sets a search attribute that there is not."""

    @workflow.run
    async def run(self) -> None:
        workflow.upsert_search_attributes([UNKNOWN.value_set("x")])
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Waits:
    """Until somebody ends it."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


WORKFLOWS += [Searched, SearchedChild, Misnamed, Waits]


async def attributes_are_there(client: Client) -> None:
    """Have the namespace know the attributes; a real server may know them already."""
    asked = AddSearchAttributesRequest(namespace="default", search_attributes=TYPES)  # type: ignore[arg-type]
    try:
        await client.operator_service.add_search_attributes(asked)
    except Exception as error:
        if "already exist" not in str(error):
            raise
    await asyncio.sleep(1.5)


def given(cents: int) -> TypedSearchAttributes:
    """What orders are started with."""
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(CUSTOMER, "ann"),
        SearchAttributePair(CENTS, cents),
    ]
    return TypedSearchAttributes(pairs)


async def counted(client: Client, query: str, wanted: int) -> None:
    """Wait until the index has come so far: real ones come later."""
    for _ in range(50):
        if (await client.count_workflows(query)).count == wanted:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{query}: not {wanted} within ten seconds")


@script
async def searched(client: Client, name: str) -> list[Any]:
    await attributes_are_there(client)
    handle = await client.start_workflow(
        Searched.run, 1, id=name, task_queue=name, memo={"who": "ann"}, search_attributes=given(5)
    )
    found = [await told(handle.result())]
    described = await client.get_workflow_handle(name).describe()
    known = {one.key.name: one.value for one in described.typed_search_attributes}
    known.pop("BuildIds", None)
    return [*found, await described.memo(), known, described.status and described.status.name]


@script
async def searched_by_what_there_is_not(client: Client, name: str) -> list[Any]:
    await attributes_are_there(client)
    wrong = TypedSearchAttributes([SearchAttributePair(UNKNOWN, "x")])
    start = client.start_workflow(Waits.run, id=name, task_queue=name, search_attributes=wrong)
    found = [await told(start)]
    for query in WRONG:
        found.append(await told(client.count_workflows(query)))
    return found


WRONG = (
    "NoSuchAttribute = 'x'", "Cents = 'x'", "ExecutionStatus = 'Gone'", "StartTime > 'yesterday'",
    "WorkflowType LIKE 'W'", "WorkflowType = 'W' ORDER BY StartTime", "GROUP BY WorkflowType",
    "WorkflowType", "GROUP BY ExecutionStatus, WorkflowType", "executionstatus = 'Running'",
)  # fmt: skip


@script
async def search_attribute_misnamed(client: Client, name: str) -> list[Any]:
    await attributes_are_there(client)
    handle = await client.start_workflow(Misnamed.run, id=name, task_queue=name)
    await asyncio.sleep(1)
    await handle.terminate("seen enough")
    return [await told(handle.result())]


@script
async def listed(client: Client, name: str) -> list[Any]:
    await attributes_are_there(client)
    handles = [
        await client.start_workflow(
            Waits.run,
            id=f"{name}-{number}",
            task_queue=name,
            search_attributes=given(number),
            memo={"number": number},
        )
        for number in (1, 2, 3)
    ]
    here = f"TaskQueue = '{name}'"
    await counted(client, here, 3)
    await handles[1].cancel()
    await asyncio.sleep(0.3)
    await handles[2].terminate("by hand")
    await counted(client, f"{here} AND ExecutionStatus != 'Running'", 2)
    found: list[Any] = []
    for query in QUERIES:
        asked = f"{here} AND ({query})"
        listed = [
            [one.id, one.status and one.status.name, one.history_length, one.workflow_type,
             await one.memo(), one.close_time is not None]
            async for one in client.list_workflows(asked)
        ]  # fmt: skip
        found.append([query, listed, (await client.count_workflows(asked)).count])
    groups = await client.count_workflows(f"{here} GROUP BY ExecutionStatus")
    found.append(sorted([one.count, list(one.group_values)] for one in groups.groups))
    await handles[0].terminate("by hand")
    return [*found, [await told(one.result()) for one in handles]]


QUERIES = (
    "WorkflowType = 'Waits'", "ExecutionStatus = 'Running'", "ExecutionStatus = 4", "Cents >= 2",
    "Cents BETWEEN 1 AND 2", "Cents NOT IN (1, 3)", "Customer = 'ann' AND Cents < 3",
    "Cents = 1 OR Cents = 3", "NOT Cents = 2", "`Customer` = \"ann\"", "Tags IS NULL",
    "Customer IS NOT NULL", "CloseTime IS NULL", "StartTime > '2020-01-01T00:00:00Z'",
    "WorkflowId STARTS_WITH 'listed'", "ExecutionStatus IN ('Canceled', 'Terminated')",
    "Cents != 1", "Customer > 'a'", "(Cents = 1)", "HistoryLength > 3",
)  # fmt: skip
