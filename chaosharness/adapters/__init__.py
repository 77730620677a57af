"""Adapters: unmodified client code of popular libraries, on the parts of a system.

Nothing here imports a library of its own accord: each is an extra, and its adapter is loaded
when the user's code imports it.
"""
