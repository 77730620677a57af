"""Who came first: each condition of these patterns has a history that lacks it alone.

Each kind is asked by itself: another that fits as well must not hide that it speaks up.
"""

import pytest

from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.order import (
    lease_over,
    looked_early,
    older_after_newer,
    second_beside_first,
    side_by_side,
)
from tests.reporting.story.tales import Tale, case, of_the_end, shown

# ---- a lease that had run out


def leased(*, late="sagas", takes="insert", first=False, between="", before="", log=False):
    """One takes a lease and stands still; another takes it, works, and the first goes on."""
    tale = Tale()
    message = tale.publish()
    one, two = tale.deliver(message, "saga#1"), -1
    if first:  # the other had it first, and it is the first that took it over
        two = tale.deliver(message, "saga#2", 2)
        tale.keep("leases", two, params=("s1", "b"))
    if before:
        tale.read(before, one)
    tale.read("sagas", one)
    tale.keep("leases", one, params=("s1", "a"))
    if log:
        tale.keep("log", one)
    if not first:
        two = tale.deliver(message, "saga#2", 2)
        tale.keep("leases", two, verb=takes, params=("s1", "b"))
    tale.handled(tale.keep("sagas", two, verb="update", params=("s1",)))
    if between:
        tale.read(between, one)
    verb = "update" if late == "sagas" else "insert"
    tale.handled(tale.keep(late, one, verb=verb, params=("s1",)))
    return tale.end(sagas=[{"id": "s1"}])


@pytest.mark.parametrize(
    "still",
    [
        pytest.param({}, id="nothing else"),
        pytest.param({"log": True}, id="it wrote something else meanwhile"),
        pytest.param({"before": "leases"}, id="it had looked before it took it"),
        pytest.param({"between": "stock"}, id="it looked elsewhere"),
    ],
)
def test_work_under_a_lease_that_another_had_taken_is_told(still):
    history = leased(**still)
    assert lease_over(case(history, of_the_end(history))).kind == "lease"


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"late": "leases"}, id="it only took the lease again"),
        pytest.param({"takes": "delete"}, id="the other gave a lease back"),
        pytest.param({"first": True}, id="it is the first that took it over"),
        pytest.param({"between": "leases"}, id="it looked again"),
    ],
)
def test_work_under_a_lease_of_its_own_is_not_told(near):
    history = leased(**near)
    assert lease_over(case(history, of_the_end(history))) is None


# ---- both looked before either wrote


def looked(
    *,
    verbs=("update", "update"),
    rows=(("o1",), ("o1",)),
    ends=1,
    to="pay#2",
    changed="stock",
    table="stock",
    aside=False,
):
    """One looks, the other looks and writes, and the first writes then."""
    tale = Tale()
    one = tale.deliver(tale.publish())
    tale.read("stock", one)
    two = tale.deliver(tale.publish(key="o2"), to)
    tale.read("stock", two)
    tale.handled(tale.keep(changed, two, verb=verbs[0], params=rows[0]))
    if aside:
        tale.keep("log", one, params=("o7",))
    tale.handled(tale.keep(table, one, verb=verbs[1], params=rows[1]))
    return tale.end(stock=[{"sku": "o1", "left": left} for left in range(ends)])


def told(history):
    found = looked_early(case(history, of_the_end(history)))
    return "" if found is None else found.kind


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        pytest.param({}, "lost update", id="both update one row"),
        pytest.param({"verbs": ("insert", "update")}, "race", id="one makes the row"),
        pytest.param(
            {"verbs": ("insert", "insert"), "rows": (("o1", 4), ("o1", 5))},
            "lost update",
            id="two values in one row",
        ),
        pytest.param(
            {"verbs": ("insert", "insert"), "rows": (("o1", 4), ("o1", 5)), "ends": 2},
            "race",
            id="two values in two rows",
        ),
        pytest.param(
            {"verbs": ("insert", "insert"), "rows": (("o1", 4), ("o1", 4))},
            "race",
            id="one value, twice",
        ),
        pytest.param({"aside": True}, "lost update", id="it wrote elsewhere as well"),
        pytest.param({"changed": "audit", "table": "audit"}, "", id="nobody wrote where they had"),
        pytest.param({"changed": "audit"}, "", id="the other wrote elsewhere"),
        pytest.param({"rows": (("o1",), ("o7",))}, "", id="two rows"),
    ],
)
def test_what_was_overwritten_and_what_was_done_twice_are_told_apart(made, kind):
    assert told(looked(**made)) == kind


