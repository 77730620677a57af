"""Reports: a counterexample as text, a picture, files and a test. Pure functions of the value."""

from __future__ import annotations

from chaosharness.reporting.coverage import coverage_markdown, coverage_table, summary
from chaosharness.reporting.html import to_html
from chaosharness.reporting.json_file import history_from_json, history_to_json, to_json
from chaosharness.reporting.markdown import to_markdown
from chaosharness.reporting.pytest_file import to_pytest
from chaosharness.reporting.redact import masked
from chaosharness.reporting.text import to_text
from chaosharness.reporting.write import FORMATS, write

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
    "to_markdown",
    "to_pytest",
    "to_text",
    "write",
]
