"""What messages are called: by their causes, each by a name of its own."""

from chaosharness.kernel.message_names import fits, is_name, parts, poison_at, shortest
from chaosharness.kernel.publications import Publications

ORDERS = "client.place/bus.publish orders"
LINES = "orders.on_order/bus.publish lines"


def test_messages_are_numbered_for_each_message_in_hand():
    published = Publications()
    order = published.name(ORDERS, 1, "", b"o1")
    assert order == f"1 of {ORDERS}"
    assert [published.name(LINES, 1, order, line) for line in (b"a", b"b")] == [
        f"1 of {LINES} from {order}",
        f"2 of {LINES} from {order}",
    ]
    other = published.name(ORDERS, 1, "", b"o1 changed")
    assert published.name(LINES, 1, other, b"a") == f"1 of {LINES} from 2 of {ORDERS}"
    assert published.name(ORDERS, 2, "", b"o2") == f"1 of {ORDERS}", "items do not count together"


def test_the_same_content_once_more_takes_no_number():
    published = Publications()
    names = [published.name(LINES, 1, "", body) for body in (b"a", b"a", b"b", b"a", b"b")]
    numbers = ["1", "1 (copy 2)", "2", "1 (copy 3)", "2 (copy 2)"]
    assert names == [f"{number} of {LINES}" for number in numbers]


def test_the_name_to_be_is_the_one_that_it_gets():
    published = Publications()
    for body in (b"a", b"b"):
        to_be = published.name_to_be(LINES, 1, "", body)
        assert published.name(LINES, 1, "", body) == to_be
    assert poison_at(to_be) == f"2 (poison) of {LINES}"


def test_a_name_is_cut_to_what_tells_it_apart():
    first, second = (f"{number} of {LINES} from 1 of {ORDERS}" for number in (1, 2))
    assert shortest(second, [first, second]) == f"2 of {LINES}"
    other = f"2 of {LINES} from 2 of {ORDERS}"
    assert shortest(second, [other, second]) == second
    assert fits("", second)
    assert fits(f"2 of {LINES}", second)
    assert not fits("2 of orders.on_order/bus.publish line", second)
    assert not fits(f"1 of {LINES}", second)


def test_the_parts_of_a_name():
    assert parts(f"3 (copy 2) of {LINES} from 1 of {ORDERS}") == (3, "copy 2", LINES)


def test_poison_ahead_of_a_copy_has_a_name_that_a_site_can_have():
    name = poison_at(f"1 (copy 2) of {LINES}")
    assert name == f"1 (poison) of {LINES}"
    assert is_name(name)
