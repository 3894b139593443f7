from __future__ import annotations

import numpy as np

from robustbench_bi.corruptions import CORRUPTIONS
from robustbench_bi.corruptions.apply import corrupt
from robustbench_bi.corruptions.gallery import gallery, sample_photograph


def test_every_corruption_at_every_severity() -> None:
    photograph = sample_photograph(48)
    pictures = gallery(photograph, seed=3)
    assert tuple(pictures) == CORRUPTIONS.names
    for name, own in pictures.items():
        assert (own.shape, own.dtype) == ((5, 48, 48, 3), np.uint8)
        assert np.array_equal(own[3], corrupt(photograph, name, 4, seed=3, table="auto"))


def test_the_photograph_is_not_flat() -> None:
    assert sample_photograph().std() > 20
