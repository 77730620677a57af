"""What a run did that the one that passes did not, on histories written by hand."""

from chaosharness.checkers import Finding
from chaosharness.kernel.history import History
from chaosharness.reporting.story.decisive import EXTRA_MAX, NOTHING, extra
from chaosharness.reporting.story.select import ranked


class Course:
    """A history in the making: each event is caused by the one before it."""

    def __init__(self) -> None:
        self.raw = []

    def add(self, kind, actor, operation="", entity=1, **data):
        index = len(self.raw)
        self.raw.append((index, kind, actor, operation, entity, 1, index - 1, data))
        return index

    def write(self, *params, table="stock", verb="update", who="pay#1", **more):
        data = {"store": "db", "verb": verb, "table": table, "params": params, **more}
        return self.add("write", who, f"pay.on/db.{verb} {table}", **data)

    def commit(self, who="pay#1", **more):
        return self.add("commit", who, "pay.on/db.commit", store="db", **more)

    def effect(self, method="charge", number=1, **data):
        return self.add("effect", "bank", f"pay.on/bank.{method}", method=method, id=number, **data)

    def end(self, **tables):
        self.add("end", "world", verdict="quiet", entity=0)
        self.raw[-1] = (*self.raw[-1][:6], -1, {"verdict": "quiet", "reason": ""})
        self.raw.append((9, "state", "db", "", 0, 0, -1, {"tables": tables}))
        return History(list(self.raw))


LEFT = {"sku": "tea", "left": 9}
TOO_FEW = {"sku": "tea", "left": 8}


def usual() -> History:
    course = Course()
    course.write("tea")
    course.commit()
    course.effect(order="o1")
    return course.end(stock=[LEFT], seen=[])


def test_a_deed_done_once_too_often_is_extra_and_the_first_is_alike():
    course = Course()
    first = course.write("tea")
    course.commit()
    charged = course.effect(order="o1")
    second = course.write("tea")
    last = course.commit()
    again = course.effect(order="o1", number=2)
    found = extra(course.end(stock=[TOO_FEW], seen=[]), usual())
    assert found.effects == (again,)
    assert found.writes == (second,)
    assert found.commits == (last,)
    assert found.alike == (first, charged)
    assert found.deeds == {again, second}
    assert found.often == {second: (2, 1), again: (2, 1)}


def test_what_was_undone_or_changed_no_row_was_never_done():
    course = Course()
    course.write("tea")
    course.commit()
    course.effect(order="o1")
    course.write("tea")
    course.add("rollback", "pay#1", store="db")
    course.write("tea", rows=0)
    course.write("tea", error="OperationalError: database is locked")
    course.commit(error="OperationalError: disk is full")
    course.write("tea", who="pay#2")
    course.add("crash", "pay#2")
    course.write("rum")  # never committed
    assert extra(course.end(stock=[TOO_FEW], seen=[]), usual()).writes == ()


def test_tables_that_came_out_alike_are_left_alone():
    course = Course()
    course.write("tea")
    course.write("m1", table="seen", verb="insert")
    course.write("m1", table="seen", verb="delete")
    course.commit()
    course.effect(order="o1")
    assert extra(course.end(stock=[LEFT], seen=[]), usual()) == NOTHING


def test_ids_times_and_keys_do_not_make_a_deed_another():
    course = Course()
    course.write("tea")
    course.commit()
    course.effect(order="o1", number=7, key="k1")
    token = "163ddcb2-2f6c-4a17-aa95-4c09375ef46"
    assert extra(course.end(stock=[LEFT], seen=[]), usual()) == NOTHING
    here, there = Course(), Course()
    here.effect("send", token=f"{token}a")
    there.effect("send", token=f"{token}b")
    assert extra(here.end(), there.end()) == NOTHING


def test_a_key_value_store_writes_and_commits_in_one():
    def course(*values):
        made = Course()
        for value in values:
            data = {"store": "kv", "verb": "put", "key": "s1", "value": value}
            made.add("commit", "pay#1", "pay.on/kv.put", **data)
        raw = [*made.raw, (9, "state", "kv", "", 0, 0, -1, {"items": {"s1": values[-1]}})]
        return History(raw)

    found = extra(course("stripe", "adyen"), course("stripe"))
    assert found.writes == found.commits == (1,)
    assert extra(course("stripe", "stripe"), course("stripe")) == NOTHING, "it ends alike"


def test_where_something_is_missing_the_handler_that_should_have_done_it_is_pointed_out():
    course = Course()
    course.write("tea")
    course.commit()
    course.add("handled", "bank#1", "pay.other/handle")
    returned = course.add("handled", "pay#1", "pay.on/handle")
    course.add("handled", "pay#1", "pay.on/handle", entity=2)
    found = extra(course.end(stock=[LEFT], seen=[]), usual())
    assert found.effects == found.writes == ()
    assert found.missed == (returned,)


def test_of_many_the_first_and_the_last_are_pointed_out():
    course = Course()
    every = [course.effect(order=f"o{number}") for number in range(30)]
    found = extra(course.end(), usual())
    assert len(found.effects) == EXTRA_MAX
    assert {every[-1], every[2]} <= set(found.effects)


def test_without_a_passing_run_nothing_is_extra():
    assert extra(usual(), None) == NOTHING
    assert extra(usual(), History([])) == NOTHING


def test_deeds_come_first_where_the_finding_shows_none_and_last_where_it_does():
    course = Course()
    course.write("tea")
    course.commit()
    charged = course.effect(order="o1")
    second = course.write("tea")
    course.commit()
    history = course.end(stock=[TOO_FEW], seen=[])
    more = extra(history, usual())
    at_the_end = Finding("stock does not add up", (len(history) - 1,))
    assert ranked(history, at_the_end, extra=more)[second] == 0
    assert ranked(history, at_the_end).get(second, 9) > 0
    shown = Finding("charged", (charged,), 1)
    assert ranked(history, shown, extra=more)[second] > 3
