"""`@chaos_test`: a chaos test for people who do not know Hypothesis."""

import inspect
import itertools
import re
import warnings
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, Phase, example, given, is_hypothesis_test, seed, settings
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase

from chaosharness import (
    Crash,
    Finding,
    Kafka,
    LostReply,
    Property,
    Schedule,
    Site,
    System,
    chaos_settings,
    chaos_test,
    check,
    orders,
    sometimes,
)
from chaosharness.errors import InvalidDefinition, Nondeterminism, PropertyViolated
from chaosharness.search import decorator
from chaosharness.search.plan import PLAN, Leg, Playback
from chaosharness.strategies.places import places
from tests.search import planted

CHARGE = "payments.on_order/bank.charge"
ORDERS = [planted.Order("a", 1), planted.Order("b", 2)]


def quiet(**words):
    words = {"database": None, "suppress_health_check": list(HealthCheck), **words}
    return chaos_settings(**words)


# ---- what it checks


def test_what_the_system_claims_is_checked_and_the_failure_is_small():
    @seed(1)
    @chaos_test(planted.one(), settings=quiet())
    def test_checkout():
        """Nothing to add."""

    with pytest.raises(PropertyViolated) as caught:
        test_checkout()
    error = caught.value
    assert type(error).__name__ == "NeverChargedTwice"
    assert len(error.run.schedule) == 1
    assert error.run.items == (planted.EXAMPLES[0],)
    assert error.property.name == "never charged twice"
    assert error.findings
    assert "Hypothesis met it so. F" in "\n".join(error.__notes__)
    with pytest.raises(PropertyViolated) as checked:
        check(planted.one())
    words = [re.sub(r"\d+ more to", "more to", str(one)) for one in (error, checked.value)]
    assert words[0] == words[1], "the same bug in the same words"


def test_a_right_system_passes():
    runs = []

    @seed(1)
    @chaos_test(planted.right(), runs=150, settings=quiet())
    def test_checkout(run):
        runs.append(run)

    test_checkout()
    assert len(runs) >= 150
    assert len({(repr(run.items), run.schedule) for run in runs}) > 100


def test_given_properties_are_checked_too():
    never = Property("nothing ever happens", lambda evidence: [Finding("it did")])

    @chaos_test(planted.right(), properties=[never], settings=quiet())
    def test_checkout():
        """Nothing to add."""

    with pytest.raises(PropertyViolated, match="nothing ever happens: it did") as caught:
        test_checkout()
    assert caught.value.run.schedule == Schedule()


def test_the_body_asserts_on_the_run():
    @seed(1)
    @chaos_test(planted.right(), settings=quiet())
    def test_checkout(run):
        assert not any(run.history.of("crash"))

    with pytest.raises(AssertionError) as caught:
        test_checkout()
    assert [type(fault) for fault in caught.value.run.schedule] == [Crash]


def test_the_body_may_ask_for_workload_and_schedule():
    seen = []

    @chaos_test(planted.right(), workload=ORDERS, runs=20, settings=quiet())
    def test_checkout(schedule, run, workload):
        seen.append((workload, run.schedule == schedule, list(run.items) == workload))

    test_checkout()
    assert all(one == (ORDERS, True, True) for one in seen)


def test_a_strategy_gives_the_workloads():
    sizes = set()

    @seed(1)
    @chaos_test(planted.right(), workload=orders(2, 4), runs=40, settings=quiet())
    def test_checkout(run, workload):
        sizes.add(len(workload))

    test_checkout()
    assert sizes == {2, 3, 4}


def test_faults_are_as_many_and_of_the_kinds_that_are_allowed():
    seen = []

    @seed(1)
    @chaos_test(planted.right(), faults_max=2, kinds=[Crash, LostReply], runs=60, settings=quiet())
    def test_checkout(run):
        seen.extend([run.schedule])

    test_checkout()
    assert max(map(len, seen)) == 2
    assert {type(fault) for schedule in seen for fault in schedule} == {Crash, LostReply}


# ---- the campaign as a whole


