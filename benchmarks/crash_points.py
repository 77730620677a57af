"""Every crash point of an order saga on every engine, with participants that know keys and without.

python -m benchmarks crash_points

Prints for each engine at how many points somebody died, whether the result is that of the calm run
where participants know their keys, and where they do not, at how many points a charge is made
twice, and at how many of all points that differs from what the engine's rules say.
"""

from __future__ import annotations

from tests.orchestrators.crash_points import ENGINES, doubled, wrong_results


def main() -> int:
    """Print the table; return 1 where anything is not as the rules say."""
    bad = 0
    print(
        f"{'engine':<16}{'points':>7}{'other result':>14}{'doubled':>9}{'not as ruled':>14}  rules"
    )
    for name, engine in ENGINES.items():
        results = [wrong_results(engine, item) for item in (0, 1)]
        many = sum(number for number, _ in results)
        wrong = sum(len(sites) for _, sites in results)
        keyless, found, predicted = doubled(engine)
        unruled = sum(found[site] != predicted[site] for site in found)
        bad += wrong + unruled
        twice = f"{sum(found.values())}/{keyless}"
        print(f"{name:<16}{many:>7}{wrong:>14}{twice:>9}{unruled:>14}  {engine.rules}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
