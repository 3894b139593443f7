from pathlib import Path

import pytest
import safetensors.torch


@pytest.fixture
def tiny(monkeypatch):
    """Makes `tiny_networks:NAME` a model."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def same_bytes():
    """Whether two checkpoints hold the same tensors, bit for bit."""

    def compare(first, second):
        one, two = safetensors.torch.load_file(first), safetensors.torch.load_file(second)
        assert one.keys() == two.keys()
        return all(one[name].numpy().tobytes() == two[name].numpy().tobytes() for name in one)

    return compare
