"""`chaosharness capacity`."""

import json

from click.testing import CliRunner, Result

from chaosharness.cli import main

QUICK = ["--rate", "50", "--outage-s", "5", "--timeout-s", "3", "--workflows", "300"]


def shown(*options: str) -> Result:
    return CliRunner().invoke(main, ["capacity", *QUICK, *options])


def test_it_prints_formulas_beside_what_was_simulated() -> None:
    found = shown()
    assert found.exit_code == 0, found.output
    assert "temporal           4n+3 = 23      41           1,150     2,050" in found.output
    assert "inputs, not predictions" in found.output
    assert "temporal on 16 shards" in found.output
    assert "5 s         3 s" in found.output
    assert max(map(len, found.output.splitlines())) <= 100


def test_as_json_with_the_sources() -> None:
    found = json.loads(shown("--json", "--engine", "dbos", "--shards", "4").output)
    assert found["costs"]["temporal"]["transactions"] == 23
    assert "history-service.md" in found["costs"]["temporal"]["source"]
    assert found["shards"] == {"min": 2, "advised": 4, "used": 4}
    [outage] = found["outages"]
    assert (outage["duplicated"], outage["lost"]) == (0, 0)
    assert outage["delayed"] > 150


def test_what_cannot_be_is_told_in_one_sentence() -> None:
    unknown = shown("--engine", "cadence")
    assert unknown.exit_code == 3
    assert "no costs are known of an engine 'cadence'" in unknown.output
    few = shown("--shards", "2")
    assert few.exit_code == 3
    assert "2 shards cannot keep up" in few.output
