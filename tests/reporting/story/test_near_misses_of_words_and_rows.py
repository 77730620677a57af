"""Sent without a word back, handled before its row, stopped half way: and what only looks so."""

import pytest

from chaosharness.reporting.story.causes.handed import ignored, never_stored, stopped_half_way
from tests.reporting.story.tales import Tale, case, shown


def lost(what="mail.send"):
    return shown("lost", [], kind="lost effect", place=what)


# ---- a message that was lost on its way, and nobody had asked for a word


def sent(
    *,
    operation="pay.on/bus.publish paid",
    happened=False,
    item=1,
    dies="",
    raises="",
    again="",
    again_item=1,
):
    """`pay` sends `paid`, and asks for no word; it is lost."""
    tale = Tale()
    given = tale.deliver(tale.publish(entity=item))
    if raises == "before":
        tale.raised(given)
    words = {"outcome": "unasked", "happened": happened}
    reply = tale.add("reply", "pay#1", operation, given, **words)
    if dies:
        tale.crash(reply, who=dies)
    if raises not in ("", "before"):
        tale.raised(reply, who=raises)
    if again == "publish":
        tale.publish("paid", cause=reply, entity=again_item)
    elif again == "reply":
        tale.add("reply", "pay#1", operation, reply, again_item, outcome="ok", happened=True)
    elif again:
        tale.publish(again, cause=reply)
    tale.handled(reply)
    return tale.end()


def heard(item=1, operation="pay.on/bus.publish paid"):
    tale = Tale()
    given = tale.deliver(tale.publish(entity=item))
    if ".publish " in operation:
        done = tale.deliver(tale.publish("paid", cause=given), "post#1", group="post")
    else:
        done = given
    tale.handled(given)
    tale.effect(tale.call("mail.send", done))
    return tale.end()


@pytest.mark.parametrize(
    "same",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"raises": "shop#1"}, id="another service raised"),
        pytest.param({"raises": "before"}, id="it raised before, and went on"),
        pytest.param({"again": "publish", "again_item": 2}, id="sent for another item"),
        pytest.param({"again": "seen"}, id="something else is sent"),
    ],
)
def test_what_was_lost_and_not_sent_again_is_told(same):
    found = never_stored(case(sent(**same), lost(), heard()))
    assert found is not None and "asked for no confirmation" in found.words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"happened": True}, id="it arrived"),
        pytest.param({"dies": "pay#1"}, id="the sender died"),
        pytest.param({"raises": "pay#1"}, id="the sender raised"),
        pytest.param({"again": "publish"}, id="sent again"),
        pytest.param({"again": "reply"}, id="sent again, and heard of"),
    ],
)
def test_what_arrived_or_was_noticed_is_not_told_as_lost_unnoticed(near):
    assert never_stored(case(sent(**near), lost(), heard())) is None


def test_a_call_without_an_answer_is_no_message_without_a_word():
    operation = "pay.on/mail.send"
    history = sent(operation=operation)
    assert never_stored(case(history, lost(), heard(operation=operation))) is None


def test_a_message_of_another_item_or_that_nothing_came_of_is_not_told():
    assert never_stored(case(sent(item=2), lost(), heard(item=2))) is None
    assert never_stored(case(sent(), lost(), sent())) is None


# ---- a message that came before its row


def early(
    *,
    item=1,
    times=1,
    first_works=False,
    handles=True,
    table="forms",
    rows=1,
    keeps=True,
    before=False,
    committed="after",
    after=1,
):
    """A message is handled without any trace; the row it looks for is written after that."""
    tale = Tale()
    form = tale.add("arrive", "web#1", "", entity=item, item={"id": "o1"})
    message = tale.publish("tasks", cause=form)
    if before:
        tale.keep("forms", form)
    written = tale.write(table, form) if committed == "late" else -1
    for time in range(1, times + 1):
        given = tale.deliver(message, times=time)
        tale.read("forms", given)
        if time < times:
            if first_works:
                tale.keep("seen", given)
            tale.crash(given)
    if handles:
        tale.handled(given)
    if committed == "late":
        tale.commit(written)
    for number in range(after if committed == "after" else 0):
        who = {"who": f"web{number or ''}#1"}
        write = tale.write(table, form, **who)
        tale.raw[write][7]["rows"] = rows
        if keeps:
            tale.commit(write, **who)
    return tale.end()


def in_time(item=1):
    tale = Tale()
    form = tale.add("arrive", "web#1", "", entity=item, item={"id": "o1"})
    given = tale.deliver(tale.publish("tasks", cause=form))
    call = tale.call("bank.charge", given)
    tale.effect(call)
    tale.handled(tale.reply(call))
    return tale.end()


