"""A batch size that fits into memory, from what one image takes."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.inference import full_precision

LARGEST = {"cpu": 64, "cuda": 512}
"""More gains nothing: on a CPU a batch leaves the caches."""
IN_OTHER_WORDS = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How libraries say that memory ran out, where the class of their error does not."""
PART_OF_MEMORY = 0.25
"""Of the memory that is free, since other processes and the corrupted images need some too."""
CACHE = 16 << 20
"""Bytes of a layer's output that a processor's thread finds again in its caches, about; more comes from memory."""
FEWEST = 16
"""Images at once: with fewer, and one thread, torch takes slower convolutions of its own instead of oneDNN's."""


def batch_size_that_fits(network: nn.Module, image: Tensor) -> int:
    """The largest power of two whose layers' outputs, all kept at once, take a quarter of the free memory.

    Layers free theirs as they go, so this is on the safe side.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W), as the network takes it.

    Example:
        >>> batch_size_that_fits(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.zeros(1, 3, 32, 32))
        64
    """
    needed = image.nbytes + sum(_bytes_of_outputs(network, image))
    fitting = int(PART_OF_MEMORY * _free_memory(image.device) // needed)
    return min(LARGEST.get(image.device.type, LARGEST["cpu"]), 1 << max(0, fitting.bit_length() - 1))


def images_at_once(network: nn.Module, image: Tensor) -> int | None:
    """How many images go through a network on the CPU so that each layer finds what the one before made in the caches.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W), as the network takes it.

    Returns:
        A power of two, at least `FEWEST`; None on other devices, which are the faster the more images they are given.

    Example:
        >>> images_at_once(nn.Conv2d(3, 64, 3), torch.zeros(1, 3, 1026, 1026))
        16
    """
    if image.device.type != "cpu":
        return None
    return max(FEWEST, images_in_caches(network, image, torch.get_num_threads()))


def images_in_caches(network: nn.Module, image: Tensor, threads: int = 1) -> int:
    """How many images' largest layer fits into the caches of so many of a processor's threads: a power of two.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W), as the network takes it.
        threads: that work together.

    Example:
        >>> images_in_caches(nn.Conv2d(3, 64, 1), torch.zeros(1, 3, 256, 256))
        1
    """
    largest = max([image.nbytes, *_bytes_of_outputs(network, image)])
    return 1 << max(0, (CACHE * threads // largest).bit_length() - 1)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that memory ran out.

    Example:
        >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("[enforce fail] can't allocate memory"))
        (True, True)
    """
    cause = error.__cause__ or error
    if isinstance(cause, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(cause, RuntimeError) and any(words in str(cause) for words in IN_OTHER_WORDS)


def _bytes_of_outputs(network: nn.Module, image: Tensor) -> list[int]:
    """What each layer puts out; nothing of a network that fails, which says so when it is tried out.

    Nor of TorchScript, whose layers do not say.
    """
    sizes: list[int] = []

    def add(_: nn.Module, __: Any, output: Any) -> None:
        sizes.append(output.nbytes if isinstance(output, Tensor) else 0)

    layers = [module for module in network.modules() if not any(module.children())]
    plain = [layer for layer in layers if not isinstance(layer, torch.jit.ScriptModule)]
    handles = [layer.register_forward_hook(add) for layer in plain]
    try:
        with torch.inference_mode(), full_precision():
            network(image)
    except Exception:
        return []
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if "SC_AVPHYS_PAGES" not in names:
        return 4 << 30
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
