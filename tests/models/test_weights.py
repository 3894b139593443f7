import argparse
import json
import pickle
import re
from collections import OrderedDict

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from robustbench_bi.errors import DataError, InputError, WeightsError
from robustbench_bi.models import create_model, weights
from robustbench_bi.models.resnet import DEPTHS
from robustbench_bi.models.weights import (
    load_weights,
    read_checkpoint,
    read_metadata,
    save_checkpoint,
    source_hash,
    weights_hash,
)

TINY = {"num_classes": 5, "width": 0.125}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def shapes(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def batch_norm(prefix, channels):
    return {
        **{f"{prefix}.{entry}": (channels,) for entry in ("weight", "bias", "running_mean", "running_var")},
        f"{prefix}.num_batches_tracked": (),
    }


def published_blocks(depth, middle):
    """Entries of the four stages in DDF's and RedNet's code; `middle(channels)` are those of the layer, by name."""
    entries, in_channels = {}, 64
    for stage, blocks in enumerate(DEPTHS[depth], 1):
        channels = 64 << (stage - 1)
        for number in range(blocks):
            block = f"layer{stage}.{number}"
            entries |= {f"{block}.conv1.weight": (channels, in_channels, 1, 1)}
            entries |= batch_norm(f"{block}.bn1", channels)
            entries |= {f"{block}.conv2.{name}": shape for name, shape in middle(channels).items()}
            entries |= batch_norm(f"{block}.bn2", channels)
            entries |= {f"{block}.conv3.weight": (4 * channels, channels, 1, 1)}
            entries |= batch_norm(f"{block}.bn3", 4 * channels)
            if number == 0:
                entries |= {f"{block}.downsample.0.weight": (4 * channels, in_channels, 1, 1)}
                entries |= batch_norm(f"{block}.downsample.1", 4 * channels)
            in_channels = 4 * channels
    return entries


def involution(channels, kernel_size):
    return {
        "conv1.conv.weight": (channels // 4, channels, 1, 1),
        **batch_norm("conv1.bn", channels // 4),
        "conv2.conv.weight": (kernel_size**2 * channels // 16, channels // 4, 1, 1),
        "conv2.conv.bias": (kernel_size**2 * channels // 16,),
    }


def published_rednet(depth):
    """Names and shapes of d-li14/involution's classification checkpoints, from its mmcls modules."""
    body = {
        "stem.0.conv.weight": (32, 3, 3, 3),
        **batch_norm("stem.0.bn", 32),
        **{f"stem.1.{name}": shape for name, shape in involution(32, 3).items()},
        **batch_norm("stem.2", 32),
        "stem.4.conv.weight": (64, 32, 3, 3),
        **batch_norm("stem.4.bn", 64),
        **published_blocks(depth, lambda channels: involution(channels, 7)),
    }
    head = {"head.fc.weight": (1000, 2048), "head.fc.bias": (1000,)}
    return {f"backbone.{name}": shape for name, shape in body.items()} | head


def published_ddf(depth):
    """Names and shapes of theFoxofSky/ddfnet's checkpoints, from its timm modules."""

    def middle(channels):
        hidden = int(0.2 * channels)
        return {
            "spatial_branch.0.weight": (9, channels, 1, 1),
            "spatial_branch.0.bias": (9,),
            "channel_branch.1.weight": (hidden, channels, 1, 1),
            "channel_branch.1.bias": (hidden,),
            "channel_branch.3.weight": (9 * channels, hidden, 1, 1),
            "channel_branch.3.bias": (9 * channels,),
            "channel_branch.4.std": (9 * channels,),
        }

    return {
        "conv1.weight": (64, 3, 7, 7),
        **batch_norm("bn1", 64),
        **published_blocks(depth, middle),
        "fc.weight": (1000, 2048),
        "fc.bias": (1000,),
    }


@pytest.mark.parametrize(
    ("ours", "theirs"), [("resnet50", "resnet50"), ("resnet101", "resnet101"), ("resnext50", "resnext50_32x4d")]
)
def test_convolutional_networks_have_torchvisions_layout(ours, theirs):
    with torch.device("meta"):
        pair = create_model(ours), torchvision.models.get_model(theirs)
    assert list(shapes(pair[0]).items()) == list(shapes(pair[1]).items())


@pytest.mark.parametrize(("ours", "theirs"), [("resnet50", "resnet50"), ("resnext50", "resnext50_32x4d")])
def test_torchvisions_weights_give_torchvisions_logits(ours, theirs, tmp_path):
    network = torchvision.models.get_model(theirs).eval()
    torch.save(network.state_dict(), tmp_path / "theirs.pth")
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(create_model(ours, weights=tmp_path / "theirs.pth").eval()(x), network(x))


def random_state(entries, prefix=""):
    """Tensors of these names and shapes, no two of which are equal."""
    return {f"{prefix}{name}": torch.rand(shape) for name, shape in entries.items()}


def landed(network, state, rename=lambda name: name):
    """Whether the network holds these tensors, each under its new name, and nothing else."""
    held = network.state_dict()
    return {rename(name) for name in state} == set(held) and all(
        torch.equal(held[rename(name)], tensor.to(held[rename(name)].dtype)) for name, tensor in state.items()
    )


def own_name(name):
    return re.sub(r"^(module\.)?(backbone\.|head\.)?", "", name)


def without_head(entries):
    return {own_name(name): shape for name, shape in entries.items() if not name.startswith("head.")}


@pytest.mark.parametrize("depth", [26, 50])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_rednet_checkpoints_load(depth, prefix, tmp_path):
    state = random_state(published_rednet(depth), prefix)
    meta = {"mmcls_version": "0.7.0", "epoch": 130, "CLASSES": ("tench", "goldfish")}
    torch.save({"meta": meta, "state_dict": OrderedDict(state)}, tmp_path / "rednet.pth")
    network = create_model(f"rednet{depth}", weights=tmp_path / "rednet.pth")
    assert landed(network, state, own_name)
    assert network.num_classes == 1000
    state[f"{prefix}head.fc.bias"] += 1  # the check can fail
    assert not landed(network, state, own_name)


def test_published_rednet_names_without_their_prefix_load(tmp_path):
    state = random_state({own_name(name): shape for name, shape in published_rednet(26).items()})
    torch.save(state, tmp_path / "bare.pth")
    assert landed(create_model("rednet26", weights=tmp_path / "bare.pth"), state)


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
@pytest.mark.parametrize("num_classes", [None, 0])
def test_a_detectors_backbone_is_a_network_without_classifier(prefix, num_classes, tmp_path):
    backbone = random_state(without_head(published_rednet(26)), prefix)
    others = {"neck.fpn_convs.0.conv.weight": torch.rand(2), "rpn_head.rpn_cls.bias": torch.rand(2)} if prefix else {}
    torch.save({"meta": {}, "state_dict": {**backbone, **others}}, tmp_path / "detector.pth")
    network = create_model("rednet26", weights=tmp_path / "detector.pth", num_classes=num_classes)
    assert landed(network, backbone, own_name)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 2048)
    if not prefix:
        message = "it is a backbone without a classifier; to load it, call create_model with num_classes=0"
        with pytest.raises(WeightsError, match=message):
            create_model("rednet26", weights=tmp_path / "detector.pth", num_classes=80)


@pytest.mark.parametrize("rename", [str, own_name])
def test_a_classifier_is_left_out_where_none_is_wanted(rename, tmp_path):
    state = random_state({rename(name): shape for name, shape in published_rednet(26).items()})
    torch.save(state, tmp_path / "classifier.pth")
    network = create_model("rednet26", weights=tmp_path / "classifier.pth", num_classes=0)
    assert landed(network, {name: value for name, value in state.items() if "fc." not in name}, own_name)


@pytest.mark.parametrize(("depth", "prefix"), [(38, "module."), (50, "")])
@pytest.mark.parametrize("wrapper", ["state_dict", "state_dict_ema", None])
def test_published_ddf_checkpoints_load(depth, prefix, wrapper, tmp_path):
    state = random_state(published_ddf(depth), prefix)
    content = {"arch": "ddf_mul_resnet50", "args": argparse.Namespace(lr=0.1), "epoch": 129, "metric": 79.1}
    torch.save({**content, wrapper: state} if wrapper else state, tmp_path / "ddf.pth.tar")
    network = create_model(f"ddf_resnet{depth}", weights=tmp_path / "ddf.pth.tar")
    assert landed(network, state, own_name)


def test_of_two_state_dicts_the_plain_one_is_taken_and_the_other_named(tmp_path, caplog):
    state, average = random_state(published_ddf(38)), random_state(published_ddf(38))
    content = {"state_dict": state, "state_dict_ema": average, "model": {"name": "ddf"}}
    torch.save(content, tmp_path / "both.pth")
    assert landed(create_model("ddf_resnet38", weights=tmp_path / "both.pth"), state)
    (said,) = {record.getMessage() for record in caplog.records}
    assert "both.pth holds several state dicts; 'state_dict' is loaded and 'state_dict_ema' not" in said


@pytest.mark.parametrize("name", ["swa_state_dict", "best_state_dict", "ema", "teacher"])
def test_a_state_dict_of_another_name_is_said_too(name, tmp_path, caplog):
    state, average = random_state(published_ddf(38)), random_state(published_ddf(38))
    torch.save({name: average, "state_dict": state}, tmp_path / "both.pth")
    assert landed(create_model("ddf_resnet38", weights=tmp_path / "both.pth"), state)
    assert f"'state_dict' is loaded and {name!r} not" in caplog.text


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"module": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}},
        lambda state: {"ema": state, "epoch": 3, "rng": {"cpu": torch.zeros(2, dtype=torch.uint8)}},
        lambda state: {"checkpoint": {"state_dict": state, "epoch": 3}},
        lambda state: {"model": {"width": 64}, "weights": state},
        lambda state: {"n_averaged": torch.tensor(5), **{f"module.{name}": value for name, value in state.items()}},
    ],
    ids=["DeepSpeed", "ema", "nested", "beside a configuration", "AveragedModel"],
)
def test_the_only_state_dict_of_a_file_is_found(wrap, tmp_path, caplog):
    state = random_state(published_ddf(38))
    torch.save(wrap(state), tmp_path / "one.pth")
    assert landed(create_model("ddf_resnet38", weights=tmp_path / "one.pth"), state)
    assert not caplog.records


