"""What an earlier search left in the folder of the reports is told, and kept."""

from click.testing import CliRunner

from chaosharness.cli import main

BROKEN = ("run", "tests.search.planted:one", "--faults", "1", "--first", "--report")
OTHER = ("run", "tests.search.planted:one", "--faults", "0", "--report")


def test_a_finding_of_an_earlier_search_is_not_taken_for_one_of_this(tmp_path):
    first = CliRunner().invoke(main, [*BROKEN, str(tmp_path)])
    assert "earlier searches" not in first.stdout
    again = CliRunner().invoke(main, [*BROKEN, str(tmp_path)])
    assert "earlier searches" not in again.stdout
    other = CliRunner().invoke(main, [*OTHER, str(tmp_path)])
    kept = tmp_path / "shop-never-charged-twice.json"
    assert kept.exists()
    assert f"1 counterexample of earlier searches still there: chaosharness replay {kept} says" in (
        other.stdout
    )
