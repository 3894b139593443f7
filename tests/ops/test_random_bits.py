from __future__ import annotations

import sys

import pytest
import torch

from robustbench_bi.errors import BackendUnavailableError, UnknownNameError
from robustbench_bi.ops.random_bits import BACKENDS, load_backend, philox

# From the file kat_vectors of Random123 (Salmon et al.), "philox 4x32 10": counter, key, words.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


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


def available_backends() -> list[str]:
    names = []
    for name in BACKENDS.names:
        try:
            load_backend(name)
        except BackendUnavailableError:
            continue
        names.append(name)
    return names


@pytest.fixture(params=available_backends())
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(backend: str, counter: str, key: str, words: str) -> None:
    first, second, third, fourth = (torch.tensor([word]) for word in numbers(counter))
    low, high = numbers(key)
    result = philox((first, second, third, fourth), (low, high), backend=backend)
    assert [int(word) for word in result] == numbers(words)


def test_equals_a_twin_in_python_integers(backend: str) -> None:
    counter = torch.randint(0, 2**32, (4, 50), generator=torch.Generator().manual_seed(0))
    key = (0xDEADBEEF, 0x0BADCAFE)
    words = torch.stack(philox((counter[0], counter[1], counter[2], counter[3]), key, backend=backend))
    expected = [philox_of_integers(column, list(key)) for column in counter.T.tolist()]
    assert words.T.tolist() == expected


def test_counter_words_broadcast(backend: str) -> None:
    position, low = torch.arange(5)[None], torch.tensor([3, 2**32 - 1, 7])[:, None]
    high, last = torch.tensor([[0], [1], [2**31 - 1]]), torch.tensor([[77]])
    small = torch.stack(philox((position, low, high, last), (1, 2), backend=backend))
    whole = [word.expand(3, 5).contiguous() for word in (position, low, high, last)]
    assert small.shape == (4, 3, 5)
    assert torch.equal(small, torch.stack(philox((whole[0], whole[1], whole[2], whole[3]), (1, 2), backend=backend)))


def test_the_counter_is_not_modified(backend: str) -> None:
    words = [torch.arange(6) + shift for shift in range(4)]
    before = [word.clone() for word in words]
    philox((words[0], words[1], words[2], words[3]), (5, 6), backend=backend)
    assert all(torch.equal(word, copy) for word, copy in zip(words, before, strict=True))


def test_unknown_backend() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown backend 'refernce'\. Did you mean 'reference'\?"):
        load_backend("refernce")


def test_a_backend_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robustbench_bi.ops.random_bits.triton_kernels", None)
    with pytest.raises(BackendUnavailableError, match=r"backend 'triton' of random_bits cannot run here .*'reference'"):
        load_backend("triton")
