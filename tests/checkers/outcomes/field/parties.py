"""Third parties, queues and policies that the services share."""

from chaosharness import Declined, External, Queue

NO_ANSWER = (ConnectionError, TimeoutError)
AGAIN = {"on_unreadable": "dead-letter", "on_error": "dead-letter", "retries_max": 60}


def queues(*names):
    """Return queues that put aside what nobody can handle."""
    return {**{name: Queue("quorum", dead_letter="dead") for name in names}, "dead": Queue()}


class Cards:
    def __init__(self):
        self.keys = {}

    def pay(self, customer, cents, key=None):
        if key is not None and key in self.keys:
            return External.unchanged(self.keys[key])
        r = f"pay_{len(self.keys)}"
        self.keys[key if key is not None else object()] = r
        return r

    def void(self, ref, key=None):
        if ("v", ref) in self.keys:
            return External.unchanged("voided")
        self.keys["v", ref] = 1
        return "voided"


class Mailer:
    def __init__(self):
        self.sent = {}

    def send(self, to, text, key):
        if key in self.sent:
            return External.unchanged(self.sent[key])
        self.sent[key] = f"m{len(self.sent)}"
        return self.sent[key]


class Bank:
    def __init__(self):
        self.done = {}
        self.back = set()

    def charge(self, order, cents, key=None):
        if cents > 5000:
            raise Declined(order)
        if key is not None and key in self.done:
            return External.unchanged(self.done[key])
        self.done[key if key is not None else len(self.done)] = f"t-{order}"
        return f"t-{order}"

    def refund(self, order, cents, key=None):
        if key is not None and key in self.back:
            return External.unchanged("ok")
        if key is not None:
            self.back.add(key)
        return "ok"
