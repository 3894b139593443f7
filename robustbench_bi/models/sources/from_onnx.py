"""Networks in ONNX files, run by onnxruntime on the CPU."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.ground.checks import is_number
from robustbench_bi.ground.sizes import in_pixels, size_of
from robustbench_bi.models.sources.finish import USUAL_SIDE, check_classes, extra, file_of, finished
from robustbench_bi.models.sources.scores import Batches, as_logits, looks_like_probabilities, settle_output
from robustbench_bi.models.weights import decoded

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
STATED = ("mean", "std", "input_size", "resize_size", "interpolation", "crop_mode", "cut_as", "class_names")
"""Preprocessing that a file may state in its metadata, as JSON, under the names that our checkpoints use."""


class OnnxNetwork(nn.Module):
    """An ONNX file that maps images (B, 3, H, W) to logits (B, K). It runs on the CPU, in its own precision.

    Args:
        session: of onnxruntime.
        digest: SHA-256 of the file and of those that hold its weights.
        singly: whether it is asked about one image at a time, where batches may have any size.
    """

    own_precision = True

    def __init__(self, session: Any, digest: bytes, singly: bool) -> None:
        super().__init__()
        self.session = session
        (entry,) = session.get_inputs()
        self.input_name, self.dtype = entry.name, DTYPES[entry.type]
        channels, *_, last = entry.shape[1:]
        self.channels_last = channels != 3 and last == 3
        free = 1 if singly else None
        self.batches = Batches(entry.shape[0] if isinstance(entry.shape[0], int) else free)
        self.output_name = session.get_outputs()[0].name
        self.probabilities = False
        self.register_buffer("digest", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, K)."""
        scores = self.batches.run(self._run, images.detach().cpu()).to(images.device)
        return as_logits(scores) if self.probabilities else scores

    def _run(self, images: Tensor) -> Tensor:
        ordered = images.permute(0, 2, 3, 1) if self.channels_last else images
        batch = np.ascontiguousarray(ordered.numpy(), dtype=self.dtype)
        (scores,) = self.session.run([self.output_name], {self.input_name: batch})
        return torch.from_numpy(np.asarray(scores))


def build(name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]) -> nn.Module:
    """Open an ONNX file.

    Args:
        name: the path.
        num_classes: None, or the file's number of classes.
        weights: None; the file brings its own.
        options: `input_size`, of images, where the file does not state it.

    Raises:
        InputError: onnxruntime is not installed; or the file is not a classifier of single images, or is in training
            mode.
        WeightsError: the file is missing, broken or of another version; or weights are named beside it.
    """
    path = file_of("onnx", name, weights, options)
    runtime = extra("onnxruntime", "onnx", f"onnx:{name}")
    session = _session(runtime, path)
    _check_input(session, path)
    graph = extra("onnx", "onnx", f"onnx:{name}").load(str(path), load_external_data=False).graph
    _check_mode(graph, path)
    network = OnnxNetwork(session, _digest(path, graph), _has_ranges_of_batches(graph))
    stated = _stated(session, path)
    size = _size(path, stated.get("input_size"), _image_size(session, network.channels_last), options.get("input_size"))
    stated |= {} if size is None else {"input_size": size}
    scores, network.output_name = settle_output(path, lambda images: _outputs(network, images), size or USUAL_SIDE)
    network.probabilities = looks_like_probabilities(scores)
    check_classes(f"onnx:{name}", scores.shape[1], num_classes)
    said = {"outputs": "probabilities"} if network.probabilities else {}
    return finished(network, f"onnx:{path.name}", stated, said, scores.shape[1], None)


def _session(runtime: Any, path: Path) -> Any:
    """A session whose numbers do not depend on how busy the machine is.

    Raises:
        WeightsError: onnxruntime cannot read the file.
    """
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class, and files fail in many ways
        said = " ".join(str(error).split()).rpartition("failed:")[2]
        # Without the place in onnxruntime's source, which comes first.
        reason = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", said)[:240].rstrip(".")
        if not path.stat().st_size or "Protobuf parsing failed" in reason:
            raise WeightsError(f"{path} is no ONNX file, or truncated; copy or export it again") from error
        raise WeightsError(
            f"onnxruntime {runtime.__version__} cannot open {path}: {reason}. Export it again with an opset and "
            "operators that this version supports"
        ) from error


