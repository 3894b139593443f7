"""Pictures that say what a network shall answer, and the network that reads them: so every rule has an exact accuracy.

The colour of the upper half of a picture is its first answer, that of the lower half its second.
"""

import io

import numpy as np
import torch
from PIL import Image

STEP = 25


def colour_of(number):
    """The colour of a class number from 0 to 999."""
    return tuple(STEP * (number // 10**place % 10) for place in range(3))


def picture(first, second=None, size=(40, 40)):
    """A picture of that size (width, height) whose first and second answer are these classes."""
    pixels = np.empty((size[1], size[0], 3), dtype=np.uint8)
    pixels[: size[1] // 2] = colour_of(first)
    pixels[size[1] // 2 :] = colour_of(first if second is None else second)
    return Image.fromarray(pixels)


def png(*answers, **options):
    """The bytes of such a picture, without loss."""
    stream = io.BytesIO()
    picture(*answers, **options).save(stream, "PNG")
    return stream.getvalue()


def write(path, *answers, **options):
    """Such a picture as a file; the content is PNG, whatever the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(*answers, **options))


class Reader(torch.nn.Module):
    """A network that answers by the picture."""

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, outputs=1000, side=32):
        super().__init__()
        self.outputs, self.input_size, self.resize_size = outputs, side, side
        self.seen = []

    def answer(self, images, row):
        colour = (images[:, :, row, images.shape[3] // 2] * 255 / STEP).round().long()
        return (colour * torch.tensor([1, 10, 100][: images.shape[1]], device=images.device)).sum(dim=1)

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        logits = torch.zeros(len(images), self.outputs, device=images.device)
        for row, value in ((3 * images.shape[2] // 4, 1.0), (images.shape[2] // 4, 2.0)):
            logits.scatter_(1, self.answer(images, row).clamp(max=self.outputs - 1)[:, None], value)
        return logits
