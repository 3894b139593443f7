import functools
import threading

import pytest
import torch

from robustbench_bi.ops.share_out import pool, share_out


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


def test_every_call_is_made_once(threads):
    done = []
    share_out([functools.partial(done.append, number) for number in range(100)])
    assert sorted(done) == list(range(100))


def test_calls_run_at_the_same_time(threads):
    together = threading.Barrier(threads, timeout=20)
    seen = []

    def work():
        together.wait()
        seen.append(threading.get_ident())

    share_out([work] * threads)
    assert len(set(seen)) == threads
    assert threading.get_ident() in seen


def test_nothing_to_do(threads, monkeypatch):
    asked = []
    monkeypatch.setattr("robustbench_bi.ops.share_out.pool", lambda count: asked.append(count) or pool(count))
    share_out([])
    assert asked == []


def test_an_error_reaches_the_caller(threads):
    def fail():
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        share_out([fail] * 4)


def test_the_pool_runs_torch_on_one_thread_each(threads):
    together = threading.Barrier(threads, timeout=20)

    def count(_):
        together.wait()
        return torch.get_num_threads(), threading.get_ident()

    counts = list(pool(threads).map(count, range(threads)))
    assert {number for number, _ in counts} == {1}
    assert len({thread for _, thread in counts}) == threads
    assert pool(threads) is pool(threads)