def test_what_is_never_reached_fails_the_campaign():
    reached = sometimes("there is a lottery", lambda history: any(history.of("rollback")))

    @chaos_test(planted.right(), properties=[reached], runs=10, settings=quiet())
    def test_checkout():
        """Nothing to add."""

    with pytest.raises(PropertyViolated, match=r"there is a lottery: never reached in 1\d runs"):
        test_checkout()


def test_what_is_reached_once_is_enough():
    reached = sometimes("there is a crash", lambda history: any(history.of("crash")))

    @seed(1)
    @chaos_test(planted.right(), properties=[reached], runs=60, settings=quiet())
    def test_checkout():
        """Nothing to add."""

    test_checkout()


def test_a_claim_that_was_never_put_to_the_test_is_a_warning():
    vacuous = Property("refunds are right", lambda evidence: [], tested=lambda evidence: False)

    @chaos_test(planted.right(), properties=[vacuous], runs=5, settings=quiet())
    def test_checkout():
        """Nothing to add."""

    words = r"refunds are right: never put to the test in \d+ runs"
    with pytest.warns(UserWarning, match=words) as caught:
        test_checkout()
    assert caught[0].filename == __file__


def test_too_few_runs_for_every_single_fault_are_a_warning_and_enough_of_them_none():
    def chaos(runs):
        words = {"workload": ORDERS[:1], "faults_max": 1, "kinds": [Crash], "settings": quiet()}

        @chaos_test(planted.right(), runs=runs, **words)
        def test_checkout():
            """Nothing to add."""

        return test_checkout

    words = r"shop: nothing broke in 9 runs, in which \d of (\d+) schedules with one fault were run"
    with pytest.warns(UserWarning, match=words) as caught:
        chaos(9)()
    (warning,) = caught
    assert warning.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chaos(400)()


def test_several_failures_at_once_carry_what_the_first_does():
    def none_of(kind):
        def judge(evidence):
            return [Finding("one") for fault in evidence.faults if type(fault) is kind]

        return Property(f"no {kind.__name__}", judge)

    @chaos_test(planted.right(), properties=[none_of(Crash), none_of(LostReply)], settings=quiet())
    def test_checkout():
        """Nothing to add."""

    planned = [Schedule([kind(Site(CHARGE, "after"))]) for kind in (Crash, LostReply)]
    token = PLAN.set(lambda deck: [Leg(Playback([Schedule(), *planned]))])
    try:
        with pytest.raises(ExceptionGroup) as caught:
            test_checkout()
    finally:
        PLAN.reset(token)
    names = {one.property.name for one in caught.value.exceptions}
    assert names == {"no Crash", "no LostReply"}
    assert caught.value.property.name in names
    assert len(caught.value.run.schedule) == 1


