"""Final rows and ledgers, and that they balance."""

import pytest

from chaosharness.checkers import Books, Finding, conserved
from chaosharness.errors import InvalidDefinition
from tests.checkers.tales import Tale, is_tested, judge


def shop() -> Tale:
    tale = Tale()
    tale.charge("o1", 500)
    tale.charge("o2", 700, entity=2)
    tale.refund("o2", 700, entity=2)
    rows = [
        {"id": "o1", "cents": 500, "status": "paid"},
        {"id": "o2", "cents": 700, "status": "cancelled"},
    ]
    tale.holds("db", orders=rows, stock=[{"sku": "tea", "left": 8}])
    tale.add("state", "cache", entity=0, items={"stock:tea": 9})
    return tale


def paid(books):
    return books.sums("db", "orders", by="id", of="cents", status="paid")


def charged(books):
    return books.net_charges("bank")


def test_books_show_rows_values_and_ledgers():
    books = Books(shop().history)
    assert [row["left"] for row in books.rows("db", "stock")] == [8]
    assert books.values("cache") == {"stock:tea": 9}
    assert books.column("db", "orders", by="id", of="status") == {"o1": "paid", "o2": "cancelled"}
    assert paid(books) == {"o1": 500}
    assert charged(books) == {"o1": 500, "o2": 0}
    assert [entry["cents"] for entry in books.ledger("bank", "refund")] == [700]


def test_what_is_not_there_is_said_plainly():
    books = Books(shop().history)
    with pytest.raises(InvalidDefinition, match="no table 'order'; it has: orders, stock"):
        books.rows("db", "order")
    with pytest.raises(InvalidDefinition, match="nothing of a store 'bd'; stores are: db, cache"):
        books.rows("bd", "orders")


def test_money_that_adds_up_is_right():
    one = conserved("money", paid=paid, charged=charged)
    tale = shop()
    assert judge(one, tale.end()) == []
    assert is_tested(one, tale)


def test_money_that_does_not_add_up_is_found():
    tale = shop()
    tale.charge("o1", 500)
    [finding] = judge(conserved("money", paid=paid, charged=charged), tale.end())
    assert finding == Finding(
        "money of o1 does not add up, 500 too much: 500 paid, 1000 charged",
        (0, 3, 4, 5),
        1,
        {"key": "o1", "paid": 500, "charged": 1000},
    )


def test_a_key_that_one_side_lacks_counts_as_nothing():
    tale = shop()
    tale.charge("o3", 20, entity=3)
    [finding] = judge(conserved("money", paid=paid, charged=charged), tale.end())
    assert finding.summary == "money of o3 does not add up, 20 too much: 0 paid, 20 charged"


def test_numbers_and_constants_can_be_sides():
    def left(books):
        return sum(row["left"] for row in books.rows("db", "stock"))

    tale = shop()
    tale.end()
    assert judge(conserved("stock", initially=8, left=left), tale) == []
    [finding] = judge(conserved("stock", initially_there=9, left=left), tale)
    assert finding.summary == "stock does not add up, 1 missing: 9 initially there, 8 left"


def test_a_finding_counts_in_units_and_shows_the_parts_of_a_side():
    def left(books):
        return sum(row["left"] for row in books.rows("db", "stock"))

    def with_the_courier(books):
        return 1

    tale = shop()
    tale.end()
    one = conserved("stock", unit="book", at_first=10, left_and_shipped=(left, with_the_courier))
    [finding] = judge(one, tale)
    assert finding.summary == "1 book is missing: 10 at first, 8 left, 1 with the courier"
    assert finding.data == {"key": None, "at_first": 10, "left_and_shipped": 9}
    more = conserved("stock", unit="book", at_first=7, left_and_shipped=(left, with_the_courier))
    [finding] = judge(more, tale)
    assert finding.summary == "2 books too much: 7 at first, 8 left, 1 with the courier"
    assert judge(conserved("stock", at_first=9, there=(left, with_the_courier)), tale) == []


def test_parts_without_a_name_are_all_counted_and_shown():
    def holds(left):
        return conserved("pens", at_first=5, left_and_sold=(lambda _: left, lambda _: 3))

    ended = shop()
    ended.end()
    assert judge(holds(2), ended) == []
    [found] = judge(holds(1), ended)
    assert found.summary == (
        "pens do not add up, 1 missing: 5 at first, 1 left and sold (1), 3 left and sold (2)"
    )


def test_parts_of_a_side_are_summed_for_each_key():
    tale = shop()
    tale.charge("o1", 500)
    one = conserved("money", unit="cent", paid=paid, charged=(charged, lambda books: {"o2": 1}))
    found = judge(one, tale.end())
    assert next(one.summary.partition(":")[0] for one in found) == "500 cents too much of o1"


def test_a_single_side_is_no_claim():
    with pytest.raises(InvalidDefinition, match="two sides"):
        conserved("money", paid=paid)


def test_a_run_that_did_not_come_to_rest_is_not_judged():
    tale = shop()
    tale.charge("o1", 500)
    tale.end("stuck", "somebody waits")
    one = conserved("money", paid=paid, charged=charged)
    assert judge(one, tale) == []
    assert not is_tested(one, tale)


def test_nothing_anywhere_tests_nothing():
    tale = Tale()
    tale.holds("db", orders=[])
    assert not is_tested(conserved("money", paid=paid, charged=charged), tale.end())
