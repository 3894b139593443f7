import numpy as np
import pandas as pd
import pytest
from simulated_probes import N, simulated

from robustbench_bi.analysis.fourier import OCTAVES, FourierErrors, band_frame, error_frame
from robustbench_bi.errors import InputError
from robustbench_bi.metrics.bounded import bounded_interval
from robustbench_bi.metrics.intervals import wilson_interval
from robustbench_bi.metrics.statistics import Bounds, ImageMeans
from robustbench_bi.reports.figures.fourier import fourier_figure
from robustbench_bi.reports.tables.fourier import display_bands
from robustbench_bi.reports.write import write_fourier


def found(frame):
    return FourierErrors(frame, "demo.")


def bits(wrong):
    return np.unpackbits(np.frombuffer(wrong, dtype=np.uint8), count=N)


def test_error_rates_have_wilsons_intervals():
    own = simulated()
    result = error_frame(found(own))
    frame = result.frame
    assert frame["errors"].tolist() == [bits(wrong).sum() for wrong in own["wrong"]]
    np.testing.assert_allclose(frame["error"], 100 * frame["errors"] / N)
    low, high = wilson_interval(frame["error"].to_numpy(), N)
    np.testing.assert_allclose(frame[["error_low", "error_high"]], np.stack([low, high], axis=1))
    np.testing.assert_allclose(frame["frequency"], np.hypot(own["vertical"], own["horizontal"]) / 32)
    assert result.caption.startswith("n = 40 images of demo. Each channel gets a Fourier basis vector")
    assert "of norm 4 at 32 px for pixels in [0, 1]" in result.caption


def test_bands_are_means_over_their_frequencies_with_intervals_over_images():
    own = simulated(models=["a"])
    frame = band_frame(found(own)).frame.set_index("band")
    assert list(frame.index) == [
        "clean",
        "0 to 0.0625",
        "0.0625 to 0.125",
        "0.125 to 0.25",
        "0.25 to 0.5",
        "0.5 and more",
    ]
    length = np.hypot(own["vertical"], own["horizontal"]) / 32
    for name, low, high in zip(frame.index[1:], (-1, *OCTAVES), (*OCTAVES, 1), strict=True):
        members = own[(length > low) & (length <= high) & (own["norm"] > 0)]
        scores = 100 * np.mean([bits(wrong) for wrong in members["wrong"]], axis=0)
        row = frame.loc[name]
        assert row["frequencies"] == len(members)
        assert row["error"] == pytest.approx(scores.mean())
        bounds = Bounds(np.zeros(1), np.full(1, 100.0), np.array([len(members) == 1]))
        ends = bounded_interval(ImageMeans(scores[:, None], bounds), 0.95)
        assert [row["error_low"], row["error_high"]] == pytest.approx([float(end[0]) for end in ends])
    clean = bits(own["wrong"].iloc[0]).mean() * 100
    ends = [float(end[0]) for end in wilson_interval(np.array([clean]), N)]
    assert frame.loc["clean", ["error", "error_low", "error_high"]].tolist() == pytest.approx([clean, *ends])


def test_images_that_all_agree_still_leave_a_width():
    frame = band_frame(found(simulated(chance=lambda length: 0.0))).frame
    assert (frame["error"] == 0).all() and (frame["error_low"] == 0).all()
    assert (frame["error_high"] > 5).all()


def test_the_map_has_low_frequencies_in_the_centre_and_is_its_own_mirror_image():
    own = simulated(models=["a"])
    errors = error_frame(found(own)).frame
    figure = fourier_figure(found(own))
    drawn = np.ma.getdata(figure.axes[0].images[0].get_array())
    assert drawn.shape == (9, 9)
    np.testing.assert_array_equal(drawn, drawn[::-1, ::-1])
    # Half the side is its own mirror image, so it stands at both edges.
    np.testing.assert_array_equal(drawn[0], drawn[-1])
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, -1])
    places = errors[errors["norm"] > 0].set_index(["vertical", "horizontal"])["error"]
    for (vertical, horizontal), error in places.items():
        assert drawn[4 + vertical // 4, 4 + horizontal // 4] == error
    assert figure.axes[0].images[0].get_extent() == [-4.5 / 8, 4.5 / 8, -4.5 / 8, 4.5 / 8]


def test_what_was_not_measured_is_left_out():
    own = simulated(models=["a"])
    length = np.hypot(own["vertical"], own["horizontal"])
    drawn = fourier_figure(found(own[length <= 8])).axes[0].images[0].get_array()
    assert drawn.shape == (5, 5)
    measured = ~np.ma.getmaskarray(np.ma.masked_invalid(drawn))
    rows, columns = np.mgrid[-2:3, -2:3]
    np.testing.assert_array_equal(measured, np.hypot(rows, columns) <= 2)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_map_for_each_model_on_one_scale_and_a_curve_for_each(count):
    own = simulated(models=[f"network_{number}" for number in range(count)])
    figure = fourier_figure(found(own))
    maps = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in maps] == [f"network_{number}" for number in range(count)]
    assert len({axes.images[0].get_clim() for axes in maps}) == 1
    (curves,) = [axes for axes in figure.axes if axes.get_legend()]
    assert [text.get_text() for text in curves.get_legend().get_texts()] == [
        f"network_{number}" for number in range(count)
    ]
    line = curves.containers[0].lines[0]
    assert len(line.get_xdata()) > 5
    # No model's intervals hide another's, and each stays nearer to its own ring than to the next.
    places = np.array([container.lines[0].get_xdata()[1] for container in curves.containers[::2]])
    assert len(set(places.round(6))) == count and np.ptp(places) < 1 / 64
    np.testing.assert_allclose(line.get_ydata()[0], error_frame(found(own)).frame["error"][1])
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    caption = figure.texts[-1].get_window_extent(renderer)
    assert all(axes.get_tightbbox(renderer).y0 > caption.y1 for axes in figure.axes)
    boxes = [axes.get_tightbbox(renderer) for axes in (maps[0], curves)]
    # Beside the map of a single model there is room.
    assert boxes[1].x0 > boxes[0].x1 if count == 1 else boxes[1].y1 < boxes[0].y0


def test_a_single_frequency_can_be_drawn():
    own = simulated(models=["a"])
    figure = fourier_figure(found(own[(own["vertical"] == 0) & (own["horizontal"] == 0)]))
    assert figure.axes[0].images[0].get_array().shape == (1, 1)
    with pytest.raises(InputError, match="at least one frequency, got none"):
        fourier_figure(found(own[own["norm"] == 0]))


def test_files_are_written(tmp_path):
    errors = found(simulated())
    written = write_fourier(errors, band_frame(errors), tmp_path / "new")
    bands = band_frame(errors).frame
    assert [path.name for path in written] == [
        "fourier.csv", "fourier_bands.csv", "fourier.png", "fourier.svg", "fourier.pdf",
    ]  # fmt: skip
    assert pd.read_csv(written[1])["error"].tolist() == pytest.approx(bands["error"].tolist())
    assert "wrong" not in pd.read_csv(written[0])
    shown = display_bands(bands)
    assert list(shown) == ["model", *bands["band"].unique()]
    assert shown["model"].tolist() == ["a", "b"]
