"""ONNX, torch.export and TorchScript: what comes out is what the network gives, and nothing of a file is run."""

import io
import json
import logging
import sys
import zipfile

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.models import create_model, prepare_forward_pass
from robustbench_bi.models.batch_size import batch_size_that_fits
from robustbench_bi.models.sources.from_export import check_harmless
from robustbench_bi.models.weights import weights_hash

SIDE, CLASSES = 32, 5


class Small(nn.Module):
    def __init__(self, softmax=False, channels_last=False):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, CLASSES)
        self.softmax, self.channels_last = softmax, channels_last

    def forward(self, images):
        if self.channels_last:
            images = images.permute(0, 3, 1, 2)
        logits = self.fc(self.norm(self.conv(images)).relu().mean((2, 3)))
        return logits.softmax(1) if self.softmax else logits


IMAGES = torch.randn(7, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def reference(**how):
    with torch.no_grad():
        return Small(**how).eval()(IMAGES)


def save_onnx(path, batch=None, **how):
    network = Small(**how).eval()
    example = IMAGES[: batch or 2]
    example = example.permute(0, 2, 3, 1).contiguous() if how.get("channels_last") else example
    if torch.__version__ < "2.7":  # whose newer exporter knows no batch norm
        axes = None if batch else {"images": {0: "batch"}, "scores": {0: "batch"}}
        names = {"input_names": ["images"], "output_names": ["scores"]}
        torch.onnx.export(network, (example,), path, dynamo=False, dynamic_axes=axes, **names)
        return f"onnx:{path}"
    dynamic = None if batch else {0: torch.export.Dim("batch")}
    torch.onnx.export(
        network, (example,), path, dynamo=True, verbose=False, dynamic_shapes=None if batch else (dynamic,)
    )
    return f"onnx:{path}"


def save_export(path, batch=None, **how):
    shapes = None if batch else ({0: torch.export.Dim("batch", min=1, max=4096)},)
    torch.export.save(torch.export.export(Small(**how).eval(), (IMAGES[: batch or 2],), dynamic_shapes=shapes), path)
    return f"export:{path}"


def answers(name):
    network = create_model(name, num_classes=CLASSES).eval()
    with torch.no_grad():
        return network, network(IMAGES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("save", [save_onnx, save_export])
def test_free_and_fixed_batches(save, batch, tmp_path):
    network, logits = answers(save(tmp_path / ("net.onnx" if save is save_onnx else "net.pt2"), batch))
    torch.testing.assert_close(logits, reference(), atol=1e-5, rtol=1e-4)
    assert network.input_size == SIDE
    assert network.identity["name"] in ("onnx:net.onnx", "export:net.pt2")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("save", [save_onnx, save_export])
def test_probabilities_become_logits(save, tmp_path):
    network, logits = answers(save(tmp_path / ("net.onnx" if save is save_onnx else "net.pt2"), softmax=True))
    torch.testing.assert_close(logits.softmax(1), reference().softmax(1), atol=1e-5, rtol=1e-4)
    assert network.identity["options"] == {"outputs": "probabilities"}


@pytest.mark.filterwarnings("ignore")
def test_onnx_with_channels_last(tmp_path):
    _, logits = answers(save_onnx(tmp_path / "net.onnx", channels_last=True))
    torch.testing.assert_close(logits, reference(), atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_file_states_its_preprocessing_and_is_told_by_its_content(tmp_path):
    name = save_onnx(tmp_path / "net.onnx")
    plain = create_model(name)
    model = onnx.load(tmp_path / "net.onnx")
    helper.set_model_props(model, {"mean": json.dumps([0.5] * 3), "resize_size": "40", "interpolation": "bicubic"})
    onnx.save(model, tmp_path / "net.onnx")
    stated = create_model(name)
    assert (plain.mean[0], plain.resize_size) == (0.485, 37)
    assert (stated.mean[0], stated.resize_size, stated.interpolation) == (0.5, 40, "bicubic")
    assert weights_hash(plain) != weights_hash(stated)


@pytest.mark.filterwarnings("ignore")
def test_weights_beside_an_onnx_file_count(tmp_path):
    name = save_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=64)
    before = weights_hash(create_model(name))
    content = bytearray((tmp_path / "w.bin").read_bytes())
    content[:4] = b"\0\0\0\0"
    (tmp_path / "w.bin").write_bytes(content)
    assert weights_hash(create_model(name)) != before


@pytest.mark.filterwarnings("ignore")
def test_torchscript_says_that_it_is_old(tmp_path, caplog):
    torch.jit.save(torch.jit.script(Small().eval()), tmp_path / "net.pt")
    with caplog.at_level(logging.WARNING):
        _, logits = answers(f"torchscript:{tmp_path / 'net.pt'}")
    torch.testing.assert_close(logits, reference(), atol=1e-6, rtol=1e-5)
    assert "TorchScript is deprecated" in caplog.text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("traced", [False, True])
def test_torchscript_is_made_ready_for_an_evaluation(traced, tmp_path):
    own = Small().eval()
    made = torch.jit.trace(own, torch.zeros(1, 3, 16, 16)) if traced else torch.jit.script(own)
    torch.jit.save(made, tmp_path / "net.pt")
    network = create_model(f"torchscript:{tmp_path / 'net.pt'}")
    images = torch.rand(4, 3, 16, 16)
    ready = prepare_forward_pass(network, images[:1], "net")
    torch.testing.assert_close(ready.network(images), network(images))
    assert batch_size_that_fits(network, images[:1]) > 1


def graph(inputs, outputs, nodes, opset=17):
    made = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
    model = helper.make_model(
        helper.make_graph(nodes, "net", made, given), opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = 8
    return model


FLAT = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]
RELU = [helper.make_node("Relu", ["x"], ["y"])]
CAST = [helper.make_node("Cast", ["x"], ["c"], to=1), helper.make_node("ReduceMean", ["c"], ["y"], axes=[2, 3])]
SHAPE = ["n", 3, SIDE, SIDE]
IMAGE = ("x", TensorProto.FLOAT, SHAPE)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (graph([IMAGE, ("z", TensorProto.FLOAT, [1])], [("y", ["n", 3])], FLAT), InputError, "one input.*has 2: x, z"),
        (graph([IMAGE], [("y", ["n", 3])], FLAT, opset=999), WeightsError, "onnxruntime .* cannot open .*opset"),
        (
            graph([IMAGE], [("y", ["n", 3, SIDE, SIDE])], [helper.make_node("Relu", ["x"], ["y"])]),
            InputError,
            r"one output with a row of class scores .* it returned y \(2, 3, 32, 32\)",
        ),
        (
            graph([IMAGE], [("y", ["n", 3]), ("z", ["n", 3])], [*FLAT, helper.make_node("Relu", ["y"], ["z"])]),
            InputError,
            "must have one output",
        ),
        (graph([("x", TensorProto.FLOAT, ["n", 8])], [("y", ["n", 8])], RELU), InputError, "must take images"),
        (graph([("x", TensorProto.UINT8, SHAPE)], [("y", ["n", 3])], CAST), InputError, "float32 or float16"),
    ],
)  # fmt: skip
def test_onnx_files_that_do_not_fit(model, error, message, tmp_path):
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(error, match=message) as caught:
        create_model(f"onnx:{tmp_path / 'net.onnx'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["onnx", "export", "torchscript"])
def test_files_that_are_none(source, tmp_path, caplog):
    path = tmp_path / "net.bin"
    with pytest.raises(WeightsError, match="there is no file"):
        create_model(f"{source}:{path}")
    path.write_bytes(b"nonsense")
    with pytest.raises(WeightsError) as caught:
        create_model(f"{source}:{path}")
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="comes with its own weights"):
        create_model(f"{source}:{path}", weights="none")
    with pytest.raises(InputError, match="has one option, input_size, got width"):
        create_model(f"{source}:{path}", width=2)