def test_a_system_that_is_not_deterministic_is_told_so():
    system, counter = System("dice"), itertools.count()
    bus = system.add(Kafka("bus", {"orders": 1}))

    @system.service("dice")
    def dice(env):
        env.consume(bus, "orders", lambda order: env.note("rolled", number=next(counter)))

    @system.entry(examples=[{}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    @chaos_test(system, settings=quiet())
    def test_dice(run):
        assert any(run.history.of("crash"))

    with pytest.raises(Nondeterminism, match="differs between two runs of Schedule") as caught:
        test_dice()
    assert "rolled" in str(caught.value)


def as_hypothesis_found_it(monkeypatch):
    monkeypatch.setattr(decorator.Campaign, "shown", lambda self, error: error)


def test_runs_are_not_made_twice_while_shrinking(monkeypatch):
    as_hypothesis_found_it(monkeypatch)
    made, broken = [], []
    system = planted.two()
    places(system)
    real = system.run

    def run(items=None, schedule=None):
        found = real(items, schedule)
        made.append((repr(list(items or ())), schedule))
        broken.append(bool(planted.never_charged_twice.findings(found.evidence())))
        return found

    system.run = run

    @seed(1)
    @chaos_test(system, settings=quiet(max_examples=500))
    def test_checkout():
        """The system's claim is enough."""

    with pytest.raises(PropertyViolated) as caught:
        test_checkout()
    assert len(caught.value.run.schedule) == 2
    first = broken.index(True)
    assert made[first] == made[first + 1], "the first failure is checked to be no accident"
    later = [one for one in made[first + 2 :] if one[1] != Schedule()]
    assert len(later) == len(set(later)) > 10


# ---- with Hypothesis


def test_it_is_a_hypothesis_test():
    @chaos_test(planted.right(), runs=77)
    def test_checkout(run):
        """Says what it is."""

    assert is_hypothesis_test(test_checkout)
    assert test_checkout._hypothesis_internal_use_settings.max_examples == 77
    assert test_checkout._hypothesis_internal_use_settings.deadline is None
    assert test_checkout.__doc__ == "Says what it is."


def test_examples_and_seeds_go_on_top():
    seen = []

    @example(workload=ORDERS, schedule=Schedule([Crash(Site(CHARGE, "after"))]))
    @seed(3)
    @chaos_test(planted.right(), runs=5, settings=quiet())
    def test_checkout(run):
        seen.append(run)

    test_checkout()
    assert list(seen[0].items) == ORDERS
    assert len(seen[0].schedule) == 1


def test_hypothesis_settings_may_be_given():
    @chaos_test(planted.right(), runs=7, settings=settings(backend="hypothesis", deadline=None))
    def test_checkout(run):
        """Nothing to add."""

    found = test_checkout._hypothesis_internal_use_settings
    assert (found.backend, found.max_examples) == ("hypothesis", 7)
    test_checkout()


def test_a_stored_failure_survives_an_edited_test(monkeypatch):
    as_hypothesis_found_it(monkeypatch)
    seen = []
    words = {"settings": quiet(database=InMemoryExampleDatabase(), max_examples=50)}

    def first(run):
        """As it was."""

    def edited(run, schedule):
        """With a parameter and an assertion more. It fails before it gets here."""
        assert run.history

    first.__qualname__ = edited.__qualname__ = "test_checkout"
    with pytest.raises(PropertyViolated) as caught:
        chaos_test(planted.one(), **words)(first)()
    smallest = caught.value.run.schedule
    again = planted.one()
    places(again)
    real = again.run
    again.run = lambda items, schedule=None: seen.append(schedule) or real(items, schedule)
    with pytest.raises(PropertyViolated):
        chaos_test(again, **words)(edited)()
    assert seen[-1] == smallest
    assert set(seen[1:]) <= {smallest, Schedule()}, "replayed, neither searched nor shrunk again"


def test_a_failure_of_one_test_is_not_replayed_in_another():
    words = {"settings": quiet(database=InMemoryExampleDatabase(), max_examples=50)}
    seen = []

    @chaos_test(planted.one(), **words)
    def test_this(run):
        """Fails, and is stored."""

    @chaos_test(planted.right(), **words)
    def test_that(schedule):
        seen.append(schedule)

    with pytest.raises(PropertyViolated):
        test_this()
    test_that()
    assert seen[0] == Schedule()


def test_without_the_generate_phase_nothing_is_said_about_the_campaign():
    reached = sometimes("never", lambda history: False)

    @example(workload=ORDERS, schedule=Schedule())
    @chaos_test(planted.right(), properties=[reached], settings=quiet(phases=[Phase.explicit]))
    def test_checkout():
        """Nothing to add."""

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test_checkout()


# ---- mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"runs": 0}, "runs must be a whole number from 1, not 0"),
        ({"faults_max": "2"}, "faults_max must be a whole number from 1, not '2'"),
        ({"kinds": Crash}, "kinds must be several"),
        ({"workload": "orders"}, r"workload must be a Hypothesis strategy, such as orders\(1, 3\)"),
    ],
)
def test_wrong_arguments_are_refused_at_once(words, message):
    with pytest.raises(InvalidDefinition, match=message):
        chaos_test(planted.right(), **words)


def test_a_bare_decorator_is_refused():
    with pytest.raises(InvalidDefinition, match=r"write @chaos_test\(shop\) with a System"):

        @chaos_test
        def test_checkout(run):
            """Never called."""


@pytest.mark.parametrize("body", [type("TestShop", (), {}), staticmethod(len), object()])
def test_what_is_no_function_is_refused_where_it_stands(body):
    where = r"stands above a function, and not above .*test_hypothesis_decorator.py:"
    with pytest.raises(InvalidDefinition, match=where):
        chaos_test(planted.right())(body)


