"""A message that overtook another of its key: told only where that is why, and asked by itself."""

import pytest

from chaosharness.reporting.story.causes.order import overtaken
from tests.reporting.story.tales import Tale, case, of_the_end, shown


def run(
    *handled,
    published=("paid", "shipped"),
    keys=("o1", "o1"),
    who=("pay#1", "pay#1"),
    tables=("orders", "orders"),
    last="",
    extra="",
    idle="",
    beside=False,
    nested=False,
    log=0,
):
    """`paid` and `shipped` each update a row, in the order in which they are handled.

    Args:
        handled: The topics, in this order.
        published: The topics, in the order in which they are sent.
        keys, who, tables: Of `paid`, and of `shipped`.
        last: What the row says at the end; the last topic by default.
        extra: Whose handler does something more.
        idle: Whose handler does nothing.
        beside: Whether a third message leads to something that is there only then.
        nested: Whether the first one begins and writes first, and ends last.
        log: How many rows another table holds at the end, besides what `extra` and `beside` wrote.
    """
    tale, one = Tale(), dict(zip(("paid", "shipped"), (0, 1), strict=True))
    sent = {topic: tale.publish(topic, key=keys[one[topic]]) for topic in published}
    if beside:
        audit = tale.deliver(tale.publish("audit", key="o9"), "audit#1", group="audit")
        tale.handled(tale.keep("log", audit))
    ends = []
    for topic in handled:
        given = end = tale.deliver(sent[topic], who[one[topic]])
        if topic != idle:
            row = {"verb": "update", "params": (topic, "o1")}
            end = tale.keep(tables[one[topic]], given, **row)
        if topic == extra:
            end = tale.keep("log", end)
        ends.append(end)
        if not nested:
            tale.handled(end)
    for end in reversed(ends if nested else []):
        tale.handled(end)
    rows = [{"id": "o1", "state": last or handled[-1]}]
    log += bool(extra) + beside
    return tale.end(orders=rows, bills=rows, log=[{"n": n} for n in range(log)])


SWAPPED, USUAL = ("shipped", "paid"), ("paid", "shipped")


def told(history, usual, finding=None):
    return overtaken(case(history, finding or of_the_end(history), usual))


@pytest.mark.parametrize(
    ("history", "usual"),
    [
        pytest.param(run(*SWAPPED), run(*USUAL), id="the last one to write the row stands"),
        pytest.param(run(*SWAPPED), run("paid", last="new"), id="one never came"),
        pytest.param(run(*SWAPPED, extra="paid"), run(*USUAL), id="the late one did more"),
        pytest.param(run(*SWAPPED, extra="shipped"), run(*USUAL), id="the early one did more"),
    ],
)
def test_a_message_that_overtook_another_of_its_key_is_told(history, usual):
    found = told(history, usual)
    assert found is not None and found.kind == "order"
    assert found.words.startswith("pay handled o1 from shipped before o1 from paid, which was")


@pytest.mark.parametrize(
    ("history", "usual"),
    [
        pytest.param(
            run(*SWAPPED, keys=("o1", "o2")), run(*USUAL, keys=("o1", "o2")), id="of two keys"
        ),
        pytest.param(
            run(*SWAPPED, who=("pay#1", "ship#1")),
            run(*USUAL, who=("pay#1", "ship#1")),
            id="handled by two services",
        ),
        pytest.param(
            run(*SWAPPED, published=SWAPPED),
            run(*USUAL, published=SWAPPED),
            id="published in this order",
        ),
        pytest.param(run(*USUAL, extra="shipped"), run(*USUAL), id="handled in order"),
        pytest.param(run(*SWAPPED), run("shipped", last="paid too"), id="never handled as usual"),
        pytest.param(run(*SWAPPED, last="lost"), run(*SWAPPED), id="as usual, the other way round"),
        pytest.param(run(*SWAPPED, beside=True), run(*USUAL), id="something else was done more"),
        pytest.param(
            run(*SWAPPED, tables=("orders", "bills")),
            run(*USUAL, tables=("orders", "bills")),
            id="each writes a table of its own",
        ),
        pytest.param(run(*USUAL, nested=True, last="lost"), run(*USUAL), id="it wrote first"),
        pytest.param(run(*SWAPPED, last="shipped", log=1), run(*USUAL), id="it came out the same"),
    ],
)
def test_what_kept_its_order_or_made_no_difference_is_not_told(history, usual):
    assert told(history, usual) is None


def test_an_overtaking_is_no_cause_of_a_deed():
    history = run(*SWAPPED, extra="shipped")
    (deed,) = (one for one in history.of("write") if one.data["table"] == "log")
    assert told(history, run(*USUAL), shown("too much", [deed.index])) is None


def test_an_early_message_that_never_leads_to_anything_did_not_come_too_early():
    history = run(*SWAPPED, idle="shipped", extra="paid")
    found = told(history, run(*USUAL, idle="shipped"))
    assert found.kind == "order"
    assert found.words.endswith("Both were handled as if they had come in order.")


def test_a_row_that_was_there_before_it_was_looked_for_is_not_said_to_be_missing():
    def looks(*, first):
        tale = Tale()
        placed, paid = tale.publish("placed"), tale.publish("paid")
        late = tale.deliver(placed)
        if first == "row":
            row = tale.keep("orders", late)
        early = tale.deliver(paid)
        write = tale.write("orders", early, "update")
        tale.raw[write][7]["rows"] = 0
        tale.handled(early)
        tale.handled(row if first == "row" else tale.keep("orders", late))
        return tale.end(orders=[{"id": "o1", "paid": 0}])

    tale = Tale()
    placed, paid = tale.publish("placed"), tale.publish("paid")
    tale.handled(tale.keep("orders", tale.deliver(placed)))
    tale.handled(tale.keep("orders", tale.deliver(paid), verb="update"))
    usual = tale.end(orders=[{"id": "o1", "paid": 1}])
    assert "there was no row in db.orders yet" in told(looks(first="look"), usual).words
    found = told(looks(first="row"), usual)
    assert found is None or "there was no row" not in found.words
