"""Fingerprints of code that has run often: the interpreter specialises it, and nothing is other."""

import sys
import textwrap

import pytest

from chaosharness import System
from chaosharness.handlers.recall import of_stack

ROUNDS = 100


class Part:
    """Looks at whoever uses it, in all the ways in which code comes to call other code."""

    def __init__(self, look):
        self.look = look

    def __call__(self, *_):
        self.look()
        return 1

    def __hash__(self):
        self.look()
        return 1

    def __len__(self):
        self.look()
        return 1

    def __str__(self):
        self.look()
        return ""

    def __iter__(self):
        self.look()
        return iter(())

    def __getitem__(self, _):
        return self.look()

    def __getattr__(self, name):
        if name == "got":
            return self.look()
        raise AttributeError(name)

    @property
    def read(self):
        return self.look()

    def method(self):
        self.look()

    def each(self):
        self.look()
        yield 1

    def __lt__(self, _):
        self.look()
        return True

    def __add__(self, _):
        return self.look()

    def __bool__(self):
        self.look()
        return True

    def __enter__(self):
        self.look()

    def __exit__(self, *_):
        self.look()


WAYS = {
    "calls a function": "look()",
    "calls an object": "part(1)",
    "calls a method": "part.method()",
    "calls a built-in of one argument": "hash(part)",
    "asks how long": "len(part)",
    "writes": "str(part)",
    "fills in": "f'{part}'",
    "makes a tuple": "tuple(part)",
    "calls a method in C": "[].extend(part)",
    "calls a built-in of two": "getattr(part, 'read')",
    "unpacks": "() = part",
    "calls with what it unpacks": "print(*part, end='')",
    "calls by keyword": "min([1, 2], key=part)",
    "calls a class": "sorted([part, part])",
    "reads a property": "part.read",
    "reads what is not there": "part.got",
    "takes an item": "part[0]",
    "goes round": "for _ in part.each(): pass",
    "compares": "part < 1",
    "adds": "part + 1",
    "asks for truth": "1 if part else 2",
    "enters": "with part: pass",
}


@pytest.mark.parametrize("way", WAYS)
def test_code_stands_where_it_stood_however_often_it_has_run(way):
    states = []

    def look():
        frame = sys._getframe(1)
        while frame.f_code.co_name != "go_round":
            frame = frame.f_back
        (code, at, *_), sure = of_stack(frame)
        states[-1].append((code, at, sure))

    body = textwrap.indent(WAYS[way], "        ")
    source = (
        f"def go_round(part, look, begin):\n    while True:\n        if begin(): return\n{body}\n"
    )
    names = {"__name__": "shop"}
    exec(source, names)

    def begin():
        states.append([])
        return len(states) > ROUNDS

    names["go_round"](Part(look), look, begin)
    assert states[0]
    assert all(one == states[0] for one in states[:ROUNDS])


LOOP = """
import time

def main():
    while True:
        tell()
        time.sleep(1)

def tell():
    pass
"""


def test_a_run_is_as_long_as_the_first_one_when_its_loop_is_warm():
    names = {"__name__": "shop"}
    exec(LOOP, names)
    system = System("shop")

    @system.service("relay")
    def relay(env):
        env.main(names["main"])

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        pass

    runs = [system.run() for _ in range(30)]
    assert {run.digest() for run in runs} == {runs[0].digest()}
