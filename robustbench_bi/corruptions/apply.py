"""`corrupt`: checks what came in, looks up the constants, and applies a corruption to a batch in bounded memory."""

from __future__ import annotations

import functools
import itertools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from robustbench_bi.corruptions import CORRUPTIONS, modules_of, resolve_table
from robustbench_bi.corruptions.draws import Draws
from robustbench_bi.corruptions.shapes import Images, as_batch, as_given
from robustbench_bi.errors import InputError
from robustbench_bi.ground import checks
from robustbench_bi.ground.checks import check_integer, plain_integer
from robustbench_bi.ops.backends import choose_backend, load
from robustbench_bi.ops.share_out import pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


# Pixels (height × width × images) that are corrupted at once. An accelerator needs more to be busy, and a corruption's
# temporaries still stay near one gigabyte. What is corrupted at once need not be put together from parts afterwards.
_PIXELS_AT_ONCE_CPU = 2**21
_PIXELS_AT_ONCE_ACCELERATOR = 2**22
_JPEG = {
    "reference": "robustbench_bi.corruptions.jpeg",
    "numba": "robustbench_bi.corruptions.jpeg_numba_kernels",
}


@overload
def corrupt(
    images: Images,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Sequence[int] | NDArray[np.integer[Any]] | Tensor | None = None,
    table: str = "imagenet-c",
    backend: str | None = None,
) -> Images: ...


@overload
def corrupt(
    images: Sequence[Images],
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Sequence[int] | NDArray[np.integer[Any]] | Tensor | None = None,
    table: str = "imagenet-c",
    backend: str | None = None,
) -> list[Images]: ...


def corrupt(
    images: Any,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Sequence[int] | NDArray[np.integer[Any]] | Tensor | None = None,
    table: str = "imagenet-c",
    backend: str | None = None,
) -> Any:
    """Apply a corruption of ImageNet-C (Hendrycks & Dietterich, ICLR 2019) or C-bar (Mintun et al., 2021) to images.

    An image's result depends on its pixels, the corruption, the severity, the table, the seed and its id, and on
    nothing else: not on the batch that it comes in, its place there, the number of threads, or earlier calls. Every
    device and backend draws the same numbers, and the four noises are the same bytes everywhere; where a corruption
    sums or interpolates, devices and backends may round differently, by one grey level in a few of 100,000 bytes. On
    the CPU the batch is shared out over `torch.get_num_threads()` threads.

    Args:
        images: uint8 RGB with sides of at least 32 pixels: a Pillow image, or a numpy array or a torch tensor on any
            device, of the shape (H, W, 3), (3, H, W), (B, H, W, 3) or (B, 3, H, W). Or a list of such pictures, each
            of its own size. Never modified.
        name: a row of `robustbench_bi.corruptions.CORRUPTIONS`.
        severity: 1 (weakest) to 5.
        seed: 0 to 2**64 - 1.
        ids: B integers from 0 to 2**63 - 1, one for each image; None counts from 0 in each call. Images with the same
            id and seed get the same random draws, so that calls in a loop without ids put the same noise on every
            image: give each its own, or let `robustbench_bi.transforms.Corrupt` draw by the content of an image.
        table: the severity constants, a row of `robustbench_bi.corruptions.TABLES`, or "auto" for the one nearest to
            the shorter side. Constants are pixels of the table's own side and are not scaled to the images.
        backend: a row of `robustbench_bi.ops.backends.BACKENDS`; None is the fastest that can run: compiled kernels on
            the CPU, which take a few seconds to compile when they are first used, and on CUDA Triton kernels or plain
            torch. A named backend runs or raises; there is no fallback. "reference", plain torch on any device, is the
            definition.

    Returns:
        The corrupted images, a new object of the same kind, shape, dtype and device; a list of them for a list.

    Raises:
        UnknownNameError: no such corruption, table or backend.
        InputError: images, severity, seed or ids outside what is described here.
        BackendUnavailableError: the chosen backend cannot run here.

    Example:
        >>> image = np.full((64, 64, 3), 128, dtype=np.uint8)
        >>> corrupt(image, "contrast", 3).shape
        (64, 64, 3)
        >>> [picture.shape for picture in corrupt([image, image[:40]], "contrast", 3)]
        [(64, 64, 3), (40, 64, 3)]
        >>> first, second = (corrupt(image, "gaussian_noise", 3, ids=[number]) for number in (0, 1))
        >>> bool((first == second).all())
        False
        >>> corrupt(image, "fog", 6)
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: severity must be an integer from 1 to 5, got 6
    """
    row = CORRUPTIONS[name]
    severity = check_severity(severity)
    seed = check_seed(seed)

    def applied(batch: Tensor, identifiers: Tensor) -> Tensor:
        constants = resolve_table(table, min(batch.shape[2:]))
        return corrupt_batch(batch, row.name, severity, identifiers.to(batch.device), seed, constants, backend)

    if isinstance(images, list | tuple):
        return _applied_to_each(applied, images, as_ids(ids, len(images)))
    batch = as_batch(images)
    return as_given(applied(batch, as_ids(ids, len(batch))), images)


