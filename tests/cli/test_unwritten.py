"""A disk that takes no report: what was found is told, and no page links what is not there."""

import pytest
from click.testing import CliRunner

from chaosharness import reporting
from chaosharness.cli import main
from chaosharness.reporting.formats.write import CannotWrite

COMMAND = ("run", "tests.search.planted:one", "--faults", "1", "--first", "--report")
FINDING = "shop-never-charged-twice.html"


@pytest.fixture
def full(monkeypatch):
    """Have a disk full so many times that a finding is written."""

    def times(many):
        really = reporting.write
        tried = []

        def write(*arguments, **words):
            tried.append(arguments)
            if len(tried) <= many:
                raise CannotWrite("the report cannot be written: No space left on device")
            return really(*arguments, **words)

        monkeypatch.setattr(reporting, "write", write)

    return times


def test_no_page_is_written_without_the_findings_that_it_links(full, tmp_path):
    full(1_000)
    told = CliRunner().invoke(main, [*COMMAND, str(tmp_path)])
    assert told.exit_code == 3
    assert told.stdout.startswith("BROKEN: never charged twice")
    assert told.stderr == "chaosharness: the report cannot be written: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_written_is_written_at_the_end_if_there_is_room(full, tmp_path):
    full(1)
    told = CliRunner().invoke(main, [*COMMAND, str(tmp_path)])
    assert told.exit_code == 1, told.stderr
    assert (tmp_path / FINDING).exists()
    assert FINDING in (tmp_path / "index.html").read_text()
    assert FINDING in told.stdout
