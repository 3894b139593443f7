from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from robustbench_bi.corruptions import variates, variates_numba_kernels
from robustbench_bi.corruptions.draws import Draws
from robustbench_bi.ops.random_bits.reference import philox

SAMPLE = 200_000


def draws(ids: list[int] | None = None, *, seed: int = 0, stream: int = 1, severity: int = 1) -> Draws:
    return Draws(
        torch.tensor([0] if ids is None else ids, dtype=torch.int64), seed=seed, stream=stream, severity=severity
    )


def requests(source: Draws) -> list[Tensor]:
    """One of each kind, of odd sizes."""
    return [
        source.uniform(3, low=-2.0, high=5.0),
        source.normal(2, 5),
        source.integers(-4, 4, 7),
        source.bits16(3, 3),
        source.uniform(),
        source.integers(0, 10),
    ]


def test_shapes_and_kinds() -> None:
    results = requests(draws([3, 9]))
    assert [tuple(result.shape) for result in results] == [(2, 3), (2, 2, 5), (2, 7), (2, 3, 3), (2,), (2,)]
    kinds = [torch.float32, torch.float32, torch.int64, torch.int32, torch.float32, torch.int64]
    assert [result.dtype for result in results] == kinds


def test_no_images() -> None:
    assert [len(result) for result in requests(draws([]))] == [0] * 6


def test_an_image_alone_draws_what_it_draws_in_a_batch() -> None:
    ids = [0, 1, 2**32, 2**40 + 1, 2**63 - 1]
    together = requests(draws(ids))
    for number, identifier in enumerate(ids):
        for alone, batch in zip(requests(draws([identifier])), together, strict=True):
            assert torch.equal(alone[0], batch[number])


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"seed": 2**32},
        {"seed": 2**64 - 1},
        {"stream": 2},
        {"severity": 2},
        {"stream": 2, "severity": 4},
        {"ids": [1]},
        {"ids": [2**32]},
    ],
    ids=str,
)
def test_every_part_of_the_key_matters(other: dict[str, int]) -> None:
    here, there = draws().bits16(1000), draws(**other).bits16(1000)  # type: ignore[arg-type]
    # Independent patterns of 16 bits agree with probability 2**-16.
    assert int((here == there).sum()) < 5


def test_requests_take_successive_blocks_of_the_stream() -> None:
    identifier, seed = 5 + 7 * 2**32, 11 + 13 * 2**32
    source = draws([identifier], seed=seed, stream=19, severity=5)
    whole = [torch.tensor([word]) for word in (5, 7, 19 * 8 + 5)]
    words = torch.stack(philox((torch.arange(4), *whole), (11, 13)), dim=-1).flatten()
    assert source.bits16(3).tolist() == [[int(words[0]) % 2**16, int(words[0]) >> 16, int(words[1]) % 2**16]]
    assert source.integers(0, 2**31, 5).flatten().tolist() == [int(word) >> 1 for word in words[4:9]]
    assert source.uniform().tolist() == [(int(words[12]) >> 8) / 2**24]


def test_uniform_is_uniform() -> None:
    values = draws().uniform(SAMPLE)[0].double()
    assert 0 <= float(values.min()) < 1e-4
    assert 1 - 1e-4 < float(values.max()) < 1
    check_distribution(values, values.sort().values)


def test_uniform_interval_is_half_open() -> None:
    # Here every second value rounds up to the upper end unless it is kept out.
    values = draws().uniform(1000, low=1.0, high=1.0 + 2**-23)
    assert values.unique().tolist() == [1.0]
    values = draws().uniform(SAMPLE, low=-45.0, high=45.0)
    assert float(values.min()) >= -45
    assert float(values.max()) < 45
    check_distribution(values[0].double(), (values[0].double().sort().values + 45) / 90)


def test_normal_is_normal() -> None:
    values = draws().normal(SAMPLE)[0].double()
    assert abs(float(values.mean())) < 4 / math.sqrt(SAMPLE)
    assert abs(float(values.std()) - 1) < 4 / math.sqrt(2 * SAMPLE)
    check_distribution(values, torch.special.ndtr(values.sort().values))


