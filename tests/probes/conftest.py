import pytest
import torch
from torch import nn


class Known(nn.Module):
    """A network whose third stage ends in the means of 8×8 pixels, of images that are not normalised."""

    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def __init__(self, classes=10):
        super().__init__()
        self.layer3 = nn.Sequential(nn.Identity(), nn.AvgPool2d(8))
        self.dropout = nn.Dropout()
        self.fc = nn.Linear(3, classes)

    def forward(self, images):
        return self.fc(self.dropout(self.layer3(images)).mean(dim=(2, 3)))


@pytest.fixture
def known():
    torch.manual_seed(0)
    return Known()
