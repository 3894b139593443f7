import threading

import pytest
import torch

from robustbench_bi.ops.threads import share_out


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


def test_every_part_is_done_once(threads):
    result = torch.zeros(100)

    def work(part):
        result[part] += part

    share_out(work, range(100))
    assert torch.equal(result, torch.arange(100.0))


def test_parts_run_at_the_same_time_on_one_thread_each_of_torch(threads):
    together = threading.Barrier(threads, timeout=20)
    seen = []

    def work(part):
        if threads > 1:
            together.wait()
        seen.append((threading.get_ident(), torch.get_num_threads()))

    share_out(work, range(threads))
    assert len({thread for thread, _ in seen}) == threads
    assert {count for _, count in seen} == {1}


def test_one_part_runs_here(threads):
    seen = []
    share_out(lambda part: seen.append(threading.get_ident()), [0])
    assert seen == [threading.get_ident()]


def test_nothing_to_do(threads):
    share_out(lambda part: pytest.fail("called"), [])


def test_an_error_reaches_the_caller(threads):
    def work(part):
        raise ValueError(f"part {part}")

    with pytest.raises(ValueError, match="part 0"):
        share_out(work, range(4))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_parts_write_tensors_of_the_callers_mode(threads, mode):
    with mode():
        result = torch.zeros(4)
        share_out(lambda part: result[part].fill_(part), range(4))
        assert torch.equal(result, torch.arange(4.0))


def test_work_may_share_out_work(threads):
    result = torch.zeros(4, 4)
    share_out(lambda row: share_out(lambda column: result[row, column].fill_(row + column), range(4)), range(4))
    assert torch.equal(result, torch.arange(4.0)[:, None] + torch.arange(4.0))
