import math

import pytest
import torch

from robustbench_bi.errors import InputError
from robustbench_bi.models import create_model
from robustbench_bi.models.attention import FREQUENCIES, MultiSpectralAttention


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("side", [7, 14])
def test_the_squeeze_is_the_discrete_cosine_transform(side):
    from scipy.fft import dctn

    x = torch.randn(1, 32, side, side, dtype=torch.float64)
    coefficients = dctn(x[0].numpy(), axes=(1, 2), norm="ortho")
    squeezed = (x * MultiSpectralAttention(32, side).dct_layer.weight).sum((2, 3))[0]
    # A frequency of the 7×7 map has the same wavelength in pixels on a larger one.
    expected = [coefficients[2 * part, v * side // 7, h * side // 7] for part, (v, h) in enumerate(FREQUENCIES)]
    torch.testing.assert_close(squeezed[::2], torch.tensor(expected), atol=1e-5, rtol=0)


def test_the_frequencies_are_the_published_ones():
    vertical, horizontal = ("".join(map(str, numbers)) for numbers in zip(*FREQUENCIES, strict=True))
    assert (vertical, horizontal) == ("0060011451300032", "0105202006046352")


def test_the_first_part_is_squeezed_to_its_mean():
    x = torch.randn(2, 16, 7, 7)
    squeezed = (x * MultiSpectralAttention(16, 7).dct_layer.weight).sum((2, 3))
    torch.testing.assert_close(squeezed[:, 0], 7 * x[:, 0].mean((1, 2)))


def test_each_channel_has_one_factor():
    x = torch.randn(2, 32, 14, 14)
    layer = MultiSpectralAttention(32, 7)
    factors = layer(x) / x
    torch.testing.assert_close(factors, factors[:, :, :1, :1].expand_as(x), atol=1e-4, rtol=1e-3)
    assert factors.amin() > 0
    assert factors.amax() < 1
    pooled = torch.nn.functional.avg_pool2d(x, 2)
    torch.testing.assert_close(layer(pooled) / pooled, factors[:, :, :7, :7], atol=1e-4, rtol=1e-3)


def test_the_cosines_are_for_the_maps_that_224_pixels_give():
    with torch.device("meta"):
        network = create_model("fca_resnet50", width=0.125)
        seen = []
        for module in network.modules():
            if isinstance(module, MultiSpectralAttention):
                module.register_forward_hook(lambda layer, x, y: seen.append((layer.side, *x[0].shape[2:])))
        network(torch.zeros(1, 3, 224, 224))
    assert seen == [(side,) * 3 for side, blocks in ((56, 3), (28, 4), (14, 6), (7, 3)) for _ in range(blocks)]


def test_published_checkpoints_have_these_names_and_shapes():
    with torch.device("meta"):
        state = create_model("fca_resnet50").state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if name.startswith("layer2.3.att.")}
    assert shapes == {
        "layer2.3.att.dct_layer.weight": (512, 28, 28),
        "layer2.3.att.fc.0.weight": (32, 512),
        "layer2.3.att.fc.2.weight": (512, 32),
    }
    assert math.prod(state["layer4.0.att.dct_layer.weight"].shape) == 2048 * 7 * 7


def test_channels_that_cannot_be_cut_are_refused():
    with pytest.raises(InputError, match="24 channels cannot be split into 16 equal parts"):
        MultiSpectralAttention(24, 7)
