"""The relief of water drops, for spatter: OpenCV's chain of edges, distances and embossing, for a batch at once.

Each step is that of an OpenCV function of the published code, with OpenCV's roundings, so the bytes are the same. But
it runs on any device, and where OpenCV cannot be imported because a machine has no graphics libraries.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Gradients (sums of absolute Sobel differences) above which an edge continues, and starts.
_WEAK, _STRONG = 50, 150
# tan(22.5°) in units of 2**-15, as OpenCV rounds it.
_TAN_22 = 13573
# Costs of a step to the side, of a diagonal one and of a knight's move: OpenCV's 1, 1.4 and 2.1969 pixels to 1e-5, in
# units small enough that all distances are whole numbers and large enough that they fit into 16 bits.
_SIDE, _DIAGONAL, _KNIGHT = 970, 1358, 2131
_FARTHEST = 20
_EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def relief(liquid: Tensor) -> Tensor:
    """Return how strongly each pixel of a layer of liquid reflects.

    Args:
        liquid: uint8 (B, H, W), 0 where there is none.

    Returns:
        float32 (B, H, W) of whole numbers from 0 to 255.

    Example:
        >>> drop = torch.zeros(1, 12, 12, dtype=torch.uint8)
        >>> drop[0, 4:8, 4:8] = 200
        >>> relief(drop)[0, 5].int()
        tensor([ 32,  32,   0,   0,   0,   0,  42, 127, 212, 255, 244, 244],
               dtype=torch.int32)
    """
    distance = _box_sums(_distance(_edges(liquid)).float()).to(torch.int32) // (9 * _SIDE)
    depth = _equalise(distance.to(torch.uint8))
    embossed = torch.zeros(depth.shape, device=depth.device)
    for weights, windows in zip(_EMBOSS, _windows(_reflect(depth.float())), strict=True):
        for weight, window in zip(weights, windows, strict=True):
            embossed += weight * window
    return (_box_sums(embossed.clamp_(0, 255)) / 9).round_()


def _reflect(images: Tensor) -> Tensor:
    """Images (B, H, W) with one more pixel on each side, mirrored about the border pixel (OpenCV's default)."""
    return F.pad(images[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]


def _windows(padded: Tensor) -> list[list[Tensor]]:
    """The nine neighbours of every pixel of images padded by one, as three rows of three images."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    return [[padded[:, y : y + height, x : x + width] for x in range(3)] for y in range(3)]


def _box_sums(images: Tensor) -> Tensor:
    """Sums over 3 × 3 pixels, the border mirrored."""
    padded = _reflect(images)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]


def _edges(images: Tensor) -> Tensor:
    """Canny edges of uint8 images (B, H, W), as cv2.Canny with thresholds 50 and 150: bool (B, H, W)."""
    padded = F.pad(images[:, None].float(), (1, 1, 1, 1), mode="replicate")[:, 0].to(torch.int32)
    down = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    right = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    dx, dy = down[..., 2:] - down[..., :-2], right[:, 2:] - right[:, :-2]
    gradient = dx.abs() + dy.abs()
    (upper_left, up, upper_right), (left, _, right), (lower_left, down, lower_right) = _windows(
        F.pad(gradient, (1, 1, 1, 1))
    )
    falling = (dx < 0) == (dy < 0)
    along = torch.where(
        falling,
        (gradient > upper_left) & (gradient > lower_right),
        (gradient > upper_right) & (gradient > lower_left),
    )
    flat, steep = dx.abs() * _TAN_22, dx.abs() * (_TAN_22 + 65536)
    slope = dy.abs() * 32768
    along = torch.where(slope > steep, (gradient > up) & (gradient >= down), along)
    along = torch.where(slope < flat, (gradient > left) & (gradient >= right), along)
    weak = along & (gradient > _WEAK)
    # On a GPU each comparison waits for the device, where a step too many costs next to nothing.
    return _grow(weak & (gradient > _STRONG), weak, steps=16 if images.is_cuda else 1)


def _grow(seeds: Tensor, region: Tensor, *, steps: int = 1) -> Tensor:
    """The parts of a region, connected over sides and corners, that hold a seed; all bool (B, H, W).

    It grows by so many steps before it compares whether there was anything to grow.
    """
    grown = seeds
    while True:
        before = grown
        for _ in range(steps):
            padded = F.pad(grown, (1, 1, 1, 1))
            rows = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
            grown = (rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]) & region
        if torch.equal(before, grown):
            return grown


def _distance(edges: Tensor) -> Tensor:
    """Distance to the nearest edge, at most 20 pixels, as cv2.distanceTransform (L2, 5 × 5) has it.

    OpenCV's distance is the cheapest way by steps of three kinds. In each row only the nearest edge pixel matters, so
    it is enough to compare the rows up to 20 above and below.

    Returns:
        int16 (B, H, W), where a pixel's side is `_SIDE`.
    """
    height, width = edges.shape[1:]
    column = torch.arange(width, dtype=torch.int16, device=edges.device)
    before = torch.where(edges, column, -_FARTHEST).cummax(dim=2).values
    after = torch.where(edges, column, width + _FARTHEST).flip(2).cummin(dim=2).values.flip(2)
    nearest = torch.minimum(column - before, after - column).clamp_(max=_FARTHEST)
    padded = F.pad(nearest, (0, 0, _FARTHEST, _FARTHEST), value=_FARTHEST)
    distance = torch.full_like(nearest, _FARTHEST * _SIDE)
    for rows in range(_FARTHEST):
        above = padded[:, _FARTHEST - rows : _FARTHEST - rows + height]
        below = padded[:, _FARTHEST + rows : _FARTHEST + rows + height]
        distance = torch.minimum(distance, _cost(torch.minimum(above, below), rows))
    return distance


def _cost(columns: Tensor, rows: int) -> Tensor:
    """The cheapest way over so many columns and rows.

    The cheapest way combines knight's moves with either steps to the side or diagonal ones. Which, and in which
    direction, gives four cases, each a linear function; the one that applies is always the greatest.
    """
    with_side, with_diagonal = (_SIDE, _KNIGHT - 2 * _SIDE), (_KNIGHT - _DIAGONAL, 2 * _DIAGONAL - _KNIGHT)
    cost = columns * with_side[0] + rows * with_side[1]
    for across, down in (with_side[::-1], with_diagonal, with_diagonal[::-1]):
        cost = torch.maximum(cost, columns * across + rows * down)
    return cost


def _equalise(images: Tensor) -> Tensor:
    """Spread the histogram of each uint8 image (B, H, W) evenly, as cv2.equalizeHist: uint8 (B, H, W)."""
    levels = images.flatten(1).long()
    histogram = levels.new_zeros(len(levels), 256).scatter_add_(1, levels, torch.ones_like(levels))
    lowest = (histogram > 0).int().argmax(dim=1, keepdim=True)
    above = histogram.cumsum(1) - histogram.gather(1, lowest)
    pixels = above[:, -1:]
    scale = torch.tensor(255.0, device=images.device) / pixels.float()
    table = torch.where(pixels > 0, (above.clamp(min=0).float() * scale).round(), lowest.float())
    return table.to(torch.uint8).gather(1, levels).view(images.shape)