def test_of_several_state_dicts_without_a_name_that_says_it_none_is_taken(tmp_path):
    torch.save({name: random_state(published_ddf(38)) for name in ("student", "teacher")}, tmp_path / "two.pth")
    with pytest.raises(WeightsError, match="holds several state dicts: 'student', 'teacher'; save the one you mean"):
        create_model("ddf_resnet38", weights=tmp_path / "two.pth")


def test_of_a_single_state_dict_nothing_is_said(tmp_path, caplog):
    state = random_state(published_ddf(38))
    torch.save({"state_dict": state, "model": {"name": "ddf"}, "net": {}}, tmp_path / "one.pth")
    assert landed(create_model("ddf_resnet38", weights=tmp_path / "one.pth"), state)
    assert not caplog.records


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("resnet50", "timm:resnet50", {}),
        ("resnet50", "torchvision:resnet50", {}),
        ("resnext50", "timm:resnext50_32x4d", {}),
        ("resnext50", "torchvision:resnext50_32x4d", {}),
        ("se_resnet50", "timm:seresnet50", {}),
        ("eca_resnet50", "timm:resnet50", {"block_args": {"attn_layer": "eca"}}),
        ("res2net50_14w_8s", "timm:res2net50_14w_8s", {}),
    ],
)
def test_checkpoints_of_timm_and_torchvision_load(ours, theirs, options, tmp_path):
    with torch.device("meta"):
        entries = shapes(create_model(theirs, **options))
    state = random_state(entries, "module.")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "theirs.pth")
    assert landed(create_model(ours, weights=tmp_path / "theirs.pth"), state, own_name)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {"net": state, "acc": 91.2},
        lambda state: {"state_dict_ema": state},
        lambda state: {"model_ema": state, "epoch": 3},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
        lambda state: {f"backbone.{name}": value for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if "num_batches_tracked" not in name},
    ],
)
def test_wrappers_and_prefixes_are_recognised(wrap, tmp_path):
    network = create_model("rednet26", **TINY)
    torch.save(wrap(network.state_dict()), tmp_path / "wrapped.pt")
    again = create_model("rednet26", **TINY, weights=tmp_path / "wrapped.pt")
    assert weights_hash(again) == weights_hash(network)