def test_two_tasks_of_one_incarnation_are_told_apart():
    history = looked(to="pay#1")
    words = looked_early(case(history, of_the_end(history))).words
    assert words.startswith("one task of pay read db.stock, another changed it")
    history = looked()
    words = looked_early(case(history, of_the_end(history))).words
    assert words.startswith("pay#1 read db.stock, pay#2 changed it")


def test_what_was_changed_before_the_look_is_not_overwritten():
    tale = Tale()
    two = tale.deliver(tale.publish(key="o2"), "pay#2")
    tale.read("stock", two)
    tale.keep("stock", two, verb="update")
    one = tale.deliver(tale.publish())
    tale.read("stock", one)
    tale.keep("stock", two, params=("o9",))
    tale.handled(tale.keep("stock", one, verb="update"))
    history = tale.end(stock=[{"sku": "o1"}])
    assert told(history) != "lost update"


def test_what_the_finding_is_not_about_was_not_overwritten():
    """The finding points at what somebody else did."""
    tale = Tale()
    other = tale.call("bank.charge", tale.deliver(tale.publish(key="o9"), "till#1"))
    deed = tale.effect(other)
    for event in looked().raw[:-2]:
        tale.raw.append((*event[:6], event[6] + 4 if event[6] >= 0 else -1, dict(event[7])))
    for event in tale.raw[4:]:
        if "message" in event[7]:
            event[7]["message"] += 4
    history = tale.end(stock=[{"sku": "o1"}])

    assert looked_early(case(history, Finding("charged", (deed,), 1))) is None


# ---- a second run beside the first


def beside(*, to="pay#2", over=False, second="moves", then="moves"):
    """A message is handed out again; both runs of it write, the first one last."""
    tale = Tale()
    message = tale.publish()
    early = tale.deliver(message)
    if over:
        tale.handled(tale.keep(then, early))
    late = tale.deliver(message, to, 2)
    written = tale.write(second, late)
    tale.handled(tale.commit(written))
    if not over:
        written = tale.write(then, early)
        tale.handled(tale.commit(written))
    return tale.end(), written


def test_a_second_run_beside_the_first_is_told():
    history, written = beside()
    found = second_beside_first(case(history, Finding("twice", (written,), 1)))
    assert found.words == (
        "o1 from orders was handed to pay#2 while pay#1 was still at work on it, and both went on: "
        "a second run of pay.on beside the first."
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"to": "pay#1"}, id="to the same incarnation"),
        pytest.param({"over": True}, id="the first was over"),
        pytest.param({"second": "log"}, id="they did different things"),
    ],
)
def test_runs_one_after_the_other_or_of_different_deeds_are_not_told(near):
    history, written = beside(**near)
    assert second_beside_first(case(history, Finding("twice", (written,), 1))) is None


def test_a_finding_about_other_deeds_is_not_told():
    history, _ = beside()
    assert second_beside_first(case(history, Finding("twice", (0,), 1))) is None


# ---- an older message after a newer one


def late(*, handled=True, swapped=True, group="pay", keys=("o1", "o1"), rows=("o1", "o1")):
    tale = Tale()
    older, newer = tale.publish(key=keys[0]), tale.publish(key=keys[1])
    tale.raw[newer] = (*tale.raw[newer][:4], 1 if keys[0] == keys[1] else 2, *tale.raw[newer][5:])
    for message in (newer, older) if swapped else (older, newer):
        given = tale.deliver(message, group=group if message == older else "pay")
        said = ("new" if message == newer else "old", rows[message == newer])
        done = tale.keep("stock", given, verb="update", params=said)
        if handled or message == newer:
            tale.handled(done)
    return tale.end(stock=[{"sku": "o1", "is": "old" if swapped else "new"}])


