"""`chaosharness trace` and `chaosharness read-trace`."""

import json

import pytest
from click.testing import CliRunner

from chaosharness.cli import main
from chaosharness.traces.parsing import spans_in

KEYLESS = "reports/gallery/order.charge_without_key/counterexample.json"


def shown(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments)])
    return result.exit_code, result.output


@pytest.mark.parametrize("form", ["otlp", "jaeger", "zipkin"])
def test_a_counterexample_goes_out_and_comes_back(form, tmp_path):
    code, text = shown("trace", KEYLESS, "--format", form)
    assert code == 0
    assert any(one.error == "timeout" for one in spans_in(text))
    file = tmp_path / "trace.json"
    file.write_text(text)
    code, text = shown("read-trace", file, "models.order.broken:charge_without_key")
    assert code == 1, text
    assert "Schedule([Lost" in text
    assert "BROKEN: never charged twice" in text


def test_a_calm_run_keeps_every_promise(tmp_path):
    file = tmp_path / "calm.json"
    file.write_text(shown("trace", "models.questions.refund:right")[1])
    code, text = shown("read-trace", file, "models.questions.refund:right")
    assert code == 0
    assert "Schedule([])" in text


def test_what_is_not_understood_is_exit_code_2(tmp_path):
    value = json.loads(shown("trace", "models.questions.refund:right")[1])
    for resource in value["resourceSpans"]:
        for span in resource["scopeSpans"][0]["spans"]:
            if span["name"] == "bank.charge" and span["kind"] == 3:
                span["status"] = {"code": 2, "message": "503"}
                span["name"], span["attributes"] = "transfer", []
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(value))
    code, text = shown("read-trace", file, "models.questions.refund:right")
    assert code == 2
    assert "payments: transfer failed (503)" in text


def test_a_file_that_is_no_trace(tmp_path):
    file = tmp_path / "trace.json"
    file.write_text("{")
    code, _ = shown("read-trace", file, "models.questions.refund:right")
    assert code == 3