@pytest.mark.parametrize(
    "same",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"times": 2}, id="it died at first"),
        pytest.param({"committed": "late"}, id="written before, and committed after"),
        pytest.param({"after": 2}, id="two write it, the first is named"),
    ],
)
def test_a_message_before_its_row_is_told(same):
    found = ignored(case(early(**same), lost("bank.charge"), in_time()))
    assert found is not None
    assert "only after that web.on committed what it wrote there" in found.words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"handles": False}, id="it was never done with"),
        pytest.param({"times": 2, "first_works": True}, id="it had done its work at first"),
        pytest.param({"table": "audit"}, id="another table"),
        pytest.param({"rows": 0}, id="no row was written"),
        pytest.param({"keeps": False}, id="it was not committed"),
        pytest.param({"before": True}, id="there was one before"),
    ],
)
def test_a_message_that_found_its_row_or_was_not_done_with_is_not_told(near):
    assert ignored(case(early(**near), lost("bank.charge"), in_time())) is None


def test_a_message_of_another_item_or_without_anything_missing_is_not_told():
    assert ignored(case(early(item=2), lost("bank.charge"), in_time(item=2))) is None
    assert ignored(case(early(), lost("bank.charge"), early())) is None


# ---- a request that stopped half way


def ask(tale, cause, attempt=1, item=None, **more):
    data = {"endpoint": "order", "service": "shop", "value": "o1"} | more
    operation = "client.buy/shop.order"
    if not data["endpoint"]:
        del data["endpoint"]
    return tale.add("call", "client", operation, cause, item, attempt, **data)


def halfway(
    *,
    endpoint="order",
    other_item=False,
    keeps="committed",
    by="crash",
    again=True,
    looks="orders",
    writes_too=False,
    does="",
):
    """An order is written and the shop dies; asked again, it sees the order, and is content."""
    tale = Tale()
    come = tale.add("arrive", "client", "", item={"id": "o1"})
    first = ask(tale, come, endpoint=endpoint)
    if keeps == "committed":
        tale.keep("orders", first, who="shop#1")
    elif keeps == "open":
        tale.write("orders", first, who="shop#1")
    else:
        tale.keep("orders", tale.add("arrive", "client", "", item={"id": "o1"}), who="shop#1")
    if by == "crash":
        tale.crash(first, who="shop#1")
    else:
        tale.raised(first, who="shop#1", error="ValueError: 'late'")
    more = {"item": 2} if other_item else {}
    second = ask(tale, come, 2, endpoint=endpoint, **more)
    if looks:
        tale.read(looks, second, who="shop#2")
    if writes_too:
        rows = tale.write("orders", second, who="shop#2")
        tale.raw[rows][7]["rows"] = 0
    if does == "write":
        tale.write("log", second, who="shop#2")
    elif does == "commit":
        tale.commit(second, who="shop#2")
    elif does in ("shop#2", "bank#1"):
        tale.call("bank.charge", second, who=does)
    if again:
        tale.handled(second, who="shop#2")
    else:
        tale.handled(come, who="shop#2")
    return tale.end()


def whole():
    tale = Tale()
    first = ask(tale, tale.add("arrive", "client", "", item={"id": "o1"}))
    tale.keep("orders", first, who="shop#1")
    tale.effect(tale.call("bank.charge", first, who="shop#1"))
    tale.handled(first, who="shop#1")
    return tale.end()


@pytest.mark.parametrize(
    ("same", "words"),
    [
        pytest.param({}, "then it crashed", id="as it is"),
        pytest.param({"by": "raised"}, "then it raised ValueError: 'late'", id="it raised"),
        pytest.param({"does": "bank#1"}, "then it crashed", id="another service does something"),
        pytest.param({"writes_too": True}, "then it crashed", id="it writes no row"),
    ],
)
def test_a_request_that_was_taken_for_done_is_told(same, words):
    found = stopped_half_way(case(halfway(**same), lost("bank.charge"), whole()))
    assert found is not None and words in found.words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"endpoint": ""}, id="a third party was called"),
        pytest.param({"other_item": True}, id="another item"),
        pytest.param({"keeps": "open"}, id="what was written did not last"),
        pytest.param({"keeps": "elsewhere"}, id="somebody else wrote it"),
        pytest.param({"again": False}, id="it did not come to its end"),
        pytest.param({"looks": "prices"}, id="it looked elsewhere"),
        pytest.param({"looks": "", "writes_too": True}, id="it did not look"),
        pytest.param({"does": "write"}, id="it wrote something"),
        pytest.param({"does": "commit"}, id="it committed something"),
        pytest.param({"does": "shop#2"}, id="it asked for something"),
    ],
)
def test_a_request_that_left_nothing_or_goes_on_did_not_stop_half_way(near):
    assert stopped_half_way(case(halfway(**near), lost("bank.charge"), whole())) is None


def test_a_request_that_nothing_is_missing_of_did_not_stop_half_way():
    assert stopped_half_way(case(halfway(), lost("bank.charge"), halfway())) is None