def test_an_older_message_that_is_written_over_a_newer_one_is_told():
    history = late()
    found = older_after_newer(case(history, of_the_end(history), late(swapped=False)))
    assert "(it was on its way for longer), and wrote db.stock from the older one" in found.words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"handled": False}, id="the older one was not handled"),
        pytest.param({"keys": ("o1", "o2")}, id="of two keys"),
        pytest.param({"rows": ("o1", "o2")}, id="in two rows"),
        pytest.param({"swapped": False}, id="in their order"),
    ],
)
def test_messages_in_order_or_of_two_things_overwrite_nothing(near):
    history = late(**near)
    assert older_after_newer(case(history, of_the_end(history), late(swapped=False))) is None


def test_a_finding_about_a_deed_is_not_about_the_end():
    history = late()
    found = case(history, Finding("charged", (0,), 1), late(swapped=False))
    assert older_after_newer(found) is None
    same = case(history, of_the_end(history), late())
    assert older_after_newer(same) is None, "it came out so as a rule"


def reason(*, keys=("o1", "o1"), partitions=(0, 0), again=False):
    """An older message is handled last; return what is said of why it was late."""
    tale = Tale()
    sent = [tale.publish(key=key) for key in keys]
    for message, partition in zip(sent, partitions, strict=True):
        tale.raw[message][7]["partition"] = partition
    if again:
        tale.raised(tale.deliver(sent[0]))
    for times, message in ((1, sent[1]), (1 + again, sent[0])):
        said = ("new" if message == sent[1] else "old", "o1")
        given = tale.deliver(message, times=times)
        tale.handled(tale.keep("stock", given, verb="update", params=said))
    history = tale.end(stock=[{"sku": "o1", "is": "old"}])
    found = older_after_newer(case(history, of_the_end(history), late(swapped=False)))
    return found.words.partition("(")[2].partition(")")[0]


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"again": True}, "it was handed out a second time"),
        ({}, "it was on its way for longer"),
        ({"partitions": (0, 1)}, "it was on its way for longer"),
        ({"keys": (None, None)}, "it was on its way for longer"),
        (
            {"keys": (None, None), "partitions": (0, 1)},
            "they have no key, so they are in two log partitions, in no order",
        ),
    ],
)
def test_why_an_older_message_was_late_is_said(made, why):
    assert reason(**made) == why


# ---- side by side


def at_once(*, ships_first=True, group="customs", item=1, deed_kind="effect"):
    """One message goes to two; one ships, the other clears."""
    tale = Tale()
    paid = tale.publish("paid")
    deed = -1
    for step in ("ship", "clear") if ships_first else ("clear", "ship"):
        to, what = ("post#1", "courier.ship") if step == "ship" else ("customs#1", "office.clear")
        given = tale.deliver(paid, to, group="post" if step == "ship" else group)
        call = tale.call(what, given, who=to, entity=1 if step == "ship" else item)
        done = tale.effect(call)
        deed = done if step == "ship" else deed
    return tale.end(), deed


def told_at_once(here, usual):
    history, deed = at_once(**here)
    return side_by_side(case(history, shown("too early", [deed]), at_once(**usual)[0]))


def test_two_in_an_order_that_nothing_makes_are_told():
    found = told_at_once({}, {"ships_first": False})
    assert "o1 from paid goes to post.on and to customs.on alike" in found.words


@pytest.mark.parametrize(
    ("here", "usual"),
    [
        pytest.param({"group": "post"}, {"ships_first": False, "group": "post"}, id="one group"),
        pytest.param({}, {"ships_first": False, "group": "else"}, id="another does it as a rule"),
        pytest.param({}, {"ships_first": False, "item": 2}, id="for another item"),
    ],
)
def test_two_deliveries_to_one_or_deeds_for_another_item_have_no_order(here, usual):
    assert told_at_once(here, usual) is None
