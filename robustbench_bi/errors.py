"""One tree of errors: everything a user can mend is a `BivoRobustError`, shown as one line without a traceback.

Each leaf is also the built-in a caller would expect, so `except ValueError` keeps working.
A message says what was expected, what came, and what to do.
"""

__all__ = [
    "BackendUnavailableError",
    "BivoRobustError",
    "DataError",
    "InputError",
    "LostProcessError",
    "ModelOutputError",
    "RunMismatchError",
    "UnknownNameError",
    "WeightsError",
]


class BivoRobustError(Exception):
    """Root of the tree. The command line prints its message and exits with 2."""


class InputError(BivoRobustError, ValueError):
    """An argument is outside what the function accepts."""


class UnknownNameError(BivoRobustError, LookupError):
    """A name that is not in its table."""


class BackendUnavailableError(BivoRobustError, RuntimeError):
    """An explicitly chosen backend cannot run here; nothing else runs in its place."""


class DataError(BivoRobustError, OSError):
    """A data folder, an image or a class file is missing, broken or does not fit."""


class LostProcessError(DataError):
    """Another of the processes that work together has stopped. What torch has begun with it may never end."""


class WeightsError(BivoRobustError, ValueError):
    """A checkpoint is not a state dict, or belongs to another architecture."""


class ModelOutputError(BivoRobustError, ArithmeticError):
    """A model returned logits of a wrong shape, or logits that are not finite."""


class RunMismatchError(BivoRobustError, ValueError):
    """A run folder holds a different configuration, or two runs cannot be compared."""