def test_a_prefix_that_is_the_networks_own_is_kept(tmp_path):
    network = nn.Sequential(OrderedDict(backbone=nn.Linear(3, 2)))
    torch.save(network.state_dict(), tmp_path / "own.pth")
    other = nn.Sequential(OrderedDict(backbone=nn.Linear(3, 2)))
    load_weights(other, tmp_path / "own.pth")
    assert torch.equal(other.backbone.weight, network.backbone.weight)


def test_metadata_rebuilds_the_network(tmp_path):
    path = tmp_path / "network.safetensors"
    network = create_model("binet38_dc", num_classes=3, width=0.25, input_size=64, preset="H2", delta=5)
    save_checkpoint(path, network, {"class_names": ["x", "y", "z"], "recipe": {"epochs": 2}, "accuracy": 91.5})
    assert read_metadata(path) == {
        "model": "binet38_dc",
        "options": network.identity["options"],
        "num_classes": 3,
        "class_names": ["x", "y", "z"],
        "input_size": 64,
        "resize_size": 73,
        "interpolation": "bilinear",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "recipe": {"epochs": 2},
        "accuracy": 91.5,
    }
    again = create_model("binet38_dc", weights=path)
    assert again.identity == network.identity
    assert again.class_names == ("x", "y", "z")
    assert (again.input_size, again.resize_size) == (64, 73)


