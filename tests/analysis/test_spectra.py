import io
import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.colors import to_hex

from robustbench_bi.analysis.spectra import BANDS, ROUNDING, bands_frame, spectra_frame
from robustbench_bi.corruptions.apply import corrupt
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.spectra import LUMINANCE, Rings, Spectra, measure_spectra, ring_power, rings_of
from robustbench_bi.reports.figures.spectra import spectra
from robustbench_bi.reports.tables.spectra import display_bands
from robustbench_bi.reports.write import write_spectra

SIZES = [(32, 32), (33, 47), (48, 31), (1, 6), (5, 700)]


def grey(luminance):
    """Pictures (n, H, W, 3) of a luminance from 0 to 1, rounded to 8 bits."""
    return np.repeat(np.rint(np.asarray(luminance) * 255).astype(np.uint8)[..., None], 3, axis=-1)


def coloured(n, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def radial_frequency(height, width):
    return np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width)[None] / (2 * width))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_rings_hold_every_coefficient_once_and_those_of_their_frequency(height, width):
    rings = rings_of(height, width)
    assert rings.ring.shape == (height, width)
    assert np.array_equal(np.bincount(rings.ring.ravel()), rings.counts)
    assert rings.counts.min() >= 1
    assert np.argwhere(rings.ring == 0).tolist() == [[0, 0]]
    assert rings.frequency[0] == 0 and (np.diff(rings.frequency) > 0).all()
    away = np.abs(radial_frequency(height, width) - rings.frequency[rings.ring])
    beyond_first = rings.ring > 1
    assert away[beyond_first].max(initial=0) <= 1 / (4 * min(height, width)) + 1e-12


def test_power_is_that_of_the_formula():
    images = coloured(2, 6, 5)
    rings = rings_of(6, 5)
    luminance = (images / 255) @ np.array([0.299, 0.587, 0.114])
    expected = np.zeros((2, len(rings.counts)))
    for u in range(6):
        for v in range(5):
            down = np.cos(np.pi * u * (2 * np.arange(6) + 1) / 12) * np.sqrt((1 if u == 0 else 2) / 6)
            across = np.cos(np.pi * v * (2 * np.arange(5) + 1) / 10) * np.sqrt((1 if v == 0 else 2) / 5)
            coefficient = np.einsum("nij,i,j->n", luminance, down, across)
            expected[:, rings.ring[u, v]] += coefficient**2 / rings.counts[rings.ring[u, v]]
    np.testing.assert_allclose(ring_power(images, rings), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_no_power_is_lost(height, width):
    images, rings = coloured(3, height, width), rings_of(height, width)
    squares = (((images / 255) @ np.array(LUMINANCE)) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(ring_power(images, rings) @ rings.counts, squares)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("height", "width"), [(48, 48), (33, 47)])
def test_white_noise_is_flat_at_its_variance(height, width, same):
    deviation, n = 20, 200
    levels = np.random.default_rng(1).normal(128, deviation, (n, height, width, 1 if same else 3))
    images = np.broadcast_to(np.rint(levels).astype(np.uint8), (n, height, width, 3))
    rings = rings_of(height, width)
    power = ring_power(images, rings).mean(axis=0)[1:]
    variance = (deviation**2 + 1 / 12) / 255**2 * (1 if same else sum(weight**2 for weight in LUMINANCE))
    # A squared normal variate has the relative deviation √2.
    away = (power / variance - 1) / np.sqrt(2 / (n * rings.counts[1:]))
    assert np.abs(away).max() < 4
    assert 0.7 < away.std() < 1.3


@pytest.mark.parametrize(("height", "width"), [(64, 64), (63, 96), (96, 49)])
@pytest.mark.parametrize(("u", "v"), [(3, 0), (0, 7), (12, 5), (40, 48)])
def test_a_cosine_lies_in_its_ring(height, width, u, v):
    rows, columns = np.arange(height)[:, None], np.arange(width)
    wave = np.cos(np.pi * u * (2 * rows + 1) / (2 * height)) * np.cos(np.pi * v * (2 * columns + 1) / (2 * width))
    rings = rings_of(height, width)
    (power,) = ring_power(grey(0.5 + 0.4 * wave)[None], rings)
    ring = round(2 * min(height, width) * np.hypot(u / (2 * height), v / (2 * width)))
    assert rings.frequency[ring] == pytest.approx(np.hypot(u / height, v / width) / 2, abs=0.26 / min(height, width))
    energy = (power * rings.counts)[1:]
    assert energy[ring - 1] / energy.sum() > 0.999
    halved = (2 if u else 1) * (2 if v else 1)
    assert energy[ring - 1] == pytest.approx(0.4**2 * height * width / halved, rel=0.01)


def test_turning_a_picture_changes_nothing():
    images = coloured(2, 33, 47)
    turned = ring_power(images.transpose(0, 2, 1, 3), rings_of(47, 33))
    np.testing.assert_allclose(ring_power(images, rings_of(33, 47)), turned)


def test_mean_brightness_is_in_the_first_ring_alone():
    images = coloured(1, 40, 40) // 2
    rings = rings_of(40, 40)
    difference = ring_power(images + 50, rings) - ring_power(images, rings)
    assert difference[0, 0] > 100
    assert np.abs(difference[0, 1:]).max() < 1e-12


@pytest.mark.parametrize(
    "images", [np.zeros((1, 8, 8, 3)), coloured(1, 8, 9), coloured(1, 8, 8)[0], coloured(1, 8, 8)[..., :1]]
)
def test_images_of_another_kind_are_refused(images):
    with pytest.raises(InputError, match=r"images must be uint8 \(n, 8, 8, 3\)"):
        ring_power(images, rings_of(8, 8))


def test_batches_are_joined_in_order():
    clean, noisy = coloured(5, 16, 16), coloured(5, 16, 16, seed=1)
    cells = [(CLEAN, clean[:3]), (("fog", 1), noisy[:3]), (CLEAN, clean[3:]), (("fog", 1), noisy[3:])]
    measured = measure_spectra(cells)
    assert np.array_equal(measured.power["fog", 1], ring_power(noisy, rings_of(16, 16)))
    assert list(measured.power) == [CLEAN, ("fog", 1)]


def test_pictures_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="spectra need the clean images"):
        measure_spectra([(("fog", 1), coloured(2, 8, 8))])
    with pytest.raises(InputError, match="spectra need the clean images"):
        measure_spectra([])
    with pytest.raises(InputError, match="got 2 of none severity 0 and 1 of fog severity 1"):
        measure_spectra([(CLEAN, coloured(2, 8, 8)), (("fog", 1), coloured(1, 8, 8))])
    with pytest.raises(InputError, match=r"images must be uint8 \(n, 8, 8, 3\)"):
        measure_spectra([(CLEAN, coloured(2, 8, 8)), (("fog", 1), coloured(2, 9, 8))])


