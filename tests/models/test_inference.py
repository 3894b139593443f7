from types import SimpleNamespace

import numpy as np
import pytest
import torch

from robustbench_bi.errors import InputError, ModelOutputError
from robustbench_bi.models.inference import checked_logits, choose_device, logits_of, memory_format, score


def test_rank_prediction_confidence_and_loss_of_known_logits():
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    columns = score(logits, torch.tensor([0, 2, 0, 1], dtype=torch.int32))
    assert columns["prediction"].tolist() == [0, 0, 0, 0]
    assert columns["rank"].tolist() == [0, 2, 0, 1]
    softmax = np.exp([2.0, 1.0, 0.0]) / np.exp([2.0, 1.0, 0.0]).sum()
    assert columns["confidence"][:2] == pytest.approx([softmax[0]] * 2, abs=1e-6)
    assert columns["loss"][:2] == pytest.approx(-np.log(softmax[[0, 2]]), abs=1e-6)


def test_top_k_of_random_logits_agrees_with_torch():
    logits = torch.randn(200, 20, generator=torch.Generator().manual_seed(0)).round(decimals=0)
    labels = torch.randint(20, (200,), generator=torch.Generator().manual_seed(1))
    columns = score(logits, labels)
    order = logits.sort(dim=1, descending=True, stable=True).indices
    assert columns["rank"].tolist() == (order == labels[:, None]).int().argmax(dim=1).tolist()
    assert ((columns["rank"] == 0) == (columns["prediction"] == labels.numpy())).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logits_are_float32_and_near_each_other(precision):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    images = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    asked = SimpleNamespace(
        network=network, name="net", precision=precision, num_classes=3, prepared=lambda images: images
    )
    logits = logits_of(asked, images)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, network(images), atol=0.05)
    assert torch.equal(logits, network(images)) == (precision == "fp32")


def test_only_networks_that_are_known_get_another_memory_format():
    assert memory_format("binet50") == memory_format("timm:resnet18") == torch.channels_last
    assert memory_format("package.module:build") == memory_format("Tiny") == torch.contiguous_format


@pytest.mark.parametrize(
    ("wrapped", "part"), [(lambda x: {"logits": x}, r'\["logits"\]'), (lambda x: (x, x), r"\[0\]")]
)
def test_logits_in_a_container_are_told_how_to_be_taken_out(wrapped, part):
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ModelOutputError, match=rf"one tensor: wrap .* returns, say, network\(images\){part}$"):
        checked_logits(wrapped(torch.zeros(2, 5)), images, "mine", 5)
    with pytest.raises(ModelOutputError, match=r"got NoneType; return the logits alone, as one tensor$"):
        checked_logits(None, images, "mine", 5)


def test_a_device_that_is_not_there_is_refused():
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(InputError, match="device 'nowhere' is not available"):
        choose_device("nowhere")
