import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from simulated_probes import CORRUPTIONS, correlations, grid

from robustbench_bi.analysis.correlations import HeatMaps, correlation_frame, heat_map_frame
from robustbench_bi.analysis.result import Result
from robustbench_bi.errors import InputError
from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval
from robustbench_bi.reports.figures.heatmaps import heat_maps_figure
from robustbench_bi.reports.figures.sheet import Sheet
from robustbench_bi.reports.tables.heatmaps import display_correlations
from robustbench_bi.reports.write import write_heat_maps


def found(correlations, grid=None, n=60):
    return HeatMaps(correlations, grid, f"n = {n} images of demo.")


def test_means_and_intervals_resample_images():
    frame = correlations()
    summary = correlation_frame(found(frame), Resampling(seed=4)).frame
    table = frame.pivot(index="image_id", columns=["model", "corruption"], values="correlation")
    assert summary["corruption"].tolist() == ["fog", "fog", "snow", "snow", "another_image", "another_image"]
    names = list(zip(summary["model"], summary["corruption"], strict=True))
    np.testing.assert_allclose(summary["correlation"], table[names].mean())
    low, high = bootstrap_interval(table[names].to_numpy(), Resampling(seed=4))
    np.testing.assert_allclose(summary["correlation_low"], low)
    np.testing.assert_allclose(summary["correlation_high"], high)
    assert (summary["n"] == 60).all() and (summary["undefined"] == 0).all()


def test_differences_to_the_first_model_are_paired():
    frame = correlations()
    # Model b is 0.1 better on every image: unpaired, the interval would be as wide as that of the mean.
    paired = frame["model"] == "b"
    frame.loc[paired, "correlation"] = frame.loc[frame["model"] == "a", "correlation"].to_numpy() + 0.1
    summary = correlation_frame(found(frame)).frame.set_index(["model", "corruption"])
    for name in ("fog", "snow"):
        np.testing.assert_allclose(summary.loc[("b", name), ["delta", "delta_low", "delta_high"]].astype(float), 0.1)
    assert summary.loc["a", ["delta", "delta_low", "delta_high"]].isna().all(axis=None)


def test_undefined_correlations_are_left_out_and_counted():
    frame = correlations()
    own = frame.index[(frame["model"] == "b") & (frame["corruption"] == "fog")]
    frame.loc[own[:20], "correlation"] = np.nan
    rest = frame.loc[own[20:], "correlation"].to_numpy()
    row = correlation_frame(found(frame)).frame.set_index(["model", "corruption"]).loc[("b", "fog")]
    assert (row["n"], row["undefined"]) == (40, 20)
    assert row["correlation"] == pytest.approx(rest.mean())
    error = rest.std() / 40**0.5
    assert row["correlation_high"] - row["correlation_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    frame["correlation"] = np.nan
    assert correlation_frame(found(frame)).frame[["correlation", "correlation_low", "delta"]].isna().all(axis=None)


def test_a_single_image_has_no_interval():
    summary = correlation_frame(found(correlations(n=1, cells=CORRUPTIONS), n=1)).frame
    assert summary["correlation"].notna().all()
    assert summary[["correlation_low", "correlation_high"]].isna().all(axis=None)


def test_the_figure_shows_each_map_over_its_picture_with_its_numbers():
    own = grid()
    result = correlation_frame(found(correlations()))
    summary = result.frame
    figure = heat_maps_figure(heat_map_frame(found(correlations(), own), result))
    panels = np.array(figure.axes).reshape(2, 3, 3)
    for (picture, row, column), axes in np.ndenumerate(panels):
        corruption = ("none", "fog", "snow")[column]
        cell = own[(own["picture"] == picture) & (own["corruption"] == corruption)].set_index("model")
        if row == 0:
            assert np.array_equal(axes.images[0].get_array(), cell.loc["a", "image"])
            assert axes.get_title() == (("clean", "fog", "snow")[column] if picture == 0 else "")
            continue
        model = "ab"[row - 1]
        background, heat = axes.images
        assert np.array_equal(heat.get_array(), cell.loc[model, "heat"])
        assert background.get_extent() == heat.get_extent()
        luminance = cell.loc[model, "image"] @ np.array([0.299, 0.587, 0.114])
        np.testing.assert_allclose(background.get_array(), luminance)
        name = "another_image" if corruption == "none" else corruption
        mean = summary.set_index(["model", "corruption"]).loc[(model, name)]
        single, of_set = axes.get_xlabel().split("\n")
        assert single == ("different images" if corruption == "none" else "r = 0.25")
        assert of_set == f"{mean['correlation']:.2f} [{mean['correlation_low']:.2f}, {mean['correlation_high']:.2f}]"
        assert axes.get_ylabel() == (model if column == 0 else "")
    caption = figure.texts[-1].get_text()
    assert caption.startswith("n = 60 images of demo. 95 % intervals: percentile bootstrap over images")


def overlaps(figure: Figure) -> bool:
    """Whether the caption reaches into a panel or its numbers, or a panel out of the figure."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    caption = figure.texts[-1].get_window_extent(renderer)
    inside = figure.bbox.padded(1)
    return any(box.y0 < caption.y1 or box.y1 > inside.y1 or box.x0 < inside.x0 or box.x1 > inside.x1 for box in boxes)


@pytest.mark.parametrize(("models", "pictures"), [(1, 1), (4, 1), (2, 3)])
def test_everything_has_its_room(models, pictures):
    names = [f"package.module:network_{number}" for number in range(models)]
    maps = found(correlations(names), grid(names, pictures))
    figure = heat_maps_figure(heat_map_frame(maps, correlation_frame(maps)))
    assert not overlaps(figure)
    figure.texts[-1].set_y(0.5)
    assert overlaps(figure)


@pytest.mark.parametrize("width", [3.3, 7.2])
@pytest.mark.parametrize(("names", "pictures"), [(["a"], 1), (["package.module:network", "b", "c"], 2)])
def test_no_strip_stays_empty(names, pictures, width):
    maps = found(correlations(names), grid(names, pictures))
    figure = heat_maps_figure(heat_map_frame(maps, correlation_frame(maps)), Sheet(width))
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    caption = figure.texts[-1].get_window_extent(renderer)
    assert figure.bbox.y1 - max(box.y1 for box in boxes) < 0.1 * figure.dpi
    assert min(box.y0 for box in boxes) - caption.y1 < 0.2 * figure.dpi
    assert caption.y0 < 0.1 * figure.dpi


def test_files_are_written(tmp_path):
    maps = found(correlations(), grid())
    result = correlation_frame(maps)
    written, summary = write_heat_maps(maps, result, tmp_path / "new"), result.frame
    assert [path.name for path in written] == [
        "heatmaps.csv", "heatmaps_images.csv", "heatmaps.png", "heatmaps.svg", "heatmaps.pdf",
    ]  # fmt: skip
    assert pd.read_csv(written[0])["correlation"].tolist() == pytest.approx(summary["correlation"].tolist())
    assert len(pd.read_csv(written[1])) == 2 * 3 * 60
    shown = display_correlations(summary)
    assert list(shown) == ["model", "corruption", "n", "r with clean", "Δ to a"]
    assert shown["corruption"].iloc[-1] == "another image"
    assert shown["Δ to a"].iloc[0] == "–"
    assert list(display_correlations(summary[summary["model"] == "a"])) == ["model", "corruption", "n", "r with clean"]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(InputError, match="needs correlations, got none"):
        correlation_frame(found(correlations().iloc[:0]))
    with pytest.raises(InputError, match="at least one heat map, got none"):
        heat_maps_figure(Result(grid().iloc[:0]))