def simulated(cells, n, rings=30, spread=1.0, seed=0, pictures=""):
    """Spectra whose logarithms are normal: around 0 where clean, and around a corruption's shift."""
    random = np.random.default_rng(seed)
    roughness = random.normal(0, 2, (n, 1))
    power = {cell: np.exp(roughness + random.normal(shift, spread, (n, rings + 1))) for cell, shift in cells.items()}
    frequency = np.arange(rings + 1) / rings * 0.7
    return Spectra(Rings(frequency, np.arange(rings + 1) + 1, np.zeros((1, 1), dtype=np.int64)), power, pictures)


def test_means_are_geometric_and_intervals_students_paired_by_picture():
    measured = simulated({CLEAN: 0.0, ("fog", 2): 1.0}, n=7)
    frame = spectra_frame(measured).frame
    assert frame["n"].eq(7).all()
    fog = frame[frame["corruption"] == "fog"]
    np.testing.assert_allclose(fog["frequency"], measured.rings.frequency[1:])
    clean, own = (np.log(measured.power[cell][:, 1:]) for cell in (CLEAN, ("fog", 2)))
    for logarithms, columns in ((own, ("power", "low", "high")), (own - clean, ("ratio", "ratio_low", "ratio_high"))):
        interval = scipy.stats.ttest_1samp(logarithms, 0).confidence_interval(0.95)
        value, low, high = (fog[column] for column in columns)
        np.testing.assert_allclose(value, scipy.stats.gmean(np.exp(logarithms)))
        np.testing.assert_allclose(low, np.exp(interval.low))
        np.testing.assert_allclose(high, np.exp(interval.high))
    rows = frame[frame["corruption"] == "none"]
    assert (rows[["ratio", "ratio_low", "ratio_high"]] == 1).all(axis=None)
    np.testing.assert_allclose(fog["ratio"], fog["power"].to_numpy() / rows["power"].to_numpy())


