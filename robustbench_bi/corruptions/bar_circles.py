"""What ImageNet-C-bar and CIFAR-10-C-bar (Mintun et al., NeurIPS 2021) put around a centre: rings, and stars.

Each takes uint8 images (B, 3, H, W), random draws and the constants of a severity, and returns new uint8 images of the
same shape and device. Source: facebookresearch/augmentation-corruption, imagenet_c_bar; what is drawn there for an
image is drawn here, from the same distributions. Lengths that are shares of the side count the shorter one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from robustbench_bi.corruptions.series import power, root, sine, turns_of

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

STARS = 5
FEWEST_RAYS, MOST_RAYS = 50, 199
# A ray's length varies by so much; the radius of the star of inverse_sparkles is so much of the side.
SPREAD, INVERSE_RADIUS = 0.25, 0.25
# So that no distance is zero.
NEAR = 1e-4


def concentric_sine_waves(images: Tensor, draws: Draws, *, height: float) -> Tensor:
    """Add rings about a random centre, of a saw-tooth profile, whose radius swings around the centre.

    Draws: uniform (5,): the centre's row and column, how many waves a ring has (up to 10, and not a whole number: so a
    ring has a step), their amplitude, and the width of a ring (each up to a tenth of the side).

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        height: of the saw-tooth, in grey levels, half of them below 0.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> grey = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
        >>> rings = corrupt(grey, "concentric_sine_waves", 2)
        >>> int(rings.min()), int(rings.max())
        (96, 159)
    """
    rows, columns = images.shape[-2:]
    y, x, waves, amplitude, width = ring_draws(draws, rows, columns).unsqueeze(2).unbind(1)
    down = torch.arange(rows, dtype=torch.float32, device=images.device) - y
    across = torch.arange(columns, dtype=torch.float32, device=images.device) - x
    down, across = down[:, :, None].expand(-1, -1, columns), across[:, None, :].expand(-1, rows, -1)
    waves, amplitude, width = waves[..., None], amplitude[..., None], width[..., None]
    wobble = sine(turns_of(across, down) * waves) * amplitude
    rings = (root(down * down + across * across) + wobble) / width
    tooth = (rings - rings.floor() - 0.5) * height
    return _as_levels(images.to(torch.float32) + tooth[:, None])


def ring_draws(draws: Draws, height: int, width: int) -> Tensor:
    """Return the row and column of the centre, the number of waves, their amplitude and the width of a ring.

    Returns:
        float32 (B, 5); lengths are in pixels. The width of a ring is never 0.
    """
    y, x, waves, amplitude, ring = draws.uniform(5).unbind(1)
    tenth = min(height, width) / 10
    return torch.stack([y * height, x * width, waves * 10, amplitude * tenth, (1 - ring) * tenth], dim=1)


def sparkles(images: Tensor, draws: Draws, *, radius: float) -> Tensor:
    """Lay five white stars over the picture, one after the other.

    Draws: as `star_draws`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        radius: of a star, as a share of the side; its light reaches further.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        >>> stars = corrupt(black, "sparkles", 1)
        >>> int(stars.max()), bool(stars.float().mean() < 25)
        (255, True)
    """
    height, width = images.shape[-2:]
    centres, rays, lengths = star_draws(draws, STARS, height, width, radius)
    lengths = lengths.clamp(min=1)
    dark = torch.ones(len(images), height, width, device=images.device)
    for star in range(STARS):
        around, near = _star(centres[:, star], rays[:, star], lengths[:, star], height, width)
        dark = dark * (1 - (around * near).clamp(max=1))
    return _as_levels(255 - (255 - images.to(torch.float32)) * dark[:, None])


def inverse_sparkles(images: Tensor, draws: Draws, *, hardness: float) -> Tensor:
    """Turn white whatever lies outside of a star in the middle half of the picture.

    Draws: as `star_draws`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        hardness: the exponent by which the star fades with distance; the harder, the whiter.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        >>> star = corrupt(black, "inverse_sparkles", 5)
        >>> int(star.min()), int(star.max()) > 200
        (0, True)
    """
    height, width = images.shape[-2:]
    centres, rays, lengths = star_draws(draws, 1, height, width, INVERSE_RADIUS)
    centre = middle_half(centres[:, 0], height, width)
    around, near = _star(centre, rays[:, 0], lengths[:, 0], height, width)
    kept = (around * power(near.clamp(min=1e-20), hardness)).clamp(max=1)
    return _as_levels(255 - (255 - images.to(torch.float32)) * kept[:, None])


def star_draws(draws: Draws, stars: int, height: int, width: int, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is drawn for stars.

    Draws: uniform (stars, 2), the centres' rows and columns; integers (stars,), the numbers of rays; normal
    (stars, 199), the lengths of the rays, of which those beyond their number are not used.

    Args:
        draws: the random variates.
        stars: how many an image has.
        height: of the images.
        width: of the images.
        radius: mean length of a ray, as a share of the side.

    Returns:
        Centres, float32 (B, stars, 2), in pixels; numbers of rays, int64 (B, stars), 50 to 199; lengths of the rays,
        float32 (B, stars, 201), in pixels: after the last the first two stand again.
    """
    places = draws.uniform(stars, 2)
    centres = torch.stack([places[..., 0] * height, places[..., 1] * width], dim=2)
    rays = draws.integers(FEWEST_RAYS, MOST_RAYS + 1, stars)
    spread = draws.normal(stars, MOST_RAYS) * SPREAD
    numbers = torch.arange(MOST_RAYS + 2, device=rays.device) % rays[..., None]
    return centres, rays, (spread.gather(2, numbers) + 1) * (radius * min(height, width))


def middle_half(centres: Tensor, height: int, width: int) -> Tensor:
    """Return places (B, 2) anywhere in a picture moved into its middle half.

    Example:
        >>> middle_half(torch.tensor([[0.0, 32.0]]), 64, 32)
        tensor([[16., 24.]])
    """
    return torch.stack([centres[:, 0] * 0.5 + height / 4, centres[:, 1] * 0.5 + width / 4], dim=1)


def _star(centre: Tensor, rays: Tensor, lengths: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The two factors of a star's light, float32 (B, H, W): between rays, and with distance.

    Args:
        centre: float32 (B, 2).
        rays: int64 (B,).
        lengths: float32 (B, 201).
        height: H.
        width: W.
    """
    down = torch.arange(height, dtype=torch.float32, device=centre.device) - centre[:, :1]
    across = torch.arange(width, dtype=torch.float32, device=centre.device) - centre[:, 1:]
    down, across = down[:, :, None].expand(-1, -1, width), across[:, None, :].expand(-1, height, -1)
    place = (turns_of(across, down) + 0.5) * rays[:, None, None]
    ray = place.floor()
    share = place - ray
    numbers = ray.to(torch.int64).flatten(1)
    before, after = (lengths.gather(1, numbers + step).view(place.shape) for step in (0, 1))
    length = before + share * (after - before)
    middle = share - 0.5
    return 1 - middle * middle, length * length / (down * down + across * across + NEAR)


def _as_levels(levels: Tensor) -> Tensor:
    return levels.clamp_(0, 255).to(torch.uint8)
