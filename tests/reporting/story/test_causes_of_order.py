"""Causes that are an order in time, each beside its near misses."""

import attrs
import pytest

from chaosharness.reporting.story.causes.order import older_after_newer, overtaken
from tests.reporting.story.tales import Tale, case, cause, kind, of_the_end, shown

# ---- a second run beside the first


def beside(*, after="write", table="moves", second="moves"):
    """A message is handed out again; the first run of it writes before, while, or after that."""
    tale = Tale()
    message = tale.publish()
    early = tale.deliver(message)
    if after == "nothing":
        tale.keep("moves", early)
    if after == "end":
        tale.handled(tale.keep("moves", early))
    late = tale.deliver(message, "pay#2", 2)
    if second:
        tale.keep(second, late)
    tale.handled(late)
    if after == "write":
        tale.keep(table, early)
    if after != "end":
        tale.handled(early)
    return tale.end(moves=[{"id": 1}, {"id": 2}])


def once(table="moves"):
    tale = Tale()
    tale.handled(tale.keep(table, tale.deliver(tale.publish())))
    return tale.end(moves=[{"id": 1}])


def test_a_second_run_beside_the_first_is_told():
    history = beside()
    assert cause(history, of_the_end(history), once()).words == (
        "o1 from orders was handed to pay#2 while pay#1 was still at work on it, and both went on: "
        "a second run of pay.on beside the first."
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"after": "end"}, id="the first was over"),
        pytest.param({"after": "nothing"}, id="the work of the first was done"),
        pytest.param({"table": "audit"}, id="the first did something else"),
        pytest.param({"second": ""}, id="the second did nothing"),
    ],
)
def test_two_runs_that_do_not_do_the_same_beside_each_other_are_not_told(near):
    history = beside(**near)
    assert cause(history, of_the_end(history), once()) is None


# ---- both looked before either wrote; what was read is overwritten


def crossed(verb, *, again=False, rows=("o1", "o1"), looks=True, table="stock", store="db"):
    """One looks, the other looks and writes, and the first writes then."""
    tale = Tale()
    one = tale.deliver(tale.publish())
    tale.read("stock", one, store=store)
    two = tale.deliver(tale.publish(key="o2"), "pay#2")
    if looks:
        tale.read("stock", two, store=store)
    tale.handled(tale.keep("stock", two, verb=verb, params=(rows[0],), store=store))
    if again:
        tale.read("stock", one, store=store)
    tale.handled(tale.keep(table, one, verb=verb, params=(rows[1],), store=store))
    return tale.end(stock=[{"sku": "o1"}])


@pytest.mark.parametrize(
    ("verb", "told", "words"),
    [
        ("update", "lost update", "the change of pay#2 is overwritten"),
        ("insert", "race", "both looked into db.stock before either of them had written there"),
    ],
)
def test_who_looked_before_the_other_wrote_is_told(verb, told, words):
    history = crossed(verb)
    found = cause(history, of_the_end(history))
    assert found.kind == told
    assert words in found.words


@pytest.mark.parametrize("verb", ["insert", "update"])
@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"again": True}, id="looked again"),
        pytest.param({"rows": ("o2", "o1")}, id="another row"),
        pytest.param({"table": "audit"}, id="another table"),
        pytest.param({"store": "elsewhere"}, id="another store"),
    ],
)
def test_two_that_crossed_and_did_not_meet_are_not_told(verb, near):
    history = crossed(verb, **near)
    assert cause(history, of_the_end(history)) is None


def test_who_did_not_look_is_not_said_to_have_looked():
    history = crossed("insert", looks=False)
    assert cause(history, of_the_end(history)) is None


# ---- a lease that had run out


def lease(
    *, keys=("s1", "s1"), owners=("a", "b"), gone=False, again=False, late=True, elsewhere=False
):
    tale = Tale()
    message = tale.publish()
    one = tale.deliver(message, "saga#1")
    tale.read("sagas", one)
    tale.keep("leases", one, params=(keys[0], owners[0]))
    if gone:
        tale.keep("leases", one, verb="delete", params=(keys[0],))
    two = tale.deliver(message, "saga#2", 2)
    tale.read("sagas", two)
    tale.keep("leases", two, params=(keys[1], owners[1]))
    tale.handled(tale.keep("sagas", two, verb="update", params=("s1",)))
    if again:
        tale.read("leases", one)
    if late:
        tale.keep("sagas", one, verb="update", params=("s1",))
    tale.handled(one)
    if elsewhere:
        tale.keep("stock", -1, who="other#1", entity=1)
    history = tale.end(sagas=[{"id": "s1"}])
    return history, of_the_end(history)


