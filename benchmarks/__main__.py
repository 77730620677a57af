"""`python -m benchmarks [NAME ...]`: run the benchmarks, each with its yardstick beside it."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

ORDER = (
    *("eight_messages", "deliveries", "colours", "stores"),
    *("hypothesis_share", "peers", "shrink", "bytecodes", "products", "share"),
    *(
        "judging",
        "quiet",
        "nothing_claimed",
        "recorded",
        "aws",
        "temporal",
        "temporal_scripts",
        "nats",
    ),
    *("nats_buckets", "kafka", "conformance", "laws", "crash_points"),
    *("http", "databases", "amqp", "kafka_clients", "stacks"),
    *("airflow", "airflow_requests", "engines"),
    *("workers", "mutated_files", "mutated_definitions"),
    *("lineage", "triples"),
    "plugin",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    known = [one for one in ORDER if Path(__file__).with_name(f"{one}.py").exists()]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(known)}")
        return 3
    wrong = 0
    for name in names or known:
        print(f"\n== {name}")
        wrong = import_module(f"benchmarks.{name}").main() or wrong
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
