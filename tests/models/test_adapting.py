import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

from robustbench_bi.errors import InputError
from robustbench_bi.models import create_model
from robustbench_bi.models.adapting import adapted

NETWORKS = {
    "ours": lambda: create_model("binet29_dc_ca", num_classes=5, width=0.25),
    "torchvision": lambda: torchvision.models.resnet18(num_classes=5),
    "timm": lambda: timm.create_model("efficientnet_lite0", num_classes=5),
    "frozen": lambda: torchvision.models.resnet18(num_classes=5, norm_layer=torchvision.ops.misc.FrozenBatchNorm2d),
    "one dimension": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.BatchNorm1d(8)),
}


def in_training(network, images):
    """What batch norms in training mode give, whatever class they are."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if hasattr(module, "running_var") and hasattr(module, "training"):
            module.train()
    return network(images)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "frozen"])
def test_without_trust_in_the_source_it_is_the_network_in_training_mode(name):
    torch.manual_seed(0)
    network, images = NETWORKS[name]().eval(), torch.randn(6, 3, 32, 32)
    with torch.no_grad():
        own, expected = adapted(network, 0, 6, "it")(images), in_training(network, images)
    spread = expected.std()
    torch.testing.assert_close(own / spread, expected / spread, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_batches_are_independent_and_the_network_stays(name):
    torch.manual_seed(0)
    network, images = NETWORKS[name]().eval(), torch.randn(6, 3, 32, 32)
    with torch.inference_mode():
        before, ready = network(images), adapted(network, 10, 6, "it")
        first = ready(images)
        ready(images + 3)
        assert torch.equal(ready(images), first)
        assert torch.equal(network(images), before)
        assert not torch.allclose(first, before)
        far = adapted(network, 10**9, 6, "it")(images)
    torch.testing.assert_close(far, before, rtol=1e-4, atol=1e-4)


def test_the_share_of_a_batch_is_n_by_its_size():
    norm = nn.BatchNorm1d(1, eps=0).eval()
    values = torch.tensor([[2.0], [4.0], [6.0]])
    # Mean 1/4 · 0 + 3/4 · 4 = 3; variance 1/4 · 1 + 3/4 · 8/3 = 2.25, with that of the batch over its 3 values.
    torch.testing.assert_close(adapted(norm, 1, 3, "it")(values), (values - 3) / 1.5)


def test_norms_without_statistics_or_of_single_pictures_do_not_count():
    for network in (nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3, track_running_stats=True)):
        with pytest.raises(InputError, match="it has no batch norms"):
            adapted(network.eval(), 0, 2, "it")
