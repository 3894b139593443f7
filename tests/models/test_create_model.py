import json
import subprocess
import sys

import pytest
import torch

from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.models import ALIASES, MODELS, attach, axial, create_model, san
from robustbench_bi.models.options import DC_PRESETS
from robustbench_bi.models.weights import save_checkpoint, weights_hash

SMALL = {"num_classes": 7, "width": 0.25, "input_size": 64}


def images(side, batch=2):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def side_for(name):
    """An odd side, but for the network that takes its own size only."""
    return 64 if name == "axial_resnet_s" else 65


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", MODELS.names)
def test_every_model_trains_and_comes_back_from_a_file(name, tmp_path):
    network = create_model(name, **SMALL)
    for module in network.modules():
        # Residual branches start at zero, which hides the gradients inside.
        if isinstance(module, axial.Bottleneck | san.Bottleneck) or hasattr(module, "bn3"):
            last = module.conv if isinstance(module, san.Bottleneck) else getattr(module, "bn3", module.bn2)
            torch.nn.init.constant_(last.weight, 0.2)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one batch is to do for the statistics
    logits = network(images(side_for(name)))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    gradients = {key: value.grad for key, value in network.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    # A small channel branch can be dead, behind its ReLU, for these two images.
    kernels = [key for key, value in network.named_parameters() if value.dim() > 1 and "channel_branch" not in key]
    assert [key for key in kernels if not gradients[key].any()] == []

    network.eval()
    expected = network(images(side_for(name)))
    assert expected.isfinite().all()
    assert torch.equal(network(images(side_for(name))), expected)
    save_checkpoint(tmp_path / "network.safetensors", network)
    again = create_model(name, weights=tmp_path / "network.safetensors").eval()
    assert torch.equal(again(images(side_for(name))), expected)
    assert weights_hash(again) == weights_hash(network)
    assert again.identity == network.identity == json.loads(json.dumps(network.identity))


@pytest.mark.parametrize("name", MODELS.names)
def test_every_row_tells_what_it_is(name):
    row = MODELS[name]
    with torch.device("meta"):
        network = create_model(name)
    assert network.identity == {"name": name, "options": dict(row.options), "num_classes": 1000}
    assert network.mean == (0.485, 0.456, 0.406)
    assert network.std == (0.229, 0.224, 0.225)
    sizes = {224: 256, 32: 37}
    assert (network.input_size, network.resize_size) == (row.options["input_size"], sizes[row.options["input_size"]])
    assert network.interpolation == "bilinear"
    assert network.class_names is None
    assert str(row.depth) in row.name
    assert row.summary


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_are_dc_ca(alias):
    network = create_model(alias, width=0.125)
    assert network.identity["name"] == f"{alias}_dc_ca"


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 2), ("small", 4), ("cifar", 8)])
@pytest.mark.parametrize("name", ["resnet50", "rednet26"])
def test_the_stem_sets_the_size_of_the_maps(name, stem, side):
    network = create_model(name, width=0.125, stem=stem)
    assert network.forward_features(images(64)).shape == (2, 256, side, side)
    assert network.identity["options"]["stem"] == stem


@pytest.mark.parametrize(("name", "groups"), [("resnext50", 8), ("resnext101", 8)])
def test_narrow_resnext_keeps_the_channels_of_a_group(name, groups):
    network = create_model(name, width=0.25)
    widths = [getattr(network, f"layer{stage}")[0].conv2 for stage in (1, 2, 3, 4)]
    assert [(layer.groups, layer.in_channels // layer.groups) for layer in widths] == [
        (groups, 4),
        (groups, 8),
        (groups, 16),
        (groups, 32),
    ]


@pytest.mark.parametrize("width", [0.125, 0.5, 2])
@pytest.mark.parametrize("name", ["resnext50", "rednet26", "ddf_resnet38", "binet38_dc", "binet38"])
def test_widths(name, width):
    with torch.device("meta"):
        network = create_model(name, width=width)
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    assert network.num_features == 2048 * width
    assert network.identity["options"]["width"] == float(width)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ddf_resnet38", {"combine": "add"}),
        *(("binet38_dc", {"preset": preset}) for preset in DC_PRESETS),
        ("binet38_dc", {"preset": "H2", "static_kernel": 1}),
        ("binet38_dc", {"kernel_size": 7, "group_channels": 8, "reduction": 2, "static_groups": 4, "bias": True}),
        ("binet38_dc", {"sakg": False}),
        ("binet38_dc", {"dual_branch": False}),
        ("binet38_dc", {"delta": 7, "sakg_dilation": 2, "fusion": "gate"}),
        ("binet38", {"combine": "add", "kernel_size": 5}),
        ("binet38", {"sakg": False, "dual_branch": False}),
        ("binet38", {"delta": 3, "sakg_dilation": 2, "fusion": "gate"}),
        ("binet38", {"static_kernel": 1, "static_groups": 16, "static_bias": False}),
    ],
)
def test_options_are_built_stored_and_restored(name, options, tmp_path):
    network = create_model(name, width=0.25, num_classes=3, **options).eval()
    assert options.items() <= network.identity["options"].items()
    save_checkpoint(tmp_path / "network.safetensors", network)
    again = create_model(name, weights=str(tmp_path / "network.safetensors")).eval()
    assert again.identity == network.identity
    assert torch.equal(again(images(32)), network(images(32)))