def test_who_went_on_under_a_lease_that_another_had_taken_is_told():
    found = cause(*lease())
    assert found.kind == "lease"
    assert found.words.startswith("saga#1 took s1 in db.leases and stood still for")


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"keys": ("s1", "s2")}, id="another key"),
        pytest.param({"gone": True}, id="given back before"),
        pytest.param({"again": True}, id="looked at the lease again"),
        pytest.param({"late": False}, id="did not go on"),
    ],
)
def test_a_lease_that_was_held_by_one_at_a_time_is_not_told(near):
    assert kind(*lease(**near)) != "lease"


def test_a_word_that_every_lease_has_is_no_key_of_one():
    """Two orders are leased by workers of one name: each lease is its own."""

    def run(*, name):
        tale = Tale()
        one = tale.deliver(tale.publish(), "saga#1")
        tale.read("sagas", one)
        tale.keep("leases", one, params=("s1", name))
        two = tale.deliver(tale.publish(key="o2", entity=2), "saga#2")
        tale.keep("leases", two, params=("s2", name))
        tale.handled(tale.keep("sagas", two, verb="update", params=("all",)))
        three = tale.deliver(tale.publish(key="o3", entity=3), "saga#3")
        tale.handled(tale.keep("leases", three, params=("s3", name)))
        tale.handled(tale.keep("sagas", one, verb="update", params=("all",)))
        return tale.end(sagas=[{"id": "all"}])

    history = run(name="held")
    assert kind(history, of_the_end(history)) != "lease"


# ---- overtaken


def overtaking(*, swapped=True, refuses=False, table="orders", item=1):
    """`placed` and `cancelled` of one order, handled in this order or in the other."""
    tale = Tale()
    placed = tale.publish("placed", entity=item)
    cancelled = tale.publish("cancelled", entity=item)
    first = tale.deliver(placed)
    if swapped:
        tale.rollback(tale.write(table, first))
        tale.raised(first)
        early = tale.deliver(cancelled)
        if not refuses:
            tale.keep("log", early)
        tale.handled(early)
        first = tale.deliver(placed, times=2)
    tale.handled(tale.keep(table, first))
    if not swapped:
        last = tale.deliver(cancelled)
        tale.handled(tale.keep(table, last, verb="update", params=("o1", "cancelled")))
    rows = [{"id": "o1", "status": "placed" if swapped else "cancelled"}]
    return tale.end(orders=rows if table == "orders" else [], log=[])


@pytest.mark.parametrize(
    ("refuses", "told", "words"),
    [
        (False, "order", "Both were handled as if they had come in order."),
        (True, "too early", "It did nothing with o1 from cancelled, which came too early"),
    ],
)
def test_a_message_that_was_overtaken_is_told_and_whether_the_early_one_was_refused(
    refuses, told, words
):
    history = overtaking(refuses=refuses)
    found = cause(history, of_the_end(history), overtaking(swapped=False))
    assert found.kind == told
    assert words in found.words


def test_an_overtaking_that_changed_nothing_of_this_is_not_told():
    history = overtaking()
    assert cause(history, of_the_end(history), overtaking()) is None
    aside = overtaking(table="audit")
    assert cause(aside, of_the_end(aside), overtaking(swapped=False, table="audit")) is None
    other = overtaking(item=2)
    finding = shown("it does not add up", [len(other) - 1])
    assert cause(other, finding, overtaking(swapped=False, item=2)) is None


def test_the_last_of_two_that_write_one_row_stands_and_of_two_rows_both_do():
    def run(*topics, rows=("o1", "o1")):
        tale = Tale()
        sent = {topic: tale.publish(topic) for topic in ("paid", "shipped")}
        for topic in topics:
            got = tale.deliver(sent[topic])
            row = rows[0] if topic == "paid" else rows[1]
            tale.handled(tale.keep("orders", got, verb="update", params=(topic, row)))
        return tale.end(orders=[{"id": "o1", "state": topics[-1]}])

    history = run("shipped", "paid")
    assert kind(history, of_the_end(history), run("paid", "shipped")) == "order"
    apart = run("shipped", "paid", rows=("o1", "o2"))
    calm = run("paid", "shipped", rows=("o1", "o2"))
    assert cause(apart, of_the_end(apart), calm) is None