def corrupt_batch(
    batch: Tensor, name: str, severity: int, ids: Tensor, seed: int, table: str, backend: str | None = None
) -> Tensor:
    """As `corrupt`, for what is checked already.

    Args:
        batch: uint8 (B, 3, H, W), contiguous, as `as_batch` gives it.
        name: a row of `CORRUPTIONS`, no alias.
        severity: 1 to 5.
        ids: int64 (B,), each at least 0, on the device of the batch.
        seed: 0 to 2**64 - 1.
        table: a row of `TABLES`.
        backend: as for `corrupt`.

    Returns:
        uint8 (B, 3, H, W), a new tensor.

    Raises:
        UnknownNameError, BackendUnavailableError: as `corrupt`.
    """
    constants = severity_constants(name, severity, table)
    modules = modules_of(name, table)
    function = load(modules, choose_backend(backend, batch.device, modules), name)
    stream = CORRUPTIONS[name].stream

    def corrupt_part(rows: slice) -> Tensor:
        draws = Draws(ids[rows], seed=seed, stream=stream, severity=severity, backend=backend)
        corrupted: Tensor = function(batch[rows], draws, **constants)
        return corrupted

    return in_parts(corrupt_part, batch)


def _applied_to_each(applied: Callable[[Tensor, Tensor], Tensor], pictures: Sequence[Any], ids: Tensor) -> list[Any]:
    """Each picture of a list by itself, shared out over threads where all are on the CPU."""
    batches = [as_batch(picture) for picture in pictures]
    for picture in pictures:
        if getattr(picture, "ndim", 3) != 3:
            raise InputError(
                "a list must hold single images, (H, W, 3) or (3, H, W), got one of shape "
                f"{tuple(picture.shape)}; pass a batch by itself, not in a list"
            )
    threads = torch.get_num_threads() if all(batch.device.type == "cpu" for batch in batches) else 1
    each = map if threads == 1 else pool(threads).map
    return [as_given(*pair) for pair in zip(each(applied, batches, ids[:, None]), pictures, strict=True)]


def jpeg_round_trip(images: Images, *, quality: int = 85, backend: str | None = None) -> Images:
    """Return images as they come back from a JPEG file of Pillow's, as the published ImageNet-C was stored.

    The published files were saved with `optimize`, which changes the size of a file but no pixel. Plain torch is in
    `robustbench_bi.corruptions.jpeg`.

    Args:
        images: as for `corrupt`.
        quality: 1 to 100.
        backend: as for `corrupt`.

    Returns:
        The images, a new object of the same kind, shape, dtype and device.

    Raises:
        InputError: images or quality outside what is described here.
        UnknownNameError, BackendUnavailableError: as `corrupt`.

    Example:
        >>> grey = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)
        >>> bool((jpeg_round_trip(grey) == grey).all())
        True
    """
    batch = as_batch(images)
    function = load(_JPEG, choose_backend(backend, batch.device, _JPEG), "jpeg_round_trip")

    def compress_part(rows: slice) -> Tensor:
        decoded: Tensor = function(batch[rows], quality=quality)
        return decoded

    return as_given(in_parts(compress_part, batch), images)