def test_a_preset_sets_its_options_and_yields_to_others():
    with torch.device("meta"):
        literal = create_model("binet38_dc", preset="H0").identity["options"]
        changed = create_model("binet38_dc", preset="H2", static_groups=None).identity["options"]
        plain = create_model("binet38_dc").identity["options"]
    assert (literal["kernel_size"], literal["reduction"], literal["bias"]) == (7, 4, False)
    assert (changed["kernel_size"], changed["bias"], changed["static_groups"]) == (7, True, None)
    assert {**plain, **DC_PRESETS["H1"]} == plain


def test_each_residual_branch_starts_at_zero():
    for name in ("resnet50", "rednet26", "ddf_resnet38", "binet38_dc", "binet38"):
        network = create_model(name, width=0.125).eval()
        block = network.layer2[1]
        x = torch.randn(1, block.conv1.in_channels, 8, 8)
        assert torch.equal(block(x), x.relu())


def test_the_networks_of_the_involution_family_start_without_conv_biases():
    biases = {
        name: sum(
            int(layer.bias.any())
            for layer in create_model(name, width=0.25).modules()
            if isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
        )
        for name in ("rednet26", "binet38_dc", "ddf_resnet38")
    }
    assert biases == {"rednet26": 0, "binet38_dc": 0, "ddf_resnet38": 3 * 12}


def test_the_seed_sets_the_weights():
    hashes = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        hashes.append(weights_hash(create_model("binet38", width=0.125)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_narrow_types():
    network = create_model("binet38", width=0.25).eval()
    expected = network(images(64))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(images(64))
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), expected, atol=0.05, rtol=0.05)
    assert network.bfloat16()(images(64).bfloat16()).isfinite().all()


def test_listing_the_table_imports_nothing_heavy():
    heavy = ("torch", "numpy", "timm", "torchvision", "pandas", "PIL", "safetensors")
    code = f"import sys; from robustbench_bi.models import MODELS; list(MODELS); MODELS['binet50']; \
print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", ["resnet50", "rednet26", "binet38_dc"])
def test_without_a_classifier_a_network_returns_its_features(name, tmp_path):
    network = create_model(name, width=0.125, num_classes=0).eval()
    assert (network.num_classes, network.identity["num_classes"], network.num_features) == (0, 0, 256)
    features = network(images(64))
    torch.testing.assert_close(features, network.forward_features(images(64)).mean((2, 3)))
    save_checkpoint(tmp_path / "backbone.safetensors", network)
    again = create_model(name, weights=tmp_path / "backbone.safetensors").eval()
    assert again.identity == network.identity
    assert torch.equal(again(images(64)), features)


def test_attach_scales_the_resize_with_the_side():
    module = torch.nn.Identity()
    attach(module, {"input_size": 64, "class_names": ["a", "b"], "recipe": "ignored"}, {"name": "mine"})
    assert (module.resize_size, module.class_names, module.identity) == (73, ("a", "b"), {"name": "mine"})
    assert not hasattr(module, "recipe")


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("resnet5", {}, UnknownNameError, "unknown model 'resnet5'. Did you mean 'resnet50'"),
        ("resnet50", {"widht": 0.5}, InputError, "resnet50 has no option 'widht'. Did you mean 'width'"),
        (
            "resnet50",
            {"zoom": 1},
            InputError,
            "resnet50 has no option 'zoom'. Known: width, stem, input_size.",
        ),
        ("resnet50", {"width": 0.3}, InputError, "width must be a positive multiple of 1/8, got 0.3"),
        ("resnet50", {"width": 0}, InputError, "width must be a positive multiple of 1/8, got 0"),
        ("resnet50", {"width": -1}, InputError, "width must be a positive multiple of 1/8, got -1"),
        ("resnet50", {"width": float("nan")}, InputError, "width must be a positive multiple of 1/8, got nan"),
        ("resnet50", {"width": "wide"}, InputError, "width must be a number, got 'wide'"),
        ("resnet50", {"stem": "large"}, InputError, "stem must be one of 'imagenet', 'small', 'cifar', got 'large'"),
        ("resnet50", {"stem": 7}, InputError, "stem must be a name, got 7"),
        ("resnet50", {"input_size": 0}, InputError, "input_size must be a positive integer, got 0"),
        ("resnet50", {"input_size": 64.0}, InputError, "input_size must be a positive integer, got 64.0"),
        (
            "resnet50",
            {"num_classes": -1},
            InputError,
            "num_classes must be a positive integer, or 0 to leave out the classifier",
        ),
        ("resnet50", {"num_classes": False}, InputError, "num_classes must be a positive integer, or 0 .*, got False"),
        ("ddf_resnet50", {"combine": "max"}, InputError, "combine must be 'mul' or 'add', got 'max'"),
        ("binet50_dc", {"preset": "H3"}, InputError, "preset must be one of H1, H2, H0, got 'H3'"),
        ("binet50_dc", {"reduction": 0}, InputError, "reduction must be a positive integer or None, got 0"),
        ("binet50_dc", {"sakg": 1}, InputError, "sakg must be True or False, got 1"),
        ("binet50_dc", {"delta": 4}, InputError, "delta must be a positive odd integer, got 4"),
        ("binet50", {"kernel_size": 1}, InputError, "divides by a filter's spread, and one of 1×1 has none"),
        ("rednet50", {"width": 0.375}, InputError, "24 channels cannot be divided into groups of 16"),
    ],
)
def test_bad_arguments_are_refused(name, options, error, message):
    with pytest.raises(error, match=message):
        create_model(name, **options)
