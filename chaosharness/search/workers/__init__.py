"""Runs in other processes: the same work units on the cores of one machine, or on many."""
