"""Settings of this repository's own tests."""

from hypothesis import settings

# Real time says nothing here: machines are shared, and runs have budgets of their own.
settings.register_profile("chaosharness", deadline=None)
settings.load_profile("chaosharness")