def _check_input(session: Any, path: Path) -> None:
    """Refuse what does not take one batch of colour images.

    Raises:
        InputError: it does not.
    """
    entries = session.get_inputs()
    if len(entries) != 1:
        names = ", ".join(entry.name for entry in entries)
        raise InputError(f"{path} must have one input, a batch of images; it has {len(entries)}: {names}")
    shape, kind = entries[0].shape, entries[0].type
    if len(shape) != 4 or not (3 in (shape[1], shape[3]) or isinstance(shape[1], str)):
        raise InputError(f"{path} must take images (B, 3, H, W) or (B, H, W, 3); its input has the shape {shape}")
    if kind not in DTYPES:
        raise InputError(f"{path} must take normalised images as float32 or float16; its input is {kind}")


def _image_size(session: Any, channels_last: bool) -> Any:
    shape = session.get_inputs()[0].shape
    sides = shape[1:3] if channels_last else shape[2:4]
    return size_of(sides) if all(isinstance(side, int) and side > 0 for side in sides) else None


def _outputs(network: OnnxNetwork, images: Tensor) -> dict[str, Tensor]:
    names = [output.name for output in network.session.get_outputs()]
    found: dict[str, Tensor] = {}
    for name in names:
        network.output_name = name
        found[name] = network.batches.run(network._run, images)
    return found


def _size(path: Path, stated: Any, of_graph: Any, given: Any) -> Any:
    """The size of images: the graph's, or what the metadata or the user say of one that takes any.

    Raises:
        InputError: the metadata state no size, or contradict the graph.
    """
    if not isinstance(stated, int | list | None):
        raise InputError(f"{path} states input_size {stated!r} in its metadata; expected pixels, such as 224")
    if None not in (stated, of_graph) and size_of(stated) != of_graph:
        raise InputError(
            f"{path} states input_size {stated} in its metadata, but its graph takes {in_pixels(of_graph)}; "
            "correct the metadata"
        )
    return next((size_of(size) for size in (of_graph, stated, given) if size is not None), None)


def _stated(session: Any, path: Path) -> dict[str, Any]:
    """What the file's metadata say of preprocessing.

    Raises:
        InputError: mean or std are not three numbers.
    """
    texts = session.get_modelmeta().custom_metadata_map
    found = {name: decoded(texts[name]) for name in STATED if name in texts}
    for name in {"mean", "std"} & found.keys():
        # With commas alone, as on the command line.
        values = decoded(f"[{found[name]}]") if isinstance(found[name], str) else found[name]
        if not isinstance(values, list) or len(values) != 3 or not all(map(is_number, values)):
            raise InputError(
                f"{path} states {name} {texts[name]!r} in its metadata; expected three numbers, such as "
                "[0.485, 0.456, 0.406]"
            )
        found[name] = values
    return found


def _check_mode(graph: Any, path: Path) -> None:
    """Refuse batch norms in training mode, which a file for batches of one image does not show by its answers.

    Raises:
        InputError: there is one.
    """
    settings = (setting for node in graph.node if node.op_type == "BatchNormalization" for setting in node.attribute)
    if any(setting.name == "training_mode" and setting.i for setting in settings):
        raise InputError(f"{path} has batch norms in training mode; export it again after eval()")


def _has_ranges_of_batches(graph: Any) -> bool:
    """Whether numbers are quantised by the range of a batch, on the rest of which an answer then depends."""
    return any(node.op_type.startswith("DynamicQuantize") for node in graph.node)


def _digest(path: Path, graph: Any) -> bytes:
    """SHA-256 over the file and, in the order in which it names them, the files that hold its weights."""
    digest = hashlib.sha256(path.read_bytes())
    named = [entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"]
    for location in dict.fromkeys(named):
        digest.update((path.parent / location).read_bytes())
    return digest.digest()
