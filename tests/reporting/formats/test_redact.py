"""What is redacted is in no report, whatever the format and wherever it was repeated."""

import json

import attrs
import pytest

from chaosharness import Poison, Site
from chaosharness.checkers import Finding, poison_blocks_nobody
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.history import History
from chaosharness.reporting import (
    history_to_json,
    masked,
    to_html,
    to_json,
    to_markdown,
    to_pytest,
    to_text,
    write,
)
from tests.reporting.shops import BASKETS, double_charge, everything, found, second_mail, small

SECRETS = (
    "4111111111111111",
    "5500000000000004",
    "ada@example.org",
    "alan@example.org",
    "Ada Lovelace",
    "Alan Turing",
)
NAMES = ("card", "E-Mail", "customer")


def printed(one, redact):
    """Return everything that can be printed about a counterexample."""
    hidden = masked(one, redact)
    return {
        "text": to_text(one, redact=redact),
        "markdown": to_markdown(one, redact=redact),
        "html": to_html(one, redact=redact),
        "json": to_json(one, redact=redact),
        "pytest": to_pytest(one, redact=redact),
        "history": history_to_json(hidden.history, system=one.system),
        "passing": history_to_json(hidden.passing, system=one.system),
        "value": repr(hidden),
    }


@pytest.mark.parametrize("make", [everything, second_mail])
def test_redaction_never_leaks(make):
    one = make()
    leaking = printed(one, ())
    assert all(secret in leaking["history"] for secret in SECRETS), "there is something to hide"
    for name, content in printed(one, NAMES).items():
        for secret in SECRETS:
            assert secret.casefold() not in content.casefold(), f"{secret} in {name}"


def test_what_was_different_stays_different_and_readable():
    text = " ".join(to_text(second_mail(), redact=NAMES).split())
    assert "Dear [customer 1], your RED-CHAIR is coming" in text
    assert "Dear [customer 2], your LAMP is coming" in text
    assert "ord-7101" in text, "only what was named is masked"


def test_a_masked_workload_keeps_its_types_and_loses_its_digest():
    hidden = masked(double_charge(), ["cents"])
    assert hidden.items == ({"id": "o1", "cents": 1}, {"id": "o2", "cents": 2})
    assert hidden.digest == ""
    assert json.loads(to_json(double_charge(), redact="cents"))["workload"][0]["cents"] == 1
    assert "for [cents 1] cents each" in to_text(double_charge(), redact="cents") or (
        "for 1 cents each" in to_text(double_charge(), redact="cents")
    )


def test_the_generated_test_says_that_its_workload_is_masked(tmp_path):
    assert "The workload is masked" in to_pytest(double_charge(), redact="id")
    assert "The workload is masked" not in to_pytest(double_charge())
    files = write(double_charge(), tmp_path, redact="id")
    assert all('"o1"' not in file.read_text("utf-8") for file in files)


def test_a_function_says_what_is_shown():
    def last_four(name, value):
        return f"…{value[-4:]}" if name == "card" else value

    one = everything()
    html = to_html(one, redact=last_four)
    assert "…1111" in html
    assert "4111111111111111" not in html
    assert "ada@example.org" in html


def test_without_names_nothing_changes():
    one = double_charge()
    assert masked(one, ()) is one
    assert masked(one, ["nothing_of_that_name"]).items == one.items


def test_secrets_in_errors_summaries_and_other_spellings_are_masked():
    one = double_charge()
    raw = [
        *one.history.raw,
        (9, "raised", "payments#1", "payments.on_order/handle", 1, 1, 0,
         {"error": "ValueError: cannot charge O1-LONG-ID, 'o1-long-id'\nagain"}),
        (9, "note", "payments#1", "", 1, 0, 0, {"what": "paid", "x": ["o1-long-id", 7]}),
        (9, "publish", "payments#1", "p/b.publish t", 1, 1, 0,
         {"broker": "bus", "topic": "t", "key": "xo1-long-idx", "value": b"\x00 o1-long-id"}),
    ]  # fmt: skip
    items = ({"id": "o1-long-id", "cents": 500},)
    findings = (Finding("O1-long-ID was charged twice", (3,), 1, {"order": "o1-long-id"}),)
    one = attrs.evolve(one, items=items, history=History(raw), findings=findings)
    hidden = masked(one, "id")
    everywhere = f"{hidden!r} {hidden.history.to_json()}".casefold()
    assert "o1-long-id" not in everywhere
    assert "[id 1] was charged twice" in to_text(one, redact="id")
    assert "bytes that are no json" in everywhere


def test_positional_arguments_are_masked_unless_seen_in_the_open():
    one = double_charge()
    data = {"method": "send", "arguments": ["o1", "a secret nobody named", {"x": 1}, True]}
    call = (9, "call", "payments#1", "payments.on_order/mailer.send", 1, 1, 0, data)
    one = attrs.evolve(one, history=History([*one.history.raw, call]))
    hidden = masked(one, "nobody").history[-1].data["arguments"]
    assert hidden == ["o1", "[argument]", "[argument]", True]
    assert masked(one, "id").history[-1].data["arguments"][0] == "[id 1]"


def test_numbers_and_flags():
    basket = attrs.evolve(BASKETS[0], cents=123_456)
    text = to_text(everything(basket, BASKETS[1]), redact="cents")
    assert "123456" not in text


@pytest.mark.parametrize(
    ("redact", "words"),
    [
        ([1], "1 is no name"),
        (["-"], "'-' is no name"),
        (7, "must be names of fields, or a function"),
        (lambda name, value: 1 / 0, "redact raised ZeroDivisionError at the field"),
    ],
)
def test_nonsense_is_refused(redact, words):
    with pytest.raises(InvalidDefinition, match=words):
        masked(double_charge(), redact)


def test_a_message_that_nobody_can_read_stays_one():
    """What tells of it knows it by its bytes, and they are ours."""
    poison = Poison(Site("client.place/bus.publish orders"))
    one = found(small(key=True), poison, claim=poison_blocks_nobody())
    assert "delivers an unreadable message" in to_text(one)
    for redact in ("nothing", "id"):
        assert "delivers an unreadable message" in to_text(one, redact=redact)
