"""Causes about messages and what is kept of them, each beside its near misses."""

import pytest

from tests.reporting.story.tales import Tale, cause, kind, of_the_end, shown

# ---- in the way


def in_the_way(*, topic="orders", entity=1, put_aside=False, dropped=False, times=12):
    """A message that raises each time; what was to come of item 1 is missing."""
    tale = Tale()
    mine = tale.publish()
    bad = tale.publish(topic, "o7", entity=entity) if entity != 1 or topic != "orders" else mine
    ends = []
    for nth in range(1, times + 1):
        ends.append(tale.raised(tale.deliver(bad, times=nth)))
    if put_aside:
        tale.add("dead", "bus", "", tale.raw[ends[-1]][6], message=bad, to="dlq")
    if dropped:
        cause = tale.raw[ends[-1]][6]
        tale.add("dead", "bus", "", cause, message=bad, queue="pay", reason="delivery_limit", to=[])
    return tale.end(rows=[]), bad, ends


def passing(topic="orders", key="o1", table="rows"):
    tale = Tale()
    got = tale.deliver(tale.publish(topic, key))
    tale.handled(tale.keep(table, got))
    return tale.end(**{table: [{"id": key}]})


def test_a_message_that_is_tried_for_ever_is_told_of_what_it_should_have_done():
    history, bad, ends = in_the_way()
    assert kind(history, of_the_end(history), passing()) == "in the way"
    assert kind(history, shown("blocked", [bad, ends[0], ends[-1]])) == "in the way"


def test_a_message_that_was_let_go_of_in_the_end_is_in_nobodys_way():
    history, _, _ = in_the_way(dropped=True)
    found = cause(history, of_the_end(history), passing())
    assert found.kind == "dropped"
    assert "bus let go of o1 from orders (delivery_limit) after it had been handed out" in (
        found.words
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"topic": "mails"}, id="another topic"),
        pytest.param({"put_aside": True}, id="put aside in the end"),
        pytest.param({"times": 3}, id="tried three times"),
    ],
)
def test_a_message_that_is_not_in_its_way_is_not_told(near):
    history, _, _ = in_the_way(**near)
    assert cause(history, of_the_end(history), passing()) is None


def test_a_message_before_it_in_its_log_is_in_the_way_and_one_behind_it_is_not():
    def run(*, before):
        tale = Tale()
        if before:
            bad = tale.publish(key="o7", entity=7)
            tale.publish()
        else:
            tale.publish()
            bad = tale.publish(key="o7", entity=7)
        for nth in range(1, 13):
            tale.raised(tale.deliver(bad, times=nth))
        return tale.end(rows=[])

    blocked = run(before=True)
    finding = shown("it does not add up", [len(blocked) - 1])
    assert kind(blocked, finding, passing()) == "in the way"
    assert cause(run(before=False), finding, passing()) is None


def test_a_message_in_the_way_is_not_why_another_was_charged_twice():
    tale = Tale()
    got = tale.deliver(tale.publish())
    deeds = []
    for attempt in (1, 2):
        call = tale.call("bank.charge", got, attempt=attempt)
        deeds.append(tale.effect(call, key=None))
        tale.reply(call)
    tale.handled(got)
    bad = tale.publish("mails")
    for nth in range(1, 13):
        tale.raised(tale.deliver(bad, times=nth))
    assert kind(tale.end(), shown("charged twice", deeds)) == "key"


# ---- acknowledged before its work was done


def acknowledged(*, early=True, topic="orders", done=False, again=False):
    tale = Tale()
    message = tale.publish(topic)
    got = tale.deliver(message)
    if done:
        tale.keep("rows", got)
    if early:
        tale.ack(got)
    raised = tale.raised(got)
    if not early:
        tale.ack(raised)
    if again:
        tale.handled(tale.deliver(message, times=2))
    return tale.end(rows=[{"id": "o1"}] if done else [])


def test_work_that_failed_after_its_acknowledgement_is_told_and_before_it_is_not():
    lost = acknowledged()
    assert cause(lost, shown("lost", [0])).words == (
        "pay.on acknowledged o1 from orders before its work was done; then it raised KeyError: "
        "'id', and the message does not come again."
    )
    assert kind(lost, of_the_end(lost), passing()) == "ack"
    assert cause(acknowledged(early=False), shown("lost", [0])) is None


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"topic": "mails"}, id="another message of the item"),
        pytest.param({"done": True}, id="its work was done by then"),
        pytest.param({"again": True}, id="it came again all the same"),
    ],
)
def test_an_early_acknowledgement_that_lost_nothing_of_this_is_not_told(near):
    history = acknowledged(**near)
    assert cause(history, shown("it does not add up", [len(history) - 1]), passing()) is None


# ---- published before the change was committed


