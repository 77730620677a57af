"""The thirteen trigger rules: against a table by hand, and against Airflow's own code."""

from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from chaosharness.orchestrators.airflow.trigger_rules import RULES, Upstream, Verdict, judge

STATES = ("success", "failed", "skipped", "upstream_failed", None)

READY = Verdict(ready=True)
WAITS = Verdict()
SKIPPED = Verdict(becomes="skipped")
UPSTREAM_FAILED = Verdict(becomes="upstream_failed")


def of(rule: str, *states: str | None) -> Verdict:
    return judge(rule, [Upstream(state) for state in states])


@pytest.mark.parametrize(
    ("rule", "states", "verdict"),
    [
        ("all_success", ("success", None), WAITS),
        ("all_success", ("failed", None), UPSTREAM_FAILED),
        ("all_success", ("skipped", None), SKIPPED),
        ("all_failed", ("failed", "upstream_failed"), READY),
        ("all_failed", ("failed", "success"), SKIPPED),
        ("all_done", ("failed", "skipped"), READY),
        ("all_done_min_one_success", ("success", "failed"), READY),
        ("all_done_min_one_success", ("success", "skipped"), SKIPPED),
        ("one_success", ("success", None), READY),
        ("one_success", ("failed", "skipped"), UPSTREAM_FAILED),
        ("one_failed", ("failed", None), READY),  # and the other may be at work
        ("one_failed", ("success", "skipped"), SKIPPED),
        ("one_done", ("skipped", "upstream_failed"), SKIPPED),
        ("none_failed", ("success", "skipped"), READY),
        ("none_failed_min_one_success", ("skipped", "skipped"), SKIPPED),
        ("none_skipped", ("failed", "success"), READY),
        ("all_skipped", ("skipped", "skipped"), READY),
        ("always", (None, None), READY),
    ],
)
def test_a_rule_by_hand(rule: str, states: tuple[str | None, ...], verdict: Verdict) -> None:
    assert of(rule, *states) == verdict


def test_cleanup_runs_where_a_setup_did() -> None:
    setup = Upstream("success", setup=True)
    assert judge("all_done_setup_success", [setup, Upstream("failed")]) == READY
    failed = Upstream("failed", setup=True)
    assert judge("all_done_setup_success", [failed, Upstream("failed")]) == UPSTREAM_FAILED


def test_nothing_waits_for_ever() -> None:
    """Where all upstream has ended, each rule lets a task start or says what it becomes."""
    ended = [state for state in STATES if state is not None]
    for rule in RULES:
        for states in product(ended, repeat=3):
            assert of(rule, *states) != WAITS, (rule, states)


def test_every_rule_says_what_airflows_own_code_says() -> None:
    """4 states or none, three upstream, setups or not: 13 x 125 x 4, and those of one and two."""
    pytest.importorskip("airflow.ti_deps", reason="apache-airflow-core is not installed")
    wrong, asked = [], 0
    for rule in RULES:
        for many in (1, 2, 3):
            for states in product(STATES, repeat=many):
                for setups in range(0, many + 1):
                    upstream = [Upstream(s, n < setups) for n, s in enumerate(states)]
                    asked += 1
                    if judge(rule, upstream) != theirs(rule, upstream):
                        wrong.append((rule, upstream, theirs(rule, upstream)))
    assert wrong == []
    assert asked == 13 * (5 * 2 + 25 * 3 + 125 * 4)


def theirs(rule: str, upstream: list[Upstream]) -> Verdict:
    """Ask Airflow's TriggerRuleDep, with as much of a database as it looks at."""
    from airflow.task.trigger_rule import TriggerRule
    from airflow.ti_deps.deps.trigger_rule_dep import TriggerRuleDep

    tasks = {
        f"t{number}": SimpleNamespace(
            task_id=f"t{number}", is_setup=one.setup, get_needs_expansion=lambda: False
        )
        for number, one in enumerate(upstream)
    }
    finished = [
        SimpleNamespace(task_id=name, state=one.state, task=tasks[name], map_index=-1)
        for name, one in zip(tasks, upstream, strict=True)
        if one.state is not None
    ]
    became: list[str] = []

    def set_state(state: Any, session: Any = None) -> bool:
        became.append(str(getattr(state, "value", state)))
        return True

    task = SimpleNamespace(
        task_id="mine", trigger_rule=TriggerRule(rule), upstream_task_ids=set(tasks),
        upstream_list=[*tasks.values()], get_closest_mapped_task_group=lambda: None,
        get_upstreams_only_setups=lambda: [], is_teardown=False, dag=None, task_group=None,
    )  # fmt: skip
    ti = SimpleNamespace(
        task=task, map_index=-1, set_state=set_state, get_dagrun=lambda session: None,
        dag_id="d", run_id="r", task_id="mine",
    )  # fmt: skip
    context = SimpleNamespace(
        flag_upstream_failed=True, wait_for_past_depends_before_skipping=False,
        have_changed_ti_states=False,
        ensure_finished_tis=lambda run, session: finished,
    )  # fmt: skip
    statuses = [*TriggerRuleDep()._get_dep_statuses(ti, context, session=None)]
    if became:
        return Verdict(becomes=became[-1])
    return Verdict(ready=all(status.passed for status in statuses))