def check_distribution(values: Tensor, quantiles: Tensor) -> None:
    """Kolmogorov–Smirnov at the level 1e-4, and no correlation between neighbours."""
    ranks = torch.arange(len(quantiles), dtype=torch.float64) / len(quantiles)
    distance = float((quantiles - ranks).abs().max())
    assert distance < 2.23 / math.sqrt(len(quantiles))
    assert abs(float(torch.corrcoef(torch.stack([values[1:], values[:-1]]))[0, 1])) < 4 / math.sqrt(len(values))


def test_the_check_of_distributions_can_fail() -> None:
    skewed = draws().uniform(SAMPLE)[0].double() ** 1.05
    with pytest.raises(AssertionError):
        check_distribution(skewed, skewed.sort().values)


def test_the_table_of_normals_is_as_stated() -> None:
    """Kolmogorov–Smirnov distance 2**-17, standard deviation 0.99999, nothing beyond 4.33."""
    patterns = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.int32)[None]
    values = variates.normal(patterns, 65536)[0].double()
    below = torch.special.ndtr(values)
    steps = torch.arange(65537, dtype=torch.float64) / 65536
    distance = max(float((below - steps[:-1]).abs().max()), float((steps[1:] - below).abs().max()))
    assert distance == pytest.approx(2**-17, rel=0.01)
    assert float(values.mean()) == pytest.approx(0, abs=1e-6)
    assert float(values.std(correction=0)) == pytest.approx(0.99999, abs=5e-6)
    assert 4.32 < float(values.abs().max()) < 4.33


def test_integers_are_uniform() -> None:
    values = draws().integers(-4, 4, SAMPLE)[0]
    counts = torch.bincount(values + 4, minlength=8).double()
    assert (int(values.min()), int(values.max())) == (-4, 3)
    chi_square = float(((counts - SAMPLE / 8) ** 2 / (SAMPLE / 8)).sum())
    assert chi_square < 29.9  # 7 degrees of freedom, level 1e-4


@pytest.mark.parametrize("shape", [(3, 3), (2, 8), (1,)], ids=str)
def test_kernels_get_the_same_values(shape: tuple[int, ...]) -> None:
    """A second request each: an odd count must leave the next block to it, as with the other methods."""
    tensors, arrays = draws(), draws()
    for _ in range(2):
        assert np.array_equal(arrays.halves(*shape), tensors.bits16(*shape).flatten(1).numpy())
        ranks, table = arrays.normal_ranks(*shape)
        assert np.array_equal(table[ranks], tensors.normal(*shape).flatten(1).numpy())


def test_bits16_use_all_bits() -> None:
    values = draws().bits16(SAMPLE)[0]
    assert (int(values.min()), int(values.max())) == (0, 65535)
    ones = torch.stack([(values >> bit) & 1 for bit in range(16)]).double().mean(dim=1)
    assert float((ones - 0.5).abs().max()) < 5 * 0.5 / math.sqrt(SAMPLE)


def test_results_are_fresh() -> None:
    source = draws()
    source.normal(50).fill_(7)
    again = draws()
    assert float(again.normal(50).max()) < 7


@pytest.mark.parametrize(
    ("kind", "count", "bounds"),
    [
        ("uniform", 39, (0.0, 1.0)),
        ("uniform", 40, (-2.7, 0.1)),
        ("normal", 79, ()),
        ("integers", 40, (-4, 4)),
        ("integers", 37, (0, 2**31)),
        ("bits16", 79, ()),
    ],
)
def test_the_compiled_variates_are_those_of_plain_torch(kind: str, count: int, bounds: tuple[float, ...]) -> None:
    words = torch.randint(-(2**31), 2**31, (500, 40), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    words[0, :3] = torch.tensor([0, -1, -(2**31)], dtype=torch.int32)
    expected, result = (getattr(module, kind)(words, count, *bounds) for module in (variates, variates_numba_kernels))
    assert result.dtype == expected.dtype and result.shape == (500, count)
    assert torch.equal(result, expected)
