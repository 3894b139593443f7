"""The networks as ONNX graphs, run by another program."""

import onnxruntime
import pytest
import torch
from torch import nn

from robustbench_bi.models import create_model


@pytest.mark.parametrize("name", ["binet50", "rednet50", "ddf_resnet50"])
def test_onnx_runtime_agrees(name, tmp_path):
    torch.manual_seed(0)
    network = create_model(name, num_classes=7, width=0.25, stem="small", input_size=32)
    for module in network.modules():
        if hasattr(module, "bn3"):  # residual branches start at zero, which would leave most of the graph unseen
            nn.init.constant_(module.bn3.weight, 0.2)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.randn(2, 3, 32, 32)
    network(images)
    network.eval()
    torch.onnx.export(network, (images,), tmp_path / "network.onnx", input_names=["images"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    expected = network(images).detach()
    assert expected.std() > 0.01
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=0)
