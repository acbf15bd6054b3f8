"""How many cores there are, and calls on all of them."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from prunebench.system import cores
from prunebench.system.cores import in_order


def test_the_cores_are_those_of_this_process(monkeypatch):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _pid: {0, 3, 5}, raising=False)
    assert cores.cores() == cores.threads() == 3
    monkeypatch.delattr(cores.os, "sched_getaffinity")
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 64)
    assert (cores.cores(), cores.threads()) == (64, 16)


def test_calls_run_at_once_and_come_in_order(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 3)
    together = threading.Barrier(3)

    def call(number):
        together.wait(timeout=30)
        return number

    assert list(in_order(call, range(9))) == [*range(9)]


def test_few_results_wait_for_a_slow_caller(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    asked = []
    results = in_order(lambda number: number, (asked.append(number) or number for number in range(100)))
    assert next(results) == 0
    assert len(asked) == 5
    results.close()


def test_a_call_sees_the_context_and_passes_on_its_error():
    variable = ContextVar("variable", default="unset")
    variable.set("set")
    assert list(in_order(lambda _item: variable.get(), [1])) == ["set"]
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda item: 1 / item, [1, 0]))
