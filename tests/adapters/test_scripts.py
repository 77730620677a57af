"""Scripts that begin their loop as they are imported, as tutorials have them."""

import runpy

import pytest

pytest.importorskip("kafka")

from chaosharness import Crash, Gateway, Kafka, KafkaServers, Schedule, Site, System, Web, smallest

SCRIPT = """
import json
import httpx
from kafka import KafkaConsumer

done = []
consumer = KafkaConsumer("orders", bootstrap_servers="kafka:9092", group_id="pay")

if __name__ == "__main__":
    for message in consumer:
        order = json.loads(message.value)
        done.append(order["id"])
        print("in this process:", len(done))
        httpx.post("https://bank.example/charges", json={"order": order["id"], "cents": 5})
"""


def shop(folder):
    """Return a system whose service is that script."""
    script = folder / "app.py"
    script.write_text(SCRIPT, "utf-8")
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1}))
    system.add(KafkaServers("kafka:9092", bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))

    @system.service("pay")
    def pay(env):
        env.main(lambda: runpy.run_path(str(script), run_name="__main__"))

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def counted(printed):
    return [int(line.rpartition(" ")[2]) for line in printed.splitlines() if "process" in line]


def test_each_process_runs_a_script_anew(tmp_path, capsys):
    system = shop(tmp_path)
    for _ in range(2):
        assert len([*system.run().history.of("effect")]) == 2
        assert counted(capsys.readouterr().out) == [1, 2]
    crash = Crash(Site("pay.<lambda>/bank.charge"))
    run = system.run(None, Schedule([crash]))
    assert [event.actor for event in run.history.of("crash")] == ["pay#1"]
    assert counted(capsys.readouterr().out)[:2] == [1, 1]


def test_its_slips_are_found(tmp_path):
    assert smallest(shop(tmp_path), faults_max=1) is not None