def test_stored_preprocessing_comes_back(tmp_path):
    network = create_model("rednet26", **TINY, input_size=96)
    network.mean, network.std, network.resize_size, network.interpolation = (0.5,) * 3, (0.25,) * 3, 96, "bicubic"
    save_checkpoint(tmp_path / "network.safetensors", network)
    again = create_model("rednet26", weights=tmp_path / "network.safetensors")
    assert (again.mean, again.std) == ((0.5,) * 3, (0.25,) * 3)
    assert (again.input_size, again.resize_size, again.interpolation) == (96, 96, "bicubic")


def test_equal_options_may_be_given_with_a_checkpoint(tmp_path):
    network = create_model("rednet26", **TINY)
    save_checkpoint(tmp_path / "network.safetensors", network)
    again = create_model("rednet26", weights=tmp_path / "network.safetensors", width=0.125, num_classes=5)
    assert again.identity == network.identity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.25}, "width=0.25 contradicts the checkpoint, which has width=0.125; leave it out"),
        ({"num_classes": 10}, "num_classes=10 contradicts the checkpoint, which has num_classes=5; leave"),
        ({"input_size": 64}, "input_size=64 contradicts the checkpoint, which has input_size=224; leave"),
    ],
)
def test_options_that_contradict_the_metadata_are_refused(options, message, tmp_path):
    save_checkpoint(tmp_path / "network.safetensors", create_model("rednet26", **TINY))
    with pytest.raises(InputError, match=message):
        create_model("rednet26", weights=tmp_path / "network.safetensors", **options)


