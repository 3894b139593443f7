import numpy as np
import pytest
import torch

from robustbench_bi.probes.frequencies import add_frequency, default_norm, fourier_basis, frequencies

IDS = torch.arange(40) * 1000 + 7


def mirror(side, vertical, horizontal):
    return -vertical % side, -horizontal % side


@pytest.mark.parametrize("side", [8, 9])
def test_every_basis_vector_has_norm_1_and_two_symmetric_peaks(side):
    for vertical, horizontal in frequencies(side):
        basis = fourier_basis(side, vertical, horizontal)
        assert basis.dtype == torch.float32
        assert basis.norm().item() == pytest.approx(1, abs=1e-6)
        power = np.abs(np.fft.fft2(basis.double().numpy())) ** 2
        peaks = {tuple(place) for place in np.argwhere(power > 1e-9)}
        own = (vertical % side, horizontal % side)
        assert peaks == {own, mirror(side, vertical, horizontal)}
        assert power[own] == pytest.approx(side**2 / len(peaks), rel=1e-5)
        alone = vertical in (0, side / 2) and horizontal in (0, side / 2)
        assert len(peaks) == (1 if alone else 2)


@pytest.mark.parametrize("side", [6, 7])
def test_the_basis_is_that_of_the_authors_code(side):
    """Their vector is the inverse transform of (1 + i) / 2 at one of the two places and its conjugate at the other."""
    for vertical, horizontal in frequencies(side):
        spectrum = np.zeros((side, side), complex)
        spectrum[mirror(side, vertical, horizontal)] += 0.5 + 0.5j
        spectrum[vertical % side, horizontal % side] += 0.5 - 0.5j
        expected = side * np.fft.ifft2(spectrum)
        np.testing.assert_allclose(expected.imag, 0, atol=1e-12)
        np.testing.assert_allclose(fourier_basis(side, vertical, horizontal), expected.real, atol=1e-6)


@pytest.mark.parametrize("side", [8, 9])
def test_frequencies_and_their_mirror_images_are_the_whole_plane_once(side):
    found = frequencies(side)
    plane = [place for pair in found for place in {(pair[0] % side, pair[1] % side), mirror(side, *pair)}]
    assert sorted(plane) == [(row, column) for row in range(side) for column in range(side)]
    lengths = [np.hypot(*pair) for pair in found]
    assert lengths == sorted(lengths)


def test_a_subset_of_frequencies():
    every = frequencies(64)
    assert frequencies(64, step=4) == [pair for pair in every if pair[0] % 4 == pair[1] % 4 == 0]
    assert frequencies(64, radius=10) == [pair for pair in every if np.hypot(*pair) <= 10]
    assert frequencies(64, step=100) == [(0, 0)]
    assert len(frequencies(224, step=7)) == len(frequencies(32)) == 514


def test_the_default_norm_is_the_papers():
    assert default_norm(32) == 4.0
    assert default_norm(224) == pytest.approx(15.7)
    assert default_norm(32) < default_norm(64) < default_norm(224) < default_norm(299)


def test_what_is_added_is_the_basis_vector_of_that_norm_with_signs():
    grey = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    added = (add_frequency(grey, IDS, 3, -5, norm=4.0).double() - 128) / 255
    basis = 4 * fourier_basis(32, 3, -5).double()
    signs = (added * basis).sum(dim=(2, 3)) / 16
    np.testing.assert_allclose(signs.abs(), 1, atol=0.002)
    # Pixels are rounded to 8 bits, by half a level at most.
    assert (added - signs.sign()[:, :, None, None] * basis).abs().max() <= 0.5 / 255 + 1e-6
    np.testing.assert_allclose(added.flatten(2).norm(dim=2), 4, atol=0.01)


def test_what_leaves_the_range_is_clipped():
    for level, sign in ((0, 1), (255, -1)):
        flat = torch.full((1, 3, 32, 32), level, dtype=torch.uint8)
        change = add_frequency(flat, IDS[:1], 0, 1, norm=8.0).int() - level
        assert (change * sign >= 0).all()
        assert (change == 0).double().mean() > 0.4


def signs_of(vertical=2, horizontal=3, seed=0, ids=IDS):
    flat = torch.full((len(ids), 3, 32, 32), 128, dtype=torch.uint8)
    added = add_frequency(flat, ids, vertical, horizontal, norm=4.0, seed=seed).double() - 128
    return (added * fourier_basis(32, vertical, horizontal)).sum(dim=(2, 3)).sign()


def test_signs_depend_on_seed_frequency_and_image_alone():
    signs = signs_of()
    assert torch.equal(signs, torch.cat([signs_of(ids=IDS[start : start + 7]) for start in range(0, 40, 7)]))
    assert torch.equal(signs.flip(0), signs_of(ids=IDS.flip(0)))
    for other in (
        signs_of(seed=1),
        signs_of(seed=2**32),
        signs_of(horizontal=4),
        signs_of(vertical=3),
        signs_of(ids=IDS + 1),
    ):
        assert not torch.equal(signs, other)


def test_signs_are_fair_and_channels_have_their_own():
    signs = signs_of(ids=torch.arange(4000))
    # Five standard deviations of 4,000 fair coins.
    assert (signs.mean(dim=0).abs() < 5 / 4000**0.5).all()
    assert abs((signs[:, 0] * signs[:, 1]).mean()) < 5 / 4000**0.5
    assert abs((signs[:, 1] * signs[:, 2]).mean()) < 5 / 4000**0.5
    assert abs((signs[1:, 0] * signs[:-1, 0]).mean()) < 5 / 4000**0.5
