from __future__ import annotations

import numpy as np
import pytest
import torch

from robustbench_bi.ops.random_bits import MODULES, random_words

# From the file kat_vectors of Random123 (Salmon et al.), "philox 4x32 10": counter, key, words.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


pytestmark = pytest.mark.gpu

# Without a GPU, Triton's kernels run in its interpreter; see tests/conftest.py.
DEVICES = {"reference": "cpu", "numba": "cpu", "triton": "cuda" if torch.cuda.is_available() else "cpu"}


@pytest.fixture(params=MODULES)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def numbers(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def philox_of_integers(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4x32-10 in Python's unbounded integers, from the paper's description."""
    for _ in range(10):
        first, second = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [
            (second >> 32) ^ counter[1] ^ key[0],
            second % 2**32,
            (first >> 32) ^ counter[3] ^ key[1],
            first % 2**32,
        ]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(backend: str, counter: str, key: str, words: str) -> None:
    first, second, third, fourth = numbers(counter)
    identifier = np.array([third << 32 | second], dtype=np.uint64).view(np.int64)
    low, high = numbers(key)
    result = random_words(
        torch.from_numpy(identifier).to(DEVICES[backend]), 1, start=first, last=fourth, key=(low, high), backend=backend
    )
    assert [word % 2**32 for word in result.flatten().tolist()] == numbers(words)


def test_equals_a_twin_in_python_integers(backend: str) -> None:
    key, start, last, blocks = (0xDEADBEEF, 0x0BADCAFE), 2**32 - 20, 2**32 - 1, 20
    ids = [0, 7, 2**32 - 1, 2**32, 2**63 - 1]
    words = random_words(
        torch.tensor(ids, device=DEVICES[backend]), blocks, start=start, last=last, key=key, backend=backend
    )
    assert (words.dtype, tuple(words.shape)) == (torch.int32, (5, 80))
    for identifier, row in zip(ids, words.tolist(), strict=True):
        counters = [[start + block, identifier % 2**32, identifier >> 32, last] for block in range(blocks)]
        expected = [word for counter in counters for word in philox_of_integers(counter, list(key))]
        assert [word % 2**32 for word in row] == expected


def test_backends_agree_bit_for_bit(backend: str) -> None:
    ids = torch.randint(0, 2**62, (3,), generator=torch.Generator().manual_seed(0))
    options = {"start": 5, "last": 157, "key": (2**31, 3)}
    words, expected = (
        random_words(ids.to(DEVICES[name]), 1001, backend=name, **options).cpu()  # type: ignore[arg-type]
        for name in (backend, "reference")
    )
    assert torch.equal(words, expected)


def test_nothing_to_do(backend: str) -> None:
    assert random_words(torch.empty(0, dtype=torch.int64, device=DEVICES[backend]), 3, backend=backend).shape == (0, 12)
    assert random_words(torch.tensor([1, 2], device=DEVICES[backend]), 0, backend=backend).shape == (2, 0)


def test_the_ids_are_not_modified(backend: str) -> None:
    ids = torch.arange(6, device=DEVICES[backend]) + 2**40
    random_words(ids, 2, backend=backend)
    assert (ids - 2**40).tolist() == [0, 1, 2, 3, 4, 5]
