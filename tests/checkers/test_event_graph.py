"""Who reacts to what, read from histories."""

from typing import Any

from chaosharness import Kafka, System, event_graph
from models.order.right import order_flow
from models.small.watchers import undercut_each_other_for_ever, watchers


def chain(*, length: int, forget: bool = False) -> System:
    """Return services in a row, each with one event in and one out."""
    system = System("chain")
    topics = [f"step-{number}" for number in range(length + 1)]
    bus = system.add(Kafka("bus", topics={topic: 1 for topic in topics}))

    def add(number: int) -> None:
        @system.service(f"service-{number}")
        def service(env: Any) -> None:
            publish = env.publisher(bus)

            def handle(event: dict[str, Any]) -> None:
                last = forget and number == length - 1
                publish(topics[number + 1], {"done": True} if last else event)

            env.consume(bus, topics[number], handle)

    for number in range(length):
        add(number)

    @system.entry(examples=[{"order": "o1"}])
    def place(env: Any, event: dict[str, Any]) -> None:
        env.publisher(bus)(topics[0], event)

    return system


def graph_of(system: System) -> Any:
    return event_graph(system.run().history)


def test_who_reacts_to_what() -> None:
    text = graph_of(order_flow()).text()
    assert "checkout → orders.on_checkout → orders:placed" in text
    assert "payments.on_order does bank.charge" in text


def test_a_flow_without_fault_has_nothing_to_remark() -> None:
    assert graph_of(order_flow()).remarks() == []
    assert graph_of(watchers()).cycles() == []


def test_events_that_go_in_a_circle_are_named() -> None:
    [way] = graph_of(undercut_each_other_for_ever()).cycles()
    assert len(way) == 2


def test_a_chain_of_services_is_a_call_chain_in_disguise() -> None:
    [found] = graph_of(chain(length=4)).chains()
    assert [node.name for node in found] == [f"service-{n}.handle" for n in range(4)]
    assert graph_of(chain(length=3)).chains() == []


def test_events_that_nobody_consumes_and_that_carry_no_id() -> None:
    graph = graph_of(chain(length=2, forget=True))
    assert [node.name for node in graph.unheard()] == ["step-2"]
    assert [node.name for node in graph.forgetful()] == ["step-2"]
    assert graph_of(chain(length=2)).forgetful() == []


def test_graphs_add_up() -> None:
    one, other = graph_of(chain(length=2)), graph_of(watchers())
    both = one | other
    assert set(both.edges) == set(one.edges) | set(other.edges)
    assert both.mermaid().startswith("flowchart LR\n")