# ---- too early: there was no row yet


def no_row(*, rows=0, table="orders", row="o1", looked=True, item=1, key="o1", came_out=True):
    """`paid` is handled before `placed`, and finds no row to update."""
    tale = Tale()
    tale.add("arrive", "client", item={"id": "o1"})
    placed = tale.publish("placed", key=key, entity=item)
    paid = tale.publish("paid", key=key, entity=item)
    early = tale.deliver(paid)
    if looked:
        said = {"verb": "update", "params": (row,)}
        write = tale.write(table, early, **said)
        tale.raw[write][7]["rows"] = rows
    tale.handled(early)
    tale.handled(tale.keep("orders", tale.deliver(placed)))
    return tale.end(orders=[{"id": "o1", "paid": int(not came_out)}])


def in_order():
    tale = Tale()
    tale.add("arrive", "client", item={"id": "o1"})
    placed, paid = tale.publish("placed"), tale.publish("paid")
    tale.handled(tale.keep("orders", tale.deliver(placed)))
    tale.handled(tale.keep("orders", tale.deliver(paid), verb="update"))
    return tale.end(orders=[{"id": "o1", "paid": 1}])


def of_item_one(history):
    return shown("not paid", [len(history) - 1])


@pytest.mark.parametrize("item", [1, 0])
def test_what_came_too_early_and_found_no_row_is_told(item):
    """A loop publishes what is of no item: its key tells whose it is."""
    history = no_row(item=item)
    found = overtaken(case(history, of_item_one(history), in_order()))
    assert found.kind == "too early"
    assert found.words.endswith(
        "For o1 from paid there was no row in db.orders yet, and nobody came back to that."
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"table": "audit"}, id="another table"),
        pytest.param({"row": "o7"}, id="another row"),
        pytest.param({"looked": False}, id="it was not looked for"),
        pytest.param({"came_out": False}, id="it came out as usual"),
        pytest.param({"item": 0, "key": "o7"}, id="a key of another item"),
        pytest.param({"item": 2}, id="another item"),
    ],
)
def test_what_found_its_row_or_looked_elsewhere_did_not_come_too_early(near):
    history = no_row(**near)
    finding = attrs.evolve(of_item_one(history), kind="half done")
    found = overtaken(case(history, finding, in_order()))
    assert found is None or "there was no row" not in found.words


# ---- an older one over a newer one


def put_aside(
    *, to="pay#1", group="retry", topic="orders", key="o1", over=True, items=(1, 2), moved=True
):
    """The first message is put into a retry topic, and handled after the second."""
    tale = Tale()
    first = tale.publish(topic, value="old", entity=items[0])
    given = tale.deliver(first)
    again = tale.publish("retry", value="old" if moved else "new", cause=given)
    tale.handled(again)
    second = tale.publish("orders", key=key, value="new", entity=items[1])
    tale.handled(tale.keep("orders", tale.deliver(second), verb="update", params=("o1", "new")))
    late = tale.deliver(again, to, group=group)
    table = "orders" if over else "audit"
    tale.handled(tale.keep(table, late, verb="update", params=("o1", "old")))
    return tale.end(orders=[{"id": "o1", "is": "old"}])


def usual():
    tale = Tale()
    tale.handled(tale.keep("orders", tale.deliver(tale.publish()), params=("o1", "new")))
    return tale.end(orders=[{"id": "o1", "is": "new"}])


def test_an_older_message_that_came_back_by_another_topic_is_told():
    history = put_aside()
    found = older_after_newer(case(history, of_the_end(history), usual()))
    assert found.words.startswith(
        "pay.on handled a newer message of orders first and then an older one (it had been put "
        "aside, and came back)"
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"to": "mail#1"}, id="another service handles it"),
        pytest.param({"topic": "prices"}, id="it came from elsewhere"),
        pytest.param({"key": "o7"}, id="of another key and item"),
        pytest.param({"over": False}, id="it writes elsewhere"),
        pytest.param({"moved": False}, id="it is another message"),
    ],
)
def test_what_did_not_come_back_or_wrote_over_nothing_is_not_told(near):
    history = put_aside(**near)
    assert older_after_newer(case(history, of_the_end(history), usual())) is None
    assert older_after_newer(case(put_aside(), of_the_end(put_aside()))) is None
