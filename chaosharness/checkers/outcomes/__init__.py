"""Outcomes: what came out of a run, held against the outcomes that runs without faults have.

The law: faults may choose among the outcomes that the system has without infrastructure
faults. They may not invent new ones.
"""
