import pytest
import torch

from robustbench_bi.errors import UnknownNameError
from robustbench_bi.models import ALIASES, MODELS, VARIANTS, create_model
from robustbench_bi.models.weights import save_checkpoint, weights_hash

OURS = [variant.name for variant in VARIANTS if variant.model in MODELS]
OTHERS = [variant.name for variant in VARIANTS if variant.model.startswith("timm:")]


@pytest.mark.parametrize("name", OURS)
def test_a_variant_is_its_model_with_options(name):
    variant = VARIANTS[name]
    torch.manual_seed(0)
    network = create_model(name, width=0.125, num_classes=3)
    torch.manual_seed(0)
    same = create_model(variant.model, **variant.options, width=0.125, num_classes=3)
    assert network.identity == same.identity
    assert weights_hash(network) == weights_hash(same)
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    with torch.device("meta"):
        default = create_model(variant.model, width=0.125, num_classes=3)
    assert network.identity != default.identity


@pytest.mark.parametrize("name", OTHERS)
def test_timms_networks_are_built_with_their_options(name):
    with torch.device("meta"):
        network = create_model(name, num_classes=3)
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    variant = VARIANTS[name]
    assert network.identity == {"name": variant.model, "options": dict(variant.options), "num_classes": 3}


def test_every_variant_is_ours_or_timms():
    assert sorted([*OURS, *OTHERS]) == sorted(VARIANTS.names)
    assert not set(VARIANTS.names) & {*MODELS.names, *ALIASES}


def test_an_option_beside_the_name_wins():
    with torch.device("meta"):
        options = create_model("binet50_dc_sakg5", delta=9).identity["options"]
    assert (options["delta"], options["dual_branch"]) == (9, False)


def test_a_checkpoint_of_a_variant_is_one_of_its_model(tmp_path):
    path = tmp_path / "variant.safetensors"
    network = create_model("binet50_dc_without_sakg", width=0.125, num_classes=3)
    save_checkpoint(path, network)
    for name in ("binet50_dc_without_sakg", "binet50_dc"):
        again = create_model(name, weights=path)
        assert again.identity == network.identity
        assert weights_hash(again) == weights_hash(network)


def test_a_misspelt_variant_is_suggested():
    with pytest.raises(UnknownNameError, match=r"unknown model 'eca_resnet5'. Did you mean 'eca_resnet50'"):
        create_model("eca_resnet5")