def published(*, first=True, undone=True, again=False, table="orders"):
    tale = Tale()
    message = tale.publish()
    got = tale.deliver(message)
    if first:
        tale.write(table, got)
    else:
        tale.keep("orders", got)
    out = tale.publish("paid", cause=got)
    if not first:
        tale.write(table, got)
    if undone:
        tale.rollback(got)
        tale.raised(got)
    else:
        tale.handled(tale.commit(got))
    if again:
        late = tale.deliver(message, times=2)
        tale.handled(tale.keep(table, late))
    return tale.end(), shown("nobody did what it says", [out])


def test_what_went_out_before_its_change_was_undone_is_told():
    assert kind(*published()) == "outbox"


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"first": False, "table": "audit"}, id="another change was undone after it"),
        pytest.param({"undone": False}, id="nothing was undone"),
        pytest.param({"again": True}, id="the change was made when the message came again"),
    ],
)
def test_what_went_out_with_its_change_is_not_told(near):
    assert cause(*published(**near)) is None


# ---- committed, and never announced


def announced(*, item=1, table="orders", works="", later=False, lost="failed", topic="paid"):
    tale = Tale()
    message = tale.publish(entity=item)
    got = tale.deliver(message)
    tale.keep(table, got)
    tale.add("reply", "pay#1", f"pay.on/bus.publish {topic}", got, outcome=lost)
    tale.raised(got)
    again = tale.deliver(message, times=2)
    tale.read("inbox", again)
    if works:
        tale.keep(works, again)
    tale.handled(again)
    if later:
        tale.publish("paid", cause=tale.add("wake", "pay#1", "pay.relay/sleep", entity=item))
    history = tale.end(orders=[{"id": "o1"}])
    data = {"store": "db", "table": "orders", "topic": "paid"}
    return history, shown("nobody ever said so", [len(history) - 1], **data)


def test_a_change_that_nobody_announced_is_told():
    assert "When o1 from orders came again, it returned early" in cause(*announced()).words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"item": 2}, id="another item's message"),
        pytest.param({"table": "audit"}, id="another table"),
        pytest.param({"topic": "mails"}, id="another topic"),
        pytest.param({"works": "attempts"}, id="it did not return early"),
        pytest.param({"later": True}, id="it was said later"),
    ],
)
def test_a_change_is_not_said_to_be_without_announcement_where_that_is_not_why(near):
    assert cause(*announced(**near)) is None


# ---- half committed


def half(*, memory="inbox", looks=True, one=False, item=1, other=False):
    """A row that lasts, and the memory of it in a transaction of its own, which fails."""
    tale = Tale()
    message = tale.publish(entity=item)
    for times in (1, 2):
        got = tale.deliver(message, times=times)
        if looks:
            tale.read(memory, got)
        if one and times == 1:  # in one transaction, and both undone
            tale.write("moves", got)
        else:
            tale.keep("parcels" if other and times == 2 else "moves", got)
        tale.write(memory, got)
        if times == 1:
            tale.rollback(got)
            tale.raised(got)
        else:
            tale.handled(tale.commit(got))
    history = tale.end(moves=[{"id": "o1"}] * (1 if one or other else 2), inbox=[{"id": "o1"}])
    return history, of_the_end(history)


def once():
    tale = Tale()
    got = tale.deliver(tale.publish())
    tale.read("inbox", got)
    tale.keep("moves", got)
    tale.handled(tale.keep("inbox", got))
    return tale.end(moves=[{"id": "o1"}], inbox=[{"id": "o1"}])


def test_work_that_was_done_again_because_nothing_remembered_it_is_told():
    assert kind(*half(), once()) == "inbox"


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"memory": "audit", "looks": False}, id="what failed is no memory"),
        pytest.param({"one": True}, id="both failed in one transaction"),
        pytest.param({"other": True}, id="something else was done the second time"),
    ],
)
def test_work_that_was_remembered_as_far_as_it_was_done_is_not_told(near):
    assert cause(*half(**near), once()) is None


# ---- remembered before its work


def remembered(*, lasts=True, looks="inbox", does=False, topic="orders", again=True):
    """The memory of a message lasts, and its work fails; it comes again."""
    tale = Tale()
    message = tale.publish(topic)
    early = tale.deliver(message)
    tale.read("inbox", early)
    tale.write("inbox", early)
    if lasts:
        tale.commit(early)
    tale.raised(early)
    if again:
        late = tale.deliver(message, times=2)
        tale.read(looks, late)
        if does:
            tale.publish("excuses", cause=late)
        tale.handled(late)
    return tale.end(moves=[], inbox=[{"id": "o1"}] if lasts else [])


