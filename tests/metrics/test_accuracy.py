import pandas as pd
import pytest

from robustbench_bi.errors import InputError
from robustbench_bi.metrics.accuracy import top1, top5, top_k_scores


def test_rank_zero_is_correct():
    frame = pd.DataFrame({"rank": [0, 1, 4, 5, 0]})
    assert top1(frame) == 40.0
    assert top5(frame) == 80.0
    assert top_k_scores(frame, 2).tolist() == [100, 100, 0, 0, 100]


def test_k_below_one_is_refused():
    with pytest.raises(InputError, match="k must be at least 1, got 0"):
        top_k_scores(pd.DataFrame({"rank": [0]}), 0)
