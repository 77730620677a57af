"""A small Celery application as a team writes it, which notes what its worker does with its tasks.

For a real worker: python -m tests.adapters.celery_errands URL FILE [options of the worker]
"""

import sys
import time

from celery import Celery, Task, chain, chord


def errands(url, note, *, transport=None):
    """Return the application; `note(*words)` hears of each step."""
    app = Celery("errands", broker=url, backend=url, set_as_current=False)
    app.conf.task_acks_late = True
    app.conf.worker_prefetch_multiplier = 1
    app.conf.broker_connection_retry_on_startup = True
    app.conf.broker_transport_options = transport or {"visibility_timeout": 600}
    app.conf.task_reject_on_worker_lost = True

    class Noted(Task):
        def before_start(self, task_id, args, kwargs):
            again = self.request.delivery_info.get("redelivered")
            note(self.name, "begins", self.request.retries, bool(again))

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            note(self.name, "retries", type(exc).__name__)

        def on_success(self, retval, task_id, args, kwargs):
            note(self.name, "succeeds", retval)

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            note(self.name, "fails", type(exc).__name__)

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            note(self.name, "is", status)

    def task(function, **options):
        options = {"base": Noted, "bind": True, "shared": False, **options}
        return app.task(name=function.__name__, **options)(function)

    def add(self, one, other):
        return one + other

    def wrong(self):
        raise ValueError("no")

    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(exc=KeyError("later"), countdown=0.5)
        return "at last"

    def never(self):
        raise self.retry(exc=KeyError("never"), countdown=0.1, max_retries=1)

    def tedious(self, seconds):
        time.sleep(seconds)
        return "done"

    def total(self, numbers):
        return sum(numbers)

    app.errands = [task(one) for one in (add, wrong, flaky, never, tedious, total)]
    return app


def run_all(app):
    """Run each errand to its end; return what the client sees."""
    add, wrong, flaky, never, _, total = app.errands
    found = []
    for sent in (
        lambda: add.delay(1, 2),
        wrong.delay,
        flaky.delay,
        never.delay,
        lambda: add.apply_async((3, 4), countdown=0.5),
        lambda: add.apply_async((5, 6), expires=-1),
        chain(add.s(1, 1), add.s(2)).delay,
        chord([add.s(1, 1), add.s(2, 2)], total.s()).delay,
    ):
        result = sent()
        value = result.get(timeout=20, propagate=False)
        found.append((result.state, repr(value)))
    return found


if __name__ == "__main__":
    url, path, *options = sys.argv[1:]

    def written(*words):
        with open(path, "a", encoding="utf-8") as file:
            file.write(repr(words) + "\n")

    soon = {
        "visibility_timeout": 3,
        "unacked_restore_interval": 0.2,  # 100 seconds by default
        "unacked_restore_throttle": 1,
    }
    errands(url, written, transport=soon).worker_main(["worker", "--loglevel=ERROR", *options])
