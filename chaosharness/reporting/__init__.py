"""Reports: a counterexample as text, a picture, files and a test. Pure functions of the value."""

from __future__ import annotations

from chaosharness.reporting.formats.ci_files import to_junit, to_sarif
from chaosharness.reporting.formats.coverage import coverage_markdown, coverage_table, summary
from chaosharness.reporting.formats.html import to_html
from chaosharness.reporting.formats.json_file import history_from_json, history_to_json, to_json
from chaosharness.reporting.formats.markdown import to_markdown
from chaosharness.reporting.formats.pytest_file import to_pytest
from chaosharness.reporting.formats.redact import masked
from chaosharness.reporting.formats.text import to_text
from chaosharness.reporting.formats.write import (
    FORMATS,
    write,
    write_campaign,
    write_for_ci,
    write_tests,
)

__all__ = [
    "FORMATS",
    "coverage_markdown",
    "coverage_table",
    "history_from_json",
    "history_to_json",
    "masked",
    "summary",
    "to_html",
    "to_json",
    "to_junit",
    "to_markdown",
    "to_pytest",
    "to_sarif",
    "to_text",
    "write",
    "write_campaign",
    "write_for_ci",
    "write_tests",
]