def test_a_message_that_was_remembered_before_its_work_is_told():
    history = remembered()
    found = cause(history, of_the_end(history), once())
    assert found.kind == "inbox"
    assert found.words == (
        "pay.on committed db.inbox for o1 from orders before all of its work was done; then it "
        "raised KeyError: 'id'. When o1 from orders came again, it looked there, and did nothing."
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"lasts": False}, id="it was not remembered"),
        pytest.param({"looks": "settings"}, id="it looked somewhere else"),
        pytest.param({"does": True}, id="it did something"),
        pytest.param({"topic": "mails"}, id="another message of the item"),
        pytest.param({"again": False}, id="it did not come again"),
    ],
)
def test_a_message_that_was_not_skipped_as_it_was_remembered_is_not_told(near):
    history = remembered(**near)
    assert cause(history, of_the_end(history), once()) is None


# ---- sent twice, as something else; a second answer


def sent(*, values=("a", "b"), lost=True, reads=True, topic="stock", lines=1):
    tale = Tale()
    message = tale.publish()
    last = -1
    for times, value in enumerate(values, 1):
        got = tale.deliver(message, times=times)
        outs = [tale.publish(topic, cause=got, value=f"{value}{line}") for line in range(lines)]
        if lost:
            tale.write("sagas", got)
        if times == 1:
            tale.rollback(got)
            tale.raised(got)
        else:
            tale.handled(tale.commit(got))
        if reads:
            last = tale.deliver(outs[0], "stock#1", group="stock")
            tale.handled(tale.keep("rows", last))
    if not reads:
        tale.keep("rows", -1, who="other#1", entity=1)
        tale.keep("rows", -1, who="other#1", entity=1)
    history = tale.end(rows=[{"id": "o1"}, {"id": "o1"}])
    return history, of_the_end(history), passing("stock")


def test_a_message_that_was_sent_anew_as_the_first_was_not_written_down_is_told():
    assert "it sent another one" in cause(*sent()).words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"values": ("a", "a")}, id="the same message again"),
        pytest.param({"values": ("a", "a"), "lines": 2}, id="the same two messages again"),
        pytest.param({"lost": False}, id="nothing was to be written down"),
        pytest.param({"reads": False}, id="nothing came of it"),
    ],
)
def test_what_was_sent_again_and_did_not_lead_to_this_is_not_told(near):
    assert cause(*sent(**near)) is None


def answered(*, second="courier", reads=True, item=1):
    tale = Tale()
    message = tale.publish("replies", entity=item)
    for times, topic in enumerate(("stock", second), 1):
        got = tale.deliver(message, times=times)
        out = tale.publish(topic, cause=got)
        tale.handled(got)
        if reads or times == 1:
            late = tale.deliver(out, f"{topic}#1", group=topic)
            tale.handled(tale.keep("rows", late, params=(topic,)))
    if not reads:
        tale.keep("rows", -1, who="other#1", entity=1, params=(second,))
    history = tale.end(rows=[{"id": "stock"}, {"id": second}])
    return history, of_the_end(history), passing("stock")


def test_an_answer_that_was_taken_twice_for_something_else_is_told():
    assert kind(*answered()) == "answer"


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"second": "stock"}, id="for the same"),
        pytest.param({"reads": False}, id="the difference is of somebody else"),
        pytest.param({"item": 2}, id="another item's answer"),
    ],
)
def test_an_answer_that_was_taken_twice_beside_the_point_is_not_told(near):
    history, finding, calm = answered(**near)
    if near.get("item"):
        finding = shown("it does not add up", finding.events)
    assert kind(history, finding, calm) != "answer"


# ---- a join


def joined(*, first=False, whole=False):
    """Two copies of one half; the other half is not there, or was there first."""
    tale = Tale()
    half = tale.publish("reserved")
    copy = tale.publish("reserved", cause=half)
    if whole:
        tale.handled(tale.deliver(tale.publish("paid"), "orders#1", group="orders"))
    outs = []
    for times, message in enumerate((half, copy), 1):
        got = tale.deliver(message, "orders#1", group="orders")
        if times == 2 or first:
            outs.append(tale.publish("confirmed", cause=got))
        tale.handled(got)
    return tale.end(), shown("confirmed too soon", [half, copy, outs[-1]])


def complete():
    tale = Tale()
    for topic in ("reserved", "paid"):
        got = tale.deliver(tale.publish(topic), "orders#1", group="orders")
        if topic == "paid":
            tale.publish("confirmed", cause=got)
        tale.handled(got)
    return tale.end()


def test_a_copy_that_was_taken_for_the_other_half_is_told():
    assert "took the second for one more answer" in cause(*joined(), complete()).words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"first": True}, id="each copy leads to one: no join"),
        pytest.param({"whole": True}, id="the other half was there"),
    ],
)
def test_a_copy_that_completed_nothing_falsely_is_not_told(near):
    assert cause(*joined(**near), complete()) is None
