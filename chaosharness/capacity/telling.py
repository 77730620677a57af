"""The numbers of a load in words and tables, each formula beside what the simulation showed."""

from collections.abc import Sequence

from chaosharness.capacity.costs import ENGINES
from chaosharness.capacity.load import UTILISATION, Load, Outage
from chaosharness.capacity.queueing import SHARDS_MAX, Measured

__all__ = ["costs_table", "load_text", "outage_table", "shards_text"]


def load_text(load: Load) -> str:
    """Say what comes in; and that times are inputs."""
    steps = "1 step" if load.steps == 1 else f"{load.steps} steps in a row"
    return (
        f"{load.rate:,g} workflows a second of {steps}\n"
        f"a transaction of the store takes {load.latency_ms:g} ms, a step {load.step_ms:g} ms: "
        "inputs, not predictions"
    )


def costs_table(load: Load) -> str:
    """What a workflow costs by engine; and a second of them."""
    rows = [("engine", "transactions", "writes", "transactions/s", "writes/s")]
    for engine in ENGINES:
        count, writes = engine.transactions, engine.writes
        mine = count.of(load.steps)
        own = "-" if writes is None else f"{writes.of(load.steps)}"
        each = "-" if writes is None else f"{writes.of(load.steps) * load.rate:,.0f}"
        rows.append((engine.name, f"{count} = {mine}", own, f"{mine * load.rate:,.0f}", each))
    notes = [f"{engine.name}: {engine.told}" for engine in ENGINES if engine.told]
    return "\n".join((_table(rows), "", *notes))


def shards_text(load: Load, shards: int, seen: Measured) -> str:
    """How many shards, how busy they are, and how long a workflow takes."""
    busy = load.utilisation(shards)
    rows = [
        (f"{load.engine.name} on {shards:,} shards", "formula", "simulated"),
        ("utilisation", f"{busy:.2f}", f"{seen.utilisation:.2f}"),
        ("mean of a workflow", _ms(load.mean_ms(shards)), _ms(seen.mean_ms)),
        ("p50", "", _ms(seen.p50_ms)),
        ("p99", "", _ms(seen.p99_ms)),
    ]
    return "\n".join(
        (
            f"a shard does one transaction at a time: {1_000 / load.latency_ms:,.0f} a second; at "
            f"least {load.shards_min:,} = rate × {load.transactions} × L",
            f"advised: {load.shards_advised:,}, the next power of two that is busy at most "
            f"{UTILISATION:.0%} of the time",
            "",
            _table(rows),
            "",
            "utilisation ρ = rate × T × L / shards; mean = T × (L + ρL / 2(1-ρ)) + n × step",
            f"simulated: {seen.workflows:,} workflows, each shard on its own",
        )
    )


def outage_table(load: Load, shards: int, rows: Sequence[tuple[Outage, Measured]]) -> str:
    """What an outage duplicates, loses and delays."""
    table = [
        ("outage", "timeout", "duplicated", "lost", "delayed", "longest", "at once", "calm after")
    ]
    for outage, seen in rows:
        table.append(
            (
                f"{outage.seconds:g} s", f"{outage.timeout_s:g} s", f"{seen.duplicated:,}",
                f"{seen.lost:,}", f"{seen.delayed:,}", f"{seen.longest_ms / 1_000:,.1f} s",
                f"{seen.peak:,}", f"{seen.calm_after_s:,.0f} s",
            )
        )  # fmt: skip
    gives_up = load.engine.gives_up_s
    patience = "for ever" if gives_up is None else f"for {gives_up:g} s"
    drained = ", ".join(
        f"{load.drained_s(shards, seconds):,.0f} s after {seconds:g} s"
        for seconds in dict.fromkeys(outage.seconds for outage, _ in rows)
    )
    return "\n".join(
        (
            _table(table),
            "",
            "duplicated: steps whose code ran twice, since the timeout was over before the report",
            f"  came, or that was lost; about rate × n × step = {load.in_flight:,.0f} are at work "
            "when the store goes",
            f"lost: reports that a worker of {load.engine.name} gave up; it tries {patience}",
            "delayed: took longer than 99 % do without an outage; calm after: until half do not",
            f"worked off in outage × ρ / (1-ρ): {drained};",
            "  retries of clients and workers make it longer",
            f"simulated on {min(shards, SHARDS_MAX):,} shards, counts × "
            f"{shards / min(shards, SHARDS_MAX):g}",
        )
    )


def _ms(milliseconds: float) -> str:
    if milliseconds >= 10_000:
        return f"{milliseconds / 1_000:,.1f} s"
    return f"{milliseconds:,.0f} ms"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
