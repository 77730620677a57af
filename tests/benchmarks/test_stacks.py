"""The table of stacks: each row is a system that runs, and a slip that is found in time."""

import re

import pytest

from benchmarks import stacks


def test_a_row_says_what_a_run_costs_and_when_its_slip_is_found(monkeypatch, capsys):
    pytest.importorskip("nats")
    pytest.importorskip("aio_pika")
    monkeypatch.setattr(stacks, "RUNS", 1)
    absent = stacks.Stack("no such library", "absent:right", "absent:slip")
    stacks.main([*(one for one in stacks.STACKS if one.name == "nats-py, pushed"), absent])
    _, row, left_out = capsys.readouterr().out.splitlines()
    columns = r" +([\d.]+) +([\d.]+)x" + r" +([\d.]+)" * 6 + r" +(?:yes|no) +lost request .*"
    found = re.fullmatch(f"nats-py, pushed{columns}", row)
    assert found is not None and all(float(one) > 0 for one in found.groups()), row
    assert float(found[4]) < stacks.LIMIT_S
    assert left_out.endswith("left out: No module named 'absent'")


def test_each_stack_has_a_right_system_and_one_with_a_slip():
    for one in stacks.STACKS:
        assert one.right != one.slip and one.right.count(":") == one.slip.count(":") == 1
