"""What tests of handlers need around them."""

import gc
import warnings

import pytest


@pytest.fixture(autouse=True)
def nothing_of_others(request):
    """Where each warning is an error, free first what tests before this one have left in circles.

    Its warnings (a loop that nobody closed, a coroutine that nobody awaited) are no noise of the
    harness, and would come up wherever the collector finds it.
    """
    if any(mark.args == ("error",) for mark in request.node.iter_markers("filterwarnings")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
