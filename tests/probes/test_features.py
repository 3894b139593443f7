import numpy as np
import pytest
import torch
from torch import nn

from robustbench_bi.data import open_data
from robustbench_bi.errors import InputError, ModelOutputError, UnknownNameError
from robustbench_bi.probes.features import REDUCTIONS, as_maps, choose_layer, correlation, layer_maps, reduce_maps
from robustbench_bi.probes.subjects import open_subjects, unchanged

IMAGES = torch.arange(2 * 3 * 64 * 64).remainder(251).to(torch.uint8).view(2, 3, 64, 64)


def subject_of(model, **options):
    """The model, as heat maps look into it on the demo data."""
    return open_subjects([model], open_data("demo", limit=1), look_inside=True, **options)[1][0]


class Steps(nn.Module):
    """Modules that run one after the other, by name; the outputs are pooled to ten logits."""

    def __init__(self, **steps):
        super().__init__()
        for name, module in steps.items():
            self.add_module(name, module)
        self.steps = list(steps)

    def forward(self, images):
        for name in self.steps:
            images = self.get_submodule(name)(images)
        return images.flatten(1)[:, :10]


@pytest.mark.parametrize(
    ("name", "weights", "layer"),
    [
        ("resnet50", "demo", "layer3.5"),
        ("torchvision:resnet18", "none", "layer3.1"),
        ("timm:resnet18", "none", "layer3.1"),
        ("timm:convnext_atto", "none", "stages.2.blocks.5"),
    ],
)
def test_the_default_is_the_last_block_of_the_third_stage(name, weights, layer):
    assert choose_layer(subject_of(name, weights=weights), IMAGES[:1]) == layer


def test_the_third_stage_is_found_inside_a_wrapper(known):
    assert choose_layer(subject_of(Steps(backbone=Steps(body=known))), IMAGES[:1]) == "backbone.body.layer3.1"
    two = Steps(left=Steps(layer3=nn.Conv2d(3, 3, 1)), right=Steps(layer3=nn.Identity()))
    with pytest.raises(InputError, match=r"has no stage layer3 or stages\.2"):
        choose_layer(subject_of(two), IMAGES[:1])


@pytest.mark.filterwarnings("ignore")
def test_a_network_from_a_file_has_no_layer_to_look_into(tmp_path):
    torch.jit.trace(Steps(layer3=nn.Conv2d(3, 4, 3)).eval(), IMAGES[:1].float()).save(tmp_path / "net.ts")
    subject = subject_of(f"torchscript:{tmp_path / 'net.ts'}")
    with pytest.raises(InputError, match=r"^no layer of torchscript:.* exposes feature maps"):
        choose_layer(subject, IMAGES[:1])
    with pytest.raises(UnknownNameError):
        choose_layer(subject, IMAGES[:1], "network.layer3")


def test_without_a_third_stage_the_layers_with_maps_are_listed():
    network = Steps(first=nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()), last=nn.AdaptiveAvgPool2d(1))
    with pytest.raises(InputError, match=r"choose one with --layer, such as first \(32×32\)$"):
        choose_layer(subject_of(network), IMAGES[:1])
    with pytest.raises(
        InputError, match=r"'last' of Steps must output maps .* \(1, 4, 1, 1\); .* such as first \(32×32\)"
    ):
        choose_layer(subject_of(network), IMAGES[:1], "last")
    with pytest.raises(UnknownNameError, match=r"unknown layer of Steps: 'first.2'. Did you mean 'first.1'\?"):
        choose_layer(subject_of(network), IMAGES[:1], "first.2")
    with pytest.raises(UnknownNameError, match="unknown layer of Steps: ''"):
        choose_layer(subject_of(network), IMAGES[:1], "")


def test_a_layer_that_is_not_run_is_an_error(known):
    known.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(InputError, match="does not run its layer 'unused'"):
        layer_maps(subject_of(known), IMAGES, "unused")


def test_maps_are_what_the_layer_put_out(known):
    expected = IMAGES.float().div(255).view(2, 3, 8, 8, 8, 8).mean(dim=(3, 5))
    torch.testing.assert_close(layer_maps(subject_of(known), IMAGES, "layer3.1"), expected)


def test_later_layers_that_work_in_place_do_not_change_the_maps():
    network = Steps(shift=nn.BatchNorm2d(3), relu=nn.ReLU(inplace=True))
    network.shift.running_mean.fill_(100.0)
    assert (layer_maps(subject_of(network), IMAGES, "shift") < 0).all()


