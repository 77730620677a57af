"""An order saga as a workflow of Conductor: definitions as they are deployed.

`right.py` is right: it ends well whatever happens, and undoes what must be undone by itself. Each
twin in `broken.py` has one planted bug.
"""
