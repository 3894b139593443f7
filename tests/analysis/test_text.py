"""Numbers as text."""

import math
from fractions import Fraction

import numpy as np
import pytest

from robustbench_bi.analysis.text import format_interval, rounded


@pytest.mark.parametrize("decimals", [0, 1, 2, 3])
def test_a_tie_reads_the_same_whichever_sum_gave_it(decimals):
    half = 0.5 * 10.0**-decimals
    for number in np.arange(0, 100, 7 * half):
        tie = round(float(number) // (2 * half) * 2 * half + half, 9)
        near = [tie, np.nextafter(tie, 0), np.nextafter(tie, 200), tie * (1 + 2e-15), np.float64(tie)]
        shown = {format_interval(value, value, value, decimals=decimals) for value in near}
        assert len(shown) == 1
        assert abs(Fraction(rounded(tie, decimals)) - Fraction(tie)) <= Fraction(half) * (1 + Fraction(1, 10**9))


def test_1587_right_of_2000_read_the_same_as_a_share_a_mean_and_a_difference():
    right = np.repeat([1.0, 0.0], [1587, 413])
    sums = [100 * right.mean(), 1587 / 2000 * 100, 100 - 413 / 20, 99.35 - 20, 1587 * 0.05, (0.79 + 0.797) * 50]
    assert {format_interval(value) for value in sums} == {"79.3"}


def test_what_is_no_tie_is_rounded_as_ever():
    assert [rounded(value, 1) for value in (79.3500001, 79.3499999, -79.3500001)] == [79.4, 79.3, -79.4]
    assert math.isnan(rounded(math.nan, 1)) and rounded(math.inf, 1) == math.inf
    assert f"{rounded(-0.04, 1):+.1f}" == "+0.0"
