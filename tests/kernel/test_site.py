import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosharness import Crash, FailedCommit, GracefulStop, NetworkPartition, Poison, Site
from chaosharness.errors import InvalidDefinition

OPERATIONS = st.sampled_from(
    [
        "payments.on_order/bank.charge",
        "bus.orders/deliver to payments",
        "payments.on_order/db.insert charges",
        "relay.run/bus.publish orders",
        "payments/start",
    ]
)

LINK = st.builds(
    lambda number, odd, operation: f"{number}{odd} of {operation}",
    st.integers(1, 12),
    st.sampled_from(["", " (copy 2)", " (poison)"]),
    OPERATIONS,
)
MESSAGES = st.one_of(
    st.sampled_from(["", "every"]), st.lists(LINK, min_size=1, max_size=3).map(" from ".join)
)


@given(
    st.builds(
        Site,
        OPERATIONS,
        st.sampled_from(["before", "after"]),
        st.integers(0, 12),
        st.integers(1, 12),
        message=MESSAGES,
    )
)
def test_a_site_has_one_spelling(site):
    assert Site.parse(str(site)) == site


def test_it_reads_like_this():
    assert str(Site("payments.on_order/bank.charge", "after", 2, 3)) == (
        "after payments.on_order/bank.charge for item 2, attempt 3"
    )


@pytest.mark.parametrize("text", ["", "charge", "during a/b", "payments.on_order for item 1"])
def test_what_names_no_site_is_refused(text):
    with pytest.raises(ValueError, match="names no site; write"):
        Site.parse(text)


@pytest.mark.parametrize(
    "wrong",
    [{"attempt": 0}, {"entity": -1}, {"phase": "during"}, {"message": "the 2nd"}, {"message": 2}],
)
def test_a_site_is_checked_at_birth(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Site("a/b", **wrong)


@pytest.mark.parametrize("operation", [None, "", 5, ["a/b"]])
def test_an_operation_is_a_text_and_a_refusal_is_one_sentence_with_the_line(operation):
    with pytest.raises(InvalidDefinition, match="Site: operation must be text, not") as refused:
        Site(operation)
    assert "test_site.py:" in str(refused.value)
    assert len(refused.value.args) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Site("a/b", "during"),
        lambda: Crash(Site("a/b"), down="soon"),
        lambda: FailedCommit(Site("a/b"), outcome="lost"),
        lambda: GracefulStop(Site("a/b"), grace_ms="30 s"),
        lambda: NetworkPartition(Site("a/b"), way="in"),
        lambda: Poison(Site("a/b"), content="poison"),
    ],
)
def test_a_fault_says_in_one_sentence_which_option_is_wrong_and_where(make):
    with pytest.raises(InvalidDefinition, match=r"^[A-Z]\w+: \w+ must be .*test_site.py:") as it:
        make()
    assert len(it.value.args) == 1  # not the whole of what attrs knows of the field