def test_ninety_five_intervals_of_a_hundred_hold_the_truth():
    frame = spectra_frame(simulated({CLEAN: 0.0, ("fog", 2): 1.0}, n=6, rings=5000, spread=0.5)).frame
    fog = frame[frame["corruption"] == "fog"]
    held = ((fog["ratio_low"] < np.e) & (np.e < fog["ratio_high"])).mean()
    assert held == pytest.approx(0.95, abs=0.012)


def test_one_picture_has_no_interval_and_a_blank_one_does_no_harm():
    blank, noisy = np.full((1, 32, 32, 3), 77, dtype=np.uint8), coloured(1, 32, 32)
    measured = measure_spectra([(CLEAN, blank), (("fog", 1), noisy)])
    curves = spectra_frame(measured)
    frame = curves.frame
    assert frame[["low", "high", "ratio_low", "ratio_high"]].isna().all(axis=None)
    assert np.isfinite(frame[["power", "ratio"]]).all(axis=None)
    np.testing.assert_allclose(frame[frame["corruption"] == "none"]["power"], ROUNDING)
    assert "Student" not in curves.caption
    assert "nan" not in display_bands(bands_frame(measured).frame).to_string().lower()


def test_bands_are_means_over_their_coefficients():
    clean, other = coloured(4, 40, 56), coloured(4, 40, 56, seed=1) // 3
    measured = measure_spectra([(CLEAN, clean), (("fog", 1), other)])
    frame = bands_frame(measured).frame
    assert frame["band"].tolist() == list(BANDS)
    every = {cell: power[:, measured.rings.ring.ravel()] for cell, power in measured.power.items()}
    middles = measured.rings.frequency[measured.rings.ring.ravel()]
    for _, row in frame.iterrows():
        inside = (middles > 0) & (row["from"] <= middles) & (middles < row["to"])
        ratios = every["fog", 1][:, inside].mean(axis=1) / every[CLEAN][:, inside].mean(axis=1)
        assert row["ratio"] == pytest.approx(scipy.stats.gmean(ratios))
        interval = scipy.stats.ttest_1samp(np.log(ratios), 0).confidence_interval(0.95)
        assert (row["low"], row["high"]) == (pytest.approx(np.exp(interval.low)), pytest.approx(np.exp(interval.high)))
    edges = [(row["from"], row["to"]) for _, row in frame.iterrows()]
    assert edges[0][0] == 0 and edges[-1][1] > 0.71
    assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))


def test_gaussian_noise_adds_its_variance_to_every_ring():
    clean = np.full((20, 64, 64, 3), 128, dtype=np.uint8)
    measured = measure_spectra([(CLEAN, clean), (("gaussian_noise", 1), corrupt(clean, "gaussian_noise", 1))])
    rings = measured.rings
    power = measured.power["gaussian_noise", 1].mean(axis=0)
    # A standard deviation of 0.08 in each channel, and truncation to 8 bits.
    expected = (0.08**2 + 1 / 12 / 255**2) * sum(weight**2 for weight in LUMINANCE)
    away = (power / expected - 1)[1:] / np.sqrt(2 / (20 * rings.counts[1:]))
    assert np.abs(away).max() < 4
    assert power[1:] @ rings.counts[1:] / rings.counts[1:].sum() == pytest.approx(expected, rel=0.02)


def test_the_table_has_a_row_a_cell_and_three_digits():
    table = display_bands(
        bands_frame(simulated({CLEAN: 0, ("fog", 2): 8.0, ("fog", 3): -8.0}, n=1200, spread=0.1)).frame
    )
    assert table.columns.tolist() == ["corruption", "severity", "n", "low", "middle", "high"]
    assert table["severity"].tolist() == [2, 3] and table["n"].tolist() == ["1,200"] * 2
    strong, weak = table["high"]
    assert strong.startswith("2,9") and weak.startswith("0.00033")


