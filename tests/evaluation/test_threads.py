import functools
import subprocess
import sys
import threading
import time

import pytest
import torch

from robustbench_bi.evaluation.threads import SETTLED_FOR, Threads


def same(batch):
    return batch


class Clock:
    """Seconds that using a batch takes, by the number of threads that torch has; making one takes none."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def __call__(self):
        return self.now

    def use(self, _):
        self.now += self.seconds[torch.get_num_threads()]
        return torch.get_num_threads()

    def used(self, threads, count):
        """With how many threads each of so many batches was used."""
        return list(threads.each([int] * count, self.use, same))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("seconds", "best"), [({1: 0.01, 2: 0.04}, 1), ({1: 0.02, 2: 0.01}, 2)])
@pytest.mark.parametrize("at_a_time", [1, 5, 40])
def test_the_faster_number_is_kept_and_torchs_put_back(seconds, best, at_a_time, two_threads):
    clock = Clock(seconds)
    threads = Threads(2, clock)
    used = [count for _ in range(40 // at_a_time) for count in clock.used(threads, at_a_time)]
    assert set(used) == {1, 2} and set(used[-20:]) == {best} and threads.chosen == best
    assert torch.get_num_threads() == 2


def test_one_thread_is_not_tried_where_a_batch_takes_long(two_threads):
    clock = Clock({1: 2.0, 2: 1.0})
    threads = Threads(2, clock, processor=lambda: 2 * clock.now)
    assert clock.used(threads, 20) == [2] * 20


def test_one_thread_is_tried_where_a_batch_takes_long_because_others_hold_the_machine(two_threads):
    clock = Clock({1: 0.2, 2: 1.0})
    threads = Threads(2, clock, processor=lambda: 0.2 * clock.now)
    assert clock.used(threads, 40)[-1] == threads.chosen == 1


def test_a_lucky_batch_settles_nothing(two_threads):
    clock = Clock({1: 0.02, 2: 0.04})
    threads = Threads(2, clock)
    for number in range(40):
        clock.seconds[2] = 0.01 if number == 5 else 0.04
        clock.used(threads, 1)
    assert threads.chosen == 1


def test_it_is_tried_anew_when_the_load_changes(two_threads):
    clock = Clock({1: 0.02, 2: 0.01})
    threads = Threads(2, clock)
    clock.used(threads, 20)
    clock.seconds, clock.now = {1: 0.01, 2: 0.05}, clock.now + SETTLED_FOR + 1
    assert clock.used(threads, 40)[-1] == 1


def who_makes(threads, count):
    """For each batch whether another thread made it, and with how many of torch's; they come in order."""
    me = threading.get_ident()
    makes = [
        functools.partial(lambda number: (number, threading.get_ident() != me, torch.get_num_threads()), number)
        for number in range(count)
    ]
    made = list(threads.each(makes, same, same))
    assert [number for number, *_ in made] == list(range(count))
    return [(beside, count) for _, beside, count in made]


def test_beside_one_thread_another_makes_the_next_batch(two_threads):
    threads = Threads(2)
    threads.chosen = 1
    assert who_makes(threads, 4) == [(False, 1), (True, 1), (True, 1), (True, 1)]
    threads.chosen = 2
    assert who_makes(threads, 3) == [(False, 2)] * 3


@pytest.mark.parametrize("chosen", [1, 2])
def test_batches_are_finished_in_order_and_beside_one_thread_by_another(chosen, two_threads):
    threads, me = Threads(2), threading.get_ident()
    threads.chosen = chosen

    def finish(number):
        time.sleep(0.01 * (number % 2))
        return number, threading.get_ident() != me, torch.get_num_threads()

    makes = [functools.partial(int, number) for number in range(5)]
    assert list(threads.each(makes, same, finish)) == [(number, chosen == 1, chosen) for number in range(5)]

    def fail(number):
        assert number < 2
        return number

    found = []
    with pytest.raises(AssertionError):
        found.extend(threads.each(makes, same, fail))
    assert torch.get_num_threads() == 2


def test_who_may_use_one_thread_alone_gets_no_second(two_threads):
    torch.set_num_threads(1)
    assert who_makes(Threads(1), 3) == [(False, 1)] * 3


def test_a_failure_puts_torchs_number_back_and_leaves_nothing_running(two_threads):
    threads, running = Threads(2), []
    threads.chosen = 1

    def make():
        running.append(True)
        time.sleep(0.05)
        running.pop()

    def fail(_):
        time.sleep(0.01)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(threads.each([make, make, make], fail, same))
    assert torch.get_num_threads() == 2 and not running
    with pytest.raises(ZeroDivisionError):
        list(threads.each([int, lambda: 1 / 0], same, same))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_waiting_threads_do_not_spin_unless_the_user_says_so(given, expected, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = "import os, robustbench_bi; print(os.environ['OMP_WAIT_POLICY'])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
