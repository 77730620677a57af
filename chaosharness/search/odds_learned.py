"""How often a single fault broke a promise of a system with a bug, in percent.

Written by `python -m benchmarks.learn_odds`. A line for each kind of fault, before or after
an operation, with its option (`ms`: a length in ms); a column for what the operation does,
where that was found to matter. A full stop stands for what the first column says.
"""

from typing import Final

LEARNED: Final = """
                                  |     any  effect publish deliver    call
clock skew before, -1000          |       3       .       .       .       .
clock skew before, -3600000       |       3       .       .       .       .
clock skew before, 1000           |       3       .       .       .       .
clock skew before, 3600000        |       3       .       .       .       .
crash after, long                 |       5      16       .       .       .
crash after, ms                   |       6      12       .       .       .
crash after, next                 |       4      13       .       .       .
crash after, timeout              |       4      13       .       .       .
crash before, long                |       3       .       .       .       .
crash before, ms                  |       3       .       .       .       .
crash before, next                |       3       .       .       .       .
crash before, timeout             |       3       .       .       .       .
delay before, long                |       7      23       .       3       .
delay before, ms                  |       6      18       .       .       .
delay before, next                |       3       .       .       .       .
delay before, timeout             |       7      22       3       3       .
duplicate before                  |       3       .       .       .       .
error reply before                |       8      13       4       .       .
failed commit before, committed   |       3       .       .       .       .
failed commit before, rolled-back |       4       .       .       .       .
lost reply after                  |      11      20       4       .       .
lost request before               |       6      15       .       .       .
network partition before, back    |       8      22       .       3       .
network partition before, both    |       8      20       .       3       .
network partition before, long    |       7      16       .       3       .
network partition before, ms      |       8      18       .       3       3
network partition before, out     |       8      20       .       3       .
partition delay before, long      |       3       .       .       .       .
partition delay before, ms        |       3       .       .       .       .
partition delay before, next      |       3       .       .       .       .
partition delay before, timeout   |       3       .       .       .       .
pause after, long                 |       5      14       .       .       .
pause after, ms                   |       3       9       .       .       .
pause after, next                 |       3       .       .       .       .
pause after, timeout              |       3       7       .       .       .
poison before, garbage            |       3       .       .       .       .
poison before, unknown-schema     |       3       .       .       .       .
rebalance before                  |       3       .       .       .       .
redeliver after                   |       3       .       .       .       .
store outage before, long         |       3       .       .       .       .
store outage before, ms           |       3       .       .       .       .
store outage before, next         |       4       .       .       .       .
store outage before, timeout      |       5       .       .       .       .
"""
