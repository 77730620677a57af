"""The systems examined: whole small systems, right ones and broken twins.

Written with the public API, as any user would write them. Each broken twin has one planted
bug and shares everything else with the right version.
"""