@pytest.mark.parametrize(
    ("count", "severities", "n"), [(1, (3,), 1), (4, (1, 2, 3, 4, 5), 9), (7, (5,), 3), (19, (1, 3), 2)]
)
def test_the_figure_shows_every_corruption_and_holds_its_text(count, severities, n):
    names = [f"corruption_{number}" for number in range(count)]
    cells = {CLEAN: 0.0} | {(name, severity): severity - 2.0 for name in names for severity in severities}
    curves = spectra_frame(simulated(cells, n, pictures="n = 9 images of a folder."))
    settings = dict(matplotlib.rcParams)
    figure = spectra(curves)
    figure.canvas.draw()
    assert dict(matplotlib.rcParams) == settings
    assert len(figure.axes) == 2 * count
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert sorted(title for title in titles if title) == sorted(names)
    legend, (caption,) = figure.legends[0], figure.texts
    boxes = [artist.get_tightbbox() for artist in (legend, caption, *figure.axes)]
    page = figure.bbox
    assert all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.padded(-1).overlaps(b)]
    assert "".join(curves.caption.split()) in "".join("".join(t.get_text().split()) for t in figure.texts)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "clean", *(f"severity {severity}" for severity in severities),
    ]  # fmt: skip
    columns = {}
    for axes in figure.axes:
        place = axes.get_position()
        columns.setdefault(round(place.x0, 3), []).append((place.y0, axes.get_xlabel()))
    assert [[label for _, label in sorted(own) if label] for own in columns.values()] == [["cycles per pixel"]] * len(
        columns
    )
    assert all(min(own)[1] for own in columns.values())


def test_the_curves_are_those_of_the_frame():
    curves = spectra_frame(simulated({CLEAN: 0.0, ("fog", 1): 1.0, ("fog", 4): 2.0}, n=5))
    frame = curves.frame
    shown = frame[frame["frequency"] <= 0.65]
    power, ratio = spectra(curves).axes
    assert (power.get_xscale(), power.get_yscale(), ratio.get_yscale()) == ("log", "log", "log")
    for severity in (1, 4):
        own = shown[shown["severity"] == severity]
        for axes, column in ((power, "power"), (ratio, "ratio")):
            (line,) = (line for line in axes.lines if line.get_label() == f"severity {severity}")
            np.testing.assert_allclose(line.get_xydata(), own[["frequency", column]])
    (clean,) = (line for line in power.lines if line.get_label() == "clean")
    np.testing.assert_allclose(clean.get_ydata(), shown[shown["corruption"] == "none"]["power"])
    for axes, severity, low, high in ((power, 0, "low", "high"), (ratio, 1, "ratio_low", "ratio_high")):
        band = axes.collections[0].get_paths()[0].vertices[:, 1]
        own = shown[shown["severity"] == severity]
        assert (band.min(), band.max()) == (pytest.approx(own[low].min()), pytest.approx(own[high].max()))


def test_panels_of_a_kind_share_a_scale_that_holds_all():
    curves = spectra_frame(simulated({CLEAN: 0.0, ("fog", 1): 6.0, ("snow", 1): -6.0}, n=5))
    frame = curves.frame
    shown = frame[frame["frequency"] <= 0.65]
    panels = spectra(curves).axes
    for label, columns in (("power", ["power", "low"]), ("ratio to clean", ["ratio", "ratio_low", "ratio_high"])):
        number = [axes.get_ylabel() for axes in panels].index(label)
        (low, high), other = panels[number].get_ylim(), panels[number + 2].get_ylim()
        assert (low, high) == other
        held = shown[shown["corruption"] != "none"][columns[:1]] if label == "power" else shown[columns]
        assert low < held.min(axis=None) and held.max(axis=None) < high


def test_severities_grow_darker_in_grey():
    curves = spectra_frame(simulated({CLEAN: 0.0} | {("fog", severity): 1.0 for severity in range(1, 6)}, n=5))
    lines = {line.get_label(): to_hex(line.get_color()) for line in spectra(curves).axes[0].lines}
    grey_levels = [
        sum(
            weight * int(lines[f"severity {severity}"][1 + 2 * i : 3 + 2 * i], 16) for i, weight in enumerate(LUMINANCE)
        )
        for severity in range(1, 6)
    ]
    assert (np.diff(grey_levels) < -15).all()


def test_clean_alone_is_refused():
    with pytest.raises(InputError, match="at least one corruption"):
        spectra(spectra_frame(simulated({CLEAN: 0.0}, n=2)))


def test_files_hold_the_frames_and_are_the_same_each_time(tmp_path):
    measured = simulated({CLEAN: 0.0, ("fog", 2): 1.0}, n=4)
    curves, bands = spectra_frame(measured), bands_frame(measured)
    first, second = (write_spectra(curves, bands, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [
        "spectra.csv", "spectra_bands.csv", "spectra.png", "spectra.svg", "spectra.pdf",
    ]  # fmt: skip
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(first[0].read_bytes())), curves.frame, check_dtype=False)
    assert list(curves.frame) == [
        "corruption", "severity", "frequency", "power", "low", "high", "ratio", "ratio_low", "ratio_high", "n",
    ]  # fmt: skip
