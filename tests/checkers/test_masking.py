"""What may differ between two runs and means nothing, and what may not."""

import pytest

from chaosharness.checkers.masking import mask, texts


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created_at", 120),
        ("createdAt", 120),
        ("deadline", "tomorrow"),
        ("version", 3),
        ("attempts", 2),
        ("offset", 17),
        ("token", "anything"),
        ("id", 7),
        ("order_id", 7),
        ("seq", 7),
        ("invoice_no", 7),
        ("when", 1_893_456_000),
        ("when", 1_893_456_000.25),
        ("when", 1_893_456_000_123),
        ("ref", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("ref", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("ref", "9f86d081884c7d65"),
        ("when", "2030-01-01T00:00:00.250+00:00"),
        ("when", "2030-01-01 00:00:01"),
        ("day", "2030-01-01"),
    ],
)
def test_what_is_counted_up_timed_or_generated_is_masked(name, value):
    assert mask(value, name) == "*"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "o1"),
        ("order_id", "order-17"),
        ("cents", 500),
        ("left", 8),
        ("count", 2),
        ("status", "paid"),
        ("paid", True),
        ("shipped_at", None),
        ("seats", 4),
        ("statement", "a word like deadbeefdeadbeef is cut"[:12]),
        ("price", 19.99),
    ],
)
def test_the_business_is_kept(name, value):
    assert mask(value, name) == value


def test_what_is_generated_is_masked_inside_of_texts():
    key = "charge-0f8fad5b-d9cb-469f-a165-70867728950e"
    assert mask(key, "key") == "charge-*"


def test_json_in_texts_and_bytes_is_read():
    payload = b'{"order": "o1", "at": 17, "lines": [{"id": 3, "sku": "tea"}]}'
    again = '{"lines": [{"sku": "tea", "id": 99}], "at": 18, "order": "o1"}'
    assert mask(payload) == mask(again)
    assert mask(payload) != mask(payload.replace(b"tea", b"rum"))


def test_keys_of_a_mapping_are_data_too():
    first = {"0f8fad5b-d9cb-469f-a165-70867728950e": "paid"}
    second = {"7c9e6679-7425-40de-944b-e07fc1f90ae7": "paid"}
    assert mask(first) == mask(second)
    assert mask({"o1": 1, "o2": 2}) == mask({"o2": 2, "o1": 1})


def test_what_the_user_names_is_masked():
    assert mask("ada", "waiter", frozenset({"waiter"})) == "*"
    assert mask({"waiter": "ada"}, "", frozenset({"waiter"})) == (("waiter", "*"),)


def test_texts_are_the_words_of_a_value():
    assert texts(mask({"status": "paid", "lines": ["tea", 3]})) == {
        "status",
        "paid",
        "lines",
        "tea",
    }


def test_the_order_of_a_list_is_that_of_arrival():
    assert mask({"seen": ["o1", "o2"]}) == mask({"seen": ["o2", "o1"]})
    assert mask({"seen": ["o1", "o2"]}) != mask({"seen": ["o1"]})
    assert mask({"seen": ["o1", "o1"]}) != mask({"seen": ["o1", "o2"]})