def in_parts(work: Callable[[slice], Tensor], batch: Tensor) -> Tensor:
    """Return what work makes of a batch (B, 3, H, W), given slices of it, on the CPU in torch's thread count.

    Gradients and a caller's autocast, under which sums that must be exact would be taken in 16 bits, are off meanwhile.
    Of several GPUs, the batch's is the current one, on which Triton launches.
    """
    threads = torch.get_num_threads() if batch.device.type == "cpu" else 1
    parts = _parts(batch, threads)
    # A tensor made in the caller's inference mode can be written to in that mode alone.
    inference = torch.is_inference_mode_enabled()

    def quietly(rows: slice) -> Tensor:
        current = torch.cuda.device_of(batch)  # type: ignore[no-untyped-call]
        off = torch.autocast(batch.device.type, enabled=False)
        with torch.inference_mode(inference), torch.no_grad(), off, current:
            return work(rows).contiguous()

    each = pool(threads).map if threads > 1 and len(parts) > 1 else map
    made = list(each(quietly, parts)) or [torch.empty_like(batch)]
    return made[0] if len(made) == 1 else torch.cat(made)


@functools.cache
def _severities() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files(__package__).joinpath("severities.toml").read_text(encoding="utf-8"))


def severity_constants(name: str, severity: int, table: str) -> dict[str, float]:
    """Return the named constants of a corruption at a severity, as the published tables give them.

    Args:
        name: a row of `CORRUPTIONS`.
        severity: 1 to 5.
        table: a row of `TABLES`.

    Example:
        >>> severity_constants("defocus_blur", 2, "imagenet-c")
        {'radius': 4, 'alias_blur': 0.5}
    """
    entry = _severities()[name]
    values = entry[table][severity - 1]
    if isinstance(values, dict):
        return dict(values)
    return dict(zip(entry["parameters"], values if isinstance(values, list) else [values], strict=True))


def check_severity(severity: object) -> int:
    """Return a severity as an int, or raise InputError; NumPy's integers are taken as well."""
    return check_integer("severity", plain_integer(severity), 1, 5)


def check_seed(seed: object) -> int:
    """Return a seed as an int, or raise InputError; NumPy's integers are taken as well."""
    return checks.check_seed(plain_integer(seed))


def as_ids(ids: Sequence[int] | NDArray[np.integer[Any]] | Tensor | None, count: int) -> Tensor:
    """Return image ids as int64 (count,) on the CPU, or raise InputError; None counts from 0."""
    if ids is None:
        return torch.arange(count)
    try:
        array = np.asarray(ids.tolist() if isinstance(ids, Tensor) else ids)
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"ids must hold one integer per image, {count} here ({error})") from error
    if array.shape != (count,):
        raise InputError(f"ids must hold one integer per image, {count} here, got shape {array.shape}")
    if count == 0:
        return torch.arange(0)
    if array.dtype.kind not in "iu":
        raise InputError(f"ids must be integers from 0 to 2**63 - 1, got {array.dtype}")
    if int(array.min()) < 0 or int(array.max()) >= 2**63:
        raise InputError(f"ids must be integers from 0 to 2**63 - 1, got {array.min()} to {array.max()}")
    return torch.from_numpy(array.astype(np.int64))


def _parts(batch: Tensor, threads: int) -> list[slice]:
    """Slices of the batch that are corrupted at once: small ones, of nearly one size, as many for each thread."""
    pixels = _PIXELS_AT_ONCE_CPU if batch.device.type == "cpu" else _PIXELS_AT_ONCE_ACCELERATOR
    most = max(1, pixels // (batch.shape[2] * batch.shape[3]))
    count = min(len(batch), threads * -(-len(batch) // (threads * most)))
    bounds = [number * len(batch) // count for number in range(count + 1)] if count else []
    return [slice(start, end) for start, end in itertools.pairwise(bounds)]
