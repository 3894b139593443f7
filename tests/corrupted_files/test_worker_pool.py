import math
import os

import pytest
import torch

from robustbench_bi.corrupted_files.worker_pool import in_processes, stop_if_asked
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cores import available_cores

# Functions of the standard library: worker processes cannot import the tests.


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_and_reported_once(tmp_path, workers):
    jobs, finished = [str(tmp_path / str(number)) for number in range(9)], []
    in_processes(os.mkdir, iter(jobs), workers, finished.append)
    assert sorted(finished) == jobs
    assert len(list(tmp_path.iterdir())) == 9


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_is_raised_and_no_further_job_is_taken(workers):
    taken = []

    def jobs():
        for number in (4.0, -1.0, *[9.0] * 50):
            taken.append(number)
            yield number

    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        in_processes(math.sqrt, jobs(), workers, lambda job: None)
    assert len(taken) < 20


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(DataError, match=r"^a worker process died, perhaps for lack of memory.*run again to continue$"):
        in_processes(os._exit, [1, 1, 1], 2, lambda job: None)


def test_the_calling_process_keeps_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        in_processes(lambda job: job.append(torch.get_num_threads()), [seen := []], 1, lambda job: None)
        assert seen == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_nobody_asks_the_calling_process_to_stop():
    stop_if_asked()
    assert available_cores() >= 1
