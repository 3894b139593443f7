"""The key of a picture: a hash of its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import xxhash

from robustbench_bi.corruptions.shapes import as_batch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor


def content_ids(images: Tensor | NDArray[np.uint8] | Image.Image) -> Tensor:
    """Return an id for each picture that depends on its pixels alone, as `ids` of `robustbench_bi.corrupt`.

    It is the 63 upper bits of XXH3 (64 bits, seeded by the width) of the picture's bytes as (3, H, W). Equal pictures
    have equal ids. Pictures on a GPU are copied to the CPU for it.

    Args:
        images: as for `robustbench_bi.corrupt`.

    Returns:
        int64 (B,), on the device of the images.

    Raises:
        InputError: images outside what `robustbench_bi.corrupt` takes.

    Example:
        >>> grey = torch.full((2, 3, 32, 48), 100, dtype=torch.uint8)
        >>> first, second = content_ids(grey).tolist()
        >>> first == second == content_ids(grey[0].permute(1, 2, 0).numpy()).item()
        True
        >>> first == content_ids(grey.view(2, 3, 48, 32)).tolist()[0]
        False
    """
    return ids_of_batch(as_batch(images))


def ids_of_batch(batch: Tensor) -> Tensor:
    """As `content_ids`, of a contiguous batch uint8 (B, 3, H, W)."""
    width = batch.shape[-1]
    keys = [xxhash.xxh3_64_intdigest(picture, width) >> 1 for picture in batch.cpu().numpy()]
    return torch.tensor(keys, dtype=torch.int64, device=batch.device)
