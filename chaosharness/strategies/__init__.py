"""Schedules and workloads as Hypothesis strategies.

Nothing is imported here: `places` and `drawing` know nothing of Hypothesis, and serve a
search without it as well.
"""
