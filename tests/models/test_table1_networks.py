"""The rows of Table 1 that attend: published layouts, training, `torch.compile` and ONNX."""

import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustbench_bi.data.sources.demo import draw
from robustbench_bi.errors import InputError
from robustbench_bi.models import axial, create_model, resnet, san
from robustbench_bi.models.profile import profile

# name, parameters, multiply-accumulates at 224 (G)
COUNTS = {
    "san15": (14_065_436, 2.859), "san19": (17_596_156, 3.636),
    "aa_resnet50": (25_813_872, 4.718), "aa_resnet101": (45_391_208, 8.676),
    "standalone_resnet38": (14_173_384, 2.798), "standalone_resnet50": (18_015_504, 3.403),
    "lr_net50": (23_351_104, 4.377), "lr_net101": (40_739_928, 7.846),
    "bam_resnet101": (44_907_227, 7.884), "cbam_resnet101": (49_295_628, 7.813),
    "axial_resnet_s": (11_586_216, 2.843),
}  # fmt: skip
SMALL = {"num_classes": 7, "width": 0.25, "input_size": 64}


@pytest.mark.parametrize("name", COUNTS)
def test_sizes_and_costs(name):
    found = profile(name, 224)
    assert (found["parameters"], round(found["macs"] / 1e9, 3)) == COUNTS[name]


def test_a_size_is_one_the_network_is_made_for():
    assert profile("axial_resnet_s", 64) == profile("axial_resnet_s", input_size=64)
    assert profile("axial_resnet_s", 64)["parameters"] < profile("axial_resnet_s")["parameters"]


def batch_norm(prefix, channels):
    entries = {f"{prefix}.{entry}": (channels,) for entry in ("weight", "bias", "running_mean", "running_var")}
    return entries | {f"{prefix}.num_batches_tracked": ()}


def convolution(prefix, shape, bias=True):
    return {f"{prefix}.weight": shape} | ({f"{prefix}.bias": shape[:1]} if bias else {})


