"""The lease, by itself."""

from chaosharness.machines.lease import Leases, LeaseSettings


def leases():
    return Leases(LeaseSettings(lasts_ms=30))


def test_what_is_held_comes_back_when_its_time_is_over():
    table = leases()
    table.hold("a", "me", 0, 30)
    table.hold("b", "me", 0, 20)
    assert table.due() == 20
    assert [key for key, _ in table.expired(30)] == ["b", "a"]
    assert (table.due(), len(table)) == (None, 0)


def test_the_fence_grows_with_each_hand():
    table = leases()
    assert table.fence("a") == 0
    table.hold("a", "me", 0, 30)
    table.expired(30)
    table.hold("a", "you", 30, 60)
    assert table.fence("a") == 2
    lease = table.of("a")
    assert lease is not None and lease.holder == "you"


def test_an_extension_replaces_the_deadline_both_ways():
    table = leases()
    table.hold("a", "me", 0, 30)
    assert table.extend("a", 90)
    assert table.due() == 90
    assert table.expired(30) == []
    assert table.extend("a", 40)
    assert [key for key, _ in table.expired(40)] == ["a"]
    assert not table.extend("a", 50)


def test_what_is_released_is_not_due():
    table = leases()
    table.hold("a", "me", 0, 30)
    assert table.release("a") is not None
    assert table.release("a") is None
    assert table.due() is None


def test_a_lease_without_an_end_is_never_due():
    table = Leases(LeaseSettings(lost_with_holder=True))
    table.hold("a", "me", 0, None)
    assert table.due() is None
    assert table.expired(10**9) == []
