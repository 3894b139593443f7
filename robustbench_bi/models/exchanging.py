"""Other modules in the place of a network's own, where it stays the same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.folding import TOLERANCE, spread_difference


def exchange(network: nn.Module, images: Tensor, make: Callable[[], tuple[Any, Mapping[str, nn.Module]]]) -> bool:
    """Exchange modules in place, and put the network's own back where it differs by more than rounding, or fails.

    Args:
        network: in evaluation mode; no other code may hold it.
        images: (B, C, H, W), as the network takes them, to try it on.
        make: returns what the network puts out for these as it is, and the new modules by the names of the old ones.

    Returns:
        Whether the new modules stayed.

    Example:
        >>> network, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.randn(2, 3, 2, 2)
        >>> exchange(network, images, lambda: (network(images), {"1": nn.Linear(12, 2)}))
        False
    """
    before: dict[str, nn.Module] = {}
    try:
        with torch.inference_mode():
            expected, modules = make()
            for name, module in modules.items():
                before[name] = network.get_submodule(name)
                network.set_submodule(name, module)
            if spread_difference(expected, network(images)) <= TOLERANCE:
                return True
    except Exception:  # a network may look into its modules in any way; then it keeps them
        pass
    for name, module in before.items():
        network.set_submodule(name, module)
    return False