def test_half_precision_halves_the_kernels_only(tmp_path):
    network = create_model("binet38", num_classes=5, width=0.25)
    for path, half in ((tmp_path / "full.safetensors", False), (tmp_path / "half.safetensors", True)):
        save_checkpoint(path, network, half=half)
    stored = read_checkpoint(tmp_path / "half.safetensors").state
    for name, value in network.state_dict().items():
        assert stored[name].dtype == (torch.float16 if value.dim() > 1 else value.dtype), name
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    again = create_model("binet38", weights=tmp_path / "half.safetensors")
    for name, value in again.state_dict().items():
        assert value.dtype == network.state_dict()[name].dtype
        torch.testing.assert_close(value, network.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "network.safetensors"
    network = create_model("rednet26", **TINY)
    save_checkpoint(path, network)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(DataError, match=r"cannot write .*network.safetensors: No space left on device"):
        save_checkpoint(path, network)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_is_written_as_safetensors(tmp_path):
    with pytest.raises(WeightsError, match=r"a checkpoint must be written as .safetensors, got .*network.pth"):
        save_checkpoint(tmp_path / "network.pth", nn.Linear(2, 2))


def test_weights_in_another_memory_format_are_the_same_weights(tmp_path):
    network = create_model("resnet38", **TINY)
    before = weights_hash(network)
    network.to(memory_format=torch.channels_last)
    assert weights_hash(network) == before
    save_checkpoint(tmp_path / "network.safetensors", network)
    assert weights_hash(create_model("resnet38", weights=tmp_path / "network.safetensors")) == before


def test_the_hash_sees_names_types_shapes_and_bytes():
    def state(**tensors):
        module = nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return module

    ones = torch.ones(4)
    modules = [
        state(a=ones),
        state(b=ones),
        state(a=ones.view(2, 2)),
        state(a=ones.view(torch.int32)),
        state(a=ones.bfloat16()),
        state(a=2 * ones),
        state(a=ones, b=torch.tensor(3)),
    ]
    assert len({weights_hash(module) for module in modules}) == len(modules)
    assert weights_hash(state(a=ones, b=2 * ones)) == weights_hash(state(b=2 * ones, a=ones))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_architecture_is_named_with_its_keys(suffix, tmp_path):
    path = tmp_path / f"resnet{suffix}"
    other = create_model("resnet38", **TINY)
    torch.save(other.state_dict(), path) if suffix == ".pth" else save_checkpoint(path, other)
    with pytest.raises(WeightsError) as caught:
        create_model("ddf_resnet38", **TINY, weights=path)
    message = str(caught.value)
    assert "does not fit ddf_resnet38: missing: layer1.0.conv2.spatial_branch.0.weight, " in message
    assert re.search(r" and \d+ more; unexpected: layer1.0.conv2.weight, layer1.1.conv2.weight, ", message)
    assert ("(it holds resnet38)" in message) == (suffix == ".safetensors")
    assert "\n" not in message


def test_another_width_is_told_by_its_shapes(tmp_path):
    torch.save(create_model("resnet38", num_classes=5, width=0.25).state_dict(), tmp_path / "wide.pth")
    message = r"does not fit resnet38: other shape: conv1.weight \(16, 3, 7, 7\) instead of \(8, 3, 7, 7\), .* more$"
    with pytest.raises(WeightsError, match=message):
        create_model("resnet38", **TINY, weights=tmp_path / "wide.pth")


def test_another_number_of_classes_is_named(tmp_path):
    torch.save(create_model("resnet38", **TINY).state_dict(), tmp_path / "five.pth")
    with pytest.raises(WeightsError, match="it has 5 classes, but num_classes or the data ask for 1000"):
        create_model("resnet38", width=0.125, num_classes=1000, weights=tmp_path / "five.pth")


def test_the_number_of_classes_is_that_of_the_classifier_in_the_file(tmp_path):
    network = create_model("resnet38", **TINY)
    torch.save(network.state_dict(), tmp_path / "five.pth")
    assert create_model("resnet38", width=0.125, weights=tmp_path / "five.pth").identity == network.identity


class MakesAFile:
    """A pickle that opens a file for writing while it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_and_not_run(suffix, zipped, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / f"hostile{suffix}"
    torch.save({"state_dict": MakesAFile(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"is not a plain state dict: it needs .*open, which was not run"):
        create_model("resnet38", weights=path)
    assert not mark.exists()
    with path.open("wb") as file:
        pickle.dump(MakesAFile(mark), file)
    with pytest.raises(WeightsError):
        create_model("resnet38", weights=path)
    assert not mark.exists()
    pickle.loads(path.read_bytes()).close()  # the guard can fail: this pickle does what it threatens
    assert mark.exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(WeightsError, match=r"needs torch.nn.modules.linear.Linear, .* save model.state_dict\(\)"):
        create_model("resnet38", weights=tmp_path / "module.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "is not a state dict: expected tensors by name, got list"),
        ({"state_dict": {"epoch": 3}}, "is not a state dict: expected tensors by name, but 'epoch' is int"),
        ({0: torch.ones(2)}, "is not a state dict: expected tensors by name, but 0 is Tensor"),
        ({}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
        (
            {"weight": torch.ones(2), "ema": {"weight": torch.ones(2)}},
            "is not a state dict: expected tensors by name, but 'ema' is dict",
        ),
    ],
)
def test_what_is_not_a_state_dict_is_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=message):
        create_model("resnet38", weights=tmp_path / "other.pth")


def test_a_dict_that_holds_itself_comes_to_an_end(tmp_path):
    content = {"epoch": 3}
    content["state_dict"] = content
    torch.save(content, tmp_path / "endless.pth")
    with pytest.raises(WeightsError, match="is not a state dict: expected tensors by name, but 'epoch' is int"):
        create_model("resnet38", weights=tmp_path / "endless.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.to(torch.int8), "other type: conv1.weight int8, bn1.weight int8, bn1.bias int8 and"),
        (lambda value: value.to(torch.complex64), "other type: conv1.weight complex64, bn1.weight complex64, "),
        (lambda value: value.to_sparse(), "it contains sparse or empty .meta. tensors; load the network on the CPU"),
        (lambda value: value.to("meta"), "it contains sparse or empty .meta. tensors; load the network on the CPU"),
    ],
    ids=["integers", "complex", "sparse", "meta"],
)
def test_tensors_that_are_no_weights_are_refused(change, message, tmp_path):
    state = {name: change(value) for name, value in create_model("resnet38", **TINY).state_dict().items()}
    torch.save(state, tmp_path / "changed.pth")
    with pytest.raises(WeightsError, match=f"does not fit resnet38: {message}"):
        create_model("resnet38", **TINY, weights=tmp_path / "changed.pth")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.pth").touch()
    with pytest.raises(WeightsError, match=r"empty\.pth is empty; copy or download it again$"):
        read_checkpoint(tmp_path / "empty.pth")


@pytest.mark.parametrize("content", [b"just text", b"e"])
def test_a_file_that_is_something_else_is_no_checkpoint(content, tmp_path):
    (tmp_path / "notes.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"notes\.pth is no") as caught:
        read_checkpoint(tmp_path / "notes.pth")
    assert "(1" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_refused(suffix, kept, tmp_path):
    path = tmp_path / f"network{suffix}"
    network = create_model("rednet26", **TINY)
    torch.save(network.state_dict(), path) if suffix == ".pth" else save_checkpoint(path, network)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(WeightsError, match=r"truncated|is empty|is incomplete or not a safetensors file") as caught:
        create_model("rednet26", **TINY, weights=path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    for suffix in (".pth", ".safetensors"):
        with pytest.raises(WeightsError, match=f"there is no weights file .*absent{suffix}"):
            create_model("resnet38", weights=tmp_path / f"absent{suffix}")


def test_metadata_of_others_is_left_as_text(tmp_path):
    path = tmp_path / "other.safetensors"
    network = create_model("rednet26", **TINY)
    save_file(network.state_dict(), path, {"format": "pt", "note": "not {json"})
    assert read_metadata(path) == {"format": "pt", "note": "not {json"}
    assert weights_hash(create_model("rednet26", **TINY, weights=path)) == weights_hash(network)


def test_metadata_is_text_that_any_tool_reads(tmp_path):
    save_checkpoint(tmp_path / "network.safetensors", create_model("rednet26", **TINY))
    with safe_open(tmp_path / "network.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["options"])["width"] == 0.125


def test_demo_weights_come_from_their_folder(tmp_path, monkeypatch):
    network = create_model("binet50", **TINY, input_size=64)
    monkeypatch.setattr(weights, "DEMO_FOLDER", tmp_path)
    save_checkpoint(tmp_path / "binet50_dc_ca.safetensors", network, half=True)
    again = create_model("binet50", weights="demo")
    assert again.identity == network.identity
    with pytest.raises(WeightsError, match="rednet50 has no demo weights; models with demo weights: binet50_dc_ca"):
        create_model("rednet50", weights="demo")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("binet50", "pretrained", "binet50_dc_ca has no published weights 'pretrained'; give a file"),
        ("rednet50", "IMAGENET1K_V1", "rednet50 has no published weights 'IMAGENET1K_V1'"),
        ("resnet50", "IMAGENET1K_V3", "unknown weights of torchvision's resnet50: 'IMAGENET1K_V3'. Did you mean"),
    ],
)
def test_unknown_weights_are_refused(name, source, message):
    with pytest.raises(WeightsError, match=message):
        create_model(name, weights=source)


def test_none_is_random_weights():
    assert create_model("rednet26", **TINY, weights="none").identity["num_classes"] == 5


def test_metadata_of_another_program_is_no_setting(tmp_path):
    network = create_model("rednet26", **TINY)
    save_file(
        network.state_dict(), tmp_path / "other.safetensors", {"num_classes": "7", "mean": "[1]", "options": "{}"}
    )
    again = create_model("rednet26", **TINY, weights=tmp_path / "other.safetensors")
    assert (again.identity, again.mean) == (network.identity, network.mean)


def test_options_of_another_version_are_named(tmp_path):
    network = create_model("rednet26", **TINY)
    options = {**network.identity["options"], "depthwise": True}
    save_checkpoint(tmp_path / "newer.safetensors", network, {"options": options})
    with pytest.raises(InputError, match="rednet26 has no option 'depthwise'"):
        create_model("rednet26", weights=tmp_path / "newer.safetensors")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.Conv2d(3, 3, 3, dilation=1), nn.Conv2d(3, 3, 3, dilation=2)),
        (nn.LeakyReLU(0.1), nn.LeakyReLU(-1.0)),
        (nn.AdaptiveAvgPool2d(4), nn.AdaptiveMaxPool2d(4)),
    ],
    ids=["dilation", "slope", "pooling"],
)
def test_settings_of_a_users_layers_are_part_of_what_a_network_is(one, other):
    assert source_hash(nn.Sequential(one)) != source_hash(nn.Sequential(other))
    assert source_hash(nn.Sequential(one)) == source_hash(nn.Sequential(one))


def test_a_network_that_its_name_describes_keeps_its_hash():
    """Runs of before that was so keep their fingerprints."""
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert source_hash(create_model("resnet50", width=0.25)) == nothing
    assert source_hash(create_model("torchvision:resnet18", weights="none")) == nothing
