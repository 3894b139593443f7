"""How much single boxes overlap; whole cells are matched by `matching`."""

import numpy as np
from numpy.typing import NDArray


def overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of a box with others, corners x1, y1, x2, y2.

    Example:
        >>> overlaps(np.array([0.0, 0, 2, 2]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])).round(2).tolist()
        [0.33, 0.0]
    """
    shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = shared.clip(min=0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - both
    shares: NDArray[np.float64] = np.divide(both, areas, out=np.zeros(len(others)), where=areas > 0)
    return shares
