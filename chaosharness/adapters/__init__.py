"""Adapters: unmodified client code of popular libraries, on the parts of a system.

Nothing here imports a library of its own accord: each is an extra, and its adapter is loaded
when the user's code imports it.

A new one is a file with a `LIBRARY` (`dispatch.py`: where calls of the library are met, and with
which parameters), named in `libraries.ADAPTERS`. The part that it speaks to calls
`libraries.speak` in its `prepare()`, before each run, and names it in `speaks`. What passes is said
with `spoken.note_spoken`; what it lacks, with `unmodelled.not_modelled`; and a loop that takes
messages by itself says with `handlers.attribution` on whose behalf it works.
"""
