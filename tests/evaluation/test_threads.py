import subprocess
import sys

import pytest
import torch

from robustbench_bi.evaluation.threads import SETTLED_FOR, Threads


class Clock:
    """Seconds that work takes, by the number of threads that torch has."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def __call__(self):
        return self.now

    def work(self):
        self.now += self.seconds[torch.get_num_threads()]
        return torch.get_num_threads()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("seconds", "best"), [({1: 0.01, 2: 0.04}, 1), ({1: 0.02, 2: 0.01}, 2)])
def test_the_faster_number_is_kept_and_torchs_put_back(seconds, best, two_threads):
    clock = Clock(seconds)
    threads = Threads(2, clock)
    used = [threads.run(clock.work) for _ in range(40)]
    assert set(used) == {1, 2} and set(used[-20:]) == {best} and threads.chosen == best
    assert torch.get_num_threads() == 2


def test_one_thread_is_not_tried_where_a_batch_takes_long(two_threads):
    clock = Clock({1: 2.0, 2: 1.0})
    threads = Threads(2, clock, processor=lambda: 2 * clock.now)
    assert [threads.run(clock.work) for _ in range(20)].count(1) <= 1


def test_one_thread_is_tried_where_a_batch_takes_long_because_others_hold_the_machine(two_threads):
    clock = Clock({1: 0.2, 2: 1.0})
    threads = Threads(2, clock, processor=lambda: 0.2 * clock.now)
    assert [threads.run(clock.work) for _ in range(40)][-1] == threads.chosen == 1


def test_a_lucky_batch_settles_nothing(two_threads):
    clock = Clock({1: 0.02, 2: 0.04})
    threads = Threads(2, clock)
    for number in range(40):
        clock.seconds[2] = 0.01 if number == 5 else 0.04
        threads.run(clock.work)
    assert threads.chosen == 1


def test_it_is_tried_anew_when_the_load_changes(two_threads):
    clock = Clock({1: 0.02, 2: 0.01})
    threads = Threads(2, clock)
    for _ in range(20):
        threads.run(clock.work)
    clock.seconds, clock.now = {1: 0.01, 2: 0.05}, clock.now + SETTLED_FOR + 1
    assert [threads.run(clock.work) for _ in range(40)][-1] == 1


def test_a_failure_puts_torchs_number_back(two_threads):
    with pytest.raises(ZeroDivisionError):
        Threads(2).run(lambda: 1 / 0)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_waiting_threads_do_not_spin_unless_the_user_says_so(given, expected, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = "import os, robustbench_bi; print(os.environ['OMP_WAIT_POLICY'])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
