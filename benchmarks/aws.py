"""Answers recorded from AWS: how many are compared and alike, and why each other one is not.

python -m benchmarks aws

The recordings lie beside the checkout (`../shared/data/aws-recorded`); what was asked is written in
`tests/machines` and `tests/adapters`, and compared there by pytest as well.
"""

from __future__ import annotations

from collections.abc import Iterator


def compared() -> Iterator[tuple[str, str, list[str]]]:
    """Yield each kind of recordings, each entry of it that is compared, and what differs."""
    from tests.adapters import test_sns_recorded as sns
    from tests.machines import test_sqs_recorded as sqs

    for entry, content in sqs.SQS.items():
        if sqs.asked_by(entry) not in sqs.OTHER:
            ask = sqs.REQUESTS[sqs.asked_by(entry)]
            yield "SQS", entry, [*sqs.differences(entry, content, ask)]
    for entry, content in sqs.TASKS.items():
        found = sqs.differences(entry, content, sqs.MOVES[entry], sqs.APPROXIMATE)
        yield "moving dead letters", entry, [*found]
    for entry, ask in sns.ALL.items():
        kind = "SNS filter policies" if entry in sns.FILTERS else "SNS"
        yield kind, entry, [*sns.differences(entry, ask)]


def others() -> Iterator[tuple[str, str, str]]:
    """Yield each entry that is not compared, and why."""
    from tests.adapters import test_sns_recorded as sns
    from tests.machines import test_sqs_recorded as sqs

    for entry in sqs.SQS:
        if sqs.asked_by(entry) in sqs.OTHER:
            yield "SQS", entry, sqs.OTHER[sqs.asked_by(entry)]
    for entry in sorted(set(sns.ENTRIES) - set(sns.REQUESTS)):
        yield "SNS", entry, sns.why_left_out(entry)[0]
    for entry, content in sns.OF_FILTERS.items():
        if not content:
            yield "SNS filter policies", entry, "nothing recorded"


def main() -> None:
    """Print what is compared, what differs, and the rest by name."""
    counts: dict[str, list[int]] = {}
    for kind, entry, found in compared():
        alike = counts.setdefault(kind, [0, 0])
        alike[bool(found)] += 1
        for one in found:
            print(f"{kind}, {entry}: {one}")
    for kind, (same, different) in counts.items():
        print(f"{kind}: {same} alike, {different} differ")
    from tests.machines import test_sns_recorded as filters

    held = len(filters.compared_by_the_machine())
    print(f"SNS filter policies, by tests/machines/test_sns_recorded.py alone: {held}")
    rest = [*others()]
    print(f"{len(rest)} not compared:")
    for kind, entry, why in rest:
        print(f"  {kind}, {entry}: {why}")


if __name__ == "__main__":
    main()
