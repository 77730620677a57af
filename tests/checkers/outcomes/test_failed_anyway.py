"""Items whose workflow fails also without faults: that nothing comes of them is told by that."""

import json
from typing import Any

import pytest

from chaosharness import Env, Gateway, SQLite, StepFunctions, StoreOutage, System, explore

TRIPS = [
    {"id": "t1", "legs": [{"leg": "a"}, {"leg": "b"}]},
    {"id": "t2", "legs": [{"leg": "c"}, {"leg": "full"}]},
]


def trips(*, says_so: bool) -> System:
    """Books the legs of a trip, and sets all free where one is not to be had."""
    catch = [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Undo"}]
    end: dict[str, Any] = {"Type": "Fail", "Error": "Undone"} if says_so else {"Type": "Succeed"}

    def each(function: str, attempts: int) -> dict[str, Any]:
        retry = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": attempts}]
        state = {"Type": "Task", "Resource": function, "Retry": retry, "End": True}
        return {"Type": "Map", "ItemsPath": "$.legs", "ResultPath": None,
                "ItemProcessor": {"StartAt": "One", "States": {"One": state}}}  # fmt: skip

    states = {
        "Book": {**each("book", 3), "Catch": catch, "Next": "Pay"},
        "Pay": {"Type": "Task", "Resource": "pay", "ResultPath": None, "End": True,
                "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 5}]},
        "Undo": {**each("free", 8), "Next": "No"},
        "No": end,
    }  # fmt: skip
    system = System("trips")
    sfn = system.add(StepFunctions("sfn", machines={"trip": {"StartAt": "Book", "States": states}}))
    db = system.add(SQLite("db", "CREATE TABLE seats (leg TEXT PRIMARY KEY, state TEXT)"))

    bank = system.add(Gateway("bank"))

    @system.service("functions")
    def functions(env: Env) -> None:
        rows, money = env.connect(db), env.client(bank)

        def pay(given: Any, context: Any) -> None:
            money.charge(given["id"], 900, key=given["id"])

        def book(given: Any, context: Any) -> None:
            leg = given["leg"]
            if leg == "full":
                raise ValueError(leg)
            rows.execute("INSERT OR REPLACE INTO seats VALUES (?, 'booked')", (leg,))
            rows.commit()

        def free(given: Any, context: Any) -> None:
            leg = given["leg"]
            rows.execute("UPDATE seats SET state = 'free' WHERE leg = ?", (leg,))
            rows.commit()

        env.function(sfn, "book", book)
        env.function(sfn, "free", free)
        env.function(sfn, "pay", pay)

    @system.entry(examples=TRIPS)
    def go(env: Env, trip: dict[str, Any]) -> None:
        given = json.dumps(trip)
        env.client(sfn).start_execution(stateMachineArn="trip", name=trip["id"], input=given)

    return system


@pytest.mark.parametrize("says_so", [True, False])
def test_a_failed_workflow_is_a_word_though_it_fails_anyway(says_so: bool) -> None:
    found = explore(trips(says_so=says_so), kinds=[StoreOutage], faults_max=1).counterexamples
    told = [one.findings[0].summary for one in found]
    assert all("nothing came of item" in one for one in told)
    assert bool(told) is not says_so
