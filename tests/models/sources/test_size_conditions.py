"""Conditions on sizes are calculated, never run, and a network is not asked where they are not met."""

import pytest
import torch
from torch import nn

from robustbench_bi.errors import InputError
from robustbench_bi.models import create_model
from robustbench_bi.models.sources.size_conditions import Conditional, holds

SHAPE = (2, 3, 96, 128)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("L['x'].size()[2] >= 96", True),
        ("L['images'].size()[3] < 128", False),
        ("(torch.sym_max(1, L['x'].size()[3] // 4)*torch.sym_min(L['x'].size()[2], 3)) == 96", True),
        ("((L['x'].size()[3] // 4) + ((7 + (-1)*((L['x'].size()[3] // 4) % 7)) % 7)) != 35", False),
        ("L['x'].size()[0] == 2 and not L['x'].size()[1] == 1", True),
        ("L['x'].size()[0] > 2 or L['x'].size()[2] / 3 <= 31.5", False),
    ],
)
def test_conditions_are_calculated(condition, expected):
    assert holds(condition, SHAPE) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('touch ran')",
        "L['x'].size()[9] == 1",
        "L['x'].dim() == 4",
        "2 ** 9 == 512",
        "1 // 0 == 1",
        "[1 for _ in range(3)] == 3",
        "1 ==",
        "(" * 500 + "1" + ")" * 500,
        "1 == 1\0",
    ],
)
def test_anything_else_is_refused_and_not_run(condition, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="which is no condition on sizes; it was not run"):
        holds(condition, SHAPE)
    assert not (tmp_path / "ran").exists()


class ByItsSize(nn.Module):
    """Another function of some sizes than of others, of which torch.export keeps that of its example."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 5)

    def forward(self, images):
        return self.fc(images.mean((2, 3)) if images.shape[2] % 32 == 0 else images.amax((2, 3)))


def test_a_network_is_not_asked_about_sizes_that_do_not_meet_its_conditions():
    loaded = Conditional(ByItsSize(), ["L['images'].size()[2] % 32 == 0"], "net.pt2")
    for _ in range(2):
        assert loaded(torch.ones(1, 3, 64, 40)).shape == (1, 5)
        with pytest.raises(
            InputError, match=r"net.pt2 was exported for other sizes than 1 × 3 × 72 × 40: its cond.*32"
        ):
            loaded(torch.ones(1, 3, 72, 40))


def test_the_conditions_of_a_file_are_those_that_are_checked(tmp_path):
    free = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(ByItsSize().eval(), (torch.zeros(2, 3, 64, 64),), dynamic_shapes=(free,))
    if hasattr(program, "_guards_code"):  # of older versions nothing is left unchecked
        program._guards_code.append("L['images'].size()[2] % 48 == 0")
    torch.export.save(program, tmp_path / "net.pt2")
    stated = tuple(getattr(torch.export.load(tmp_path / "net.pt2"), "_guards_code", ()))
    if stated:
        with pytest.raises(InputError, match=r"^\S*net.pt2 was exported for other sizes than 1 × 3 × 64 × 64"):
            create_model(f"export:{tmp_path / 'net.pt2'}")
    else:
        assert create_model(f"export:{tmp_path / 'net.pt2'}").network.conditions == ()
