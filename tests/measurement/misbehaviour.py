"""What real builds do wrong, as functions that a worker can run."""

import os
import signal
import time


def add(state, a, b):
    state["calls"] = state.get("calls", 0) + 1
    return a + b


def calls(state):
    return state["calls"]


def hang(state):
    while True:
        time.sleep(0.01)


def grow(state):
    held = []
    while True:
        held.append(bytearray(32 * 2**20))
        time.sleep(0.005)


def die(state):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(state):
    os._exit(7)


def fail(state, kind):
    from farthing import errors

    raise {"library": RuntimeError("a kernel said no"), "ours": AssertionError("broken"), "wrong": errors.WrongOutput("NaN")}[
        kind
    ]


def count(state, n):
    for number in range(n):
        state["tell"](number)
    return "counted"
