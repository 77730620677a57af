"""An order saga as a state machine of AWS Step Functions: definitions as they are deployed.

`right.py` is right; each module beside it is a twin with one planted bug.
"""
