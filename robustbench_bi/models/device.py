"""Where a network runs."""

import torch

from robustbench_bi.errors import InputError


def choose_device(name: str) -> torch.device:
    """The device of that name, once it has been shown to work; "auto" is CUDA where there is one, else the CPU.

    Raises:
        InputError: the device cannot be used here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device
