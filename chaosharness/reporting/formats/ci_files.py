"""A campaign in the files that CI systems read: JUnit XML, and SARIF."""

from __future__ import annotations

import json
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from chaosharness.campaign import Campaign
from chaosharness.counterexample import Counterexample
from chaosharness.reporting.formats.redact import Redact, masked
from chaosharness.reporting.formats.text import to_text
from chaosharness.reporting.story.legible import clip, visible

SARIF_VERSION: Final = "2.1.0"
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
TEXT_MAX: Final = 1_000


def to_junit(campaign: Campaign, *, redact: Redact = ()) -> str:
    """Render a campaign as JUnit XML: a test case for each claim, and one for the whole.

    A broken claim is a failure, with the whole story; one that is not known to hold is skipped.
    What has no verdict at all is an error of the last case, `what was covered`.

    Args:
        campaign: The campaign.
        redact: Fields to mask: see `masked`.

    Source:
        The format that Jenkins, GitLab and pytest write and read (xunit2). It has no word for
        "unknown": an unknown campaign is an error, so that no CI takes it for green.
    """
    broken: dict[str, list[Counterexample]] = {}
    for one in campaign.counterexamples:
        broken.setdefault(one.property, []).append(one)
    cases = [(one.name, one.result) for one in campaign.standings]
    suite = Element("testsuite", name=f"chaosharness: {visible(campaign.system)}")
    for name, result in cases:
        case = SubElement(suite, "testcase", classname=visible(campaign.system), name=visible(name))
        if result == "violated":
            stories = broken.get(name, [])
            said = _summary(stories[0], redact) if stories else "broken"
            failure = SubElement(case, "failure", message=said)
            failure.text = "\n\n".join(to_text(one, redact=redact, file=None) for one in stories)
        elif result == "unknown":
            SubElement(case, "skipped", message="never put to the test")
    covered = SubElement(
        suite, "testcase", classname=visible(campaign.system), name="what was covered"
    )
    errors = 0
    if campaign.result == "unknown":
        errors = 1
        reasons = [clip(one, TEXT_MAX) for one in campaign.reasons]
        error = SubElement(covered, "error", message=reasons[0] if reasons else "unknown")
        error.text = "\n".join(reasons)
    suite.set("tests", str(len(cases) + 1))
    suite.set("failures", str(sum(result == "violated" for _, result in cases)))
    suite.set("skipped", str(sum(result == "unknown" for _, result in cases)))
    suite.set("errors", str(errors))
    whole = Element("testsuites")
    whole.append(suite)
    indent(whole)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(whole, "unicode")}\n'


def to_sarif(campaign: Campaign, *, redact: Redact = ()) -> str:
    """Render the findings of a campaign as SARIF: each with the lines of the user's code.

    Args: as for `to_junit`.

    Source:
        Static Analysis Results Interchange Format 2.1.0 (OASIS), sections 3.19 (tool), 3.27
        (result) and 3.28 (location).

    Not modelled:
        Code flows: the steps of the story are in the report, and not in SARIF.
    """
    names = list(dict.fromkeys(one.property for one in campaign.counterexamples))
    rules = [{"id": visible(name), "shortDescription": {"text": visible(name)}} for name in names]
    results = [_result(one, names.index(one.property), redact) for one in campaign.counterexamples]
    driver = {"name": "chaosharness", "rules": rules}
    run: dict[str, Any] = {"tool": {"driver": driver}, "results": results}
    reasons = [clip(one, TEXT_MAX) for one in campaign.reasons]
    notices = [{"level": "warning", "message": {"text": one}} for one in reasons]
    run["invocations"] = [{"executionSuccessful": True, "toolExecutionNotifications": notices}]
    value = {"$schema": SARIF_SCHEMA, "version": SARIF_VERSION, "runs": [run]}
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _result(found: Counterexample, rule: int, redact: Redact) -> dict[str, Any]:
    lines = found.decisive()
    locations = [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": line.at.rpartition(":")[0]},
                "region": {"startLine": line.number},
            }
        }
        for line in lines
    ]
    schedule = "; ".join(str(fault) for fault in found.schedule) or "no fault at all"
    return {
        "ruleId": visible(found.property),
        "ruleIndex": rule,
        "level": "error",
        "message": {"text": f"{_summary(found, redact)} (by: {clip(schedule, TEXT_MAX)})"},
        "locations": locations[:10],
        "partialFingerprints": {"chaosharness/v1": found.slug()},
    }


def _summary(found: Counterexample, redact: Redact) -> str:
    shown = masked(found, redact)
    return clip(shown.findings[0].summary, TEXT_MAX) if shown.findings else "it does not hold"