def test_settings_start_from_settings():
    with pytest.raises(InvalidDefinition, match="parent must be settings of Hypothesis, not 'ci'"):
        chaos_settings("ci")


def test_an_async_body_is_refused():
    with pytest.raises(InvalidDefinition, match="must be written with plain def"):

        @chaos_test(planted.right())
        async def test_checkout(run):
            """Never called."""


def test_given_and_chaos_test_do_not_mix():
    with pytest.raises(InvalidDefinition, match="has @given already"):

        @chaos_test(planted.right())
        @given(st.integers())
        def test_checkout(number):
            """Never called."""


def test_nameless_parameters_are_refused():
    with pytest.raises(InvalidDefinition, match=r"must name its parameters: no \*things"):

        @chaos_test(planted.right())
        def test_checkout(run, *things):
            """Never called."""


def test_a_test_that_would_check_nothing_is_refused():
    system = planted.right()
    system.properties.clear()

    @chaos_test(system, properties=[])
    def test_checkout():
        """Looks at nothing."""

    with pytest.raises(InvalidDefinition, match="would check nothing"):
        test_checkout()


# ---- in pytest

pytest_plugins = ["pytester"]

SUITE = dedent("""
    import pytest
    from hypothesis import HealthCheck
    from chaosharness import chaos_settings, chaos_test
    from tests.search import planted

    right, broken = planted.right(), planted.one()

    @pytest.fixture(scope="session")
    def limit():
        return 100_000

    class TestShop:
        @chaos_test(right, runs=20)
        def test_in_a_class(self, run, limit):
            assert isinstance(self, TestShop)
            assert len(run.history) < limit

    @pytest.mark.parametrize("cents", [1, 2])
    @chaos_test(right, runs=10)
    def test_parametrized(cents, run):
        assert cents in (1, 2)

    @chaos_test(right, runs=10)
    def test_function_fixture(run, tmp_path):
        pass

    lenient = chaos_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

    @chaos_test(right, runs=10, settings=lenient)
    def test_function_fixture_on_purpose(run, tmp_path):
        assert tmp_path.exists()

    @chaos_test(broken)
    def test_broken():
        "Nothing to add."
""")


@pytest.fixture
def suite(pytester, monkeypatch, request):
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    pytester.makepyfile(test_it=SUITE)
    return pytester


def test_it_goes_with_classes_parameters_and_fixtures(suite):
    result = suite.runpytest_subprocess("-p", "no:cacheprovider", "-q")
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "*uses a function-scoped fixture 'tmp_path'*",
            "*NeverChargedTwice: never charged twice: *",
            "*schedule=Schedule((*Site('payments.on_order/*",
        ]
    )


def test_a_failure_shows_no_frame_of_ours(suite):
    result = suite.runpytest_subprocess("-p", "no:cacheprovider", "-q", "-k", "test_broken")
    text = result.stdout.str()
    assert "decorator.py" not in text
    assert "def once" not in text


def test_the_command_line_sets_runs_and_faults(suite):
    suite.makepyfile(
        test_it="""
        from chaosharness import chaos_test
        from tests.search import planted
        seen = []

        @chaos_test(planted.right(), runs=50, faults_max=4)
        def test_one(schedule):
            seen.append(len(schedule))

        def test_two():
            print("RUNS", len(seen), "FAULTS", max(seen))
        """
    )
    result = suite.runpytest_subprocess(
        "-p", "no:cacheprovider", "-q", "-s", "--chaos-runs", "20", "--chaos-faults", "1"
    )
    [line] = [line for line in result.outlines if "RUNS" in line]
    runs, faults = int(line.split()[-3]), int(line.split()[-1])
    assert 20 <= runs <= 22
    assert faults == 1


def test_pytest_says_where_the_test_is():
    @chaos_test(planted.right())
    def test_checkout(run):
        """Nothing to add."""

    assert inspect.unwrap(test_checkout).__code__.co_filename == __file__
    assert list(inspect.signature(test_checkout).parameters) == []