def published_san(blocks):
    """Names and shapes of hszhao/SAN's checkpoints, pairwise."""
    entries = {**convolution("conv_in", (64, 3, 1, 1), False), **batch_norm("bn_in", 64)}
    before = 64
    for stage, channels in enumerate((64, 256, 512, 1024, 2048)):
        entries |= {**convolution(f"conv{stage}", (channels, before, 1, 1), False)}
        entries |= batch_norm(f"bn{stage}", channels)
        relation, middle = channels // 16, channels // 4
        for number in range(blocks[stage]):
            block = f"layer{stage}.{number}"
            entries |= batch_norm(f"{block}.bn1", channels)
            entries |= convolution(f"{block}.sam.conv1", (relation, channels, 1, 1))
            entries |= convolution(f"{block}.sam.conv2", (relation, channels, 1, 1))
            entries |= convolution(f"{block}.sam.conv3", (middle, channels, 1, 1))
            entries |= batch_norm(f"{block}.sam.conv_w.0", relation + 2)
            entries |= convolution(f"{block}.sam.conv_w.2", (relation, relation + 2, 1, 1), False)
            entries |= batch_norm(f"{block}.sam.conv_w.3", relation)
            entries |= convolution(f"{block}.sam.conv_w.5", (middle // 8, relation, 1, 1))
            entries |= convolution(f"{block}.sam.conv_p", (2, 2, 1, 1))
            entries |= batch_norm(f"{block}.bn2", middle)
            entries |= convolution(f"{block}.conv", (channels, middle, 1, 1))
        before = channels
    return entries | convolution("fc", (1000, 2048))


def published_resnet101(gate):
    """Those of Jongchan/attention-module's, with what `gate` adds to blocks and between stages."""
    entries = {**convolution("conv1", (64, 3, 7, 7), False), **batch_norm("bn1", 64)}
    before = 64
    for stage, blocks in enumerate((3, 4, 23, 3), 1):
        channels = 32 << stage
        for number in range(blocks):
            block = f"layer{stage}.{number}"
            entries |= convolution(f"{block}.conv1", (channels, before, 1, 1), False)
            entries |= convolution(f"{block}.conv2", (channels, channels, 3, 3), False)
            entries |= convolution(f"{block}.conv3", (4 * channels, channels, 1, 1), False)
            for norm, count in (("bn1", channels), ("bn2", channels), ("bn3", 4 * channels)):
                entries |= batch_norm(f"{block}.{norm}", count)
            if number == 0:
                entries |= convolution(f"{block}.downsample.0", (4 * channels, before, 1, 1), False)
                entries |= batch_norm(f"{block}.downsample.1", 4 * channels)
            before = 4 * channels
            entries |= gate(before, block=block)
        entries |= gate(before, stage=stage)
    entries |= convolution("fc", (1000, 2048))
    return {f"module.{name}": shape for name, shape in entries.items()}


def published_bam(channels, block=None, stage=4):
    if block or stage == 4:
        return {}
    hidden = channels // 16
    linear, spatial = f"bam{stage}.channel_att.gate_c.gate_c", f"bam{stage}.spatial_att.gate_s.gate_s"
    return {
        **convolution(f"{linear}_fc_0", (hidden, channels)),
        **batch_norm(f"{linear}_bn_1", hidden),
        **convolution(f"{linear}_fc_final", (channels, hidden)),
        **convolution(f"{spatial}_conv_reduce0", (hidden, channels, 1, 1)),
        **batch_norm(f"{spatial}_bn_reduce0", hidden),
        **convolution(f"{spatial}_conv_di_0", (hidden, hidden, 3, 3)),
        **batch_norm(f"{spatial}_bn_di_0", hidden),
        **convolution(f"{spatial}_conv_di_1", (hidden, hidden, 3, 3)),
        **batch_norm(f"{spatial}_bn_di_1", hidden),
        **convolution(f"{spatial}_conv_final", (1, hidden, 1, 1)),
    }


def published_cbam(channels, block=None, stage=4):
    if not block:
        return {}
    return {
        **convolution(f"{block}.cbam.ChannelGate.mlp.1", (channels // 16, channels)),
        **convolution(f"{block}.cbam.ChannelGate.mlp.3", (channels, channels // 16)),
        **convolution(f"{block}.cbam.SpatialGate.spatial.conv", (1, 2, 7, 7), False),
        **batch_norm(f"{block}.cbam.SpatialGate.spatial.bn", 1),
    }


LAYOUTS = {
    "san15": ("san15", published_san((3, 2, 3, 5, 2)), {}),
    "san19, in parallel": ("san19", {f"module.{k}": v for k, v in published_san((3, 3, 4, 6, 3)).items()}, {}),
    "bam": ("bam_resnet101", published_resnet101(published_bam), {}),
    "cbam": ("cbam_resnet101", published_resnet101(published_cbam), {"gate_bias": True}),
}


@pytest.mark.parametrize(("name", "entries", "options"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_tensor_of_a_published_layout_lands(name, entries, options, tmp_path):
    torch.manual_seed(0)
    state = {key: torch.rand(shape) for key, shape in entries.items()}
    torch.save({"state_dict": state, "epoch": 100}, tmp_path / "published.pth")
    held = create_model(name, weights=tmp_path / "published.pth", **options).state_dict()
    renamed = {key.removeprefix("module.").replace(".cbam.", ".att."): value for key, value in state.items()}
    assert set(renamed) == set(held)
    assert all(torch.equal(held[key], value.to(held[key].dtype)) for key, value in renamed.items())


def test_a_published_cbam_shows_by_its_tensors_that_its_gates_have_biases(tmp_path):
    path, narrow = tmp_path / "published.pth", {"width": 0.125, "num_classes": 3}
    published = create_model("cbam_resnet101", gate_bias=True, **narrow).state_dict()
    names = {f"module.{name}".replace(".att.", ".cbam."): tensor for name, tensor in published.items()}
    torch.save({"state_dict": names}, path)
    network = create_model("cbam_resnet101", weights=path, width=0.125)
    assert network.identity["options"]["gate_bias"] is True
    held = network.state_dict()
    assert set(held) == set(published)
    assert all(torch.equal(held[name], tensor) for name, tensor in published.items())
    with pytest.raises(InputError, match="gate_bias=False contradicts the checkpoint, which has gate_bias=True"):
        create_model("cbam_resnet101", weights=path, width=0.125, gate_bias=False)


FAMILIES = (
    "aa_resnet50",
    "axial_resnet_s",
    "bam_resnet101",
    "cbam_resnet101",
    "lr_net50",
    "san15",
    "standalone_resnet38",
)


@pytest.fixture
def shallow(monkeypatch):
    """Two stages of a block, in SAN three: the same layers, with and without a stride, sooner compiled and exported."""
    monkeypatch.setattr(resnet, "DEPTHS", dict.fromkeys(resnet.DEPTHS, (1, 1)))
    monkeypatch.setattr(axial, "BLOCKS", dict.fromkeys(axial.BLOCKS, (1, 1)))
    monkeypatch.setattr(san, "BLOCKS", dict.fromkeys(san.BLOCKS, (1, 1, 0, 0, 1)))


def ready(name):
    """A small network whose every part shows in its logits, and two images.

    Its residual branches are drawn where they start at zero, and its statistics are those of 16 images: behind those of
    two, rounding is amplified a thousandfold, in plain torch too.
    """
    torch.manual_seed(0)
    network = create_model(name, **SMALL)
    images = torch.randn(16, 3, 64, 64)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() in (1, 4) and not parameter.any():
                parameter.normal_(std=0.2 * parameter[0].numel() ** -0.5)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.momentum = 1.0
        network(images)
    return network.eval(), images[:2]


@pytest.mark.parametrize("name", FAMILIES)
def test_torch_compile_takes_them_as_a_whole(name, shallow):
    network, images = ready(name)
    with torch.no_grad():
        output = torch.compile(network, backend="aot_eager", fullgraph=True)(images)
        torch.testing.assert_close(output, network(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_onnx_runtime_agrees_with_torch_in_float64(name, shallow, tmp_path):
    network, images = ready(name)
    torch.onnx.export(network, (images,), tmp_path / "network.onnx", input_names=["images"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    expected = network.double()(images.double()).detach()
    assert expected.std() > 0.01
    largest = expected.abs().max().item()
    torch.testing.assert_close(torch.from_numpy(logits).double(), expected, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_start_as_their_shortcuts(name, shallow):
    """From other starting values SAN's loss hardly falls in a first epoch, and Axial-ResNet amplifies rounding."""
    network = create_model(name, **SMALL)
    seen = []

    def compare(block, inputs, output):
        projected = isinstance(getattr(block, "downsample", None), nn.Sequential)
        expected = block.downsample(inputs[0]).relu() if projected else inputs[0]
        seen.append(torch.equal(output, expected))

    for module in network.modules():
        if type(module).__name__ == "Bottleneck":
            module.register_forward_hook(compare)
    with torch.no_grad():
        network(torch.randn(2, 3, 64, 64))
    assert len(seen) >= 2
    assert all(seen)


@pytest.fixture(scope="module")
def pictures():
    images, labels = draw("training", range(512))
    halved = F.avg_pool2d(torch.from_numpy(images).float() / 255 - 0.5, 2)
    return 4 * halved, torch.from_numpy(labels).long()


@pytest.mark.parametrize("name", COUNTS)
def test_an_epoch_of_the_demo_pictures_lowers_the_loss(name, pictures):
    """The loss of all 512 pictures, normalised by their own statistics, before and after."""
    torch.manual_seed(0)
    images, labels = pictures
    network = create_model(name, num_classes=10, width=0.125, input_size=32)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def loss(batch, classes):
        return F.cross_entropy(network(batch), classes)

    with torch.no_grad():
        before = loss(images, labels).item()
    for part in torch.randperm(512).split(32):
        optimiser.zero_grad()
        loss(images[part], labels[part]).backward()
        optimiser.step()
    with torch.no_grad():
        after = loss(images, labels).item()
    assert after < before - 0.1
