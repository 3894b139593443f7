"""Convolutions whose weights lie in memory as oneDNN wants them on a CPU; torch arranges others anew in each call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.exchanging import exchange


class PackedConv2d(nn.Module):
    """A convolution that computes what `conv` does, with the same kernels.

    Args:
        conv: on the CPU, in float32; padded with zeros, by numbers.
        shape: (B, C, H, W) of the images it will mostly be given; others are computed too.

    Raises:
        RuntimeError: this build of torch has no oneDNN.

    Example:
        >>> conv, images = nn.Conv2d(3, 4, 3).requires_grad_(False), torch.randn(2, 3, 8, 8)
        >>> torch.allclose(PackedConv2d(conv, images.shape)(images), conv(images), atol=1e-6)
        True
    """

    def __init__(self, conv: Any, shape: tuple[int, ...]) -> None:
        super().__init__()
        how = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        plain = conv.weight.detach().to_mkldnn()
        self.weight: Tensor = torch._C._nn.mkldnn_reorder_conv2d_weight(plain, *how, list(shape))  # type: ignore[call-arg]
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.how = how

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H', W'), in the memory format of the images."""
        nothing_after: tuple[str, list[Any], str] = ("none", [], "")
        convolved: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, self.weight, self.bias, *self.how, *nothing_after
        )
        return convolved


def pack(network: nn.Module, images: Tensor, size: int) -> int:
    """Pack a network's convolutions in place, where it is on a CPU and stays the same function.

    Args:
        network: in evaluation mode, in float32; no other code may hold it, since its layers are exchanged.
        images: (B, C, H, W), as the network takes them, to try it on.
        size: of the batches it will mostly be given.

    Returns:
        How many convolutions were packed.

    Example:
        >>> pack(nn.Sequential(nn.Conv2d(3, 4, 3)).requires_grad_(False), torch.randn(2, 3, 8, 8), 16) in (0, 1)
        True
    """
    if images.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    packed: dict[str, nn.Module] = {}

    def make() -> tuple[Any, dict[str, nn.Module]]:
        shapes, before = _watch(network, images)
        for name, (batch, *rest) in shapes.items():
            packed[name] = PackedConv2d(network.get_submodule(name), (batch * size // len(images), *rest))
        return before, packed

    return len(packed) if exchange(network, images, make) else 0


def _watch(network: nn.Module, images: Tensor) -> tuple[dict[str, torch.Size], Tensor]:
    """What each convolution that can be packed is given, by name, and what the network puts out."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            shapes[name] = inputs[0].shape

        return hook

    packable = [(name, module) for name, module in network.named_modules() if name and _can_be_packed(module)]
    handles = [module.register_forward_pre_hook(note(name)) for name, module in packable]
    try:
        output: Tensor = network(images)
    finally:
        for handle in handles:
            handle.remove()
    return shapes, output


def _can_be_packed(module: nn.Module) -> bool:
    """Whether it is a plain convolution in float32 that nothing else hangs on."""
    return (
        type(module) is nn.Conv2d
        and module.weight.dtype == torch.float32
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and not (module._forward_hooks or module._forward_pre_hooks)
    )
