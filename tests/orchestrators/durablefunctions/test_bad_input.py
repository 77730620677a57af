"""What is wrong with durable functions in a system is one sentence, with what to do next."""

import sys
from typing import Any

import pytest

from chaosharness import DurableFunctions, System
from chaosharness.errors import ChaosharnessError, InvalidDefinition


def shop(handler: Any, *, asks: str = "order") -> System:
    system = System("shop")
    engine = system.add(DurableFunctions("lambda"))

    @system.service("payments")
    def payments(env: Any) -> None:
        env.function(engine, "order", handler)

    @system.entry(examples=[{"order": "o1"}])
    def order(env: Any, item: Any) -> None:
        env.client(engine).invoke(FunctionName=asks, InvocationType="Event", Payload="{}")

    return system


def plain(event: Any, context: Any) -> None:
    """No durable function."""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"function_timeout_s": 901}, "function_timeout_s must be at most 900 seconds"),
        ({"execution_timeout_s": 10**9}, "execution_timeout_s must be at most 31,622,400 seconds"),
        ({"function_timeout_s": 0}, "function_timeout_s must be"),
    ],
)
def test_a_time_that_lambda_does_not_give(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ChaosharnessError, match=words):
        DurableFunctions("lambda", **options)


def test_a_handler_that_is_not_durable() -> None:
    pytest.importorskip("aws_durable_execution_sdk_python")
    with pytest.raises(InvalidDefinition, match="is not durable: decorate its handler with"):
        shop(plain).run()


def test_a_function_that_nobody_has() -> None:
    durable = pytest.importorskip("aws_durable_execution_sdk_python").durable_execution
    with pytest.raises(InvalidDefinition, match=r"'ordre', which no service has.*: order"):
        shop(durable(plain), asks="ordre").run()


def test_the_sdk_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.startswith("aws_durable_execution_sdk_python")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(InvalidDefinition, match=r"pip install 'chaosharness\[durable-functions\]'"):
        shop(plain).run()
