"""The benchmark of quiet ends: no figure of nothing."""

import re

import pytest

from benchmarks import quiet


def test_names_that_fit_no_system_are_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        quiet.main(["nothing-like-it"])
    assert refused.value.code == 2
    assert "no system's name begins with nothing-like-it" in capsys.readouterr().err


def test_those_that_fit_are_counted(capsys):
    assert quiet.main(["small: cashier"]) == 0
    total = re.search(r"all +([\d,]+) runs", capsys.readouterr().out)
    assert total is not None
    assert int(total[1].replace(",", "")) > 50
