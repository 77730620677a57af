"""A workflow of so many steps in a row."""

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def step(number: int) -> int:
    return number


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, steps: int) -> None:
        for number in range(steps):
            await workflow.execute_activity(
                "step", args=[number], start_to_close_timeout=timedelta(seconds=30)
            )