@pytest.mark.filterwarnings("ignore")
def test_files_of_another_format_are_named_and_said_how_to_give(tmp_path):
    save_export(tmp_path / "net.pt2")
    torch.jit.trace(Small().eval(), IMAGES[:1]).save(tmp_path / "net.ts")
    torch.save(Small().state_dict(), tmp_path / "net.pth")
    for source, file, message in (
        ("export", "net.ts", r"is not a torch.export file but a TorchScript file; name it torchscript:.*net\.ts$"),
        ("export", "net.pth", r"is not a torch.export file but a checkpoint; give it as the weights of a network"),
        ("torchscript", "net.pt2", r"is not a TorchScript file but a torch.export file; name it export:.*net\.pt2$"),
        ("torchscript", "net.pth", r"is not a TorchScript file but a checkpoint"),
    ):
        with pytest.raises(WeightsError, match=message):
            create_model(f"{source}:{tmp_path / file}")


@pytest.mark.parametrize("kept", [0, 100])
def test_an_onnx_file_that_is_not_whole_is_said_to_be_so(kept, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(graph([IMAGE], [("y", ["n", 3])], FLAT).SerializeToString()[:kept])
    with pytest.raises(WeightsError, match=r"net\.onnx is no ONNX file, or truncated; copy or export it again$"):
        create_model(f"onnx:{path}")


@pytest.mark.filterwarnings("ignore")
def test_a_broken_exported_file_is_said_without_torchs_traceback(tmp_path, caplog):
    path = tmp_path / "net.pt2"
    save_export(path)
    altered(path, lambda text: text.replace('"nodes"', '"knots"'))
    with pytest.raises(WeightsError, match=r"cannot read .*net.pt2 as a torch.export file: "):
        create_model(f"export:{path}")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.filterwarnings("ignore")
def test_other_classes_than_asked_for(tmp_path):
    with pytest.raises(WeightsError, match=r"has 5 classes, but num_classes or the data ask for 7"):
        create_model(save_export(tmp_path / "net.pt2"), num_classes=7)


def altered(path, change):
    """A copy of an archive with its JSON changed."""
    content = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(content, "w") as after:
        for entry in before.namelist():
            data = before.read(entry)
            after.writestr(entry, change(data.decode()).encode() if entry.endswith(".json") else data)
    path.write_bytes(content.getvalue())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("torch.ops.aten.relu.default", "torch.hub.load"), "torch.hub.load.*not an operator"),
        (lambda text: text.replace("torch.ops.aten.relu.default", "torch.ops.aten.relu.default.os.x()"), "an operator"),
        (lambda text: text.replace("Symbol('s", "__import__('os').system('x') + Symbol('s"), "is not a formula"),
    ],
)  # fmt: skip
def test_what_an_exported_file_could_run_is_refused(change, message, tmp_path):
    path = tmp_path / "net.pt2"
    save_export(path)
    check_harmless(path)
    altered(path, change)
    with pytest.raises(WeightsError, match=message):
        create_model(f"export:{path}")


