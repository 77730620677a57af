"""grpc connects in C, where no guard sees it: a call in a run is refused with one sentence."""

import re

import pytest

from chaosharness import System
from chaosharness.errors import InvalidDefinition

grpc = pytest.importorskip("grpc")
CHANNEL = grpc.insecure_channel("bank.example:50051")  # made when the module is imported


def charge():
    CHANNEL.unary_unary("/bank.Bank/Charge")(b"o1", timeout=0.1)


async def charge_later():
    async with grpc.aio.insecure_channel("bank.example:50051") as channel:
        await channel.unary_unary("/bank.Bank/Charge")(b"o1", timeout=0.1)


@pytest.mark.parametrize("main", [charge, charge_later])
def test_a_call_is_refused_with_its_line(main):
    system = System("shop")
    system.service("till")(lambda env: env.main(main))
    system.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match=r"calls .*[Bb]ank.* by grpc \(at ") as told:
        system.run()
    assert re.search(r"test_grpc\.py:\d+\), which is not modelled", str(told.value))


def test_outside_of_runs_it_is_the_real_one():
    with pytest.raises(grpc.RpcError):
        charge()