def test_the_last_run_of_a_layer_counts():
    class Twice(Steps):
        def forward(self, images):
            return super().forward(self.pool(self.pool(images)))

    network = Twice(pool=nn.AvgPool2d(2))
    assert layer_maps(subject_of(network), IMAGES, "pool").shape == (2, 3, 8, 8)


def test_the_network_is_left_as_it_was(known):
    known.train()
    known.layer3.eval()
    before = {name: value.clone() for name, value in known.state_dict().items()}
    with unchanged([known, "resnet50"]):
        subject = subject_of(known)
        assert not known.dropout.training
        layer_maps(subject, IMAGES, "layer3.1")
    assert {name for name, module in known.named_modules() if module.training} == {"", "dropout", "fc"}
    assert all(torch.equal(before[name], value) for name, value in known.state_dict().items())
    assert not any(module._forward_hooks for module in known.modules())


def test_a_failing_network_is_one_error_and_leaves_no_hooks(known):
    known.fc = nn.Linear(5, 10)
    subject = subject_of(known)
    with pytest.raises(
        ModelOutputError, match=r"^Known failed on images of shape \(2, 3, 64, 64\): RuntimeError: [^\n]*$"
    ):
        layer_maps(subject, IMAGES, "layer3.1")
    assert not known.layer3[1]._forward_hooks


def test_16_bits_give_nearly_the_same_maps():
    exact, rounded = (
        layer_maps(subject_of("resnet50", precision=precision), IMAGES, "layer3.5") for precision in ("fp32", "bf16")
    )
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert correlation(exact.flatten(1, 2), rounded.flatten(1, 2)).min() > 0.99


def test_what_are_maps():
    values = torch.rand(2, 6, 4, 4)
    tokens = torch.cat([torch.zeros(2, 5, 6), values.flatten(2).mT], dim=1)
    for output in (values, (values, "more"), [values], values.permute(0, 2, 3, 1), tokens, tokens[:, 5:]):
        assert torch.equal(as_maps(output), values)
    for output in (
        values[:, :, :1, :1],
        values[:, :, :3],
        values.int(),
        torch.rand(2, 309, 6),
        {"x": values},
        (),
        None,
    ):
        assert as_maps(output) is None


def test_reductions_over_channels():
    features = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    values = features.numpy()
    for name, expected in (
        ("mean", np.abs(values).mean(axis=1)),
        ("max", np.abs(values).max(axis=1)),
        ("norm", np.sqrt((values**2).sum(axis=1))),
    ):
        np.testing.assert_allclose(reduce_maps(features, name, features), expected, rtol=1e-6)
    with pytest.raises(UnknownNameError, match=r"unknown reduction 'means'\. Did you mean 'mean'"):
        reduce_maps(features, "means", features)


def test_the_first_component_is_that_of_the_clean_picture():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 7, 4, 4, generator=generator) * torch.tensor([1, 5, 1, 1, 1, 1, 1]).view(7, 1, 1) + 3
    noisy = features + torch.randn(2, 7, 4, 4, generator=generator)
    for image in range(2):
        points = features[image].flatten(1).T.double().numpy()
        centred = points - points.mean(axis=0)
        direction = np.linalg.svd(centred, full_matrices=False)[2][0]
        strength = np.abs(points).mean(axis=1)
        direction *= np.sign((centred @ direction * (strength - strength.mean())).sum())
        moved = noisy[image].flatten(1).T.double().numpy() - points.mean(axis=0)
        found = reduce_maps(noisy, "pca", features)[image].flatten()
        np.testing.assert_allclose(found, moved @ direction, rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_identical_pictures_have_correlation_1(reduction):
    features = torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    maps = reduce_maps(features, reduction, features)
    np.testing.assert_allclose(correlation(maps, maps), 1, rtol=1e-12)


def test_correlation_is_pearsons():
    first, second = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(2))
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlation(first, second), expected, rtol=1e-6)
    torch.testing.assert_close(correlation(first, 7 - 3 * second), -correlation(first, second))


def test_a_constant_map_has_no_correlation_whatever_its_rounding():
    pattern = torch.rand(1, 7, 7)
    for level in (0.0, 0.1, 1e6):
        constant = torch.full((1, 7, 7), level)
        assert correlation(pattern, constant).isnan()
        assert correlation(pattern, constant * (1 + 1e-7 * torch.rand(1, 7, 7))).isnan()
