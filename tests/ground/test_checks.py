import numpy as np
import pytest
import torch

from robustbench_bi.errors import InputError
from robustbench_bi.ground.checks import check_integer, plain_integer


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_integers_of_every_library_become_pythons_own(value):
    assert check_integer("number", plain_integer(value), 0) == 3
    assert type(plain_integer(value)) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float32(3), "3", None, torch.zeros(2)], ids=repr)
def test_what_is_no_integer_stays_and_is_refused(value):
    assert plain_integer(value) is value
    with pytest.raises(InputError, match="number must be an integer of at least 0, got"):
        check_integer("number", plain_integer(value), 0)
