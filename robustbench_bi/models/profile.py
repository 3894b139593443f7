"""How large a network is, and how much it computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from robustbench_bi.errors import InputError
from robustbench_bi.ground.checks import is_integer
from robustbench_bi.models import MODELS, create_model
from robustbench_bi.models.inference import unchanged
from robustbench_bi.ops.dynamic_filter import OPERATOR as FILTER
from robustbench_bi.ops.local_logits import OPERATOR as LOGITS

RULE = (
    "Params in millions; MACs per image in billions: convolutions, matrix products, local attention's logits (K·K per "
    "value of a query) and dynamic filters' aggregation (K·K per output value). Biases, normalisation, activations and "
    "pooling are not counted."
)


def profile(model: str | nn.Module, size: int | None = None, **options: Any) -> dict[str, int]:
    """Count parameters and multiply-accumulates for one image.

    `macs` counts convolutions, matrix products (linear layers, attention), the logits of local attention, K·K for each
    value of a query, and the aggregation by dynamic filters, K·K for each output value. It leaves out biases,
    normalisation, activations and pooling, and the making of a DDF's filter from its two parts. By this rule the
    RedNets, DDF-ResNets and BiNets of the paper's Table 1, whose "FLOPs" are multiply-accumulates, come within 0.02 G
    of what rounds to the printed value.

    Args:
        model: a network, or a name as for `create_model`; a row of our table is built without memory for its weights.
        size: side of the image in pixels; None is the network's `input_size`, or 224.
        **options: as for `create_model`.

    Returns:
        `parameters` (all, trained or not; no buffers) and `macs`.

    Raises:
        InputError: the size is not a positive integer, or the network cannot take it.

    Example:
        >>> profile("resnet50", 224)
        {'parameters': 25557032, 'macs': 4089184256}
    """
    if isinstance(model, str):
        if size is not None and model in MODELS and MODELS[model].sized:
            options = {"input_size": size, **options}
        with torch.device("meta" if ":" not in model else "cpu"):
            model = create_model(model, **options)
    side = int(getattr(model, "input_size", 224)) if size is None else size
    if not is_integer(side) or side < 1:
        raise InputError(f"size must be a positive integer, got {size!r}")
    parameter = next(model.parameters(), torch.zeros(0))
    try:
        # With gradients, and attention as plain matrix products: torch fuses it into operators that the counter does
        # not know; which ones depends on its version and on the device.
        with (
            unchanged([model]),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False, custom_mapping={FILTER: filter_flops, LOGITS: _logits_flops}) as counter,
        ):
            model.eval()(torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device))
    except Exception as error:  # a network may refuse a size in any way
        raise InputError(f"the network cannot take images of {side}×{side}: {error}") from error
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}


def filter_flops(
    x: torch.Size, spatial: torch.Size, channel: torch.Size | None, kernel_size: int, *_: Any, out_shape: torch.Size
) -> int:
    """Two for each tap of each output value, as the counter has them; it passes shapes in place of tensors."""
    return 2 * out_shape.numel() * kernel_size**2


def _logits_flops(query: torch.Size, key: torch.Size, kernel_size: int, *_: Any, out_shape: torch.Size) -> int:
    return 2 * query.numel() * kernel_size**2
