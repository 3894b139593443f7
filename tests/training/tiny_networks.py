"""Networks of a few hundred weights; `tiny_networks:NAME` for tests that put this folder on Python's path."""

import torch
from torch import nn


def batch_norm(num_classes=10, dropout=0.2):
    return _network(nn.BatchNorm2d(8), num_classes, dropout)


def group_norm(num_classes=10, dropout=0.0):
    """Its gradient of a batch is the mean of those of its parts."""
    return _network(nn.GroupNorm(2, 8), num_classes, dropout)


def ends(num_classes=10):
    """Ends the process of rank 1 in its sixth step, as a machine that fails does."""
    return _Ends(num_classes, 0.2)


def ends_plain(num_classes=10):
    """As `ends`, without dropout, which each process draws for itself."""
    return _Ends(num_classes, 0.0)


def unused(num_classes=10):
    """Has parameters that take no part in the loss."""
    return _Unused(num_classes)


def _network(norm, num_classes, dropout):
    layers = [nn.Conv2d(3, 8, 5, 4), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(32, num_classes))


class _Ends(nn.Module):
    def __init__(self, num_classes, dropout):
        super().__init__()
        self.inner = group_norm(num_classes, dropout)
        self.steps = 0

    def forward(self, x):
        import os
        import signal
        from pathlib import Path

        self.steps += self.training
        marker = Path(os.environ.get("ENDS_ONCE", ""))
        if self.steps == 6 and os.environ.get("RANK") == "1" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        logits: torch.Tensor = self.inner(x)
        return logits


class _Unused(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.inner = group_norm(num_classes)
        self.aside = nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(x)