@pytest.mark.filterwarnings("ignore")
def test_a_pickle_inside_an_exported_file_is_not_run(tmp_path):
    class Command:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = tmp_path / "net.pt2"
    save_export(path)
    hostile = io.BytesIO()
    torch.save(Command(), hostile)
    content = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(content, "w") as after:
        for entry in before.namelist():
            after.writestr(entry, hostile.getvalue() if entry.endswith(".pt") else before.read(entry))
    path.write_bytes(content.getvalue())
    with pytest.raises(WeightsError):
        create_model(f"export:{path}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore")
def test_compiled_libraries_inside_an_exported_file_are_refused(tmp_path):
    path = tmp_path / "net.pt2"
    save_export(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/data/aotinductor/model/x.so", b"")
    with pytest.raises(WeightsError, match=r"contains .*aotinductor.*was not run"):
        create_model(f"export:{path}")


def test_the_extra_is_asked_for_by_name(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs onnxruntime, .*pip install 'bivo-robust\[onnx\]'"):
        create_model(f"onnx:{tmp_path / 'net.onnx'}")


class Training(Small):
    """In training mode, whatever is called."""

    def __init__(self, chance=False):
        super().__init__()
        self.chance = chance

    def forward(self, images):
        maps = nn.functional.batch_norm(self.conv(images), None, None, training=True)
        scores = self.fc(maps.square().mean((2, 3)))
        return nn.functional.dropout(scores, 0.5, training=True) if self.chance else scores


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("chance", "message"), [(False, "differently beside others.*after eval"), (True, "differently each time")]
)
@pytest.mark.parametrize("source", ["export", "torchscript"])
def test_a_file_that_answers_by_more_than_the_image_is_refused(source, chance, message, tmp_path):
    network, path = Training(chance), tmp_path / "net.pt2"
    if source == "export":
        free = ({0: torch.export.Dim("batch", min=2, max=64)},)
        torch.export.save(torch.export.export(network, (IMAGES,), dynamic_shapes=free), path)
    else:
        torch.jit.save(torch.jit.trace(network, IMAGES, check_trace=False), path)
    with pytest.raises(InputError, match=f"net.pt2 answers .*{message}"):
        create_model(f"{source}:{path}")


@pytest.mark.filterwarnings("ignore")
def test_numbers_that_are_none_are_no_change(tmp_path):
    network = Small().eval()
    network.register_buffer("unused", torch.tensor(torch.nan))
    torch.jit.save(torch.jit.script(network), tmp_path / "net.pt")
    _, logits = answers(f"torchscript:{tmp_path / 'net.pt'}")
    torch.testing.assert_close(logits, reference())


@pytest.mark.filterwarnings("ignore")
def test_batch_norms_in_training_mode_are_refused_in_batches_of_one_image(tmp_path):
    torch.export.save(torch.export.export(Small().train(), (IMAGES[:1],)), tmp_path / "net.pt2")
    with pytest.raises(InputError, match="changes its own statistics, as batch norms in training mode"):
        create_model(f"export:{tmp_path / 'net.pt2'}")
    ones = [helper.make_tensor(name, TensorProto.FLOAT, [3], [1.0] * 3) for name in "sbmv"]
    norm = helper.make_node("BatchNormalization", list("xsbmv"), ["n", "nm", "nv"], training_mode=1)
    mean = helper.make_node("ReduceMean", ["n"], ["y"], axes=[2, 3], keepdims=0)
    model = graph([("x", TensorProto.FLOAT, [1, *SHAPE[1:]])], [("y", [1, 3])], [norm, mean])
    model.graph.initializer.extend(ones)
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(InputError, match="has batch norms in training mode"):
        create_model(f"onnx:{tmp_path / 'net.onnx'}")


@pytest.mark.filterwarnings("ignore")
def test_numbers_quantised_by_the_range_of_their_batch_are_those_of_a_single_image(tmp_path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    name = save_onnx(tmp_path / "net.onnx")
    # Old onnxruntimes have no convolution with signed weights.
    quantize_dynamic(tmp_path / "net.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    network = create_model(f"onnx:{tmp_path / 'int8.onnx'}")
    images = IMAGES * torch.logspace(-1, 1, len(IMAGES)).view(-1, 1, 1, 1)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.equal(network(images), alone)
    assert create_model(name).batches.size is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("text", "numbers"), [("0.1,0.2,0.3", (0.1, 0.2, 0.3)), ("[0.1, 0.2, 0.3]", (0.1, 0.2, 0.3))])
def test_colours_in_metadata_are_read_with_commas_too(text, numbers, tmp_path):
    assert create_model(with_metadata(tmp_path, mean=text)).mean == numbers


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mean", "0.5", r"states mean '0.5' in its metadata; expected three numbers"),
        ("std", "[0.229, 0.224", r"states std '\[0.229, 0.224' in its metadata"),
        ("std", '["a", "b", "c"]', "expected three numbers"),
        ("input_size", "48", "states input_size 48 in its metadata, but its graph takes 32 px"),
        ("input_size", "32px", "states input_size '32px' in its metadata; expected pixels"),
    ],
)
def test_metadata_that_cannot_be_are_refused(name, text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        create_model(with_metadata(tmp_path, **{name: text}))


def with_metadata(folder, **texts):
    name = save_onnx(folder / "net.onnx")
    model = onnx.load(folder / "net.onnx")
    helper.set_model_props(model, texts)
    onnx.save(model, folder / "net.onnx")
    return name


class OfOneSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3 * SIDE * SIDE, CLASSES)

    def forward(self, images):
        return self.fc(images.flatten(1))


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_does_not_state_its_size_takes_the_one_that_is_given(tmp_path, monkeypatch):
    torch.jit.save(torch.jit.script(OfOneSize().eval()), tmp_path / "net.pt")
    name = f"torchscript:{tmp_path / 'net.pt'}"
    with pytest.raises(InputError, match=r"failed on two images of 224×224 pixels: .*shapes.*give --input-size"):
        create_model(name)
    network = create_model(name, input_size=SIDE)
    assert (network.input_size, network.resize_size) == (SIDE, 37)
    with pytest.raises(InputError, match="input_size must be an integer from 32 to 4096, got 8"):
        create_model(name, input_size=8)


@pytest.mark.filterwarnings("ignore")
def test_files_for_any_size_take_the_one_that_is_given_unless_they_state_one(tmp_path):
    sizes = {0: torch.export.Dim("batch", min=2, max=64), 2: torch.export.Dim("side", min=16, max=512)}
    sizes[3] = sizes[2]
    torch.export.save(torch.export.export(Small().eval(), (IMAGES,), dynamic_shapes=(sizes,)), tmp_path / "net.pt2")
    assert create_model(f"export:{tmp_path / 'net.pt2'}", input_size=48).input_size == 48
    model = graph([("x", TensorProto.FLOAT, ["n", 3, "h", "w"])], [("y", ["n", 3])], FLAT)
    onnx.save(model, tmp_path / "net.onnx")
    assert create_model(f"onnx:{tmp_path / 'net.onnx'}", input_size=48).input_size == 48
    helper.set_model_props(model, {"input_size": "64"})
    onnx.save(model, tmp_path / "net.onnx")
    assert create_model(f"onnx:{tmp_path / 'net.onnx'}", input_size=48).input_size == 64
