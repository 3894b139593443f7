"""Every Triton kernel compiles for a GPU, on machines without one too; that it is right, the interpreter shows.

Where kernels are interpreted there is nothing to compile. So this file runs itself in a process where they are not,
and where a launch compiles for compute capability 9.0 and runs nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import robustbench_bi

PACKAGE = Path(robustbench_bi.__file__).parent


def launches() -> Iterator[tuple[str, Callable[[], object]]]:
    """Calls that between them launch every kernel, with arguments of the kinds that Triton compiles apart."""
    random_bits = importlib.import_module("robustbench_bi.ops.random_bits.triton_kernels")
    ids = torch.arange(3)
    yield "random bits", lambda: random_bits.random_words(ids, 40, start=5, last=157, key=(7, 3))
    large = {"start": 2**32 - 20, "last": 2**32 - 1, "key": (2**32 - 1, 2**31)}
    yield "random bits of large numbers", lambda: random_bits.random_words(ids, 1, **large)

    images = torch.zeros(2, 3, 40, 48, dtype=torch.uint8)
    filters = importlib.import_module("robustbench_bi.corruptions.filters_triton_kernels")
    yield "directional blur", lambda: filters.directional_blur(images, torch.zeros(2), radius=10, sigma=3, rounded=True)
    blur = importlib.import_module("robustbench_bi.corruptions.blur_triton_kernels")
    yield "zoom blur", lambda: blur.zoom_blur(images, None, zoom_stop=1.11, zoom_step=0.01)

    dynamic = importlib.import_module("robustbench_bi.ops.dynamic_filter.triton_kernels")
    for name, dtype, shape, groups, filter_size, combine in (
        ("channels last, bfloat16, mul", torch.bfloat16, (2, 32, 14, 14), 1, (3, 1, 1), "mul"),
        ("float16, add, stride and dilation", torch.float16, (2, 32, 9, 7), 2, (3, 2, 2), "add"),
        ("float32, alone", torch.float32, (1, 32, 56, 56), 2, (5, 1, 1), None),
        ("one pixel, one channel", torch.float32, (1, 1, 1, 1), 1, (1, 1, 1), "mul"),
    ):
        kernel, stride, dilation = filter_size
        sides = [-(-side // stride) for side in shape[2:]]
        order = torch.channels_last if "last" in name else torch.contiguous_format
        x = torch.zeros(shape, dtype=dtype).contiguous(memory_format=order)
        spatial = torch.zeros(shape[0], groups * kernel**2, *sides, dtype=dtype).contiguous(memory_format=order)
        channel = None if combine is None else torch.zeros(*shape[:2], kernel, kernel, dtype=dtype)
        given = (x, spatial, channel, kernel, stride, dilation, combine or "mul")
        gradient = torch.zeros(*shape[:2], *sides, dtype=dtype)
        yield f"dynamic filter: {name}", lambda given=given: dynamic.forward(*given)  # type: ignore[misc]
        yield (
            f"gradients of the dynamic filter: {name}",
            lambda given=given, gradient=gradient: dynamic.backward(gradient, *given),  # type: ignore[misc]
        )


def compile_every_kernel() -> dict[str, Any]:
    """What went wrong in which launch, and the kernels that none of them compiled."""
    triton = importlib.import_module("triton")
    compiler = importlib.import_module("triton.backends.compiler")
    compiled = set()

    class Hopper:
        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int) -> int:
            return 0

        def get_current_target(self) -> Any:
            return compiler.GPUTarget("cuda", 90, 32)

    def compile_instead(kernel: Any, grid: object) -> Callable[..., None]:
        def launch(*arguments: object, **options: object) -> None:
            assert "cubin" in kernel.run(*arguments, grid=grid, warmup=True, **options).asm
            compiled.add(kernel.fn)

        return launch

    triton.runtime.driver.set_active(Hopper())
    triton.JITFunction.__getitem__ = compile_instead
    problems = {}
    for name, launch in launches():
        try:
            launch()
        except Exception as error:
            problems[name] = f"{type(error).__name__}: {error}"
    files = PACKAGE.rglob("*triton_kernels.py")
    modules = [importlib.import_module(".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts)) for f in files]
    every = {kernel for module in modules for kernel in vars(module).values() if isinstance(kernel, triton.JITFunction)}
    called = {kernel for kernel in every if any(f"{kernel.__name__}(" in other.src for other in every - {kernel})}
    return {
        "problems": problems,
        "left": sorted(kernel.__name__ for kernel in every - called if kernel.fn not in compiled),
    }


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if sys.platform != "linux":
        pytest.skip("Triton is for Linux")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    # What Triton warns of when it launches, users would see, and the tests on a GPU fail of.
    command = [sys.executable, "-W", "error::UserWarning", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_launch_compiles_for_a_gpu(outcome: dict[str, Any]) -> None:
    assert not outcome["problems"], "\n".join(f"{name}: {problem}" for name, problem in outcome["problems"].items())


def test_no_kernel_is_left_out(outcome: dict[str, Any]) -> None:
    assert outcome["left"] == []


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compile_every_kernel()))
